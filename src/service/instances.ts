/**
 * Instances that are gone for good, and their journals.
 *
 * *Forget*: somebody who knows that a machine will not come back declares it. What its journal held and was no row yet is lost, as far as
 * anybody can know, and the trail says after which record that is. State and event are one transaction.
 *
 * *Adopt*: the disk is back after all. Its journal is opened as the instance would have opened it, and its records become rows from the
 * position on that PostgreSQL has of it; the same position that kept them from being doubled keeps them so now.
 *
 *   1. the folder is locked, a torn tail is cut       crash: as any start leaves it
 *   2. records become rows, batch by batch            goes on behind the last batch
 *   3. `adopted` in the table, with the event that    nothing of it, or both
 *      says so
 *   4. the folder is marked                           `adopt` once more marks it
 */
import { rmSync } from 'node:fs'
import { basename, dirname, resolve } from 'node:path'
import type { AuditLogger } from '../audit/audit-service.ts'
import { system } from '../audit/events.ts'
import { createSharedDetector } from '../audit/shared-detector.ts'
import { createContext } from '../context/context.ts'
import { counted } from '../counted.ts'
import { Refusal } from '../errors.ts'
import { createPostgres, type Postgres } from '../postgres/postgres.ts'
import { leaveEvent } from '../security/postgres-outbox.ts'
import { declareMissing, type Instance, listInstances, lockInstance, setAdopted } from '../store/postgres-instances.ts'
import { type DataFolder, dataFolder, lockDataFolder, markAdopted } from './data-folder.ts'
import { readJournalId } from './data-position.ts'
import { openPipeline } from './pipeline.ts'
import { prepareShared } from './shared-database.ts'

export type { Instance }

const INDEX_MS = 10_000

/** @throws {PostgresError} */
export async function readInstances(url: string): Promise<Instance[]> {
  await using undo = new AsyncDisposableStack()
  const postgres = await openDatabase(url, undo)
  return await postgres.use(listInstances)
}

/**
 * Puts on record what may be missing; nothing, when it stopped with all of its journal in rows.
 * @returns the instance as it was; undefined: there is none
 * @throws {Refusal} DATA_FOLDER_IN_USE: it is there
 */
export async function forgetInstance(url: string, journalId: string, actor: string): Promise<Instance | undefined> {
  await using undo = new AsyncDisposableStack()
  const postgres = await openDatabase(url, undo)
  return await postgres.transaction(async session => {
    const instance = await lockInstance(session, journalId)
    if (instance === undefined || instance.state === 'forgotten' || instance.state === 'adopted') return instance
    refuseAlive(instance)
    await declareMissing(session, { ...instance, state: 'forgotten' })
    const { host, indexed, durable, seen_at } = instance
    if (instance.state === 'stopped' && indexed >= durable) return instance // cleanly, and all it had is rows
    const description = `The machine of an instance is gone: its journal may hold unindexed records after sequence ${indexed}`
    const metadata = { journal: journalId, host, after_sequence: indexed, last_known_sequence: durable, actor }
    const last_seen = seen_at.toISOString()
    await leaveEvent(
      session,
      system('LOSS_DECLARED', createContext(), { description, metadata: { ...metadata, last_seen } }),
    )
    return instance
  })
}

/**
 * Of a service that ran once, in a folder that it made, as before an update: its journal goes, if all of it is rows. Kept as one that
 * may return, each erasure would name it for ever, as the folder often goes with a container.
 *
 *   1. `forgotten` in the table    crash: a start on this folder goes on with its journal, and says that it is back
 *   2. the journal is deleted      a start begins another one
 */
export async function leaveNoJournal(url: string, path: string): Promise<void> {
  await using undo = new AsyncDisposableStack()
  const postgres = await openDatabase(url, undo)
  const folder = dataFolder(path)
  const lock = undo.use(lockDataFolder(folder))
  const journalId = readJournalId(folder.journalDirectory)
  if (journalId === undefined) return lock.markClean()
  const isForgotten = await postgres.transaction(async session => {
    const instance = await lockInstance(session, journalId)
    if (instance?.state !== 'stopped' || instance.indexed < instance.durable) return false
    await declareMissing(session, { ...instance, state: 'forgotten' })
    return true
  })
  if (isForgotten) rmSync(folder.journalDirectory, { recursive: true })
  lock.markClean()
}

