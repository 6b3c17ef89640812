/**
 * The files of an evidence pack (docs/evidence-pack.md): some events of a log with all that is needed to check them.
 *
 *   events.ndjson    the 14 columns of each event, ascending by id
 *   proofs.ndjson    line by line for those: what opens its leaf, and its inclusion proof
 *   checkpoint       the signed note that all of the proofs lead to
 *   keys             the key chain of the log
 *   manifest.json    what was asked for, and the digests of the others
 *   index.html       a page that checks and shows them (pack-page.ts)
 *   manifest.note    the manifest's digest, signed by the log (pack-note.ts); left out where no private key is at hand
 *
 * `verify-pack.ts` checks them. What a parser accepts is what its formatter writes, to the letter.
 */
import { LIMITS } from '../limits.ts'
import { sha256 } from './crypto.ts'
import {
  decodeText,
  encodeText,
  formatBase64,
  formatHex,
  isCount,
  parseBase64,
  parseBase64Hash,
  parseJsonObject,
} from './encoding.ts'
import { type EventRow, isEventRow, SALT_BYTES } from './leaf.ts'
import type { Hash } from './merkle.ts'

const PACK_VERSION = 1
export const PACK_PARTS = ['events.ndjson', 'proofs.ndjson', 'checkpoint', 'keys'] as const
export type PackPart = (typeof PACK_PARTS)[number]
export const PACK_MANIFEST = 'manifest.json'
export const PACK_NOTE = 'manifest.note'
export const PACK_PAGE = 'index.html'
const NOTE_BYTES_MAX = 3 * LIMITS.noteCharactersMax
/** What is read of a pack, and how many bytes it may have: little can be parsed into much. */
export const PACK_FILES: ReadonlyMap<string, number> = new Map<string, number>([
  ['events.ndjson', LIMITS.evidencePackBytesMax],
  ['proofs.ndjson', LIMITS.evidencePackBytesMax],
  ['checkpoint', NOTE_BYTES_MAX],
  ['keys', LIMITS.keyChainBytesMax],
  [PACK_MANIFEST, LIMITS.evidencePackManifestBytesMax],
  [PACK_NOTE, NOTE_BYTES_MAX],
  [PACK_PAGE, LIMITS.evidencePackPageBytesMax],
])

/** Which events were asked for. */
export interface PackSelection {
  /** ISO-8601 UTC; start inclusive, end exclusive. */
  readonly start_time: string
  readonly end_time: string
  readonly cp_id: string | null
  /** Id of the INCIDENT event whose address or charge point the events are of. */
  readonly incident: number | null
}

export interface PackManifest extends PackSelection {
  readonly made_at: string
  readonly origin: string
  /** Of the checkpoint: events beyond it are not in the pack. */
  readonly tree_size: number
  readonly events: number
  /** How many of them are erased. */
  readonly erased: number
  /** Numbers of archives that may have events that were asked for, and were not at hand. */
  readonly archives_missing: readonly number[]
  /** Of the frame of the page, hexadecimal. */
  readonly page_sha256: string
  readonly files: Readonly<Record<PackPart, { readonly bytes: number; readonly sha256: string }>>
}

/** With its own digest, so that a changed byte is noticed; whoever changes it on purpose can make that too. */
export function formatManifest(manifest: PackManifest): string {
  const { made_at, origin, start_time, end_time, cp_id, incident, tree_size, events, erased } = manifest
  const { archives_missing, page_sha256 } = manifest
  const files = Object.fromEntries(PACK_PARTS.map(part => [part, digestLine(manifest.files[part])]))
  const said = {
    format: 'ev-central evidence pack',
    v: PACK_VERSION,
    made_at,
    origin,
    start_time,
    end_time,
    cp_id,
    incident,
    tree_size,
    events,
    erased,
    archives_missing,
    page_sha256,
    files,
  }
  const sha256Hex = formatHex(sha256(encodeText(JSON.stringify(said))))
  return `${JSON.stringify({ manifest: said, sha256: sha256Hex }, null, 2)}\n`
}

