/**
 * The counts of a full segment, so that a summary of many segments reads neither their rows nor their chunks.
 *
 *   event_counts  for each full segment its earliest and latest time, and three lists
 *     minutes  events by minute and kind
 *     who      events by name and whether they are failures, of the actions whose `who` is a charge point
 *     ip       events by address and whether they are failures
 *
 * Written once, from the columns of the segment's chunks (chunk.ts), in the transaction that starts the next segment, and
 * never changed. Names and kinds are numbers of the dictionaries, never text.
 *
 * A list, stored: for each key that occurs, ascending, its difference to the one before (the first: to 0) and how often it
 * occurs, both in LEB128 (7 bits a byte, low ones first, the high bit set in all but the last byte). Keys: of minutes,
 * 65,536 times the minutes after that of the earliest time, plus the kind; of who and ip, twice the number of the name,
 * plus 1 for a failure.
 */
import type { DatabaseSync } from 'node:sqlite'
import { type Action, CHARGE_POINT_ACTIONS } from '../event/catalogue.ts'
import { parseColumns } from './chunk.ts'
import { CHUNK_IDS, chunkOf } from './chunk-sets.ts'
import type { Segment } from './segments.ts'

export const COUNTS_TABLE = `
CREATE TABLE event_counts (
  segment INTEGER PRIMARY KEY, min_ms INTEGER NOT NULL, max_ms INTEGER NOT NULL,
  minutes BLOB NOT NULL, who BLOB NOT NULL, ip BLOB NOT NULL
);
`

export const MINUTE_MS = 60_000
const FAILURE: Action = 'AUTH_FAIL'
/** More than there can be: a kind is of 16 bits. */
export const KINDS = 65_536

/** An entry of `event_counts`. */
export interface SegmentCounts {
  readonly minMs: number
  readonly maxMs: number
  readonly minutes: Uint8Array
  readonly who: Uint8Array
  readonly ip: Uint8Array
}

/**
 * Of the segment with these ids, which are whole chunks. Undefined when some of their columns are missing or damaged: what the rest says
 * would be wrong counts. `check` tells of both.
 */
export function countSegment(db: DatabaseSync, firstId: number, lastId: number): SegmentCounts | undefined {
  const chunks = selectChunks(db, firstId, lastId)
  if (chunks.length * CHUNK_IDS !== lastId - firstId + 1) return undefined
  const minMs = Math.min(...chunks.map(chunk => chunk.min_ms))
  const maxMs = Math.max(...chunks.map(chunk => chunk.max_ms))
  const firstMinute = Math.floor(minMs / MINUTE_MS)
  const { isFailure, isOfChargePoint } = kindFlags(db)
  const minutes = new Float64Array(chunks.length * CHUNK_IDS)
  const who = new Uint32Array(minutes.length)
  const ip = new Uint32Array(minutes.length)
  let rows = 0
  let named = 0
  for (const chunk of chunks) {
    const columns = parseColumns(chunk.columns)
    if (columns === undefined) return undefined
    for (let n = 0; n < CHUNK_IDS; n++) {
      const kind = columns.kinds[n] as number
      const failure = isFailure[kind] as number
      const minute = Math.floor((chunk.min_ms + (columns.times[n] as number)) / MINUTE_MS)
      minutes[rows] = (minute - firstMinute) * KINDS + kind
      ip[rows++] = (columns.ip[n] as number) * 2 + failure
      if (isOfChargePoint[kind] === 1) who[named++] = (columns.who[n] as number) * 2 + failure
    }
  }
  return {
    minMs,
    maxMs,
    minutes: formatCounts(minutes),
    who: formatCounts(who.subarray(0, named)),
    ip: formatCounts(ip),
  }
}

/** For a segment that is full, its chunks written; in the transaction that starts the next one. */
export function writeCounts(db: DatabaseSync, { number, firstId }: Segment, lastId: number): void {
  const counts = countSegment(db, firstId, lastId)
  if (counts === undefined) return
  const { minMs, maxMs, minutes, who, ip } = counts
  db.prepare('INSERT OR REPLACE INTO event_counts VALUES (?, ?, ?, ?, ?, ?)').run(
    number,
    minMs,
    maxMs,
    minutes,
    who,
    ip,
  )
}

/** Makes those of all full segments anew. */
export function rebuildCounts(db: DatabaseSync, segments: readonly Segment[]): void {
  db.exec('DELETE FROM event_counts')
  for (const segment of segments) {
    if (segment.lastId !== undefined) writeCounts(db, segment, segment.lastId)
  }
}

/** Its rows have left. */
export function dropCounts(db: DatabaseSync, segment: number): void {
  db.prepare('DELETE FROM event_counts WHERE segment = ?').run(segment)
}

/** @throws {RangeError} when the list ends within an entry. */
export function forEachCount(list: Uint8Array, visit: (key: number, count: number) => void): void {
  let key = 0
  let isKey = true
  let number = 0
  let scale = 1
  for (let at = 0; at < list.length; at++) {
    const byte = list[at] as number
    number += (byte & 127) * scale
    if (byte >= 128) {
      scale *= 128
      continue
    }
    if (isKey) key += number
    else visit(key, number)
    isKey = !isKey
    number = 0
    scale = 1
  }
  if (!isKey || scale > 1) throw new RangeError('not a list of counts')
}

/** @param keys sorted by this */
function formatCounts(keys: Float64Array | Uint32Array): Uint8Array {
  keys.sort()
  // A number of 53 bits takes 8 bytes, and each key has two.
  const bytes = new Uint8Array(keys.length * 16)
  let length = 0
  function put(number: number): void {
    let left = number
    for (; left >= 128; left = Math.floor(left / 128)) bytes[length++] = (left % 128) + 128
    bytes[length++] = left
  }
  let previous = 0
  for (let from = 0, to = 0; from < keys.length; from = to) {
    const key = keys[from] as number
    while (keys[to] === key) to++
    put(key - previous)
    put(to - from)
    previous = key
  }
  return bytes.slice(0, length)
}

interface StoredChunk {
  readonly min_ms: number
  readonly max_ms: number
  readonly columns: Uint8Array
}

function selectChunks(db: DatabaseSync, firstId: number, lastId: number): StoredChunk[] {
  const select = db.prepare(
    `SELECT min_ms, max_ms, columns FROM event_chunks JOIN event_columns USING (chunk)
     WHERE chunk BETWEEN ? AND ? ORDER BY chunk`,
  )
  return select.all(chunkOf(firstId), chunkOf(lastId)) as unknown as StoredChunk[]
}

/** By the number of the kind, 1 where it is so. */
function kindFlags(db: DatabaseSync): { isFailure: Uint8Array; isOfChargePoint: Uint8Array } {
  const isFailure = new Uint8Array(KINDS)
  const isOfChargePoint = new Uint8Array(KINDS)
  for (const { number, action } of db.prepare('SELECT number, action FROM event_kinds').all()) {
    if (action === FAILURE) isFailure[Number(number)] = 1
    if (CHARGE_POINT_ACTIONS.has(String(action))) isOfChargePoint[Number(number)] = 1
  }
  return { isFailure, isOfChargePoint }
}
