/**
 * The form of an archive: one segment of the event database in three files. Pure, but for digests.
 *
 *   events-000000000001-000000131072.ndjson.gz       gzip; unpacked, a header line and then one event a line
 *   events-000000000001-000000131072.salts           16 bytes an event, which compare it with its leaf in the log
 *   events-000000000001-000000131072.manifest.json   digests, and the digest of the manifest before it
 *
 * The events are JSON objects with the 14 columns, ascending by id and gapless: what `gzip -dc FILE | tail -n +2` prints is
 * what an export prints. The gzip file consists of members (RFC 1952, section 2.2), which any gunzip reads as one: the
 * header line, then blocks of 1,024 events. The manifest says where each begins, so that a reader can go from the newest
 * event to the oldest and hold one block at a time.
 *
 * `previous` makes the manifests a chain: a manifest cannot be changed, nor one be left out, without every later one being
 * changed. The digest of the last is in `event_archives`, and in the SYSTEM event ARCHIVED of the trail.
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

/** The salts of the events, 16 bytes each in the order of their ids; zeros where one was erased. Leaf index = id - 1. */
export interface ArchivedSalts {
  readonly salts_file: string
  readonly salts_sha256: string
  readonly first_index: number
  readonly count: number
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
  readonly log?: ArchivedSalts
  /** SHA-256 of the manifest with the number before, null for the first. */
  readonly previous: string | null
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
  const { blocks, ...fields } = manifest
  const { number, file, bytes, sha256, ndjson_bytes, ndjson_sha256, first_id, last_id } = fields
  const { count, first_time, last_time, archived_at, previous, header_bytes, log } = fields
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
      header_bytes,
      ...(log === undefined ? {} : { log: formatSalts(log) }),
    },
    null,
    2,
  )
  return `${head.slice(0, -2)},\n  "blocks": ${JSON.stringify(blocks)}\n}\n`
}

const formatSalts = ({ salts_file, salts_sha256, first_index, count }: ArchivedSalts) => ({
  salts_file,
  salts_sha256,
  first_index,
  count,
})

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
      areSalts(manifest)
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

function areSalts({ log, file, first_id, count }: ArchiveManifest): boolean {
  if (log === undefined) return true
  return (
    log.salts_file === saltsName(file) &&
    isDigest(log.salts_sha256) &&
    log.first_index === first_id - 1 &&
    log.count === count
  )
}

const isPositive = (value: unknown) => Number.isSafeInteger(value) && Number(value) > 0
const isDigest = (value: unknown) => typeof value === 'string' && /^[0-9a-f]{64}$/.test(value)
const isTime = (value: unknown) => typeof value === 'string' && !Number.isNaN(Date.parse(value))

export function sha256Of(text: string | Uint8Array): string {
  return createHash('sha256').update(text).digest('hex')
}
