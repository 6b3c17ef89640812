/**
 * Erasure of a trail in PostgreSQL, which any number of instances write: whatever it holds of a charge point, an admin or an address is
 * blanked, and the trail says so. What is refused and what a tombstone says is as with SQLite (request.ts).
 *
 * Promise: rows are blank and salts destroyed with the tombstone that says so, by the function `evc_erase_events` alone; never one
 * without the other. So are events of archives that are at hand here; which were not, the answer says. Afterwards no table or index of
 * this database shows the subject in its files, nor does the journal of an instance that runs; those that are away do their part when
 * they return. Works beside running instances and with none, by whoever reaches the database; one at a time. Must not know of a journal:
 * each instance clears its own (service/journal-clearing.ts).
 *
 *   step                                                a crash after it leaves
 *   1. ask the instances to clear their journals, so     cleared journals
 *      that all that was answered until now is a row
 *   2. find the rows, window by window, and what          the same, and staged files of archives, which nobody reads
 *      archives hold; write those anew, beside themselves
 *   3. one transaction under the lock of the head: what  rows erased, on record, with what is due: tables to be written
 *      came meanwhile, tombstone, rows, salts            anew, journals to be cleared; ask again, or the next start of an
 *                                                        instance, which go on at 4
 *   4. replace the archives; wait for those that read    fewer remains
 *      since before; write the tables anew, one
 *      transaction each
 *   5. wait for the instances to clear their journals    the same
 *
 * Write-ahead log, archived and streamed, and backups keep what they have as long as they are kept: they are the server's.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import {
  areErasuresUnfinished,
  finishErasures,
  manifestsOf,
  removeStaged,
  type StagedArchive,
  stageErasure,
  stageManifests,
} from '../archive/erase-archives.ts'
import { assertHeldBy, withArchiveLock } from '../archive/postgres-lock.ts'
import { readBlocks } from '../archive/postgres-trail.ts'
import { hasDrafts, removeDrafts } from '../archive/text-search.ts'
import { networkOf } from '../context/client-address.ts'
import { Refusal } from '../errors.ts'
import type { Postgres, Session } from '../postgres/postgres.ts'
import { available, PostgresError } from '../postgres/postgres-error.ts'
import { findNameInUse, isInOutbox, rewriteState, scrubState } from '../security/postgres-remains.ts'
import { type HeldRow, holdOn } from '../store/erasures.ts'
import { patiently } from '../store/patience.ts'
import {
  eraseHeld,
  findHolding,
  openTransactions,
  rewriteDue,
  rewritesDue,
  withoutErased,
} from '../store/postgres-erasures.ts'
import type { PostgresEventStore } from '../store/postgres-event-store.ts'
import { readHolds } from '../store/postgres-holds.ts'
import { askForClearing, journalsBehind, lastRequest } from '../store/postgres-journals.ts'
import { readHead } from '../store/postgres-log.ts'
import { readArchives, readSealed, replaceArchiveShared } from '../store/postgres-retention.ts'
import type { ArchiveRecord, SealedSegment } from '../store/retention.ts'
import { rowHolds, type Subject, textHolds } from '../store/subject.ts'
import { type ArchivedRemains, eventsIn, findInArchives, removeOrRefuse } from './archived-remains.ts'
import {
  type Erased,
  type ErasurePlan,
  type ErasureRequest,
  inOrder,
  refuseBy,
  refuseNamed,
  refuseNames,
  tombstoneOf,
} from './request.ts'

export interface SharedTrail {
  readonly postgres: Postgres
  readonly store: Pick<PostgresEventStore, 'record'>
  /** Folder that archives of the trail are written to from here. */
  readonly archives: string
}

/** How long to wait for the instances that run, and for those who read. */
const PATIENCE_MS = 60_000
const READERS_MS_MAX = 30_000
const PAUSE_MS = 100
/** Whoever waits for a table behind us waits no longer than that. */
const TABLE_LOCK_MS_MAX = 2_000
const RETRY_AFTER_SECONDS = 60

/** How many rows hold the subject, and what would keep them from being erased. Changes nothing. @throws {Refusal} STORE_UNAVAILABLE */
export async function planErasureShared(
  { postgres, archives }: Pick<SharedTrail, 'postgres' | 'archives'>,
  subject: Subject,
): Promise<ErasurePlan> {
  return available(() =>
    postgres.use(async session => {
      const { size } = await readHead(session)
      const held = await findHolding(session, subject, { after: 0, through: size })
      const remains = await findInArchives(archives, await readArchives(session), subject)
      const rows = inOrder([...held, ...eventsIn(remains.archives)])
      try {
        await refuseInUse(session, subject)
        await refuseHeld(session, rows, subject)
        return { rows: rows.length, refusal: undefined }
      } catch (error) {
        if (error instanceof Refusal) return { rows: rows.length, refusal: error }
        throw error
      }
    }),
  )
}

