/**
 * The binary format of COPY (PostgreSQL documentation, COPY, "Binary Format"), and rows of events in it: as values, and as the
 * canonical JSON that row-text.ts fills in. Text in it is the bytes of its characters, so that most of them are just copied.
 */
import type { FoundRow, RowText } from '../source.ts'
import { UnreadableSource } from './log-database.ts'

export interface Tuples {
  readonly bytes: Buffer
  readonly count: number
  readonly fields: number
  /** Of field f of tuple n at n * fields + f. */
  readonly starts: Int32Array
  /** -1: NULL. */
  readonly lengths: Int32Array
}

const SIGNATURE = Buffer.from('PGCOPY\n\xff\r\n\0', 'latin1')
const HEADER_BYTES = SIGNATURE.length + 8
/** A tuple without any value. */
const TUPLE_BYTES_MIN = 2

/** @throws {UnreadableSource} */
export function parseTuples(bytes: Buffer, fields: number): Tuples {
  if (bytes.length < HEADER_BYTES + 2 || !bytes.subarray(0, SIGNATURE.length).equals(SIGNATURE)) throw noCopy()
  const places = Math.floor(bytes.length / (TUPLE_BYTES_MIN + 4 * fields)) * fields
  const starts = new Int32Array(places)
  const lengths = new Int32Array(places)
  let at = HEADER_BYTES + bytes.readInt32BE(HEADER_BYTES - 4)
  let place = 0
  for (; bytes.readInt16BE(at) !== -1; ) {
    if (bytes.readInt16BE(at) !== fields) throw noCopy()
    at += 2
    for (let f = 0; f < fields; f++, place++) {
      const length = bytes.readInt32BE(at)
      at += 4
      starts[place] = at
      lengths[place] = length
      if (length > 0) at += length
      if (at + 2 > bytes.length) throw noCopy()
    }
  }
  return { bytes, count: place / fields, fields, starts, lengths }
}

const noCopy = () => new UnreadableSource('the server sends rows in another format than that of COPY')

/** Undefined: NULL. */
export function bytesAt({ bytes, fields, starts, lengths }: Tuples, n: number, field: number): Buffer | undefined {
  const place = n * fields + field
  const [start, length] = [starts[place]!, lengths[place]!]
  return length < 0 ? undefined : bytes.subarray(start, start + length)
}

/** Of 8 bytes. One that JavaScript does not hold exactly is rounded: no id and no place is that large. */
export function numberAt({ bytes, fields, starts }: Tuples, n: number, field: number): number {
  const start = starts[n * fields + field]!
  return bytes.readInt32BE(start) * 2 ** 32 + bytes.readUInt32BE(start + 4)
}

type Column = keyof FoundRow
/** The public ones, then the private ones, each in the order of canonical JSON; the id is where it is easy to find. */
const PUBLIC = ['action', 'created_at', 'date_time', 'reason_code', 'severity', 'status_code'] as const
const PRIVATE = ['description', 'endpoint', 'http_method', 'ip', 'metadata_json', 'request_id', 'who'] as const
const COLUMNS: readonly Column[] = ['id', ...PUBLIC, ...PRIVATE]
const STATUS = COLUMNS.indexOf('status_code')
const DATE_TIME = COLUMNS.indexOf('date_time')
const TEXTS = COLUMNS.filter(column => column !== 'id' && column !== 'status_code')
export const ROW_FIELDS = COLUMNS.length

/** More than any event has: the row of a record of at most 64 KiB. */
const TEXT_BYTES_MAX = 1_048_576
/** Whether a row is small enough to be one that was logged. */
export const IS_SMALL = `greatest(${TEXTS.map(column => `octet_length(${column}::text)`).join(', ')}) <= ${TEXT_BYTES_MAX}`
/** Whatever the types of the table are by now, these are what comes. */
export const ROW_COLUMNS = COLUMNS.map(column =>
  column === 'id' || column === 'status_code' ? `${column}::bigint` : `${column}::text`,
).join(', ')

export const idAt = (rows: Tuples, n: number) => numberAt(rows, n, 0)

/** As text, without a look at what it says. */
export function dateTimeAt({ bytes, starts, lengths }: Tuples, n: number): string | undefined {
  const place = n * ROW_FIELDS + DATE_TIME
  const [start, length] = [starts[place]!, lengths[place]!]
  return length < 0 ? undefined : bytes.toString('latin1', start, start + length)
}

export function rowAt(rows: Tuples, n: number): FoundRow {
  const row: Partial<Record<Column, unknown>> = {}
  for (const [field, column] of COLUMNS.entries()) {
    const bytes = bytesAt(rows, n, field)
    if (bytes === undefined) row[column] = null
    else if (column === 'id' || column === 'status_code') row[column] = exact(bytes.readBigInt64BE())
    else row[column] = bytes.toString('utf8')
  }
  return row as unknown as FoundRow
}

function exact(value: bigint): number | bigint {
  const number = Number(value)
  return Number.isSafeInteger(number) ? number : value
}

const ascii = (text: string) => new Uint8Array(Buffer.from(text, 'latin1'))

