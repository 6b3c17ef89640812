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
const DATE_MS_MAX = 8.64e15

/** Of these, groups of equal values are compared. */
const GROUPED = ['who', 'ip', 'action', 'severity'] as const
/** These have about as many values as rows, in about the order of the ids: looking at the row of each entry is as fast. */
const WALKED = ['date_time', 'request_id'] as const
const FACETS = ['action', 'severity', 'reason_code'] as const

type ChunkRow = readonly [
  id: number,
  /** Null where the database finds it within the times of its chunk: a text for each row would be made only for that. */
  dateTime: unknown,
  who: unknown,
  ip: unknown,
  action: unknown,
  severity: unknown,
  reason: unknown,
]
/** Texts of the usual form, of 24 characters and with a Z as the last one, are in the order of their times. */
const CHUNK_COLUMNS = `id, CASE WHEN date_time BETWEEN ? AND ? AND substr(date_time, 24) = 'Z' THEN NULL ELSE date_time END,
  who, ip, action, severity, reason_code`

/** What is summed up, the same in JavaScript and in SQL. */
interface Weight {
  of(id: number): number
  /** @param id an expression */
  sql(id: string): string
}

/**
 * The rest of a division of a large number by the id and something. From one id to the next the quotient changes by a dozen or more,
 * or rests would be linear: then entries of the ids 1 and 4 would add up to those of 2 and 3. Every sum is far below 2^53.
 */
function drawWeight(firstId: number): Weight {
  const dividend = 2 ** 52 + randomInt(2 ** 47)
  const plus = randomInt(2 ** 23, 2 ** 24) - firstId
  return { of: id => dividend % (id + plus), sql: id => `${dividend} % (${id} + (${plus}))` }
}

/** Rows of one value. */
interface Group {
  count: number
  sum: number
}
type Groups = Map<unknown, Group>

/** Rows of the same action, severity and reason: there are few of these, and many rows are of the one that the row before is of. */
interface Kind extends Group {
  readonly values: readonly [action: unknown, severity: unknown, reason: unknown]
}
type Kinds = Map<string, Kind>

/** Checks the segments that begin in a range of ids. */
export function createIndexCheck({ db, segments }: LogDatabase): (firstId: number, lastId: number) => Finding[] {
  const statements = prepareStatements(db)
  return (firstId, lastId) =>
    segments
      .filter(({ first }) => first >= firstId && first <= lastId)
      .flatMap(segment => {
        if (!(statements instanceof Error)) return [...checkSegment(db, segment, statements)]
        const detail = `What queries are answered from cannot be read: ${statements.message}`
        return [{ verdict: 'HIDDEN', at: { id: segment.first }, detail }]
      })
}

/** Without these tables no query is answered, so that every row is hidden. */
function prepareStatements(db: DatabaseSync): Statements | Error {
  try {
    return {
      selectTimes: db.prepare('SELECT min_ms, max_ms FROM event_chunks WHERE chunk = ?'),
      selectSet: db.prepare('SELECT ids FROM event_facets WHERE facet = ? AND value = ? AND chunk = ?'),
    }
  } catch (error) {
    return error as Error
  }
}

interface Statements {
  readonly selectTimes: StatementSync
  readonly selectSet: StatementSync
}

function* checkSegment(db: DatabaseSync, segment: Segment, { selectTimes, selectSet }: Statements): Generator<Finding> {
  const { table } = segment
  const weight = drawWeight(segment.first)
  const kinds: Kinds = new Map()
  const who: Groups = new Map()
  const ip: Groups = new Map()
  const rows = db.prepare(`SELECT ${CHUNK_COLUMNS} FROM ${table} WHERE id BETWEEN ? AND ? ORDER BY id`)
  rows.setReturnArrays(true)
  const maxId = Number(db.prepare(`SELECT max(id) AS id FROM ${table}`).get()?.id ?? 0)
  for (let first = segment.first; first <= Math.min(segment.last, maxId); first += CHUNK_IDS) {
    const times = timesOf(selectTimes.get(Math.floor((first - 1) / CHUNK_IDS)))
    const found = rows.all(times.first, times.last, first, first + CHUNK_IDS - 1) as unknown as ChunkRow[]
    let kind: Kind | undefined
    const kindOf = found.map(row => {
      kind = kindIn(kinds, kind, row)
      const sum = weight.of(row[0])
      addTo(kind, sum)
      addTo(groupIn(who, row[2]), sum)
      addTo(groupIn(ip, row[3]), sum)
      return kind
    })
    if (found.length === CHUNK_IDS) yield* checkChunk(found, kindOf, times, selectSet)
  }
  const total: Group = { count: 0, sum: 0 }
  for (const { sum, count } of kinds.values()) addTo(total, sum, count)
  const groups = { who, ip, action: groupKinds(kinds, 0), severity: groupKinds(kinds, 1) }
  const sums = `count(*) AS count, total(${weight.sql('b.id')}) AS sum`
  for (const column of GROUPED) {
    yield* checkIndex(db, segment, column, index => isEachGroupIn(db, groups[column], { table, sums, index, column }))
  }
  for (const column of WALKED) {
    yield* checkIndex(db, segment, column, index => {
      // The rows NOT INDEXED, or SQLite would compare the index with itself.
      const fitting = `CROSS JOIN ${table} a NOT INDEXED ON a.id = b.id WHERE a.${column} IS b.${column}`
      const entries = db.prepare(`SELECT ${sums} FROM ${table} b INDEXED BY ${index} ${fitting}`).get()
      return entries?.count === total.count && entries.sum === total.sum
    })
  }
}

