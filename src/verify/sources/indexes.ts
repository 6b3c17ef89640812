/**
 * Whether queries find every row by its values: through the six documented indexes, and through what the store keeps of each complete
 * chunk of 1,024 rows, the times between which they are and the sets of those that have a value.
 *
 *   event_chunks   chunk, min_ms, max_ms
 *   event_facets   facet (0 action, 1 severity, 2 reason_code), value, chunk, ids: up to 63 numbers in 2 bytes each, little-endian, or
 *                  a bitmap of 128 bytes; the n-th row of the chunk is number n
 *
 * An index is never asked for each row, as that takes longer than everything else. Of each value, the entries are counted and a sum
 * over their ids is compared with the one over the rows that have it. The sum is of a function that is drawn anew each time, so
 * nobody can prepare entries that are wrong and add up.
 */
import { randomInt } from 'node:crypto'
import type { DatabaseSync, StatementSync } from 'node:sqlite'
import type { Finding } from '../verdict.ts'
import type { LogDatabase, Segment } from './log-database.ts'

const CHUNK_IDS = 1_024
const BITMAP_BYTES = CHUNK_IDS / 8

/** Of these, groups of equal values are compared. */
const GROUPED = ['who', 'ip', 'action', 'severity'] as const
/** These have about as many values as rows, in about the order of the ids: looking at the row of each entry is as fast. */
const WALKED = ['date_time', 'request_id'] as const
const FACETS = ['action', 'severity', 'reason_code'] as const

type ChunkRow = readonly [
  id: number,
  dateTime: unknown,
  who: unknown,
  ip: unknown,
  action: unknown,
  severity: unknown,
  reason: unknown,
]
const CHUNK_COLUMNS = 'id, date_time, who, ip, action, severity, reason_code'
const PLACE = { who: 2, ip: 3, action: 4, severity: 5, reason_code: 6 } as const

/** By value: how many, and the sum over their ids. */
type Groups = Map<unknown, Group>

/** Checks the segments that begin in a range of ids. */
export function createIndexCheck({ db, segments }: LogDatabase): (firstId: number, lastId: number) => Finding[] {
  const selectTimes = db.prepare('SELECT min_ms, max_ms FROM event_chunks WHERE chunk = ?')
  const selectSet = db.prepare('SELECT ids FROM event_facets WHERE facet = ? AND value = ? AND chunk = ?')
  return (firstId, lastId) =>
    segments
      .filter(({ first }) => first >= firstId && first <= lastId)
      .flatMap(segment => [...checkSegment(db, segment, { selectTimes, selectSet })])
}

interface Statements {
  readonly selectTimes: StatementSync
  readonly selectSet: StatementSync
}

function* checkSegment(db: DatabaseSync, segment: Segment, statements: Statements): Generator<Finding> {
  const weight = { of: randomInt(2 ** 46, 2 ** 47), plus: randomInt(2 ** 31, 2 ** 32) }
  const groups: Groups[] = GROUPED.map(() => new Map())
  const rows = db.prepare(`SELECT ${CHUNK_COLUMNS} FROM ${segment.table} WHERE id BETWEEN ? AND ? ORDER BY id`)
  rows.setReturnArrays(true)
  const maxId = Number(db.prepare(`SELECT max(id) AS id FROM ${segment.table}`).get()?.id ?? 0)
  const total = { count: 0, sum: 0 }
  const last: (Group | undefined)[] = GROUPED.map(() => undefined)
  for (let first = segment.first; first <= Math.min(segment.last, maxId); first += CHUNK_IDS) {
    const found = rows.all(first, first + CHUNK_IDS - 1) as unknown as ChunkRow[]
    for (const row of found) {
      const sum = weight.of % (row[0] + weight.plus)
      total.count++
      total.sum += sum
      for (let n = 0; n < GROUPED.length; n++) last[n] = addTo(groups[n]!, last[n], row[PLACE[GROUPED[n]!]], sum)
    }
    if (found.length === CHUNK_IDS) yield* checkChunk(found, statements)
  }
  const sums = `count(*) AS count, total(${weight.of} % (b.id + ${weight.plus})) AS sum`
  for (const [n, column] of GROUPED.entries()) {
    yield* checkIndex(db, segment, column, index =>
      isEachGroupIn(db, groups[n]!, `${sums} FROM ${segment.table} b`, index, column),
    )
  }
  for (const column of WALKED) {
    yield* checkIndex(db, segment, column, index => {
      // The rows NOT INDEXED, or SQLite would compare the index with itself.
      const fitting = `CROSS JOIN ${segment.table} a NOT INDEXED ON a.id = b.id WHERE a.${column} IS b.${column}`
      const entries = db.prepare(`SELECT ${sums} FROM ${segment.table} b INDEXED BY ${index} ${fitting}`).get()
      return entries?.count === total.count && entries.sum === total.sum
    })
  }
}