export interface Adopted {
  readonly journalId: string
  readonly folder: DataFolder
  /** Records that became rows, now or in a run before that was cut short. */
  readonly records: number
}

/**
 * @param directory data folder of the instance, or the `journal` in it
 * @returns undefined when no instance with this journal ever shared the database: nothing was done
 * @throws {Refusal} DATA_FOLDER_IN_USE: its service runs; JOURNAL_BEHIND: an old copy, of which all is known
 */
export async function adoptJournal(options: {
  readonly url: string
  readonly directory: string
  readonly actor: string
  readonly logger: AuditLogger
}): Promise<Adopted | undefined> {
  const { url, actor, logger } = options
  await using undo = new AsyncDisposableStack()
  const postgres = await openDatabase(url, undo)
  const folder = folderOf(options.directory)
  const journalId = readJournalId(folder.journalDirectory)
  if (journalId === undefined) return undefined
  if ((await postgres.transaction(session => lockInstance(session, journalId))) === undefined) return undefined
  const lock = undo.use(lockDataFolder(folder))
  undo.defer(lock.leaveAsFound)
  // By the lock nobody uses this folder; by this, nobody uses the one that it is a copy of.
  await postgres.transaction(async session => {
    const instance = (await lockInstance(session, journalId)) as Instance
    refuseAlive(instance)
    await declareMissing(session, instance)
  })
  const last = await indexAll(url, folder, logger)
  const records = await putOnRecord(postgres, { journalId, last, actor })
  markAdopted(folder, postgres.address)
  return { journalId, folder, records }
}

/** Step 2. @returns the last record */
async function indexAll(url: string, folder: DataFolder, logger: AuditLogger): Promise<number> {
  const window = { threshold: 1, windowSeconds: 1 } // what is counted is counted by those that follow the rows
  const pipeline = await openPipeline({
    folder,
    store: { kind: 'postgres', url },
    logger,
    ackTimeoutMs: 1,
    bruteForceThreshold: window.threshold,
    bruteForceWindowSeconds: window.windowSeconds,
    detector: createSharedDetector(window).detector,
  })
  try {
    while (!(await pipeline.caughtUp(INDEX_MS))) {
      const { phase, lastError } = pipeline.status().indexer
      if (phase === 'halted') throw new Refusal('STORE_UNAVAILABLE', `Indexing halted: ${lastError}`)
    }
    return pipeline.status().journal.appendedSequence
  } finally {
    await pipeline.close()
  }
}

/** Step 3. @returns how many records became rows since it was missing */
function putOnRecord(
  postgres: Postgres,
  { journalId, last, actor }: { journalId: string; last: number; actor: string },
): Promise<number> {
  return postgres.transaction(async session => {
    const { state, host, missing_after, indexed } = (await lockInstance(session, journalId)) as Instance
    if (indexed < last)
      throw new Refusal('STORE_UNAVAILABLE', `Only ${indexed} of ${last} records are rows yet: try again.`)
    const after = missing_after ?? last
    if (state === 'adopted') return last - after
    await setAdopted(session, journalId)
    const description = `The journal of an instance that was gone was adopted: ${counted(last - after, 'record')} became rows`
    const metadata = { journal: journalId, host, after_sequence: after, last_sequence: last, actor }
    await leaveEvent(session, system('JOURNAL_ADOPTED', createContext(), { description, metadata }))
    return last - after
  })
}

async function openDatabase(url: string, undo: AsyncDisposableStack): Promise<Postgres> {
  const postgres = undo.use(createPostgres({ url, connectionsMax: 1, applicationName: 'ev-central instances' }))
  await prepareShared(postgres)
  return postgres
}

function refuseAlive({ state, isStale, seen_at, host }: Instance): void {
  if (state !== 'running' || isStale) return
  const detail = `The instance on ${host} runs, or did a moment ago: it was last seen at ${seen_at.toISOString()}.`
  throw new Refusal('DATA_FOLDER_IN_USE', `${detail} Nothing was changed.`)
}

function folderOf(directory: string): DataFolder {
  const path = resolve(directory)
  return dataFolder(basename(path) === 'journal' ? dirname(path) : path)
}
