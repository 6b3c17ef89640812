/**
 * Checks that the event database agrees with itself: its file, its segments, the ids, and that what is kept of every 1,024
 * rows (chunk-store.ts) and counted of every full segment (segment-counts.ts), from which queries and summaries are answered,
 * is what those rows say. And makes the latter anew.
 */
import { DatabaseSync } from 'node:sqlite'
import { isDeepStrictEqual } from 'node:util'
import { counted } from '../counted.ts'
import { type ChunkBuilder, type ChunkColumns, parseColumns } from './chunk.ts'
import { CHUNK_IDS, chunkOf, FACETS, formatSet } from './chunk-sets.ts'
import { prepareChunkWriter, readChunk } from './chunk-store.ts'
import { StoreError } from './event-store.ts'
import { findUnexplainedGaps } from './retention.ts'
import { SCHEMA_VERSION, schemaVersion } from './schema.ts'
import { countSegment, rebuildCounts } from './segment-counts.ts'
import { listSegments, type Segment } from './segments.ts'

/** More than this is not said, only counted. */
const PROBLEMS_MAX = 100

/**
 * Sentences, one for each thing that is wrong; none when all is well. Reads every row and changes nothing.
 * @param onChunk called after each chunk, with how many there are
 * @throws {StoreError} FOREIGN
 */
export function checkStore(path: string, onChunk: (done: number, total: number) => void = () => {}): string[] {
  const db = new DatabaseSync(path, { readOnly: true, timeout: 5_000 })
  try {
    const version = schemaVersion(db)
    if (version === 0) return [] // as a crash leaves it before the first row
    if (version !== SCHEMA_VERSION) return ['the event database is of an older version: start the service once']
    db.exec('BEGIN')
    const problems = [
      ...checkFile(db),
      ...checkSegments(db),
      ...findUnexplainedGaps(db),
      ...checkChunks(db, onChunk),
      ...checkCounts(db),
    ]
    return problems.slice(0, PROBLEMS_MAX)
  } finally {
    db.close()
  }
}

/**
 * Makes all chunks and counts anew from the rows, in one transaction. For when `checkStore` finds one wrong.
 * @throws an SQLite error when the database is in use; nothing was changed then.
 */
export function rebuildChunks(path: string): void {
  const db = new DatabaseSync(path, { timeout: 5_000 })
  try {
    if (schemaVersion(db) !== SCHEMA_VERSION)
      throw new StoreError('FOREIGN', 'start the service once, it is of an older version')
    db.exec('BEGIN IMMEDIATE; DELETE FROM event_chunks; DELETE FROM event_columns; DELETE FROM event_facets')
    const write = prepareChunkWriter(db)
    for (const [segment, chunk] of completeChunks(db)) write(readChunk(db, chunk, segment.table))
    rebuildCounts(db, listSegments(db))
    db.exec('COMMIT')
  } finally {
    db.close()
  }
}

function* checkFile(db: DatabaseSync): Generator<string> {
  for (const { integrity_check: found } of db.prepare('PRAGMA integrity_check').all()) {
    if (found !== 'ok') yield `the file is damaged: ${found}`
  }
}

function* checkSegments(db: DatabaseSync): Generator<string> {
  const segments = listSegments(db)
  if (segments.at(-1)?.lastId !== undefined) yield 'no segment is growing'
  for (const [index, segment] of segments.entries()) {
    const { firstId, number, table } = segment
    const previous = segments[index - 1]
    const isGap = previous?.number === number - 1 && previous.lastId !== firstId - 1
    if (isGap) yield `${table} begins with the id ${firstId}, and the one before it ends with ${previous.lastId}`
    const found = db.prepare(`SELECT min(id) AS first, max(id) AS last, count(*) AS count FROM ${table}`).get()
    const lastId = segment.lastId ?? Number(found?.last ?? firstId - 1)
    const count = Number(found?.count)
    const isWhole =
      count === lastId - firstId + 1 && (count === 0 || (found?.first === firstId && found.last === lastId))
    if (!isWhole) yield `${table} holds ${counted(count, 'row')}, not those with the ids ${firstId} to ${lastId}`
  }
}

