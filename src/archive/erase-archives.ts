/**
 * Erasure in archives: an archive that holds a subject is written anew, with the private columns of those events blank and their
 * salts zeros, as rows of the database are (store/erasures.ts); and takes the place of the old one, whose bytes are overwritten.
 *
 *   step                                                     a crash after it leaves
 *   1. events and salts without the subject, beside the       `.erased` files that nobody looks at; the next erasure, or the
 *      archive, as `.erased`, synced                          next start, deletes them
 *   2. in the transaction of the tombstone: the manifest,     the same, if the transaction did not commit: its digest is
 *      which names it, likewise; its digest on record          not on record then
 *   3. of each file: a second name for the old one            the old and the new manifest, each of which says what is
 *      (`.doomed`), the new one renamed over it, the old        missing; the next erasure or start goes on here
 *      one overwritten and deleted; the manifest last
 *
 * Between two files of step 3 a reader finds digests that do not fit, and refuses the archive. To be called by whoever holds the
 * lock of archiving.
 */
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'
import type { StoredEvent } from '../event/event.ts'
import { commit, ERASED_COLUMNS, isErasedSalt, SALT_BYTES } from '../evidence/leaf.ts'
import { writePieces, writeWhole } from '../files/whole-file.ts'
import type { ArchiveRecord } from '../store/retention.ts'
import { destroy, destroyLeftover, replaceDestroying } from './destroy.ts'
import { readManifest } from './folder.ts'
import {
  type ArchiveManifest,
  type Block,
  formatHeader,
  formatManifest,
  manifestName,
  saltsName,
  sha256Of,
} from './format.ts'
import { packEvents } from './pack-events.ts'
import { invalid, openArchive, readSaltsFile } from './read-archive.ts'
import { formatSalts, saltAt } from './salts.ts'
import type { HoldingArchive } from './text-search.ts'
import type { LeavingTrail } from './trail.ts'
import { digestOfRows } from './write-archive.ts'

const STAGED = '.erased'
const DOOMED = '.doomed'

export interface StagedArchive {
  readonly record: ArchiveRecord
  /** Where it is: not necessarily where it was written to. */
  readonly path: string
  /** All of the new manifest but the event that says what was erased. */
  readonly manifest: ArchiveManifest
  readonly ids: readonly number[]
}

/**
 * Step 1, for one archive.
 * @throws {Refusal} ARCHIVE_INVALID: it is not what left the database
 */
export async function stageErasure(held: HoldingArchive, record: ArchiveRecord): Promise<StagedArchive> {
  const { path, events } = held
  const directory = dirname(path)
  const found = readManifest(manifestName(path))
  if (found === undefined || found.digest !== record.manifest_sha256) {
    throw invalid(path, 'its manifest is not the one that is on record')
  }
  const { manifest, digest } = found
  const ids = new Set(events.map(({ id }) => id))
  const salts = readSaltsFile(directory, manifest)
  const kept = salts && { salts: salts.salts.slice(), commitments: new Map(salts.commitments) }
  const packed = packEvents()
  const blocks: Block[] = []
  let header_bytes = 0
  using archive = openArchive(directory, manifest)
  await writePieces(path + STAGED, append => {
    const add = (content: Buffer): number => {
      const member = packed.add(content)
      append(member)
      return member.length
    }
    header_bytes = add(Buffer.from(formatHeader(manifest)))
    for (const [n, [firstId]] of manifest.blocks.entries()) {
      const text = archive.blockText(n)
      const lines = archive.events(n, text).map(event => {
        if (!ids.has(event.id)) return event
        if (kept !== undefined) forget(kept, event.id - manifest.first_id, event)
        return { ...event, ...ERASED_COLUMNS }
      })
      const isTouched = lines.some(({ id }) => ids.has(id))
      const content = isTouched ? Buffer.from(lines.map(line => `${JSON.stringify(line)}\n`).join('')) : text
      blocks.push([firstId, add(content)])
    }
  })
  const saltsBytes = kept && formatSalts(kept)
  if (saltsBytes !== undefined) writeWhole(saltsName(path) + STAGED, saltsBytes)
  const next: ArchiveManifest = {
    ...manifest,
    ...packed.totals(),
    replaces: [...(manifest.replaces ?? []), digest],
    header_bytes,
    ...(manifest.log === undefined || saltsBytes === undefined
      ? {}
      : { log: { ...manifest.log, salts_sha256: sha256Of(saltsBytes) } }),
    blocks,
  }
  return { record, path, manifest: next, ids: [...ids].sort((a, b) => a - b) }
}

