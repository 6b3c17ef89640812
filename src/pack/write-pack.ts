/**
 * Makes evidence packs (evidence/pack.ts says what is in one): a zip of the files, and a page that holds the same files and
 * checks them wherever it is opened.
 *
 * Promise: the same events, checkpoint and keys give the same bytes but for `made_at`; nothing is answered before all of it is
 * there, so that a pack is whole or refused. Bounded in events and bytes; asks the reader threads for small pieces and
 * compresses off this thread, so that the service goes on. Owns no state. Must not know HTTP or the data folder.
 */
import { createHash } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { Refusal } from '../errors.ts'
import { parseSignedCheckpoint } from '../evidence/checkpoint.ts'
import { parseKeyChain } from '../evidence/key-chain.ts'
import {
  formatManifest,
  formatPackProof,
  formatRow,
  PACK_MANIFEST,
  PACK_NOTE,
  PACK_PAGE,
  type PackManifest,
  type PackPart,
  type PackSelection,
} from '../evidence/pack.ts'
import { frameDigest, PAGE_MARKS } from '../evidence/pack-page.ts'
import { LIMITS } from '../limits.ts'
import type { EventFilter, EventQueries } from '../query/event-queries.ts'
import type { ProvenEvent } from '../query/log-questions.ts'
import { createFilePacker, type PackedFile, packFile } from './packed-file.ts'
import { loadPage, type PageParts } from './page.ts'
import { zipFiles } from './zip.ts'

export interface PackSource {
  readonly queries: Pick<EventQueries, 'event' | 'count' | 'provenEvents'> & {
    /** Numbers of archives that are not at hand and may have events of the filter. */
    missing(filter: EventFilter): Promise<number[]>
  }
  /** The newest signed note, undefined before the first. */
  readonly checkpoint: string | undefined
  /** The key chain as it is stored, read after the checkpoint: it has the key that signed. */
  readonly keys: string | undefined
  /** Has the log sign the manifest (evidence/pack-note.ts). Undefined where that cannot be: then nobody vouches for the selection. */
  readonly signManifest: (manifest: string) => Promise<string | undefined>
}

export interface PackOptions {
  readonly onProgress?: (done: number, total: number) => void
  /** Rests after each piece for as long as it took, so that a pack leaves half of what it could use to others. */
  readonly isResting?: boolean
  readonly signal?: AbortSignal
}

export interface Pack {
  readonly manifest: PackManifest
  /** Whether the log signed what was asked for and found. */
  readonly isSelectionSigned: boolean
  /** The zip, in pieces. */
  readonly zip: Iterable<Uint8Array>
}

/**
 * @throws {Refusal} NOT_SIGNED_YET; EVENT_NOT_FOUND: the incident is none; EVIDENCE_TOO_LARGE; those of the queries
 */
export async function writePack(
  source: PackSource,
  selection: PackSelection,
  { onProgress, isResting = false, signal }: PackOptions = {},
): Promise<Pack> {
  const { queries } = source
  const { checkpoint, keys, size, origin } = signedOf(source)
  const filter = await filterOf(queries, selection)
  const max = LIMITS.evidencePackEventsMax
  const total = await queries.count({ filter, through: size, max: max + 1 })
  if (total > max) throw new Refusal('EVIDENCE_TOO_LARGE')

  const events = createFilePacker('events.ndjson')
  const proofs = createFilePacker('proofs.ndjson')
  let done = 0
  let erased = 0
  let bytes = 0
  for await (const piece of pieces(queries, filter, size, isResting)) {
    signal?.throwIfAborted()
    const [rows, openings] = [piece.map(rowLine).join(''), piece.map(proofLine).join('')]
    done += piece.length
    erased += piece.filter(({ opening }) => 'commitment' in opening).length
    bytes += Buffer.byteLength(rows) + openings.length
    if (done > max || bytes > LIMITS.evidencePackBytesMax) throw new Refusal('EVIDENCE_TOO_LARGE')
    await Promise.all([events.push(rows), proofs.push(openings)])
    onProgress?.(done, Math.max(done, total)) // archived events are not counted before
  }
  const parts: PackedFile[] = [
    await events.end(),
    await proofs.end(),
    await packFile('checkpoint', checkpoint),
    await packFile('keys', keys),
  ]
  const files = Object.fromEntries(parts.map(({ name, bytes, sha256 }) => [name, { bytes, sha256 }]))
  const page = await loadPage()
  const manifest: PackManifest = {
    ...selection,
    made_at: new Date().toISOString(),
    origin,
    tree_size: size,
    events: done,
    erased,
    archives_missing: await queries.missing(filter),
    page_sha256: frameDigest(page.before, page.after),
    files: files as Record<PackPart, PackManifest['files'][PackPart]>,
  }
  const manifestText = formatManifest(manifest)
  const note = await source.signManifest(manifestText)
  const inner = [
    ...parts,
    await packFile(PACK_MANIFEST, manifestText),
    ...(note === undefined ? [] : [await packFile(PACK_NOTE, note)]),
  ]
  return { manifest, isSelectionSigned: note !== undefined, zip: zipFiles([await packPage(page, inner), ...inner]) }
}

