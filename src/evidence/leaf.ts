/**
 * Leaf v1: what the log says of a row (docs/formats.md, "Leaf").
 *
 * The leaf is public: canonical JSON (RFC 8785) of the columns without personal data, and a commitment to the others,
 * SHA-256(salt || canonical JSON of them), by which whoever is shown a row and its salt can check it, and nobody else
 * can guess it. When row and salt are erased, the leaf stays as it is.
 *
 * Text is hashed as it is stored: SQLite keeps UTF-8, in which a lone surrogate is U+FFFD, so a lone surrogate counts as
 * U+FFFD here too. NUL and the other control characters are kept, escaped as JSON escapes them.
 */
import { sha256, sha256Base64, shake256 } from './crypto.ts'
import { areSameBytes, decodeText, formatBase64, parseBase64Hash, parseJsonObject } from './encoding.ts'
import type { Hash } from './merkle.ts'
import { LENGTH_BYTES, setLength, TILE_WIDTH } from './tile.ts'

const LEAF_VERSION = 1
export const SALT_BYTES = 16

/** The columns that a leaf says openly. */
export interface PublicColumns {
  readonly id: number
  readonly date_time: string
  readonly action: string
  readonly severity: string
  readonly reason_code: string | null
  readonly status_code: number | null
  readonly created_at: string
}

/** The columns that a leaf only commits to: those that may say who somebody is. */
export interface PrivateColumns {
  readonly who: string
  readonly ip: string
  readonly description: string
  readonly request_id: string | null
  readonly endpoint: string | null
  readonly http_method: string | null
  readonly metadata_json: string | null
}

/** A row of `audit_events`, all 14 columns. */
export interface EventRow extends PublicColumns, PrivateColumns {}

export interface Leaf extends PublicColumns {
  readonly commitment: Hash
}

/** What an erased row has in place of its private columns and its salt. */
export const ERASED_COLUMNS: PrivateColumns = {
  who: '',
  ip: '',
  description: '',
  request_id: null,
  endpoint: null,
  http_method: null,
  metadata_json: null,
}
export const ERASED_SALT = new Uint8Array(SALT_BYTES)

export const SALT_SEED_BYTES = 32

/**
 * The salts of the rows of a bundle, drawn together: SHAKE256 of 32 random bytes. Whoever knows salts learns nothing of the others
 * from them, so one is destroyed by destroying the seed and keeping the others as they are.
 */
export function saltsOfSeed(seed: Uint8Array): Uint8Array {
  return shake256(seed, TILE_WIDTH * SALT_BYTES)
}

export function isErasedSalt(salt: Uint8Array): boolean {
  return areSameBytes(salt, ERASED_SALT)
}

/** @param salts one after the other */
export function hasErasedSalt(salts: Uint8Array): boolean {
  for (let at = 0; at < salts.length; at += SALT_BYTES) {
    if (salts[at] === 0 && isErasedSalt(salts.subarray(at, at + SALT_BYTES))) return true
  }
  return false
}

const encoder = new TextEncoder()
const UTF8_BYTES_PER_UNIT_MAX = 3
/** Salt and text are put together here; what does not fit gets a place of its own. */
const place = new Uint8Array(16 * 1024)
/** Leaves are cut from one piece of memory after another: one for each takes twice the time, most of it to be freed. */
const SLAB_BYTES = 64 * 1024
let slab = new Uint8Array(0)

/** Canonical JSON of the private columns: what the commitment is of. */
export function formatPrivate(row: PrivateColumns): string {
  // The names are in the order that RFC 8785 asks for, and JSON.stringify spells strings and numbers as it does.
  return wellFormed({
    description: row.description,
    endpoint: row.endpoint,
    http_method: row.http_method,
    ip: row.ip,
    metadata_json: row.metadata_json,
    request_id: row.request_id,
    who: row.who,
  })
}

/** Canonical JSON of the public columns. */
export function formatPublic(row: PublicColumns): string {
  return wellFormed({
    action: row.action,
    created_at: row.created_at,
    date_time: row.date_time,
    id: row.id,
    reason_code: row.reason_code,
    severity: row.severity,
    status_code: row.status_code,
  })
}

/**
 * SHA-256(salt || private columns).
 * @throws {RangeError} when the salt has not 16 bytes.
 */
export function commit(salt: Uint8Array, row: PrivateColumns): Hash {
  return sha256(opening(salt, row))
}

/** The same as standard base64, as a leaf spells it: straight from the hash, which takes less than the bytes. */
export function commitBase64(salt: Uint8Array, row: PrivateColumns): string {
  return sha256Base64(opening(salt, row))
}