/** The salt goes; what it opened stays, as the leaf is made of that. */
function forget(
  { salts, commitments }: { salts: Uint8Array; commitments: Map<number, Uint8Array> },
  place: number,
  event: StoredEvent,
): void {
  const salt = saltAt(salts, place)
  if (isErasedSalt(salt)) return
  commitments.set(place, commit(salt, event))
  salts.fill(0, place * SALT_BYTES, (place + 1) * SALT_BYTES)
}

/**
 * Step 2. To be called within the transaction that the event `tombstone` is part of, which notes what it returns.
 * @returns the archives as they are to be on record
 */
export function stageManifests(staged: readonly StagedArchive[], tombstone: number): ArchiveRecord[] {
  return staged.map(({ record, path, manifest, ids }) => {
    const text = formatManifest({ ...manifest, erased: [...(manifest.erased ?? []), { event: tombstone, ids }] })
    writeWhole(manifestName(path) + STAGED, text)
    return { ...record, sha256: manifest.sha256, manifest_sha256: sha256Of(text) }
  })
}

/** Digests of the manifests by the numbers of their archives, for the tombstone: so an older copy is told from these. */
export function manifestsOf(records: readonly ArchiveRecord[]): Readonly<Record<string, string>> {
  return Object.fromEntries(records.map(({ number, manifest_sha256 }) => [number, manifest_sha256]))
}

/** Step 3, for all that is on record; deletes what is not. @param known what the database says of its archives */
export function finishErasures(known: readonly ArchiveRecord[], directory: string): void {
  const onRecord = new Set(known.map(({ manifest_sha256 }) => manifest_sha256))
  for (const folder of foldersOf(directory, known)) {
    const names = readdirSync(folder)
    const isStaged = (name: string) => name.endsWith(`.ndjson.gz${STAGED}`) || name.endsWith(`.salts${STAGED}`)
    for (const name of names.filter(name => name.endsWith(`.manifest.json${STAGED}`))) {
      const staged = join(folder, name)
      const manifest = staged.slice(0, -STAGED.length)
      const events = manifest.replace(/\.manifest\.json$/, '.ndjson.gz')
      if (onRecord.has(sha256Of(readFileSync(staged)))) {
        for (const path of [events, saltsName(events), manifest]) {
          replaceDestroying(path, path + STAGED, path + DOOMED)
        }
      } else rmSync(staged)
    }
    for (const name of names.filter(isStaged)) rmSync(join(folder, name), { force: true })
    for (const name of readdirSync(folder).filter(name => name.endsWith(DOOMED))) {
      destroyLeftover(join(folder, name), join(folder, name.slice(0, -DOOMED.length)))
    }
  }
}

/** Whether files are there that `finishErasures` would see to; also while somebody is at it. */
export function areErasuresUnfinished(known: readonly ArchiveRecord[], directory: string): boolean {
  const isOfErasure = (name: string) => name.endsWith(STAGED) || name.endsWith(DOOMED)
  return foldersOf(directory, known).some(folder => readdirSync(folder).some(isOfErasure))
}

/** Whatever step 1 made. To be called when nothing was put on record. */
export function removeStaged(staged: readonly StagedArchive[]): void {
  for (const { path } of staged) {
    for (const name of [path, saltsName(path), manifestName(path)]) rmSync(name + STAGED, { force: true })
  }
}

/**
 * An archive that is not on record: it was about to leave when its archiver was killed, and all of its events are rows. It goes, as the
 * next run writes it again.
 * @returns false when it holds anything else than those rows; it stays as it is then
 */
export async function removeUnfinished(
  trail: Pick<LeavingTrail, 'sealed' | 'blocks'>,
  { path, ndjsonSha256 }: HoldingArchive,
): Promise<boolean> {
  const [, first] = /^events-(\d+)-\d+\.ndjson\.gz$/.exec(basename(path)) ?? []
  const segment = (await trail.sealed()).find(({ firstId }) => firstId === Number(first))
  if (segment === undefined || (await digestOfRows(trail, segment, async () => {})) !== ndjsonSha256) return false
  for (const name of [manifestName(path), saltsName(path), path]) if (existsSync(name)) destroy(name)
  return true
}

function foldersOf(directory: string, known: readonly ArchiveRecord[]): string[] {
  const folders = new Set([resolve(directory), ...known.map(({ file }) => resolve(dirname(file)))])
  return [...folders].filter(folder => existsSync(folder))
}