function addTo(group: Group, sum: number, count = 1): void {
  group.count += count
  group.sum += sum
}

/** Values that are no text are told as edited rows. */
function groupIn(groups: Groups, value: unknown): Group {
  const known = groups.get(value)
  if (known !== undefined) return known
  const group = { count: 0, sum: 0 }
  if (typeof value === 'string') groups.set(value, group)
  return group
}

/** Comparing texts that are the same is faster than looking one up. */
function kindIn(kinds: Kinds, last: Kind | undefined, [, , , , action, severity, reason]: ChunkRow): Kind {
  const [a, b, c] = last?.values ?? []
  if (last !== undefined && a === action && b === severity && c === reason) return last
  const key = `${action}\n${severity}\n${reason === null ? '' : `=${reason}`}`
  const known = kinds.get(key)
  if (known !== undefined) return known
  const kind: Kind = { values: [action, severity, reason], count: 0, sum: 0 }
  kinds.set(key, kind)
  return kind
}

function groupKinds(kinds: Kinds, place: 0 | 1): Groups {
  const groups: Groups = new Map()
  for (const { values, sum, count } of kinds.values()) addTo(groupIn(groups, values[place]), sum, count)
  return groups
}

function isEachGroupIn(
  db: DatabaseSync,
  groups: Groups,
  { table, sums, index, column }: { table: string; sums: string; index: string; column: string },
): boolean {
  const entries = db.prepare(`SELECT b.${column}, ${sums} FROM ${table} b INDEXED BY ${index} GROUP BY b.${column}`)
  entries.setReturnArrays(true)
  let fitting = 0
  for (const row of entries.all() as unknown[]) {
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
function* checkChunk(
  rows: readonly ChunkRow[],
  kindOf: readonly Kind[],
  times: Times,
  selectSet: StatementSync,
): Generator<Finding> {
  const chunk = Math.floor((rows[0]![0] - 1) / CHUNK_IDS)
  const late = rows.find(row => !isWithin(row[1], times))
  if (late !== undefined) {
    const detail = 'It is outside of the times that event_chunks says of its chunk'
    yield { verdict: 'HIDDEN', at: { id: late[0] }, detail }
  }
  const sets = new Map<Kind, Uint8Array>()
  const setsByValue = FACETS.map(() => new Map<unknown, Uint8Array>()) // kinds share values
  const setsOf = ({ values }: Kind) =>
    values.map((value, facet) => {
      const known = setsByValue[facet]!.get(value)
      if (known !== undefined) return known
      const set = typeof value === 'string' ? readSet(selectSet.get(facet, value, chunk)?.ids) : EVERY
      setsByValue[facet]!.set(value, set)
      return set
    })
  let last: Kind | undefined
  let set: Uint8Array = EVERY
  for (let n = 0; n < rows.length; n++) {
    const kind = kindOf[n]!
    if (kind !== last) {
      last = kind
      set = sets.get(kind) ?? intersect(setsOf(kind))
      sets.set(kind, set)
    }
    if (has(set, n)) continue
    const column = FACETS[setsOf(kind).findIndex(facet => !has(facet, n))]
    yield {
      verdict: 'HIDDEN',
      at: { id: rows[n]![0] },
      detail: `It is not in the set of its ${column} in event_facets`,
    }
    break
  }
}

/** Between which times the rows of a chunk are: as numbers, and as texts, which are empty where there are none. */
interface Times {
  readonly min: number
  readonly max: number
  readonly first: string
  readonly last: string
}

function timesOf(row: Record<string, unknown> | undefined): Times {
  const [min, max] = [Number(row?.min_ms), Number(row?.max_ms)]
  const textOf = (ms: number) => (Math.abs(ms) <= DATE_MS_MAX ? new Date(ms).toISOString() : '')
  return { min, max, first: textOf(min), last: textOf(max) }
}

/** What is no time is told as an edited row. */
function isWithin(dateTime: unknown, { min, max }: Times): boolean {
  const ms = typeof dateTime === 'string' ? Date.parse(dateTime) : Number.NaN
  return (ms >= min && ms <= max) || Number.isNaN(ms)
}

const EVERY = new Uint8Array(BITMAP_BYTES).fill(0xff)

const has = (set: Uint8Array, n: number) => (set[n >> 3]! & (1 << (n & 7))) !== 0

function intersect(sets: readonly Uint8Array[]): Uint8Array {
  const all = EVERY.slice()
  for (const set of sets) for (let n = 0; n < BITMAP_BYTES; n++) all[n]! &= set[n]!
  return all
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
