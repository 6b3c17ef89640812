/**
 * A mirror of the log: its newest checkpoint, keys and tiles as files in the layout of C2SP tlog-tiles, which any web server can
 * show and `ev-central verify` reads. Holds no personal data.
 *
 * Tiles first, the checkpoint last: so a mirror that is being made, or grows, always has all that its checkpoint asks for. A full tile
 * that is there is left alone, as it never changes; partial ones of an older size stay.
 */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { Refusal } from '../errors.ts'
import { parseSignedCheckpoint } from '../evidence/checkpoint.ts'
import { formatKeyChain } from '../evidence/key-chain.ts'
import { formatTilePath, TILE_WIDTH, type Tile, tilesOf } from '../evidence/tile.ts'
import { writePublic } from '../files/whole-file.ts'
import { openLogFiles } from '../log/log-files.ts'
import { createPostgres } from '../postgres/postgres.ts'
import { openLogView } from '../store/log-view.ts'
import { readPostgresLog } from '../store/postgres-log-view.ts'
import { readSharedSigned } from './postgres-signed.ts'

export interface Mirrored {
  /** Leaves. */
  readonly size: number
  /** That were written. */
  readonly files: number
}

type Progress = (done: number, total: number) => void

/**
 * @param options.log folder of the log
 * @throws {Refusal} NOT_SIGNED_YET; FOLDER_NOT_EMPTY: with a mirror of another log; ROLLED_BACK: with one that is ahead
 */
export async function mirrorLog(options: {
  readonly storePath: string
  readonly log: string
  readonly to: string
  readonly onProgress?: Progress
}): Promise<Mirrored> {
  const { storePath, log, to, onProgress } = options
  const readText = (name: string) => (existsSync(join(log, name)) ? readFileSync(join(log, name), 'utf8') : undefined)
  // Before the checkpoint, as nothing of these may be ahead of it; the keys after it, as its own has to be among them.
  const [checkpoints, witnessed] = [readText('checkpoints'), readText('witnessed')]
  const checkpoint = readText('checkpoint')
  const texts = { keys: readText('keys'), checkpoints, witnessed }
  if (checkpoint === undefined) throw new Refusal('NOT_SIGNED_YET')
  const db = new DatabaseSync(storePath, { readOnly: true, timeout: 5_000 })
  const files = openLogFiles(log)
  try {
    const view = openLogView(db, files)
    const readTile = (tile: Tile) => view.inSnapshot(snapshot => snapshot.readTile(tile))
    return await writeMirror({ to, checkpoint, texts, readTile, onProgress })
  } finally {
    files.close()
    db.close()
  }
}

/**
 * Of a log in PostgreSQL, as one snapshot shows it.
 * @throws {Refusal} as `mirrorLog`
 * @throws {PostgresError}
 */
export async function mirrorPostgresLog(options: {
  readonly url: string
  readonly to: string
  readonly onProgress?: Progress
}): Promise<Mirrored> {
  const { url, to, onProgress } = options
  await using postgres = createPostgres({ url, connectionsMax: 1, applicationName: 'ev-central mirror' })
  return await postgres.snapshot(async session => {
    const { newest: checkpoint, history, witnessed, chain } = await readSharedSigned(session)
    if (checkpoint === undefined) throw new Refusal('NOT_SIGNED_YET')
    const keys = chain && formatKeyChain(chain)
    const log = await readPostgresLog(session)
    const readTile = async (tile: Tile) => (await log.readTiles([tile]))[0] as Uint8Array
    return writeMirror({ to, checkpoint, texts: { keys, checkpoints: history, witnessed }, readTile, onProgress })
  })
}

async function writeMirror(parts: {
  readonly to: string
  readonly checkpoint: string
  /** By the names of their files. */
  readonly texts: Readonly<Record<string, string | undefined>>
  readTile(tile: Tile): Uint8Array | Promise<Uint8Array>
  readonly onProgress: Progress | undefined
}): Promise<Mirrored> {
  const { to, checkpoint, texts, readTile, onProgress = () => {} } = parts
  const signed = parseSignedCheckpoint(checkpoint)
  if (signed === undefined) throw new Refusal('NOT_SIGNED_YET')
  refuseAnother(to, signed.size, texts.keys)
  const tiles = [...tilesOf(signed.size)]
  let files = 0
  for (const [done, tile] of tiles.entries()) {
    const path = join(to, formatTilePath(tile))
    if (tile.width === TILE_WIDTH && existsSync(path)) continue
    writePublic(path, await readTile(tile))
    files++
    onProgress(done + 1, tiles.length)
  }
  for (const [name, text] of Object.entries(texts)) if (text !== undefined) writePublic(join(to, name), text)
  writePublic(join(to, 'checkpoint'), checkpoint)
  return { size: signed.size, files }
}

/** Its full tiles would stay, and be those of no checkpoint. A log that goes on from a restored backup has a first key of its own. */
function refuseAnother(to: string, size: number, keys: string | undefined): void {
  const read = (name: string) => (existsSync(join(to, name)) ? readFileSync(join(to, name), 'utf8') : undefined)
  const first = (text: string | undefined) => text?.split('\n')[0]
  const mirrored = parseSignedCheckpoint(read('checkpoint') ?? '')
  if (mirrored === undefined) return
  if (first(read('keys')) !== first(keys)) {
    throw new Refusal('FOLDER_NOT_EMPTY', `${to} is a mirror of another log: name another folder. Nothing was written.`)
  }
  if (mirrored.size > size) {
    throw new Refusal(
      'ROLLED_BACK',
      `${to} goes up to event ${mirrored.size}, and the newest checkpoint of the log up to ${size}: the log is older than its mirror. Nothing was written.`,
    )
  }
}
