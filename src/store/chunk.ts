/**
 * A chunk: what the store keeps of 1,024 neighbouring rows besides the rows, so that questions about many rows are
 * answered without reading them. Built row by row (by the store as it writes, by a reader for the rows of the chunk that
 * is not complete yet), stored once, when it is complete, and never changed.
 *
 *   sets     per value of action, severity and reason_code, which rows have it (chunk-sets.ts)
 *   columns  per row: its time, its who and ip as numbers of a dictionary, its kind (action, severity and reason_code in
 *            one number): 14 bytes a row, from which a summary counts a million rows in a few milliseconds
 *
 * Columns: 1,024 times each of u32 who · u32 ip · u32 milliseconds after the earliest (f64 if they span more than 49 days) ·
 * u16 kind; little-endian. Stored: of each column first all lowest bytes, then all second ones and so on, as the high ones are
 * mostly zero; compressed (Zstandard, RFC 8878) to 5 bytes a row, which are read again in 60 microseconds a chunk.
 */
import { constants as zlib, zstdCompressSync, zstdDecompressSync } from 'node:zlib'
import type { AuditEvent } from '../event/event.ts'
import { addMember, CHUNK_IDS, type ChunkSet, emptySet, FACETS, firstIdOf } from './chunk-sets.ts'

export type ChunkRow = Pick<AuditEvent, 'date_time' | 'who' | 'ip' | 'action' | 'severity' | 'reason_code'>

/** The columns of `ChunkRow` in SQL. */
export const CHUNK_COLUMNS = 'date_time, who, ip, action, severity, reason_code'

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
  /** Of each row, which one of `kindsFound`. */
  readonly kinds: Uint16Array
  readonly kindsFound: FoundKind[]
  /** Per facet: value -> rows. */
  readonly sets: readonly Map<string, ChunkSet>[]
}

/** Few rows are of a kind of their own: what a row of a kind is added to is looked up once a chunk. */
interface FoundKind extends Kind {
  readonly place: number
  readonly sets: readonly ChunkSet[]
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
    kinds: new Uint16Array(CHUNK_IDS),
    kindsFound: [],
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
  const kind = findKind(builder, row) ?? addKind(builder, row)
  builder.kinds[n] = kind.place
  for (const set of kind.sets) addMember(set, n)
}

/** One after the other: of the few that a chunk has, most rows are of the first. */
function findKind({ kindsFound }: ChunkBuilder, { action, severity, reason_code }: ChunkRow): FoundKind | undefined {
  for (const kind of kindsFound) {
    if (kind.action === action && kind.reason === reason_code && kind.severity === severity) return kind
  }
  return undefined
}

function addKind({ kindsFound, sets }: ChunkBuilder, row: ChunkRow): FoundKind {
  const { action, severity, reason_code: reason } = row
  const own = FACETS.flatMap((facet, n) => {
    const value = row[facet]
    return value === null ? [] : [setOf(sets[n] as Map<string, ChunkSet>, value)]
  })
  const kind = { action, severity, reason, place: kindsFound.length, sets: own }
  kindsFound.push(kind)
  return kind
}

function setOf(sets: Map<string, ChunkSet>, value: string): ChunkSet {
  const set = sets.get(value) ?? emptySet()
  sets.set(value, set)
  return set
}