/**
 * @throws {Refusal} VALIDATION_FAILED, LEGAL_HOLD, SUBJECT_IN_USE, ARCHIVE_RUNNING, STATE_UNAVAILABLE, STORE_UNAVAILABLE: nothing was
 * changed; ERASURE_UNFINISHED: erased, but remains are still in files; STATE_UNCERTAIN: the connection was lost in the commit and
 * did not come back. Asking again is right in any case.
 */
export async function eraseShared(
  trail: SharedTrail,
  request: ErasureRequest,
  readersMs = READERS_MS_MAX,
): Promise<Erased> {
  const { postgres } = trail
  const { subject } = request
  refuseNames(request)
  return withArchiveLock(postgres, async (session, lockPid) => {
    const erased = await available(async () => {
      await refuseInUse(session, subject)
      await indexEverything(session, subject)
      const known = await finishArchives(trail, session)
      removeDrafts(trail.archives)
      const { size } = await readHead(session)
      const rows = await findHolding(session, subject, { after: 0, through: size })
      const remains = await findInArchives(trail.archives, known, subject)
      await refuseHeld(session, [...rows, ...eventsIn(remains.archives)], subject)
      const blocks = (segment: SealedSegment) => readBlocks(postgres, segment)
      for (const archive of remains.unfinished) {
        await removeOrRefuse({ sealed: () => readSealed(session), blocks }, archive)
      }
      return { ...(await eraseRows(trail, request, { rows, through: size, known, remains, lockPid })), remains }
    })
    return finishing(async () => {
      await finishArchives(trail, session)
      await clean(trail, session, subject, readersMs)
      const journalsBehind = await journalsCleared(session, await lastRequest(session))
      if (journalsBehind === undefined) throw unfinished()
      const { eventId, remains } = erased
      return { erased: erased.erased, eventId, archivesMissing: remains.missing, journalsBehind }
    })
  })
}

/**
 * Step 4, of erasures that were cut short; the journals are cleared by their instances anyhow. @returns whether there was anything
 * @throws {Refusal} ARCHIVE_RUNNING, ERASURE_UNFINISHED, STORE_UNAVAILABLE
 */
export async function finishShared(trail: SharedTrail): Promise<boolean> {
  const { postgres, archives } = trail
  const due = await available(() => postgres.use(rewritesDue))
  const known = await available(() => postgres.use(readArchives))
  if (due.length === 0 && !areErasuresUnfinished(known, archives) && !hasDrafts(archives)) return false
  await withArchiveLock(postgres, async session => {
    removeDrafts(archives) // of an archiver that was killed
    await finishArchives(trail, session)
    await finishing(() => clean(trail, session, undefined, READERS_MS_MAX))
  })
  return true
}

/** Archives that are on record as written anew take the place of those before. @returns what is on record */
async function finishArchives({ archives }: SharedTrail, session: Session): Promise<ArchiveRecord[]> {
  const known = await readArchives(session)
  finishErasures(known, archives)
  return known
}

/** Step 1. What the instances that run have recorded by now, also of changes in their outboxes, is a row. */
async function indexEverything(session: Session, subject: Subject): Promise<void> {
  if ((await journalsCleared(session, await askForClearing(session))) === undefined) {
    throw new Refusal('STORE_UNAVAILABLE', 'Nothing was erased. An instance cannot make rows of its journal now.')
  }
  if (!(await isInOutbox(session, event => rowHolds(event, subject)))) return
  const detail = 'Nothing was erased. An event of a change waits for an instance to record it: ask again when one runs.'
  throw new Refusal('STATE_UNAVAILABLE', detail, { retryAfterSeconds: RETRY_AFTER_SECONDS })
}

/** @returns the journals of those that are away; undefined when one that runs did not do it in time */
async function journalsCleared(session: Session, request: number): Promise<string[] | undefined> {
  for (const until = performance.now() + PATIENCE_MS; ; await sleep(PAUSE_MS)) {
    const behind = await journalsBehind(session, request)
    if (behind.every(({ isAway }) => isAway)) return behind.map(({ id }) => id)
    if (performance.now() > until) return undefined
  }
}

interface FoundSubject {
  readonly rows: readonly HeldRow[]
  /** The last row that was looked at. */
  readonly through: number
  /** The archives that were on record then. */
  readonly known: readonly ArchiveRecord[]
  readonly remains: ArchivedRemains
  /** Of the session that keeps others from archiving meanwhile. */
  readonly lockPid: number
}

