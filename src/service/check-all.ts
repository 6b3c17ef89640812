/**
 * Whether everything in a data folder agrees: what was answered, the journal, the rows, and what is kept of the rows.
 *
 *   event database     sound file, gapless ids, chunks as the rows say (store/check-store.ts)
 *   journal            headers, one id, a sequence without gaps or with declared ones (check-journal.ts)
 *   between them       the position is not ahead of the journal and nothing is missing behind it; every record up to it
 *                      that is still in a segment is one row, in order (check-rows.ts)
 *   security database  sound file; how many events wait in its outbox
 *
 * Changes nothing. Works beside a running service as well: the rows are those of one moment, and the journal, which is
 * read after them, has everything that they say. Meanwhile the write-ahead log of the event database cannot begin anew.
 */
import { existsSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import { counted } from '../counted.ts'
import { checkStore } from '../store/check-store.ts'
import { sqliteCode } from '../store/connection.ts'
import { areRewritesDue } from '../store/rewrite.ts'
import { SCHEMA_VERSION, schemaVersion } from '../store/schema.ts'
import { type CheckedJournal, checkJournal } from './check-journal.ts'
import { type DeclaredLoss, expectRows } from './check-rows.ts'
import type { DataFolder } from './data-folder.ts'

export interface Report {
  /** Sentences; none when all is well. */
  readonly problems: readonly string[]
  /** What is well and good to know. */
  readonly notes: readonly string[]
  /** Every loss that the trail declares. */
  readonly losses: readonly DeclaredLoss[]
  readonly counts: {
    readonly rows: number
    /** Records in the journal: of those, rows already, and to be rows. */
    readonly journal_records: number
    readonly waiting_records: number
    readonly outbox_events: number
    readonly answered: number
  }
}

export interface CheckProgress {
  readonly phase: 'chunks' | 'rows'
  readonly done: number
  readonly total: number
}

export interface CheckOptions {
  readonly folder: DataFolder
  /**
   * Request ids, or descriptions, of events that somebody was answered for: each has to be one row, or one record that is
   * to be a row.
   */
  readonly answered?: readonly string[]
  readonly onProgress?: (progress: CheckProgress) => void
}

const PROBLEMS_MAX = 100
const SQLITE_READONLY = 8
const ERASURE_UNFINISHED = 'files still show what was erased: ask for the erasure again, or start the service'

export function checkAll({ folder, answered = [], onProgress = () => {} }: CheckOptions): Report {
  const problems: string[] = []
  const notes: string[] = []
  const attempt = <T>(what: string, work: () => T): T | undefined => {
    try {
      return work()
    } catch (error) {
      problems.push(`${what} cannot be read: ${(error as Error).message}`)
      return undefined
    }
  }
  for (const path of [folder.auditDatabase, folder.securityDatabase]) {
    if (isUnfinished(path)) notes.push(`${path} is empty: its process ended while making it; the next start does so`)
  }
  if (isThere(folder.auditDatabase)) {
    const onChunk = (done: number, total: number) => onProgress({ phase: 'chunks', done, total })
    problems.push(...(attempt('the event database', () => checkStore(folder.auditDatabase, onChunk)) ?? []))
  }
  const trail = attempt('the trail', () => checkTrail(folder, answered, onProgress))
  const outbox = attempt('the security database', () => checkSecurity(folder.securityDatabase))
  problems.push(...(trail?.problems ?? []), ...(outbox?.problems ?? []))
  notes.push(...(trail?.notes ?? []))
  const waiting = outbox?.waiting ?? 0
  if (waiting > 0)
    notes.push(`${counted(waiting, 'event of a change waits', 'events of changes wait')} in the outbox for the service`)
  return {
    problems: limited(problems),
    notes,
    losses: trail?.losses ?? [],
    counts: {
      rows: trail?.rows ?? 0,
      journal_records: trail?.records ?? 0,
      waiting_records: trail?.waiting ?? 0,
      outbox_events: waiting,
      answered: answered.length,
    },
  }
}

function limited(problems: readonly string[]): string[] {
  if (problems.length <= PROBLEMS_MAX) return [...problems]
  return [...problems.slice(0, PROBLEMS_MAX), `and ${problems.length - PROBLEMS_MAX} more`]
}

interface Trail {
  readonly problems: readonly string[]
  readonly notes: readonly string[]
  readonly losses: readonly DeclaredLoss[]
  readonly rows: number
  readonly records: number
  readonly waiting: number
}

function checkTrail(
  folder: DataFolder,
  answered: readonly string[],
  onProgress: (progress: CheckProgress) => void,
): Trail {
  // The rows first: what they say is in the journal is read from it afterwards, and may only have become more.
  using rows = openRows(folder.auditDatabase)
  const journal = checkJournal(folder.journalDirectory)
  const position = rows.position(journal?.journalId)
  const expected = expectRows(journal?.journalId ?? '', answered)
  let records = 0
  let waiting = 0
  for (const record of journal?.records() ?? []) {
    records++
    if (record.sequence <= position) {
      expected.record(record)
    } else {
      waiting++
      expected.waiting(record)
    }
  }
  const compared = expected.compare(rows.db, (done, total) => onProgress({ phase: 'rows', done, total }))
  return {
    problems: [...(journal?.problems ?? []), ...checkPosition(journal, position), ...compared.problems],
    notes: [...notesOf(journal, waiting), ...(rows.isErasureUnfinished() ? [ERASURE_UNFINISHED] : [])],
    losses: compared.losses,
    rows: compared.rows,
    records,
    waiting,
  }
}

/** A journal that is not ours to compare (no sound header) has been said so already. */
function* checkPosition(journal: CheckedJournal | undefined, position: number): Generator<string> {
  if (journal?.journalId === undefined) return
  const { firstSequence, lastSequence } = journal
  if (position > lastSequence) {
    yield `the rows go up to journal record ${position}, and the journal ends with ${lastSequence}: it is an older one`
  } else if (position < firstSequence - 1) {
    yield `journal records ${position + 1} to ${firstSequence - 1} are neither rows nor in the journal: the event database is an older one`
  }
}

function notesOf(journal: CheckedJournal | undefined, waiting: number): string[] {
  const notes: string[] = []
  if (journal === undefined) notes.push('there is no journal')
  else if (journal.preserved.length > 0)
    notes.push(`the journal keeps copies of damage: ${journal.preserved.join(', ')}`)
  if (waiting > 0)
    notes.push(counted(waiting, 'journal record is to become a row', 'journal records are to become rows'))
  return notes
}

function isThere(path: string): boolean {
  return existsSync(path) && !isUnfinished(path)
}

/**
 * Only while a database is being made it has a rollback journal (later a write-ahead log), and what it holds then is to be
 * rolled back: nothing, by whoever opens it for writing.
 */
function isUnfinished(path: string): boolean {
  if (!existsSync(path) || !existsSync(`${path}-journal`)) return false
  using stack = new DisposableStack()
  try {
    const db = stack.adopt(new DatabaseSync(path, { readOnly: true, timeout: 5_000 }), it => it.close())
    db.prepare('SELECT 1 FROM sqlite_schema LIMIT 1').get()
    return false
  } catch (error) {
    return sqliteCode(error) === SQLITE_READONLY
  }
}

/** The event database as of one moment; without a file, one without rows. */
function openRows(path: string) {
  const db = isThere(path) ? new DatabaseSync(path, { readOnly: true, timeout: 5_000 }) : undefined
  const isOurs = db !== undefined && schemaVersion(db) === SCHEMA_VERSION
  // BEGIN alone is no moment yet: SQLite takes the snapshot at the first reading.
  if (isOurs) db.exec('BEGIN; SELECT 1 FROM positions')
  return {
    db: isOurs ? db : undefined,
    position(journalId: string | undefined): number {
      if (!isOurs) return 0
      const found = db.prepare('SELECT position FROM positions WHERE source = ?').get(`journal:${journalId}`)
      return Number(found?.position ?? 0)
    },
    isErasureUnfinished: () => isOurs && areRewritesDue(db),
    [Symbol.dispose]: () => db?.close(),
  }
}

function checkSecurity(path: string): { problems: string[]; waiting: number } {
  if (!isThere(path)) return { problems: [], waiting: 0 }
  using stack = new DisposableStack()
  const db = stack.adopt(new DatabaseSync(path, { readOnly: true, timeout: 5_000 }), it => it.close())
  const problems: string[] = []
  for (const { integrity_check: found } of db.prepare('PRAGMA integrity_check').all()) {
    if (found !== 'ok') problems.push(`the security database is damaged: ${found}`)
  }
  const broken = db.prepare('PRAGMA foreign_key_check').all().length
  if (broken > 0)
    problems.push(
      `${counted(broken, 'row')} of the security database ${broken === 1 ? 'refers' : 'refer'} to rows that are not there`,
    )
  const hasOutbox = db.prepare("SELECT 1 FROM sqlite_schema WHERE name = 'outbox'").get() !== undefined
  const waiting = hasOutbox ? Number(db.prepare('SELECT count(*) AS n FROM outbox').get()?.n) : 0
  return { problems, waiting }
}
