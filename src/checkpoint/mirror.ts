/**
 * A mirror of the log: its newest checkpoint, keys and tiles as files in the layout of C2SP tlog-tiles, which any web server can
 * show and `ev-central verify` reads. Holds no personal data.
 *
 * Tiles first, the checkpoint last: so a mirror that is being made, or grows, always has all that its checkpoint asks for. A full tile
 * that is there is left alone, as it never changes; partial ones of an older size stay.
 */
import { copyFileSync, existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { Refusal } from '../errors.ts'
import { parseCheckpoint } from '../evidence/checkpoint.ts'
import { parseNote } from '../evidence/note.ts'
import { formatTilePath, TILE_WIDTH, tilesOf } from '../evidence/tile.ts'
import { makePrivateFolder, writeWhole } from '../files/whole-file.ts'
import { openLogFiles } from '../log/log-files.ts'
import { openLogView } from '../store/log-view.ts'

/**
 * @param options.log folder of the log
 * @returns the size of the tree, and how many files were written
 * @throws {Refusal} NOT_SIGNED_YET
 */
export function mirrorLog(options: {
  readonly storePath: string
  readonly log: string
  readonly to: string
  readonly onProgress?: (done: number, total: number) => void
}): { readonly size: number; readonly files: number } {
  const { storePath, log, to, onProgress = () => {} } = options
  const checkpoint = join(log, 'checkpoint')
  // Before the checkpoint, as nothing of these may be ahead of it; the keys after it, as its own has to be among them.
  const older = ['checkpoints', 'witnessed'].flatMap(name =>
    existsSync(join(log, name)) ? [{ name, text: readFileSync(join(log, name), 'utf8') }] : [],
  )
  const note = existsSync(checkpoint) ? readFileSync(checkpoint, 'utf8') : ''
  const signed = parseCheckpoint(parseNote(note)?.text ?? '')
  if (signed === undefined) throw new Refusal('NOT_SIGNED_YET')
  const db = new DatabaseSync(storePath, { readOnly: true, timeout: 5_000 })
  const files = openLogFiles(log)
  try {
    const view = openLogView(db, files)
    const tiles = [...tilesOf(signed.size)]
    let written = 0
    for (const [done, tile] of tiles.entries()) {
      const path = join(to, formatTilePath(tile))
      if (tile.width === TILE_WIDTH && existsSync(path)) continue
      makePrivateFolder(dirname(path))
      writeWhole(
        path,
        view.inSnapshot(snapshot => snapshot.readTile(tile)),
      )
      written++
      onProgress(done + 1, tiles.length)
    }
    makePrivateFolder(to)
    if (existsSync(join(log, 'keys'))) copyFileSync(join(log, 'keys'), join(to, 'keys'))
    for (const { name, text } of older) writeWhole(join(to, name), text)
    writeWhole(join(to, 'checkpoint'), note)
    return { size: signed.size, files: written }
  } finally {
    files.close()
    db.close()
  }
}