/** Archives are written anew beside themselves; then step 3. */
async function eraseRows(
  { store }: SharedTrail,
  request: ErasureRequest,
  found: FoundSubject,
): Promise<Pick<Erased, 'erased' | 'eventId'>> {
  const { subject } = request
  const { through, known, remains, lockPid } = found
  const archived = eventsIn(remains.archives)
  const staged: StagedArchive[] = []
  let done: { erased: number; eventId: number; first: number } | undefined
  try {
    for (const { archive, record } of remains.archives) staged.push(await stageErasure(archive, record))
    await patiently(() =>
      store.record(async (session, tombstone) => {
        // A commit before, of which nobody answered whether it happened.
        if (done !== undefined && (await isErasedBy(session, done.first, done.eventId))) return undefined
        done = undefined
        await assertHeldBy(session, lockPid)
        if (!areSame(known, await readArchives(session))) throw new Refusal('ARCHIVE_RUNNING') // it was lost before, and taken again
        const since = await findHolding(session, subject, { after: through, through: tombstone - 1 })
        const rows = inOrder([...(await withoutErased(session, [...found.rows, ...since])), ...archived])
        const [first] = rows
        if (first === undefined) return undefined
        await refuseHeld(session, rows, subject)
        const replaced = stageManifests(staged, tombstone)
        done = { erased: rows.length, eventId: tombstone, first: first.id }
        return {
          event: tombstoneOf(rows, request, { manifests: manifestsOf(replaced) }),
          async apply(inside) {
            await eraseHeld(inside, rows, tombstone)
            for (const record of replaced) await replaceArchiveShared(inside, record, tombstone)
          },
        }
      }),
    )
  } catch (error) {
    if (done === undefined) removeStaged(staged)
    const isUncertain = done !== undefined && error instanceof Refusal && error.code === 'STORE_UNAVAILABLE'
    throw isUncertain ? new Refusal('STATE_UNCERTAIN', undefined, { cause: error }) : error
  }
  return { erased: done?.erased ?? 0, eventId: done?.eventId ?? null }
}

function areSame(before: readonly ArchiveRecord[], now: readonly ArchiveRecord[]): boolean {
  const spell = (archives: readonly ArchiveRecord[]) => archives.map(({ manifest_sha256 }) => manifest_sha256).join()
  return spell(before) === spell(now)
}

async function isErasedBy(session: Session, id: number, tombstone: number): Promise<boolean> {
  const found = await session.query('SELECT FROM log_erasures WHERE id = $1 AND tombstone = $2', [id, tombstone])
  return found.rowCount === 1
}

/** Step 4. */
async function clean(
  { postgres }: SharedTrail,
  session: Session,
  subject: Subject | undefined,
  readersMs: number,
): Promise<void> {
  await postgres.transaction(inside =>
    scrubState(inside, {
      who: subject?.kind === 'who' ? subject.name : undefined,
      network: subject?.kind === 'ip' ? networkOf(subject.name) : undefined,
    }),
  )
  const until = performance.now() + readersMs
  // Twice: one that began while an older one wrote sees as far back as that one.
  for (let round = 0; round < 2; round++) {
    if (!(await haveEnded(session, await openTransactions(session), until))) throw unfinished()
  }
  await persist(until, () => rewriteState(postgres, limitLock))
  for (const table of await rewritesDue(session)) {
    await persist(until, () =>
      postgres.transaction(async inside => {
        await limitLock(inside)
        await rewriteDue(inside, table)
      }),
    )
  }
}

/** The rows are erased by now, whatever fails. */
async function finishing<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    throw error instanceof PostgresError ? unfinished(error) : error
  }
}

async function haveEnded(session: Session, before: ReadonlySet<string>, until: number): Promise<boolean> {
  for (;;) {
    const now = await openTransactions(session)
    if (![...before].some(name => now.has(name))) return true
    if (performance.now() > until) return false
    await sleep(PAUSE_MS)
  }
}

async function limitLock(session: Session): Promise<void> {
  await session.query(`SET LOCAL lock_timeout = ${TABLE_LOCK_MS_MAX}`)
}

/** What is in use now may not be in a moment. */
async function persist(until: number, work: () => Promise<void>): Promise<void> {
  for (;;) {
    try {
      return await work()
    } catch (error) {
      if (!(error instanceof PostgresError) || error.code === 'FOREIGN' || performance.now() > until) throw error
      await sleep(PAUSE_MS)
    }
  }
}

const unfinished = (cause?: unknown) =>
  new Refusal('ERASURE_UNFINISHED', undefined, { retryAfterSeconds: RETRY_AFTER_SECONDS, cause })

async function refuseInUse(session: Session, subject: Subject): Promise<void> {
  const { kind, name } = subject
  refuseNamed(await findNameInUse(session, kind === 'who' ? name : undefined, text => textHolds(text, subject)))
}

async function refuseHeld(session: Session, rows: readonly HeldRow[], subject: Subject): Promise<void> {
  refuseBy(holdOn(await readHolds(session), rows, subject))
}