/** What stands before each value, and behind the last one. */
const ENTRY_PARTS = [
  `??{"action":`,
  `,"commitment":"${'#'.repeat(44)}","created_at":`,
  ',"date_time":',
  ',"id":',
  ',"reason_code":',
  ',"severity":',
  ',"status_code":',
  ',"v":1}',
].map(ascii)
const PRIVATE_PARTS = [
  '\n0123456789abcde{"description":',
  ',"endpoint":',
  ',"http_method":',
  ',"ip":',
  ',"metadata_json":',
  ',"request_id":',
  ',"who":',
  '}',
].map(ascii)
const NULL = ascii('null')
const QUOTE = 34
const BACKSLASH = 92
const SPACE = 32
/** Most bytes that one of a text may become: \u001f. */
const ESCAPED_BYTES = 6
/** Of a row, all that is none of its texts. */
const PARTS_BYTES_MAX = 512
/** Rows that may need more are read as values. */
const MADE_BYTES_MAX = 16 * 1_048_576
const SHORT_ESCAPES: Readonly<Record<number, number>> = { 8: 98, 9: 116, 10: 110, 12: 102, 13: 114, 34: 34, 92: 92 }
const HEX = ascii('0123456789abcdef')

/**
 * Makes the text of some rows at a time, in memory that is used again: what is made is good until the next call.
 * @param n the first row
 */
export function createTextMaker(): (rows: Tuples, n: number, count: number) => RowText | undefined {
  let entries = Buffer.allocUnsafeSlow(262_144)
  let privates = Buffer.allocUnsafeSlow(262_144)

  return (rows, n, count) => {
    const { bytes, starts, lengths } = rows
    const from = n * ROW_FIELDS
    const to = from + count * ROW_FIELDS
    if (count === 0) return undefined
    const size =
      ESCAPED_BYTES * (starts[to - 1]! + Math.max(0, lengths[to - 1]!) - starts[from]!) + count * PARTS_BYTES_MAX
    if (size > MADE_BYTES_MAX) return undefined
    if (size > entries.length) {
      entries = Buffer.allocUnsafeSlow(size)
      privates = Buffer.allocUnsafeSlow(size)
    }
    const text = (target: Buffer, at: number, place: number) =>
      writeText(target, at, { bytes, start: starts[place]!, length: lengths[place]! })
    let entryAt = 0
    let privateAt = 0
    for (let place = from; place < to; place += ROW_FIELDS) {
      if (lengths[place] !== 8) return undefined
      for (let f = 0; f < 3; f++) {
        entryAt = writeBytes(entries, entryAt, ENTRY_PARTS[f]!)
        entryAt = text(entries, entryAt, place + 1 + f)
      }
      entryAt = writeBytes(entries, entryAt, ENTRY_PARTS[3]!)
      entryAt = writeNumber(entries, entryAt, bytes, starts[place]!)
      for (let f = 3; f < 5; f++) {
        entryAt = writeBytes(entries, entryAt, ENTRY_PARTS[f + 1]!)
        entryAt = text(entries, entryAt, place + 1 + f)
      }
      entryAt = writeBytes(entries, entryAt, ENTRY_PARTS[6]!)
      const status = place + STATUS
      if (lengths[status]! < 0) entryAt = writeBytes(entries, entryAt, NULL)
      else entryAt = writeNumber(entries, entryAt, bytes, starts[status]!)
      entryAt = writeBytes(entries, entryAt, ENTRY_PARTS[7]!)
      for (let f = 0; f < PRIVATE.length; f++) {
        privateAt = writeBytes(privates, privateAt, PRIVATE_PARTS[f]!)
        privateAt = text(privates, privateAt, place + 1 + PUBLIC.length + f)
      }
      privateAt = writeBytes(privates, privateAt, PRIVATE_PARTS[PRIVATE.length]!)
    }
    return { entries: entries.subarray(0, entryAt), privates: privates.subarray(0, privateAt) }
  }
}

/** A loop, as these are few bytes each. */
function writeBytes(target: Buffer, at: number, bytes: Uint8Array): number {
  for (let i = 0; i < bytes.length; i++) target[at + i] = bytes[i]!
  return at + bytes.length
}

function writeNumber(target: Buffer, at: number, bytes: Buffer, start: number): number {
  const digits = String(bytes.readInt32BE(start) * 2 ** 32 + bytes.readUInt32BE(start + 4))
  for (let i = 0; i < digits.length; i++) target[at + i] = digits.charCodeAt(i)
  return at + digits.length
}

/** Escaped as RFC 8785 has it. */
function writeText(
  target: Buffer,
  at: number,
  { bytes, start, length }: { readonly bytes: Buffer; readonly start: number; readonly length: number },
): number {
  if (length < 0) return writeBytes(target, at, NULL)
  let to = at
  target[to++] = QUOTE
  for (let i = start; i < start + length; i++) {
    const byte = bytes[i]!
    if (byte >= SPACE && byte !== QUOTE && byte !== BACKSLASH) target[to++] = byte
    else to = writeEscape(target, to, byte)
  }
  target[to++] = QUOTE
  return to
}

function writeEscape(target: Buffer, at: number, byte: number): number {
  target[at] = BACKSLASH
  const short = SHORT_ESCAPES[byte]
  if (short !== undefined) {
    target[at + 1] = short
    return at + 2
  }
  target[at + 1] = 117
  target[at + 2] = 48
  target[at + 3] = 48
  target[at + 4] = HEX[byte >> 4]!
  target[at + 5] = HEX[byte & 15]!
  return at + 6
}