const rowLine = ({ event }: ProvenEvent) => `${formatRow(event)}\n`
const proofLine = ({ event: { id }, opening, hashes }: ProvenEvent) => `${formatPackProof({ id, opening, hashes })}\n`

function signedOf({ checkpoint, keys }: PackSource) {
  const parsed = parseSignedCheckpoint(checkpoint ?? '')
  const chain = parseKeyChain(keys ?? '')
  if (checkpoint === undefined || keys === undefined || parsed === undefined || chain === undefined)
    throw new Refusal('NOT_SIGNED_YET', undefined, { retryAfterSeconds: 1 })
  return { checkpoint, keys, size: parsed.size, origin: parsed.origin }
}

/** Of an incident: what its address did, or what was done with its charge point where the incident is about that. */
async function filterOf(queries: PackSource['queries'], selection: PackSelection): Promise<EventFilter> {
  const { start_time, end_time, cp_id, incident } = selection
  const asked = { start_time, end_time, ...(cp_id === null ? {} : { who: cp_id }) }
  if (incident === null) return asked
  const event = await queries.event(incident)
  if (event?.action !== 'INCIDENT') throw new Refusal('EVENT_NOT_FOUND', `Event ${incident} is no incident.`)
  const isOfChargePoint = event.ip === '-' || scopeOf(event.metadata_json) === 'cp_id'
  return isOfChargePoint ? { ...asked, who: cp_id ?? event.who } : { ...asked, ip: event.ip }
}

function scopeOf(metadata: string | null): unknown {
  try {
    return JSON.parse(metadata ?? '{}').scope
  } catch {
    return undefined
  }
}

async function* pieces(queries: PackSource['queries'], filter: EventFilter, size: number, isResting: boolean) {
  for (let after = 0; ; ) {
    const started = performance.now()
    const { events, next } = await queries.provenEvents({ filter, after, size, limit: LIMITS.evidencePieceEvents })
    yield events
    if (next === null) return
    after = next
    if (isResting) await sleep(performance.now() - started)
  }
}

/** A multiple of three bytes has a base64 without padding, so pieces can follow each other. */
const BASE64_BYTES = 3 * 16 * 1024

/** The page with the files in it: a zip in base64, which no character of any event can break out of, and its digest. */
async function packPage({ before, after }: PageParts, files: readonly PackedFile[]): Promise<PackedFile> {
  const page = createFilePacker(PACK_PAGE)
  const digest = createHash('sha256')
  await page.push(before + PAGE_MARKS.pack)
  for (const piece of regrouped(zipFiles(files), BASE64_BYTES)) {
    const text = piece.toString('base64')
    digest.update(text)
    await page.push(text)
  }
  await page.push(PAGE_MARKS.digest + digest.digest('hex') + PAGE_MARKS.end + after)
  return page.end()
}

/** The same bytes, in pieces of one length but for the last. */
function* regrouped(chunks: Iterable<Uint8Array>, length: number): Generator<Buffer> {
  let rest = Buffer.alloc(0)
  for (const chunk of chunks) {
    rest = Buffer.concat([rest, chunk])
    for (; rest.length >= length; rest = rest.subarray(length)) yield rest.subarray(0, length)
  }
  if (rest.length > 0) yield rest
}
