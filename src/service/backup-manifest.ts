/**
 * The manifest of a backup: what is in it, up to where it goes, and the digest of every file.
 *
 * It is written last, so a folder without one is no backup, whatever else lies in it. One spelling: what
 * `formatManifest` would not print is refused. Pure, but for the digest of a file.
 */
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'

export const MANIFEST_NAME = 'manifest.json'
const FORMAT = 'ev-central-backup'
const FORMAT_VERSION = 1

export interface BackedUpFile {
  /** Inside the backup and inside the data folder alike, with `/`. */
  readonly path: string
  readonly bytes: number
  /** 64 lower-case hex digits. */
  readonly sha256: string
}

export interface Manifest {
  /** Of the program that made it. */
  readonly version: string
  readonly created_at: string
  /** Null when there was no journal. */
  readonly journal_id: string | null
  /** The last journal record that is in the backup, as a row or in the journal. */
  readonly sequence: number
  /** The last journal record that is a row of the copied database. */
  readonly indexed_sequence: number
  /** The last row of the copied database. */
  readonly last_event_id: number
  /** How many events changes of the security state had made. */
  readonly state_changes: number
  readonly has_secrets: boolean
  readonly files: readonly BackedUpFile[]
}

export function formatManifest(manifest: Manifest): string {
  const { version, created_at, journal_id, sequence, indexed_sequence, last_event_id } = manifest
  const files = manifest.files.map(({ path, bytes, sha256 }) => ({ path, bytes, sha256 }))
  return `${JSON.stringify(
    {
      format: FORMAT,
      format_version: FORMAT_VERSION,
      version,
      created_at,
      journal_id,
      sequence,
      indexed_sequence,
      last_event_id,
      state_changes: manifest.state_changes,
      has_secrets: manifest.has_secrets,
      files,
    },
    null,
    2,
  )}\n`
}

/** Every file that a backup may hold. A path is joined to a folder, so nothing else may pass. */
const PATH =
  /^(?:audit\/audit\.db|audit\/audit\.db-log\/(?:(?:tiles-\d-|entries-)\d{6}|(?:checkpoints?|witnessed|keys)(?:\.[0-9a-f]{8})?)|security\/security\.db|journal\/\d{12}\.journal|secrets\/[a-z]+(?:-[a-z]+)*)$/

/** Undefined when it is not a manifest of this format, to the letter. */
export function parseManifest(text: string): Manifest | undefined {
  try {
    const manifest: Manifest = JSON.parse(text)
    const { version, created_at, journal_id, files } = manifest
    const isSound =
      [version, created_at].every(value => typeof value === 'string') &&
      (journal_id === null || /^[0-9a-f]{32}$/.test(journal_id)) &&
      [manifest.sequence, manifest.indexed_sequence, manifest.last_event_id, manifest.state_changes].every(isCount) &&
      typeof manifest.has_secrets === 'boolean' &&
      files.every(({ path, bytes, sha256 }) => PATH.test(path) && isCount(bytes) && /^[0-9a-f]{64}$/.test(sha256)) &&
      new Set(files.map(({ path }) => path)).size === files.length
    return isSound && formatManifest(manifest) === text ? manifest : undefined
  } catch {
    return undefined
  }
}

function isCount(value: unknown): boolean {
  return Number.isSafeInteger(value) && Number(value) >= 0
}

/** @param onBytes called with how much was read since the last call */
export async function digestOf(path: string, onBytes: (bytes: number) => void = () => {}): Promise<string> {
  const hash = createHash('sha256')
  for await (const piece of createReadStream(path, { highWaterMark: 1024 * 1024 })) {
    hash.update(piece as Buffer)
    onBytes((piece as Buffer).length)
  }
  return hash.digest('hex')
}
