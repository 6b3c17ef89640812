/**
 * The erasure stage: whatever the trail holds of a charge point, an admin or an address is overwritten, and the trail says so.
 *
 * Promise: rows, also those in archives, are blanked with the tombstone that says so, SYSTEM / ERASED as the next row; never one
 * without the other. Afterwards nothing in the files of the two databases, in archives and in copies of damage shows the subject;
 * the journal is its owner's to clean (service/erasure.ts). A legal hold wins: nothing is changed then. Works beside a running
 * service and with none; one at a time, and never while somebody archives. Must not run on the request path: it reads every row.
 *
 *   step                                             a crash after it leaves
 *   1. finish what an earlier one left of archives    nothing
 *      and copies of damage; find the rows, here and
 *      in archives, and copies that show the subject
 *   2. put the bundles of these rows on disk, as       nothing but staged files of archives, which nobody reads
 *      their salts are what they could be made of;
 *      write the archives anew, beside themselves
 *   3. one transaction, fsynced: rows, salts, chunks,  rows erased, on record; remains in archives, copies, pages, write-ahead log
 *      dictionary, archives on record, tombstone       and journal: ask again, or the next start, which goes on at 4
 *   4. replace the archives, destroy the copies,       fewer remains
 *      rewrite the tables, reclaim the free pages,
 *      empty the write-ahead logs
 *
 * Asked again when all is erased it changes no row and makes no tombstone, but does step 4.
 */
import { existsSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import {
  finishErasures,
  manifestsOf,
  removeStaged,
  type StagedArchive,
  stageErasure,
  stageManifests,
} from '../archive/erase-archives.ts'
import { lockArchiving, readBlocks } from '../archive/sqlite-trail.ts'
import { removeDrafts } from '../archive/text-search.ts'
import { networkOf } from '../context/client-address.ts'
import { Refusal } from '../errors.ts'
import { TILE_WIDTH } from '../evidence/tile.ts'
import { syncBundles } from '../log/log-files.ts'
import { readNamesInUse, scrubState } from '../security/sqlite-remains.ts'
import { eraseRows, type HeldRow, holdOn, noteFilesDue, rowsHolding } from '../store/erasures.ts'
import { logRoot, readLogHead } from '../store/log-store.ts'
import { patiently } from '../store/patience.ts'
import { listArchives, listHolds, listSealed, replaceArchive, type SealedSegment } from '../store/retention.ts'
import { emptyWriteAheadLog, finishRewrites } from '../store/rewrite.ts'
import { SCHEMA_VERSION, schemaVersion } from '../store/schema.ts'
import { createSqliteEventStore } from '../store/sqlite-event-store.ts'
import { type Subject, textHolds } from '../store/subject.ts'
import { type ArchivedRemains, eventsIn, findInArchives, removeOrRefuse } from './archived-remains.ts'
import { copiesHolding, destroyCopiesDue, holdOnCopies } from './damage-copies.ts'
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

export interface ErasurePaths {
  readonly auditDatabase: string
  readonly securityDatabase: string
  readonly journalDirectory: string
  /** Folder of archives. */
  readonly archives: string
}

/** How long to wait for readers of a write-ahead log. */
const READERS_MS_MAX = 30_000

/**
 * How many rows hold the subject, and what would keep them from being erased. Changes nothing.
 * @throws {Refusal} STORE_UNAVAILABLE, ARCHIVE_INVALID
 */
export async function planErasure(paths: ErasurePaths, subject: Subject): Promise<ErasurePlan> {
  using db = openRows(paths.auditDatabase)
  const found = [...rowsHolding(db, subject)]
  const elsewhere = await findElsewhere(paths, db, subject)
  const rows = inOrder([...found, ...eventsIn(elsewhere.archives)])
  try {
    refuseInUse(paths.securityDatabase, subject)
    refuseHeld(db, rows, subject)
    refuseHeldCopies(db, paths, elsewhere.copies)
    return { rows: rows.length, refusal: undefined }
  } catch (error) {
    if (error instanceof Refusal) return { rows: rows.length, refusal: error }
    throw error
  }
}

/**
 * Steps 1 to 3. Whatever is to be erased has to be a row by now.
 * @throws {Refusal} VALIDATION_FAILED, LEGAL_HOLD, SUBJECT_IN_USE, ERASURE_BLOCKED, ARCHIVE_RUNNING, ARCHIVE_INVALID, STORE_UNAVAILABLE:
 * nothing was changed
 */
export async function erase(paths: ErasurePaths, request: ErasureRequest): Promise<Erased> {
  const { auditDatabase } = paths
  const { subject } = request
  refuseNames(request)
  refuseInUse(paths.securityDatabase, subject)
  await using undo = new AsyncDisposableStack()
  undo.use(lockArchiving(paths.auditDatabase))
  removeDrafts(paths.archives)
  const store = createSqliteEventStore({ path: auditDatabase })
  undo.defer(() => store.close())
  const lastId = await patiently(() => store.lastId()) // brings an older database to this version
  finishOtherFiles(paths)
  const db = undo.use(openRows(auditDatabase))
  const found = [...rowsHolding(db, subject)].filter(({ id }) => id <= lastId)
  const elsewhere = await findElsewhere(paths, db, subject)
  const { copies, unfinished } = elsewhere
  const archived = eventsIn(elsewhere.archives)
  refuseHeld(db, [...found, ...archived], subject)
  refuseHeldCopies(db, paths, copies)
  const trail = { sealed: async () => listSealed(db), blocks: (segment: SealedSegment) => readBlocks(db, segment) }
  for (const archive of unfinished) await removeOrRefuse(trail, archive)
  syncBundles(logRoot(auditDatabase), bundlesOf(found))
  const staged: StagedArchive[] = []
  let eventId: number | null = null
  undo.defer(() => {
    if (eventId === null) removeStaged(staged)
  })
  for (const { archive, record } of elsewhere.archives) staged.push(await stageErasure(archive, record))

  const names = [...new Set(archived.flatMap(({ who, ip }) => [who, ip]))]
  let erased = 0
  await patiently(() =>
    store.record(writer => {
      const rows = [...found, ...rowsHolding(writer, subject, lastId)]
      const all = inOrder([...rows, ...archived])
      if (all.length + copies.length === 0) return undefined
      refuseHeld(writer, all, subject)
      syncBundles(logRoot(auditDatabase), bundlesOf(rows.slice(found.length)))
      erased = all.length
      const tombstone = readLogHead(writer).size + 1
      eraseRows(writer, rows, { ids: archived.map(({ id }) => id), names }, { subject, tombstone })
      const replaced = stageManifests(staged, tombstone)
      for (const record of replaced) replaceArchive(writer, record)
      noteFilesDue(writer, copies)
      eventId = tombstone
      return tombstoneOf(all, request, { manifests: manifestsOf(replaced), copies: copies.length })
    }),
  )
  return { erased, eventId, archivesMissing: elsewhere.missing, journalsBehind: [] }
}

/**
 * Step 4; without a subject, for erasures of before.
 * @throws {Refusal} ARCHIVE_RUNNING; ERASURE_UNFINISHED: somebody reads on and on
 */
export async function cleanFiles(
  paths: ErasurePaths,
  subject: Subject | undefined,
  patienceMs = READERS_MS_MAX,
): Promise<void> {
  using _lock = lockArchiving(paths.auditDatabase)
  finishOtherFiles(paths)
  const ofState = {
    who: subject?.kind === 'who' ? subject.name : undefined,
    network: subject?.kind === 'ip' ? networkOf(subject.name) : undefined,
  }
  const isStateClean = await scrubState(paths.securityDatabase, ofState, db => emptyWriteAheadLog(db, patienceMs))
  const areRowsClean = await finishRewrites(paths.auditDatabase, patienceMs)
  if (!isStateClean || !areRowsClean) throw new Refusal('ERASURE_UNFINISHED', undefined, { retryAfterSeconds: 60 })
}

/** What is on record as erased, in archives and copies. */
function finishOtherFiles({ auditDatabase, archives, journalDirectory }: ErasurePaths): void {
  using db = openRows(auditDatabase)
  finishErasures(listArchives(db), archives)
  destroyCopiesDue(db, journalDirectory)
}

function refuseInUse(securityDatabase: string, subject: Subject): void {
  const found = readNamesInUse(securityDatabase, names => {
    if (subject.kind === 'who' && names.isInUse(subject.name)) return 'registered'
    return [...names.locations()].some(location => textHolds(location, subject)) ? 'location' : undefined
  })
  refuseNamed(found)
}

function refuseHeld(db: DatabaseSync, rows: readonly HeldRow[], subject: Subject): void {
  refuseBy(holdOn(listHolds(db), rows, subject))
}

function refuseHeldCopies(db: DatabaseSync, { journalDirectory }: ErasurePaths, copies: readonly string[]): void {
  refuseBy(holdOnCopies(db, journalDirectory, copies))
}

interface Elsewhere extends ArchivedRemains {
  /** Names of copies of damaged journal segments. */
  readonly copies: readonly string[]
}

/** Files that hold the subject and are not of the databases. */
async function findElsewhere(paths: ErasurePaths, db: DatabaseSync, subject: Subject): Promise<Elsewhere> {
  const inArchives = await findInArchives(paths.archives, listArchives(db), subject)
  return { ...inArchives, copies: copiesHolding(paths.journalDirectory, subject) }
}

const bundlesOf = (rows: readonly HeldRow[]) => new Set(rows.map(({ id }) => Math.floor((id - 1) / TILE_WIDTH)))

function openRows(path: string): DatabaseSync & Disposable {
  if (!existsSync(path)) throw new Refusal('STORE_UNAVAILABLE')
  const db = new DatabaseSync(path, { readOnly: true, timeout: 5_000 })
  if (schemaVersion(db) === SCHEMA_VERSION) return db
  db.close()
  throw new Refusal('STORE_UNAVAILABLE', 'The event database is of an older version; start the service once.')
}