function* checkChunks(db: DatabaseSync, onChunk: (done: number, total: number) => void): Generator<string> {
  const chunks = [...completeChunks(db)]
  const check = prepareChunkCheck(db)
  for (const [done, [{ table }, chunk]] of chunks.entries()) {
    const wrong = check(readChunk(db, chunk, table))
    if (wrong !== undefined)
      yield `what is kept of the rows ${chunk * CHUNK_IDS + 1} to ${(chunk + 1) * CHUNK_IDS} is wrong: ${wrong}`
    onChunk(done + 1, chunks.length)
  }
  const stored = Number(db.prepare('SELECT count(*) AS n FROM event_chunks').get()?.n)
  if (stored !== chunks.length)
    yield `${counted(stored, 'chunk is kept', 'chunks are kept')}, of ${chunks.length} that are complete`
}

/** Against the columns, which `checkChunks` holds against the rows. */
function* checkCounts(db: DatabaseSync): Generator<string> {
  const select = db.prepare(
    'SELECT min_ms AS minMs, max_ms AS maxMs, minutes, who, ip FROM event_counts WHERE segment = ?',
  )
  let full = 0
  for (const { number, table, firstId, lastId } of listSegments(db)) {
    if (lastId === undefined) continue
    full++
    const counted = countSegment(db, firstId, lastId)
    const stored = select.get(number)
    // Without some of its columns nothing can be compared; that they are missing has been said.
    const isRight = counted === undefined || (stored !== undefined && isDeepStrictEqual({ ...stored }, { ...counted }))
    if (!isRight) yield `what is counted of ${table} is wrong`
  }
  const kept = Number(db.prepare('SELECT count(*) AS n FROM event_counts').get()?.n)
  if (kept !== full) yield `the counts of ${counted(kept, 'segment')} are kept, of ${full} that are full`
}

function* completeChunks(db: DatabaseSync): Generator<[Segment, number]> {
  for (const segment of listSegments(db)) {
    const max = db.prepare(`SELECT max(id) AS id FROM ${segment.table}`).get()?.id
    const last = segment.lastId ?? Number(max ?? segment.firstId - 1)
    for (let chunk = chunkOf(segment.firstId); chunk < chunkOf(last + 1); chunk++) yield [segment, chunk]
  }
}

/** @returns what is wrong with a chunk, if anything */
function prepareChunkCheck(db: DatabaseSync): (rows: ChunkBuilder) => string | undefined {
  const selectTimes = db.prepare('SELECT min_ms, max_ms FROM event_chunks WHERE chunk = ?')
  const selectColumns = db.prepare('SELECT columns FROM event_columns WHERE chunk = ?')
  const selectSets = FACETS.map((_, facet) =>
    db.prepare(`SELECT value, ids FROM event_facets WHERE facet = ${facet} AND value = ? AND chunk = ?`),
  )
  const isNamed = db.prepare('SELECT 1 FROM event_names WHERE number = ? AND name = ?')
  const isKind = db.prepare(
    "SELECT 1 FROM event_kinds WHERE number = ? AND action = ? AND severity = ? AND (reason_code IS ? OR reason_code = '(other)')",
  )

  function columnsAgree(stored: ChunkColumns, rows: ChunkBuilder): boolean {
    for (let n = 0; n < CHUNK_IDS; n++) {
      const { action, severity, reason } = rows.kindsFound[
        rows.kinds[n] as number
      ] as ChunkBuilder['kindsFound'][number]
      const isSame =
        rows.minMs + (stored.times[n] as number) === rows.times[n] &&
        isNamed.get(stored.who[n] as number, rows.who[n] as string) !== undefined &&
        isNamed.get(stored.ip[n] as number, rows.ip[n] as string) !== undefined &&
        isKind.get(stored.kinds[n] as number, action, severity, reason) !== undefined
      if (!isSame) return false
    }
    return true
  }

  function setsAgree(rows: ChunkBuilder): boolean {
    for (const [facet, sets] of rows.sets.entries()) {
      for (const [value, set] of sets) {
        const stored = selectSets[facet]?.get(value, rows.chunk)?.ids as Uint8Array | undefined
        if (stored === undefined || !Buffer.from(stored).equals(formatSet(set))) return false
      }
    }
    return true
  }

  return rows => {
    if (rows.count !== CHUNK_IDS) return 'rows are missing'
    const times = selectTimes.get(rows.chunk)
    if (times?.min_ms !== rows.minMs || times.max_ms !== rows.maxMs) return 'its times'
    const stored = selectColumns.get(rows.chunk)?.columns as Uint8Array | undefined
    const columns = stored && parseColumns(stored)
    if (columns === undefined || !columnsAgree(columns, rows)) return 'its columns'
    return setsAgree(rows) ? undefined : 'its sets'
  }
}