/** The kinds of the rows so far, by the numbers of a dictionary. */
export function numberKinds({ kinds, kindsFound, count }: ChunkBuilder, numberOf: (kind: Kind) => number): Uint16Array {
  const numbers = kindsFound.map(numberOf)
  return kinds.subarray(0, count).map(place => numbers[place] as number)
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
const BYTES_MIN = NAMES_BYTES + CHUNK_IDS * 4 + KINDS_BYTES
const BYTES_MAX = NAMES_BYTES + CHUNK_IDS * 8 + KINDS_BYTES
/** With a checksum: what a disk has changed is no sum. */
const COMPRESSION = { params: { [zlib.ZSTD_c_compressionLevel]: 1, [zlib.ZSTD_c_checksumFlag]: 1 } }

export function formatColumns(columns: Omit<ChunkColumns, 'times'>, { times, minMs, maxMs }: ChunkBuilder): Uint8Array {
  const width = maxMs - minMs > U32_MAX ? 8 : 4
  const bytes = new ArrayBuffer(NAMES_BYTES + CHUNK_IDS * width + KINDS_BYTES)
  new Uint32Array(bytes, 0, CHUNK_IDS).set(columns.who)
  new Uint32Array(bytes, CHUNK_IDS * 4, CHUNK_IDS).set(columns.ip)
  const offsets =
    width === 4 ? new Uint32Array(bytes, NAMES_BYTES, CHUNK_IDS) : new Float64Array(bytes, NAMES_BYTES, CHUNK_IDS)
  for (let n = 0; n < CHUNK_IDS; n++) offsets[n] = (times[n] as number) - minMs
  new Uint16Array(bytes, NAMES_BYTES + CHUNK_IDS * width, CHUNK_IDS).set(columns.kinds)
  return packColumns(new Uint8Array(bytes))
}

/** What a Zstandard frame begins with (RFC 8878, section 3.1.1); as a number, that of a name that no dictionary comes to. */
const MAGIC = Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd)

export const isPacked = (stored: Uint8Array) => MAGIC.every((byte, n) => stored[n] === byte)

/** As they are stored. */
export function packColumns(columns: Uint8Array): Uint8Array {
  const planes = new Uint8Array(columns.length)
  forEachPlane(columns.length, (plane, first, width) => {
    for (let n = 0; n < CHUNK_IDS; n++) planes[plane + n] = columns[first + n * width] as number
  })
  return zstdCompressSync(planes, COMPRESSION)
}

/** Undefined when the bytes are no chunk's columns, or not as they were written. */
export function parseColumns(stored: Uint8Array): ChunkColumns | undefined {
  const columns = unpackColumns(stored)
  if (columns === undefined) return undefined
  const { buffer, length } = columns
  const width = widthOfTimes(length)
  return {
    who: new Uint32Array(buffer, 0, CHUNK_IDS),
    ip: new Uint32Array(buffer, CHUNK_IDS * 4, CHUNK_IDS),
    times:
      width === 4 ? new Uint32Array(buffer, NAMES_BYTES, CHUNK_IDS) : new Float64Array(buffer, NAMES_BYTES, CHUNK_IDS),
    kinds: new Uint16Array(buffer, NAMES_BYTES + CHUNK_IDS * width, CHUNK_IDS),
  }
}

function unpackColumns(stored: Uint8Array): Uint8Array<ArrayBuffer> | undefined {
  const planes = decompress(stored)
  if (planes === undefined || (planes.length !== BYTES_MIN && planes.length !== BYTES_MAX)) return undefined
  const columns = new Uint8Array(planes.length)
  forEachPlane(planes.length, (plane, first, width) => {
    for (let n = 0; n < CHUNK_IDS; n++) columns[first + n * width] = planes[plane + n] as number
  })
  return columns
}

function decompress(stored: Uint8Array): Uint8Array | undefined {
  try {
    return zstdDecompressSync(stored, { maxOutputLength: BYTES_MAX, chunkSize: BYTES_MAX })
  } catch {
    return undefined
  }
}

/** Where in the stored bytes each plane begins, where in the columns its first byte is, and how far its bytes are apart there. */
function forEachPlane(bytes: number, visit: (plane: number, first: number, width: number) => void): void {
  let column = 0
  for (const width of [4, 4, widthOfTimes(bytes), 2]) {
    for (let byte = 0; byte < width; byte++) visit(column + byte * CHUNK_IDS, column + byte, width)
    column += width * CHUNK_IDS
  }
}

const widthOfTimes = (bytes: number) => (bytes === BYTES_MIN ? 4 : 8)