/** Rows of one value often stand together, and comparing two texts is faster than looking one up. */
interface Group {
  readonly value: unknown
  count: number
  sum: number
}

function addTo(groups: Groups, last: Group | undefined, value: unknown, sum: number): Group | undefined {
  if (typeof value !== 'string') return last // told as an edited row
  let group = last?.value === value ? last : groups.get(value)
  if (group === undefined) {
    group = { value, count: 0, sum: 0 }
    groups.set(value, group)
  }
  group.count++
  group.sum += sum
  return group
}

function isEachGroupIn(db: DatabaseSync, groups: Groups, sums: string, index: string, column: string): boolean {
  const entries = db.prepare(`SELECT b.${column}, ${sums} INDEXED BY ${index} GROUP BY b.${column}`)
  entries.setReturnArrays(true)
  let fitting = 0
  for (const row of entries.iterate() as Iterable<unknown>) {
    const [value, count, sum] = row as [unknown, number, number]
    const group = groups.get(value)
    if (group?.count === count && group.sum === sum) fitting++
  }
  return fitting === groups.size
}

/** Which row it is, is asked only when there is something. */
function* checkIndex(
  db: DatabaseSync,
  { table, number, first }: Segment,
  column: string,
  isRight: (index: string) => boolean,
): Generator<Finding> {
  const index = number === 1 ? `idx_audit_${column}` : `idx_audit_${column}_${number}`
  try {
    if (isRight(index)) return
    const entry = `SELECT 1 FROM ${table} b INDEXED BY ${index} WHERE b.${column} IS a.${column} AND b.id = a.id`
    const missing = db
      .prepare(`SELECT min(a.id) AS id FROM ${table} a NOT INDEXED WHERE NOT EXISTS (${entry})`)
      .get()?.id
    const id = typeof missing === 'number' ? missing : first
    yield { verdict: 'HIDDEN', at: { id }, detail: `The entries of ${index} are not those of the rows` }
  } catch (error) {
    const detail = `${index} is missing or is not the documented index: ${(error as Error).message}`
    yield { verdict: 'HIDDEN', at: { id: first }, detail }
  }
}

/** A complete chunk: its rows are between its times, and each is in the set of each of its values. */
function* checkChunk(rows: readonly ChunkRow[], { selectTimes, selectSet }: Statements): Generator<Finding> {
  const chunk = Math.floor((rows[0]![0] - 1) / CHUNK_IDS)
  const times = selectTimes.get(chunk)
  const [min, max] = [Number(times?.min_ms), Number(times?.max_ms)]
  for (const [id, dateTime] of rows) {
    const ms = Date.parse(String(dateTime))
    if ((ms >= min && ms <= max) || Number.isNaN(ms)) continue
    yield { verdict: 'HIDDEN', at: { id }, detail: 'It is outside of the times that event_chunks says of its chunk' }
    break
  }
  for (const [facet, column] of FACETS.entries()) {
    const sets = new Map<unknown, Uint8Array>()
    let seen: unknown
    let set: Uint8Array = new Uint8Array(BITMAP_BYTES)
    for (let n = 0; n < rows.length; n++) {
      const value = rows[n]![PLACE[column]]
      if (typeof value !== 'string') continue
      if (value !== seen) {
        seen = value
        set = sets.get(value) ?? readSet(selectSet.get(facet, value, chunk)?.ids)
        sets.set(value, set)
      }
      if ((set[n >> 3]! & (1 << (n & 7))) !== 0) continue
      yield {
        verdict: 'HIDDEN',
        at: { id: rows[n]![0] },
        detail: `It is not in the set of its ${column} in event_facets`,
      }
      break
    }
  }
}

/** As a bitmap. */
function readSet(ids: unknown): Uint8Array {
  if (ids instanceof Uint8Array && ids.length === BITMAP_BYTES) return ids
  const set = new Uint8Array(BITMAP_BYTES)
  if (!(ids instanceof Uint8Array)) return set
  for (let at = 0; at + 1 < ids.length; at += 2) {
    const n = (ids[at]! + ids[at + 1]! * 256) % CHUNK_IDS
    set[n >> 3]! |= 1 << (n & 7)
  }
  return set
}
