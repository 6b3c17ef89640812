/**
 * The erasure stage: whatever the trail holds of a charge point, an admin or an address is overwritten, and the trail says so.
 *
 * Promise: rows are blanked in one transaction with the tombstone that says so, SYSTEM / ERASED as the next row; never one
 * without the other. Afterwards nothing in the files of the two databases shows the subject; the journal is its owner's to
 * clean (service/erasure.ts). A legal hold wins: nothing is changed then. Works beside a running service and with none; one at a time,
 * and never while somebody archives. Must not run on the request path: it reads every row.
 *
 *   step                                             a crash after it leaves
 *   1. find the rows; archives and copies of damage   nothing
 *      must not hold the subject
 *   2. put the bundles of these rows on disk, as       nothing
 *      their salts are what they could be made of
 *   3. one transaction, fsynced: rows, salts, chunks,  rows erased, on record; remains in pages, write-ahead log and journal:
 *      dictionary, tombstone                           ask again, or the next start, which goes on at 4
 *   4. rewrite the tables, reclaim the free pages,     fewer remains
 *      empty the write-ahead logs
 *
 * Asked again when all is erased it changes no row and makes no tombstone, but does step 4.
 */
import { existsSync, globSync, readFileSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import { lockArchiving } from '../archive/archive.ts'
import { removeDrafts, searchArchiveTexts } from '../archive/text-search.ts'
import { system } from '../audit/events.ts'
import { networkOf } from '../context/client-address.ts'
import { createContext } from '../context/context.ts'
import { Refusal } from '../errors.ts'
import type { AuditEvent } from '../event/event.ts'
import { TILE_WIDTH } from '../evidence/tile.ts'
import { syncBundles } from '../log/log-files.ts'
import { readNamesInUse, scrubState } from '../security/sqlite-remains.ts'
import { digestOfIds, eraseRows, type HeldRow, holdOn, rowsHolding } from '../store/erasures.ts'
import { logRoot, readLogHead } from '../store/log-store.ts'
import { patiently } from '../store/patience.ts'
import { listArchives } from '../store/retention.ts'
import { emptyWriteAheadLog, finishRewrites } from '../store/rewrite.ts'
import { SCHEMA_VERSION, schemaVersion } from '../store/schema.ts'
import { createSqliteEventStore } from '../store/sqlite-event-store.ts'
import { rowHolds, type Subject, textHolds } from '../store/subject.ts'

export interface ErasurePaths {
  readonly auditDatabase: string
  readonly securityDatabase: string
  readonly journalDirectory: string
  /** Folder of archives, and the file that is held while somebody archives or erases. */
  readonly archives: string
  readonly lockFile: string
}

export interface ErasureRequest {
  readonly subject: Subject
  readonly reason: string
  readonly actor: string
}

export interface Erased {
  readonly erased: number
  /** The tombstone; null when no row held the subject. */
  readonly eventId: number | null
  /** Numbers of archives that are not at hand and were not looked into. */
  readonly archivesMissing: readonly number[]
}

/** Names that stand for nobody. */
const NOBODY: ReadonlySet<string> = new Set(['system', 'unknown', '-'])
const FILES_NAMED_MAX = 5
/** How long to wait for readers of a write-ahead log. */
const READERS_MS_MAX = 30_000

/** How many rows hold the subject, and what would keep them from being erased. Changes nothing. @throws {Refusal} STORE_UNAVAILABLE */
export async function planErasure(
  paths: ErasurePaths,
  subject: Subject,
): Promise<{ readonly rows: number; readonly refusal: Refusal | undefined }> {
  using db = openRows(paths.auditDatabase)
  const rows = [...rowsHolding(db, subject)]
  try {
    refuseInUse(paths.securityDatabase, subject)
    refuseHeld(db, rows, subject)
    await refuseElsewhere(paths, db, subject)
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
  undo.use(lockArchiving(paths.lockFile))
  removeDrafts(paths.archives)
  const store = createSqliteEventStore({ path: auditDatabase })
  undo.defer(() => store.close())
  const lastId = await patiently(() => store.lastId()) // brings an older database to this version
  const db = undo.use(openRows(auditDatabase))
  const found = [...rowsHolding(db, subject)].filter(({ id }) => id <= lastId)
  const archivesMissing = await refuseElsewhere(paths, db, subject)
  syncBundles(logRoot(auditDatabase), bundlesOf(found))

  let eventId: number | null = null
  let erased = 0
  await patiently(() =>
    store.record(writer => {
      const rows = [...found, ...rowsHolding(writer, subject, lastId)]
      if (rows.length === 0) return undefined
      refuseHeld(writer, rows, subject)
      syncBundles(logRoot(auditDatabase), bundlesOf(rows.slice(found.length)))
      erased = rows.length
      eventId = readLogHead(writer).size + 1
      eraseRows(writer, rows, subject, eventId)
      return tombstone(rows, request)
    }),
  )
  return { erased, eventId, archivesMissing }
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
  using _lock = lockArchiving(paths.lockFile)
  const ofState = {
    who: subject?.kind === 'who' ? subject.name : undefined,
    network: subject?.kind === 'ip' ? networkOf(subject.name) : undefined,
  }
  const isStateClean = await scrubState(paths.securityDatabase, ofState, db => emptyWriteAheadLog(db, patienceMs))
  const areRowsClean = await finishRewrites(paths.auditDatabase, patienceMs)
  if (!isStateClean || !areRowsClean) throw new Refusal('ERASURE_UNFINISHED', undefined, { retryAfterSeconds: 60 })
}

/** Says how many and why; never whom. */
function tombstone(rows: readonly HeldRow[], { reason, actor }: ErasureRequest): AuditEvent {
  return system('ERASED', createContext(), {
    description: `${rows.length} events were erased: ${reason}`,
    metadata: { count: rows.length, ids_sha256: digestOfIds(rows), reason, actor },
  })
}

/** The tombstone stays for ever, so it must not name the subject. */
function refuseNames({ subject, reason, actor }: ErasureRequest): void {
  const refuse = (field: string, rule: string) => {
    throw new Refusal('VALIDATION_FAILED', undefined, { violations: [{ field, rule }] })
  }
  if (NOBODY.has(subject.name)) refuse(subject.kind, 'names_nobody')
  if (textHolds(reason, subject)) refuse('reason', 'names_the_subject')
  if (textHolds(actor, subject)) refuse(subject.kind, 'is_who_asks')
}

function refuseInUse(securityDatabase: string, subject: Subject): void {
  const found = readNamesInUse(securityDatabase, names => {
    if (subject.kind === 'who' && names.isInUse(subject.name)) return 'registered'
    return [...names.locations()].some(location => textHolds(location, subject)) ? 'location' : undefined
  })
  if (found === 'registered') throw new Refusal('SUBJECT_IN_USE')
  if (found === 'location') {
    throw new Refusal('SUBJECT_IN_USE', 'Nothing was erased. The location of a charge point names the subject.')
  }
}

function refuseHeld(db: DatabaseSync, rows: readonly HeldRow[], subject: Subject): void {
  const hold = holdOn(db, rows, subject)
  if (hold === undefined) return
  const { id, start_time, end_time } = hold
  const detail = `Nothing was erased. Legal hold ${id} keeps the events of ${start_time} to ${end_time}.`
  throw new Refusal('LEGAL_HOLD', detail)
}

/** Files that hold events and do not change. @returns numbers of the archives that are not at hand */
async function refuseElsewhere(paths: ErasurePaths, db: DatabaseSync, subject: Subject): Promise<readonly number[]> {
  const { archives, journalDirectory } = paths
  const { found, missing } = await searchArchiveTexts(archives, listArchives(db), event => rowHolds(event, subject))
  const copies = globSync('*.damaged*', { cwd: journalDirectory })
    .map(name => `${journalDirectory}/${name}`)
    .filter(path => readFileSync(path).includes(subject.name))
  const files = [...found, ...copies]
  if (files.length === 0) return missing
  const more = files.length > FILES_NAMED_MAX ? ` and ${files.length - FILES_NAMED_MAX} more` : ''
  const named = files.slice(0, FILES_NAMED_MAX).join(', ')
  throw new Refusal('ERASURE_BLOCKED', `Nothing was erased. These files hold the subject: ${named}${more}.`)
}

const bundlesOf = (rows: readonly HeldRow[]) => new Set(rows.map(({ id }) => Math.floor((id - 1) / TILE_WIDTH)))

function openRows(path: string): DatabaseSync & Disposable {
  if (!existsSync(path)) throw new Refusal('STORE_UNAVAILABLE')
  const db = new DatabaseSync(path, { readOnly: true, timeout: 5_000 })
  if (schemaVersion(db) === SCHEMA_VERSION) return db
  db.close()
  throw new Refusal('STORE_UNAVAILABLE', 'The event database is of an older version; start the service once.')
}
