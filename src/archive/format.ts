/**
 * The form of an archive: one segment of the event database in three files. Pure, but for digests.
 *
 *   events-000000000001-000000131072.ndjson.gz       gzip; unpacked, a header line and then one event a line
 *   events-000000000001-000000131072.salts           what opens the leaf of each event (salts.ts)
 *   events-000000000001-000000131072.manifest.json   digests, the digest of the manifest before it, and what proves that the
 *                                                    events are in a log whose checkpoint is signed (range-proof.ts)
 *
 * The events are JSON objects with the 14 columns, ascending by id and gapless: what `gzip -dc FILE | tail -n +2` prints is
 * what an export prints. The gzip file consists of members (RFC 1952, section 2.2), which any gunzip reads as one: the
 * header line, then blocks of 1,024 events. The manifest says where each begins, so that a reader can go from the newest
 * event to the oldest and hold one block at a time.
 *
 * `previous` makes the manifests a chain: a manifest cannot be changed, nor one be left out, without every later one being
 * changed. The digest of the last is in `event_archives`, and in the SYSTEM event ARCHIVED of the trail. An erasure writes an
 * archive anew (erase-archives.ts): `replaces` has the digests of the manifests before, which the next one may still name.
 * One spelling: a header or manifest that the formatter would not print is refused.
 */
import { createHash } from 'node:crypto'
import { COLUMNS } from '../event/event.ts'

const HEADER_FORMAT = 'ev-central-archive'
const MANIFEST_FORMAT = 'ev-central-archive-manifest'
const FORMAT_VERSION = 1

/** What an archive holds. Times are those of its earliest and its latest event. */
export interface ArchiveRange {
  readonly first_id: number
  readonly last_id: number
  readonly count: number
  readonly first_time: string
  readonly last_time: string
}

/** A block: the id of its first event, and how many bytes of the file it takes. */
export type Block = readonly [firstId: number, bytes: number]

/** What compares the events with their leaves. Leaf index = id - 1. */
export interface ArchivedLog {
  readonly salts_file: string
  readonly salts_sha256: string
  readonly first_index: number
  readonly count: number
  /** Left out where nobody signs the log, and by archives of earlier versions. */
  readonly proof?: ArchiveProof
}

/** That the leaves are in the log. Hashes in base64. */
export interface ArchiveProof {
  /** Of every 256 leaves the root of their subtree: where one is not as it was, these say which. */
  readonly bundles: readonly string[]
  /** The two parts of a proof of a range (evidence/range-proof.ts). */
  readonly edge: readonly string[]
  readonly consistency: readonly string[]
  /** Signed, with the cosignatures it had; its tree has all of the range. */
  readonly checkpoint: string
  /** The key chain of the log, as it was. */
  readonly keys: string
}

/** The SYSTEM event ERASED that tells of events that are blank here, and their ids, ascending. */
export interface ArchivedErasure {
  readonly event: number
  readonly ids: readonly number[]
}

export interface ArchiveManifest extends ArchiveRange {
  /** Counts from 1, in the order in which the segments left. */
  readonly number: number
  /** Name of the archive, in the folder of the manifest. */
  readonly file: string
  readonly bytes: number
  readonly sha256: string
  /** Unpacked, with the header line. */
  readonly ndjson_bytes: number
  readonly ndjson_sha256: string
  readonly archived_at: string
  /** What compares the events with their leaves; left out by archives of before there was a log. */
  readonly log?: ArchivedLog
  /** SHA-256 of the manifest with the number before, as it was then; null for the first. */
  readonly previous: string | null
  /** SHA-256 of the manifests that this one took the place of, the oldest first; left out when there were none. */
  readonly replaces?: readonly string[]
  /** Ascending by event; left out when no event is erased. */
  readonly erased?: readonly ArchivedErasure[]
  /** Bytes of the member with the header line. */
  readonly header_bytes: number
  readonly blocks: readonly Block[]
}

export function archiveName({ first_id, last_id }: Pick<ArchiveRange, 'first_id' | 'last_id'>): string {
  return `events-${padded(first_id)}-${padded(last_id)}.ndjson.gz`
}

export const manifestName = (archive: string) => archive.replace(/\.ndjson\.gz$/, '.manifest.json')

export const saltsName = (archive: string) => archive.replace(/\.ndjson\.gz$/, '.salts')

export const MANIFEST_NAME = /^events-\d{12,16}-\d{12,16}\.manifest\.json$/

const padded = (id: number) => String(id).padStart(12, '0')

export function formatHeader({ first_id, last_id, count, first_time, last_time }: ArchiveRange): string {
  const format = { format: HEADER_FORMAT, format_version: FORMAT_VERSION }
  return `${JSON.stringify({ ...format, columns: COLUMNS, first_id, last_id, count, first_time, last_time })}\n`
}