const digestLine = ({ bytes, sha256 }: PackManifest['files'][PackPart]) => ({ bytes, sha256 })

/** `unknown-version`: written by a later version of the software. */
export function parseManifest(bytes: Uint8Array): PackManifest | 'malformed' | 'unknown-version' {
  const text = decodeText(bytes)
  const said = parseJsonObject(text)?.manifest as Partial<PackManifest & { v: unknown }> | undefined
  if (typeof said !== 'object' || said === null || !isCount(said.v) || said.v < 1) return 'malformed'
  if (said.v !== PACK_VERSION) return 'unknown-version'
  return isManifest(said) && formatManifest(said) === text ? said : 'malformed'
}

function isManifest(said: Partial<PackManifest>): said is PackManifest {
  const { made_at, origin, start_time, end_time, cp_id, incident, tree_size, events, erased, files } = said
  const { archives_missing, page_sha256 } = said
  return (
    [made_at, origin, start_time, end_time, page_sha256].every(isText) &&
    (cp_id === null || isText(cp_id)) &&
    (incident === null || isCount(incident)) &&
    [tree_size, events, erased].every(isCount) &&
    events! <= LIMITS.evidencePackEventsMax &&
    Array.isArray(archives_missing) &&
    archives_missing.every(isCount) &&
    PACK_PARTS.every(part => isCount(files?.[part]?.bytes) && isText(files?.[part]?.sha256))
  )
}

const isText = (value: unknown) => typeof value === 'string'

/** An event, as JSON without spaces, the 14 columns in the order of the table. */
export function formatRow(row: EventRow): string {
  return JSON.stringify({
    id: row.id,
    date_time: row.date_time,
    who: row.who,
    ip: row.ip,
    action: row.action,
    description: row.description,
    severity: row.severity,
    reason_code: row.reason_code,
    request_id: row.request_id,
    endpoint: row.endpoint,
    http_method: row.http_method,
    status_code: row.status_code,
    metadata_json: row.metadata_json,
    created_at: row.created_at,
  })
}

export function parseRow(line: string): EventRow | undefined {
  const fields = parseJsonObject(line)
  return fields !== undefined && isEventRow(fields) && formatRow(fields) === line ? fields : undefined
}

/** The salt of a row, or where that was erased the commitment that it opened. */
export type Opening = { readonly salt: Uint8Array } | { readonly commitment: Hash }

export interface PackProof {
  readonly id: number
  readonly opening: Opening
  /** From the sibling of the leaf up, in the tree of the checkpoint. */
  readonly hashes: readonly Hash[]
}

/** `{"id":1,"salt":"<base64>","hashes":["<base64>",...]}`; of an erased event `commitment` in place of `salt`. */
export function formatPackProof({ id, opening, hashes }: PackProof): string {
  const opened =
    'salt' in opening ? { salt: formatBase64(opening.salt) } : { commitment: formatBase64(opening.commitment) }
  return JSON.stringify({ id, ...opened, hashes: hashes.map(formatBase64) })
}

export function parsePackProof(line: string): PackProof | undefined {
  const { id, salt, commitment, hashes } = parseJsonObject(line) ?? {}
  const opening = salt === undefined ? { commitment: parseBase64Hash(String(commitment)) } : { salt: parseSalt(salt) }
  if (!isCount(id) || !isOpening(opening) || !Array.isArray(hashes) || hashes.length > LIMITS.proofHashesMax)
    return undefined
  const parsed = hashes.map(hash => parseBase64Hash(String(hash)))
  if (!parsed.every(hash => hash !== undefined)) return undefined
  const proof = { id, opening, hashes: parsed }
  return formatPackProof(proof) === line ? proof : undefined
}

function parseSalt(text: unknown): Uint8Array | undefined {
  const salt = parseBase64(String(text))
  return salt?.length === SALT_BYTES ? salt : undefined
}

function isOpening(opening: { salt?: Uint8Array | undefined; commitment?: Hash | undefined }): opening is Opening {
  return opening.salt !== undefined || opening.commitment !== undefined
}