/** What a commitment is the hash of; overwritten by the next. */
function opening(salt: Uint8Array, row: PrivateColumns): Uint8Array {
  if (salt.length !== SALT_BYTES) throw new RangeError(`a salt has ${SALT_BYTES} bytes`)
  const json = formatPrivate(row)
  const bytesMax = SALT_BYTES + json.length * UTF8_BYTES_PER_UNIT_MAX
  const input = bytesMax <= place.length ? place : new Uint8Array(bytesMax)
  input.set(salt)
  const { written } = encoder.encodeInto(json, input.subarray(SALT_BYTES))
  return input.subarray(0, SALT_BYTES + written)
}

/** The bytes of the leaf of a row: an entry of the log. A view into memory that other leaves share; never written again. */
export function formatLeaf(row: PublicColumns, commitment: Hash): Uint8Array {
  return formatBundledLeaf(row, formatBase64(commitment)).subarray(LENGTH_BYTES)
}

/** The leaf as it stands in a bundle: behind its length. @param commitment in base64 */
export function formatBundledLeaf(row: PublicColumns, commitment: string): Uint8Array {
  const text = wellFormed({
    action: row.action,
    commitment,
    created_at: row.created_at,
    date_time: row.date_time,
    id: row.id,
    reason_code: row.reason_code,
    severity: row.severity,
    status_code: row.status_code,
    v: LEAF_VERSION,
  })
  const bytesMax = LENGTH_BYTES + text.length * UTF8_BYTES_PER_UNIT_MAX
  if (bytesMax > slab.length) slab = new Uint8Array(Math.max(bytesMax, SLAB_BYTES))
  const length = encoder.encodeInto(text, slab.subarray(LENGTH_BYTES)).written
  const bundled = slab.subarray(0, LENGTH_BYTES + length)
  slab = slab.subarray(LENGTH_BYTES + length)
  setLength(bundled)
  return bundled
}

export type ParsedLeaf =
  | { readonly kind: 'leaf'; readonly leaf: Leaf }
  /** Written by a later version of the software: whether it fits its row cannot be said, that it is in the log can. */
  | { readonly kind: 'unknown-version'; readonly version: number }
  | { readonly kind: 'malformed' }

const MALFORMED: ParsedLeaf = { kind: 'malformed' }

/** Reads the bytes of a leaf. One that `formatLeaf` would not write is malformed. */
export function parseLeaf(entry: Uint8Array): ParsedLeaf {
  const fields = parseJsonObject(decodeText(entry))
  if (fields === undefined) return MALFORMED
  const { v } = fields
  if (!isPositive(v)) return MALFORMED
  if (v !== LEAF_VERSION) return { kind: 'unknown-version', version: v }
  const commitment = parseBase64Hash(String(fields.commitment))
  if (commitment === undefined || !arePublicColumns(fields)) return MALFORMED
  const { id, date_time, action, severity, reason_code, status_code, created_at } = fields
  const leaf = { id, date_time, action, severity, reason_code, status_code, created_at, commitment }
  return areSameBytes(formatLeaf(leaf, commitment), entry) ? { kind: 'leaf', leaf } : MALFORMED
}

function arePublicColumns(fields: Record<string, unknown>): fields is Record<string, unknown> & PublicColumns {
  const { id, date_time, action, severity, reason_code, status_code, created_at } = fields
  return (
    isPositive(id) &&
    [date_time, action, severity, created_at].every(isText) &&
    (reason_code === null || isText(reason_code)) &&
    (status_code === null || Number.isSafeInteger(status_code))
  )
}

/** Whether it has the 14 columns, each of its type. It may have other members too. */
export function isEventRow(fields: Record<string, unknown>): fields is Record<string, unknown> & EventRow {
  const { who, ip, description, request_id, endpoint, http_method, metadata_json } = fields
  return (
    arePublicColumns(fields) &&
    [who, ip, description].every(isText) &&
    [request_id, endpoint, http_method, metadata_json].every(column => column === null || isText(column))
  )
}

const isText = (value: unknown) => typeof value === 'string'
const isPositive = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) > 0

/** JSON in which lone surrogates are U+FFFD. JSON.stringify escapes them, and what was not escaped needs no second look. */
function wellFormed(columns: object): string {
  const json = JSON.stringify(columns)
  if (!json.includes('\\ud')) return json
  return JSON.stringify(columns, (_name, value) => (typeof value === 'string' ? value.toWellFormed() : value))
}
