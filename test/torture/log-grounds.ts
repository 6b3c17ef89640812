/**
 * Signed logs of several shapes that mutations are applied to, each made once: with erasures, a key that was handed over, a segment
 * that left as an archive with its salts, and a mirror of the tiles.
 */
import { createHash } from 'node:crypto'
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { archiveName, manifestName, sha256Of } from '../../src/archive/format.ts'
import { writeArchive } from '../../src/archive/write-archive.ts'
import { listSealed, takeOut } from '../../src/store/retention.ts'
import { createSqliteEventStore } from '../../src/store/sqlite-event-store.ts'
import { createSignedLog, type SignedLog, systemEvent, withDatabase, writeMirror } from '../harness/signed-log.ts'
import type { Random } from './random.ts'

export interface Shape {
  readonly events: number
  /** Behind the newest checkpoint. */
  readonly unsigned: number
  readonly erased: readonly number[]
  readonly rotates: boolean
  readonly archives: boolean
}

export interface Ground {
  readonly shape: Shape
  readonly log: SignedLog
  readonly mirror: string
  /** Leaves. */
  readonly size: number
  readonly signedSize: number
  readonly tombstone: number | undefined
  /** The first id that is in the database. */
  readonly firstId: number
  /** Of the first, retired key when there are two. */
  readonly firstSigned: string
}

/** Sizes at which something begins: bundles, segments. */
export const EDGES = [1, 2, 255, 256, 257, 511, 512, 1_023, 1_024, 1_025, 1_280, 2_047, 2_048, 2_049, 3_000]

export function drawShape(random: Random): Shape {
  const events = random.chance(0.7) ? random.pick(EDGES) : random.between(1, 3_000)
  const erased = random.chance(0.5)
    ? [...new Set(Array.from({ length: random.between(1, 5) }, () => random.between(1, events)))].sort((a, b) => a - b)
    : []
  return {
    events,
    unsigned: random.chance(0.5) ? 0 : random.between(1, 300),
    erased: erased,
    rotates: random.chance(0.4),
    archives: events > 2_048 && random.chance(0.7),
  }
}

export async function makeGround(shape: Shape): Promise<Ground> {
  const log = createSignedLog(mkdtempSync(join(tmpdir(), 'evc-ground-')))
  const half = Math.ceil(shape.events / 2)
  await log.append(half)
  const firstSigned = log.sign()
  if (shape.events > half) await log.append(shape.events - half)
  log.sign()
  if (shape.rotates) {
    await log.rotate()
    log.sign()
  }
  const tombstone = shape.erased.length > 0 ? await log.erase(shape.erased) : undefined
  if (shape.archives) await archiveFirstSegment(log)
  log.sign()
  const signedSize = log.size()
  if (shape.unsigned > 0) await log.append(shape.unsigned)
  const mirror = `${log.path}-mirror`
  if (shape.unsigned === 0) writeMirror(log, mirror)
  const firstId = shape.archives ? 1_025 : 1
  return { shape, log, mirror, size: log.size(), signedSize, tombstone, firstId, firstSigned }
}

export function removeGround({ log, mirror }: Ground): void {
  log.remove()
  rmSync(mirror, { recursive: true, force: true })
}

/** The first segment leaves, with its salts in a file beside it. */
async function archiveFirstSegment(log: SignedLog): Promise<void> {
  const directory = join(log.path, 'archive')
  mkdirSync(directory)
  const db = new DatabaseSync(log.database, { readOnly: true })
  const [segment] = listSealed(db)
  const manifest = await writeArchive({
    db,
    segment: segment!,
    directory,
    number: 1,
    previous: null,
    afterBlock: async () => {},
  })
  db.close()
  const path = join(directory, manifestName(archiveName(manifest)))
  const salts = withDatabase(log.database, saltsOf(1_024))
  const salts_file = manifest.file.replace('.ndjson.gz', '.salts')
  writeFileSync(join(directory, salts_file), salts)
  const logMember = {
    salts_file,
    salts_sha256: createHash('sha256').update(salts).digest('hex'),
    first_index: 0,
    count: 1_024,
  }
  writeFileSync(path, JSON.stringify({ ...JSON.parse(readFileSync(path, 'utf8')), log: logMember }))
  const { first_id, last_id, first_time, last_time, sha256, archived_at, number } = manifest
  const file = join(directory, manifest.file)
  const manifest_sha256 = sha256Of(readFileSync(path))
  const record = { number, first_id, last_id, first_time, last_time, file, sha256, manifest_sha256, archived_at }
  const store = createSqliteEventStore({ path: log.database, segmentIds: 1_024 })
  await store.record(work => {
    takeOut(work, segment!, record)
    return systemEvent(0, 'ARCHIVED', { archive: 1, first_id, last_id, count: 1_024, manifest_sha256 })
  })
  await store.close()
}

const saltsOf = (events: number) => (db: DatabaseSync) => {
  const rows = db.prepare('SELECT salts FROM log_bundles WHERE bundle < ? ORDER BY bundle').all(events / 256)
  return Buffer.concat(rows.map(({ salts }) => salts as Uint8Array))
}

/** A copy to be spoilt. */
export function copyGround(ground: Ground): { readonly path: string; readonly mirror: string; remove(): void } {
  const place = mkdtempSync(join(tmpdir(), 'evc-mutation-'))
  const [path, mirror] = [join(place, 'data'), join(place, 'mirror')]
  cpSync(ground.log.path, path, { recursive: true })
  if (ground.shape.unsigned === 0) cpSync(ground.mirror, mirror, { recursive: true })
  return { path, mirror, remove: () => rmSync(place, { recursive: true, force: true }) }
}
