/**
 * A chunk: what the store keeps of 1,024 neighbouring rows besides the rows, so that questions about many rows are
 * answered without reading them. Built row by row (by the store as it writes, by a reader for the rows of the chunk that
 * is not complete yet), stored once, when it is complete, and never changed.
 *
 *   sets     per value of action, severity and reason_code, which rows have it (chunk-sets.ts)
 *   columns  per row: its time, its who and ip as numbers of a dictionary, its kind (action, severity and reason_code in
 *            one number): 14 bytes a row, from which a summary counts a million rows in a few milliseconds
 *
 * Columns, stored: 1,024 times each of u32 who · u32 ip · u32 milliseconds after the earliest (f64 if they span more than
 * 49 days) · u16 kind; little-endian.
 */
import type { AuditEvent } from '../event/event.ts'
import { addMember, CHUNK_IDS, type ChunkSet, emptySet, FACETS, firstIdOf } from './chunk-sets.ts'

export type ChunkRow = Pick<AuditEvent, 'date_time' | 'who' | 'ip' | 'action' | 'severity' | 'reason_code'>

/** The columns of `ChunkRow` in SQL, in the order of `ChunkValues`. */
export const CHUNK_COLUMNS = 'date_time, who, ip, action, severity, reason_code'
export type ChunkValues = [
  date_time: string,
  who: string,
  ip: string,
  action: string,
  severity: string,
  reason_code: string | null,
]

export interface Kind {
  readonly action: string
  readonly severity: string
  readonly reason: string | null
}

/** The rows of a chunk so far. Rows are numbered from 0. */
export interface ChunkBuilder {
  readonly chunk: number
  count: number
  minMs: number
  maxMs: number
  readonly times: Float64Array
  readonly who: string[]
  readonly ip: string[]
  readonly kinds: Kind[]
  /** Per facet: value -> rows. */
  readonly sets: readonly Map<string, ChunkSet>[]
}

export function startChunk(chunk: number): ChunkBuilder {
  return {
    chunk,
    count: 0,
    minMs: Number.POSITIVE_INFINITY,
    maxMs: Number.NEGATIVE_INFINITY,
    times: new Float64Array(CHUNK_IDS),
    who: [],
    ip: [],
    kinds: [],
    sets: FACETS.map(() => new Map()),
  }
}

/** Id of the next row. */
export const nextIdOf = (builder: ChunkBuilder) => firstIdOf(builder.chunk) + builder.count

export function addRow(builder: ChunkBuilder, row: ChunkRow): void {
  const n = builder.count++
  const ms = Date.parse(row.date_time)
  builder.times[n] = ms
  if (ms < builder.minMs) builder.minMs = ms
  if (ms > builder.maxMs) builder.maxMs = ms
  builder.who.push(row.who)
  builder.ip.push(row.ip)
  builder.kinds.push({ action: row.action, severity: row.severity, reason: row.reason_code })
  addToSet(builder.sets[0] as Map<string, ChunkSet>, row.action, n)
  addToSet(builder.sets[1] as Map<string, ChunkSet>, row.severity, n)
  if (row.reason_code !== null) addToSet(builder.sets[2] as Map<string, ChunkSet>, row.reason_code, n)
}

function addToSet(sets: Map<string, ChunkSet>, value: string, n: number): void {
  let set = sets.get(value)
  if (set === undefined) {
    set = emptySet()
    sets.set(value, set)
  }
  addMember(set, n)
}

/** The columns of a complete chunk, or of the first `times.length` rows of one. */
export interface ChunkColumns {
  readonly who: Uint32Array
  readonly ip: Uint32Array
  readonly kinds: Uint16Array
  /** Epoch milliseconds, less `baseMs`. */
  readonly times: Uint32Array | Float64Array
}

const U32_MAX = 0xffff_ffff
const NAMES_BYTES = CHUNK_IDS * 8
const KINDS_BYTES = CHUNK_IDS * 2

export function formatColumns(columns: Omit<ChunkColumns, 'times'>, { times, minMs, maxMs }: ChunkBuilder): Uint8Array {
  const width = maxMs - minMs > U32_MAX ? 8 : 4
  const bytes = new ArrayBuffer(NAMES_BYTES + CHUNK_IDS * width + KINDS_BYTES)
  new Uint32Array(bytes, 0, CHUNK_IDS).set(columns.who)
  new Uint32Array(bytes, CHUNK_IDS * 4, CHUNK_IDS).set(columns.ip)
  const offsets =
    width === 4 ? new Uint32Array(bytes, NAMES_BYTES, CHUNK_IDS) : new Float64Array(bytes, NAMES_BYTES, CHUNK_IDS)
  for (let n = 0; n < CHUNK_IDS; n++) offsets[n] = (times[n] as number) - minMs
  new Uint16Array(bytes, NAMES_BYTES + CHUNK_IDS * width, CHUNK_IDS).set(columns.kinds)
  return new Uint8Array(bytes)
}

/** @throws {RangeError} when the bytes are no chunk's columns. */
export function parseColumns(stored: Uint8Array): ChunkColumns {
  const bytes = stored.byteOffset % 8 === 0 ? stored : stored.slice()
  const { buffer, byteOffset: at } = bytes
  const width = (bytes.byteLength - NAMES_BYTES - KINDS_BYTES) / CHUNK_IDS
  if (width !== 4 && width !== 8) throw new RangeError('not the columns of a chunk')
  const times = at + NAMES_BYTES
  return {
    who: new Uint32Array(buffer, at, CHUNK_IDS),
    ip: new Uint32Array(buffer, at + CHUNK_IDS * 4, CHUNK_IDS),
    times: width === 4 ? new Uint32Array(buffer, times, CHUNK_IDS) : new Float64Array(buffer, times, CHUNK_IDS),
    kinds: new Uint16Array(buffer, times + CHUNK_IDS * width, CHUNK_IDS),
  }
}