export function formatManifest(manifest: ArchiveManifest): string {
  const { number, file, bytes, sha256, ndjson_bytes, ndjson_sha256, first_id, last_id } = manifest
  const { count, first_time, last_time, archived_at, previous, replaces, header_bytes, log, erased, blocks } = manifest
  const head = JSON.stringify(
    {
      format: MANIFEST_FORMAT,
      format_version: FORMAT_VERSION,
      number,
      file,
      bytes,
      sha256,
      ndjson_bytes,
      ndjson_sha256,
      first_id,
      last_id,
      count,
      first_time,
      last_time,
      archived_at,
      previous,
      ...(replaces === undefined ? {} : { replaces }),
      header_bytes,
      ...(log === undefined ? {} : { log: formatLog(log) }),
    },
    null,
    2,
  )
  // Long lists of numbers are not for a line each.
  const erasures = erased === undefined ? '' : `,\n  "erased": ${JSON.stringify(erased.map(formatErasure))}`
  return `${head.slice(0, -2)}${erasures},\n  "blocks": ${JSON.stringify(blocks)}\n}\n`
}

const formatErasure = ({ event, ids }: ArchivedErasure) => ({ event, ids })

function formatLog({ salts_file, salts_sha256, first_index, count, proof }: ArchivedLog) {
  const salts = { salts_file, salts_sha256, first_index, count }
  if (proof === undefined) return salts
  const { bundles, edge, consistency, checkpoint, keys } = proof
  return { ...salts, proof: { bundles, edge, consistency, checkpoint, keys } }
}

/** Undefined when it is not a manifest of this format, to the letter, or says what cannot be. */
export function parseManifest(text: string): ArchiveManifest | undefined {
  try {
    const manifest: ArchiveManifest = JSON.parse(text)
    const { first_id, last_id, count, previous } = manifest
    const isSound =
      [manifest.number, manifest.bytes, manifest.ndjson_bytes, first_id, last_id, count].every(isPositive) &&
      count === last_id - first_id + 1 &&
      manifest.file === archiveName(manifest) &&
      [manifest.sha256, manifest.ndjson_sha256].every(isDigest) &&
      (previous === null ? manifest.number === 1 : isDigest(previous)) &&
      [manifest.first_time, manifest.last_time, manifest.archived_at].every(isTime) &&
      areBlocks(manifest) &&
      isLog(manifest) &&
      (manifest.replaces ?? ['0'.repeat(64)]).length > 0 &&
      (manifest.replaces ?? []).every(isDigest) &&
      areErasures(manifest)
    return isSound && formatManifest(manifest) === text ? manifest : undefined
  } catch {
    return undefined
  }
}

function areBlocks({ blocks, header_bytes, bytes, first_id, last_id }: ArchiveManifest): boolean {
  const isInOrder = blocks.every(([id], n) => id > (blocks[n - 1]?.[0] ?? first_id - 1))
  const sum = blocks.reduce((total, [, size]) => total + size, header_bytes)
  const areNumbers = [header_bytes, ...blocks.flat()].every(isPositive)
  return areNumbers && isInOrder && sum === bytes && blocks[0]?.[0] === first_id && (blocks.at(-1)?.[0] ?? 0) <= last_id
}

function isLog({ log, file, first_id, count }: ArchiveManifest): boolean {
  if (log === undefined) return true
  const { salts_file, salts_sha256, first_index, proof } = log
  const fits = salts_file === saltsName(file) && first_index === first_id - 1 && log.count === count
  return fits && isDigest(salts_sha256) && (proof === undefined || isProof(proof))
}

function isProof({ bundles, edge, consistency, checkpoint, keys }: ArchiveProof): boolean {
  const areLists = [bundles, edge, consistency].every(list => Array.isArray(list) && list.every(isText))
  return areLists && isText(checkpoint) && isText(keys)
}

function areErasures({ erased, first_id, last_id }: ArchiveManifest): boolean {
  if (erased === undefined) return true
  const isAscending = (values: readonly number[]) => values.every((value, n) => value > (values[n - 1] ?? 0))
  const areIds = (ids: readonly number[]) =>
    ids.length > 0 && isAscending(ids) && ids.every(id => isPositive(id) && id >= first_id && id <= last_id)
  const events = erased.map(({ event }) => event)
  return erased.length > 0 && events.every(isPositive) && isAscending(events) && erased.every(({ ids }) => areIds(ids))
}

const isText = (value: unknown) => typeof value === 'string'
const isPositive = (value: unknown) => Number.isSafeInteger(value) && Number(value) > 0
const isDigest = (value: unknown) => typeof value === 'string' && /^[0-9a-f]{64}$/.test(value)
const isTime = (value: unknown) => typeof value === 'string' && !Number.isNaN(Date.parse(value))

export function sha256Of(text: string | Uint8Array): string {
  return createHash('sha256').update(text).digest('hex')
}
