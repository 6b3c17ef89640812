/**
 * The archive stage: sealed segments of the event database leave as files, once they are old enough and nothing holds them.
 *
 * Promise: a segment is dropped only when its archive is on disk, whole, was read back and can be verified without this database,
 * by a checkpoint that covers it; that it left is an event of the trail, and neither is without the other. Works beside a running
 * service, from this or another process, and with none. Owns the folder of archives while it runs (one archiver at a time for a trail)
 * and the tables of store/retention.ts. Where the trail is, and how a segment is read and dropped there, is behind trail.ts.
 *
 *   step, for each segment                                    a crash after it leaves
 *   0. wait for a checkpoint of it, for some seconds          nothing: without one it stays, until a later run
 *   1. write the events into a draft, sync, rename            an archive without manifest: written again
 *   2. write the manifest, likewise                           a finished archive whose segment is still there:
 *   3. read the archive back: digest, every event, its leaf    the next run goes on at 3, and compares it with the rows
 *      against the checkpoint, and the rows of the segment
 *      give the same digest
 *   4. one transaction of the database, on disk: drop the     the segment is gone, and the trail says so
 *      segment, note the archive, SYSTEM / ARCHIVED as the
 *      next row
 *   and at the end of a run
 *   5. give the free pages back to the disk (SQLite)          free pages, for the next run
 *
 * A finished archive is never written over: one that does not fit the rows, or the archive before it (an older database was
 * restored, and went another way), is refused, for a person to move. Rejected: deleting single old rows, which leaves holes in every
 * index and no space; and the outbox for the event (store/retention.ts says why).
 */
import { existsSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { setImmediate, setTimeout as sleep } from 'node:timers/promises'
import { system } from '../audit/events.ts'
import { createContext } from '../context/context.ts'
import { makePrivateFolder } from '../files/whole-file.ts'
import type { StoreLocation } from '../store/location.ts'
import type { Reclaimed } from '../store/reclaim.ts'
import { type ArchiveRecord, isHeldBy, type LegalHold, type SealedSegment, type TakenOut } from '../store/retention.ts'
import { type FoundArchive, readManifest } from './folder.ts'
import { archiveName, formatManifest, manifestName, saltsName, sha256Of } from './format.ts'
import type { SignedLog } from './log-proof.ts'
import { checkArchive, invalid } from './read-archive.ts'
import { formatSalts } from './salts.ts'
import { type LeavingTrail, openTrail, type TrailView, viewTrail } from './trail.ts'
import { type AfterBlock, digestOfRows, rangeOf, writeArchive } from './write-archive.ts'

export interface ArchivePlan {
  /** Old enough, and nothing holds them: these leave. */
  readonly leaving: readonly SealedSegment[]
  /** Likewise, but not under a signed checkpoint yet: these wait for one, and stay without. */
  readonly unsigned: readonly SealedSegment[]
  /** Old enough, but held; where segments leave in order, also those behind one that is held. */
  readonly held: readonly { readonly segment: SealedSegment; readonly holds: readonly LegalHold[] }[]
}

export interface ArchiveProgress {
  readonly phase: 'writing' | 'checking'
  readonly done: number
  readonly total: number
}

export interface ArchiveRun {
  readonly archived: readonly ArchiveRecord[]
  readonly held: ArchivePlan['held']
  /** Old enough, but not under a signed checkpoint yet: they leave in a later run. */
  readonly unsigned: readonly SealedSegment[]
  /** Undefined where the server sees to it. */
  readonly space: Reclaimed | undefined
}

export interface ArchiveOptions {
  readonly store: StoreLocation
  /** Where the archives go to; made with mode 0700 if it is not there. */
  readonly directory: string
  /** Segments whose newest event is older leave. Epoch milliseconds. */
  readonly beforeMs: number
  /** For the trail. */
  readonly actor: string
  readonly onProgress?: (progress: ArchiveProgress) => void
  /** Waited for after each block; lets others have the processor. */
  readonly rest?: () => Promise<void>
  /** How long to wait for a checkpoint, if none covers what is to leave. */
  readonly signatureMs?: number
}

/** A service that runs signs every second while there is news. */
const SIGNATURE_MS = 5_000
const SIGNATURE_POLL_MS = 200

/** What `archiveSegments` would do now. Changes nothing. @throws {StoreError} UNAVAILABLE, FOREIGN. @throws {Refusal} STORE_UNAVAILABLE */
export async function planArchive(store: StoreLocation, beforeMs: number): Promise<ArchivePlan> {
  await using trail = await viewTrail(store)
  const signed = await trail.signedLog() // before the segments, so that none seems signed that is not
  const { leaving, held } = await planFrom(trail, beforeMs)
  const isSigned = ({ lastId }: SealedSegment) => isUnder(signed, lastId)
  return { leaving: leaving.filter(isSigned), unsigned: leaving.filter(segment => !isSigned(segment)), held }
}

/** Whether an archive of it can be proven, or no archive of this log can, as nobody signs it. */
function isUnder(signed: SignedLog | 'unsigned' | undefined, lastId: number): signed is SignedLog | undefined {
  return signed === undefined || (signed !== 'unsigned' && signed.size >= lastId)
}

/**
 * Archives every segment that is old enough, the oldest first.
 * @throws {Refusal} ARCHIVE_RUNNING; ARCHIVE_FAILED, ARCHIVE_INVALID, STORE_UNAVAILABLE: what left until then has left
 */
export async function archiveSegments(options: ArchiveOptions): Promise<ArchiveRun> {
  const { directory, beforeMs } = options
  await using trail = await openTrail(options.store)
  const { leaving, held } = await planFrom(trail, beforeMs)
  if (leaving.length > 0) makePrivateFolder(directory)
  const archived: ArchiveRecord[] = []
  const afterBlock = progressOf(leaving, options)
  const signedLogs = waitForSignatures(trail, options.signatureMs ?? SIGNATURE_MS)
  const unsigned: SealedSegment[] = []
  for (const segment of leaving) {
    const isBehindOne = trail.isInOrder && unsigned.length > 0
    const signed = isBehindOne ? 'unsigned' : await signedLogs(segment)
    if (signed === 'unsigned') {
      unsigned.push(segment)
      continue
    }
    const last = (await trail.archives()).at(-1)
    const found = await finishedArchive({ trail, segment, signed, directory, last, afterBlock })
    const record = recordOf(found, directory)
    const outcome = await leave(trail, segment, record, options.actor)
    if (outcome !== 'held') archived.push(record)
    else {
      takeBack(record)
      if (trail.isInOrder) break
    }
  }
  return { archived, held, unsigned, space: await trail.reclaim() }
}

async function planFrom(trail: TrailView, beforeMs: number): Promise<Omit<ArchivePlan, 'unsigned'>> {
  const holds = await trail.holds()
  const sealed = await trail.sealed()
  const isOld = ({ lastTime }: SealedSegment) => Date.parse(lastTime) < beforeMs
  const young = trail.isInOrder ? sealed.findIndex(segment => !isOld(segment)) : -1
  const old = young < 0 ? sealed.filter(isOld) : sealed.slice(0, young)
  const looked: { readonly segment: SealedSegment; readonly holds: readonly LegalHold[] }[] = []
  for (const segment of old) {
    const before = trail.isInOrder ? (looked.at(-1)?.holds ?? []) : []
    looked.push({ segment, holds: holds.filter(hold => before.includes(hold) || isHeldBy(hold, segment)) })
  }
  return {
    leaving: looked.filter(each => each.holds.length === 0).map(({ segment }) => segment),
    held: looked.filter(each => each.holds.length > 0),
  }
}

/** Step 0. One patience for a whole run. Undefined: nobody signs this log. */
function waitForSignatures(trail: TrailView, patienceMs: number) {
  const until = performance.now() + patienceMs
  return async ({ lastId }: SealedSegment): Promise<SignedLog | 'unsigned' | undefined> => {
    for (;;) {
      const signed = await trail.signedLog()
      if (isUnder(signed, lastId)) return signed
      if (performance.now() >= until) return 'unsigned'
      await sleep(SIGNATURE_POLL_MS)
    }
  }
}

/** Steps 1 to 3; the first two only if an earlier run has not done them. */
async function finishedArchive(work: {
  readonly trail: LeavingTrail
  readonly segment: SealedSegment
  readonly signed: SignedLog | undefined
  readonly directory: string
  readonly last: ArchiveRecord | undefined
  readonly afterBlock: (phase: ArchiveProgress['phase']) => AfterBlock
}): Promise<FoundArchive> {
  const { trail, segment, signed, directory, last, afterBlock } = work
  const number = (last?.number ?? 0) + 1
  const previous = last?.manifest_sha256 ?? null
  const path = join(directory, archiveName(rangeOf(segment)))
  const finished = readManifest(manifestName(path))
  const logPart = await trail.logPart(segment, signed)
  if (finished === undefined) {
    if (existsSync(manifestName(path))) throw invalid(manifestName(path), 'it is not a manifest of this version')
    const manifest = await writeArchive({
      trail,
      segment,
      directory,
      number,
      previous,
      logPart,
      afterBlock: afterBlock('writing'),
    })
    await checkArchive(directory, manifest, afterBlock('checking'))
    return { manifest, digest: sha256Of(formatManifest(manifest)) }
  }
  const { manifest } = finished
  if (manifest.number !== number || manifest.previous !== previous) {
    throw invalid(
      path,
      `it is there already, but does not follow on archive ${number - 1} of this database; move it away`,
    )
  }
  const digest = await digestOfRows(trail, segment, afterBlock('writing'))
  const isSameLog = manifest.log?.salts_sha256 === sha256Of(formatSalts(logPart))
  if (digest !== manifest.ndjson_sha256 || !isSameLog) {
    throw invalid(path, 'it is there already, but holds other events than this database; move it away')
  }
  await checkArchive(directory, manifest, afterBlock('checking'))
  return finished
}

function recordOf({ manifest, digest }: FoundArchive, directory: string): ArchiveRecord {
  const { number, first_id, last_id, first_time, last_time, file, sha256, archived_at } = manifest
  const range = { first_id, last_id, first_time, last_time }
  return { number, ...range, file: join(directory, file), sha256, manifest_sha256: digest, archived_at }
}

/** Step 4. */
async function leave(
  trail: LeavingTrail,
  segment: SealedSegment,
  archive: ArchiveRecord,
  actor: string,
): Promise<TakenOut> {
  const { number, first_id, last_id, archived_at: _at, ...rest } = archive
  const count = last_id - first_id + 1
  const event = system('ARCHIVED', createContext(), {
    description: `Events ${first_id} to ${last_id} left the database as archive ${number}`,
    metadata: { archive: number, first_id, last_id, count, ...rest, actor },
  })
  return trail.takeOut(segment, archive, event)
}

/** A hold was placed while it was written; its segment is still there. Crash in between: the next run refuses it, for a person to move. */
function takeBack({ file }: ArchiveRecord): void {
  for (const name of [manifestName(file), saltsName(file), file]) rmSync(name, { force: true })
}

/** Each event is written, or its archive compared with it, and then read back. */
function progressOf(leaving: readonly SealedSegment[], { onProgress, rest = setImmediate }: ArchiveOptions) {
  const total = 2 * leaving.reduce((sum, { firstId, lastId }) => sum + lastId - firstId + 1, 0)
  let done = 0
  return (phase: ArchiveProgress['phase']): AfterBlock =>
    async events => {
      done += events
      onProgress?.({ phase, done, total })
      await rest()
    }
}
