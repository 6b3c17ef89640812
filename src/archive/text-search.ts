/**
 * Looks into archives for whatever a caller recognises, in every event and without believing manifests: also in an archive that
 * has not left yet, and in one whose manifest is missing.
 */
import { createHash } from 'node:crypto'
import { createReadStream, existsSync, readdirSync, rmSync } from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import { createGunzip } from 'node:zlib'
import type { StoredEvent } from '../event/event.ts'
import type { ArchiveRecord } from '../store/retention.ts'
import { invalid } from './read-archive.ts'

const ARCHIVE = /\.ndjson\.gz$/
const DRAFT = /\.draft$/

export interface HoldingArchive {
  readonly path: string
  /** Those that are recognised, ascending by id. */
  readonly events: readonly StoredEvent[]
  /** SHA-256 of what it unpacks to. */
  readonly ndjsonSha256: string
}

export interface SearchedArchives {
  /** Archives that hold an event that is recognised. */
  readonly found: readonly HoldingArchive[]
  /** Numbers of archives that left the database and are not where they were written to. */
  readonly missing: readonly number[]
}

export function hasDrafts(directory: string): boolean {
  return existsSync(directory) && readdirSync(directory).some(name => DRAFT.test(name))
}

/** Deletes what a crash left half-written. To be called while nobody archives. */
export function removeDrafts(directory: string): void {
  if (!existsSync(directory)) return
  for (const name of readdirSync(directory)) if (DRAFT.test(name)) rmSync(join(directory, name), { force: true })
}

/**
 * @param directory the folder that archives are written to unless told otherwise
 * @throws {Refusal} ARCHIVE_INVALID: a file cannot be read to its end
 */
export async function searchArchiveTexts(
  directory: string,
  known: readonly ArchiveRecord[],
  recognise: (event: StoredEvent) => boolean,
): Promise<SearchedArchives> {
  const paths = new Set(known.map(({ file }) => resolve(file)))
  for (const folder of new Set([resolve(directory), ...[...paths].map(path => dirname(path))])) {
    if (!existsSync(folder)) continue
    for (const name of readdirSync(folder)) if (ARCHIVE.test(name)) paths.add(join(folder, name))
  }
  const found: HoldingArchive[] = []
  const there = [...paths].filter(path => existsSync(path))
  for (const path of there) {
    const holding = await readThrough(path, recognise)
    if (holding.events.length > 0) found.push(holding)
  }
  const missing = known.filter(({ file }) => !there.includes(resolve(file))).map(({ number }) => number)
  return { found, missing }
}

async function readThrough(path: string, recognise: (event: StoredEvent) => boolean): Promise<HoldingArchive> {
  const unpacked = createReadStream(path).pipe(createGunzip())
  const digest = createHash('sha256')
  unpacked.on('data', piece => digest.update(piece))
  const events: StoredEvent[] = []
  try {
    let isHeader = true
    for await (const line of createInterface({ input: unpacked })) {
      const event: StoredEvent | undefined = isHeader ? undefined : JSON.parse(line)
      isHeader = false
      if (event !== undefined && recognise(event)) events.push(event)
    }
    return { path, events, ndjsonSha256: digest.digest('hex') }
  } catch (error) {
    throw invalid(basename(path), `it cannot be searched (${(error as Error).name})`)
  } finally {
    unpacked.destroy()
  }
}
