/**
 * How far a data folder has come, read from its files without changing them, whether a service runs on it or not.
 *
 * Three counts that only ever grow: journal records, events, changes of the security state. What is older than it was
 * shows in at least one of them. A file that is not there counts as at its beginning; one that cannot be read is
 * left out (undefined), as whoever opens it in earnest says why.
 */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import type { SegmentHeader } from '../journal/frame.ts'
import { listFolder, readSegmentHeader } from '../journal/segment-folder.ts'
import { surveySegment } from '../journal/segment-survey.ts'
import type { DataFolder } from './data-folder.ts'

export interface JournalPosition {
  readonly journalId: string
  /** The first record that is still in a segment, if there are any. */
  readonly firstSequence: number
  /** The last record. */
  readonly sequence: number
}

export interface DataPosition {
  readonly journal: JournalPosition | undefined
  /** Up to which journal record there are rows; undefined when the database cannot be read. */
  readonly indexedSequence: number | undefined
  /** The last event, counting the records that are no rows yet as one each. */
  readonly lastEventId: number | undefined
  readonly stateChanges: number | undefined
}

export function readDataPosition(folder: DataFolder): DataPosition {
  const journal = readJournalPosition(folder.journalDirectory)
  const rows = readDatabase(folder.auditDatabase, { lastEventId: 0, positions: new Map() }, readRowsPosition)
  const stateChanges = readDatabase(folder.securityDatabase, 0, readStateChanges)
  const indexedSequence = rows && indexedIn(rows, journal?.journalId)
  const waiting = journal === undefined ? 0 : Math.max(0, journal.sequence - (indexedSequence ?? 0))
  return { journal, indexedSequence, lastEventId: rows && rows.lastEventId + waiting, stateChanges }
}

/** Undefined when there is no segment with a sound header. Reads the newest one whole. */
function readJournalPosition(directory: string): JournalPosition | undefined {
  const headers = readHeaders(directory)
  const newest = headers.at(-1)
  if (newest === undefined) return undefined
  const { lastSequence } = surveySegment(readFileSync(newest.path), newest.firstSequence, Number.POSITIVE_INFINITY)
  const firstSequence = Math.min(...headers.map(header => header.firstSequence))
  return { journalId: newest.journalId, firstSequence, sequence: lastSequence }
}

export function readJournalId(directory: string): string | undefined {
  return readHeaders(directory).at(-1)?.journalId
}

function readHeaders(directory: string): (SegmentHeader & { path: string })[] {
  if (!existsSync(directory)) return []
  return listFolder(directory).segments.flatMap(name => {
    const path = join(directory, name)
    if (!existsSync(path)) return [] // trimmed meanwhile
    const header = readSegmentHeader(path)
    return typeof header === 'string' ? [] : [{ ...header, path }]
  })
}

export interface RowsPosition {
  readonly lastEventId: number
  /** By source, `journal:<id>` among them. */
  readonly positions: ReadonlyMap<string, number>
}

export function readRowsPosition(db: DatabaseSync): RowsPosition {
  const lastRow = db.prepare('SELECT id FROM audit_events ORDER BY id DESC LIMIT 1').get()
  const positions = db.prepare('SELECT source, position FROM positions').all()
  return {
    lastEventId: Number(lastRow?.id ?? 0),
    positions: new Map(positions.map(({ source, position }) => [String(source), Number(position)])),
  }
}

export function indexedIn(rows: RowsPosition, journalId: string | undefined): number {
  return rows.positions.get(`journal:${journalId}`) ?? 0
}

/** Each puts a row into the outbox, and SQLite never gives a number of it twice. */
export function readStateChanges(db: DatabaseSync): number {
  return Number(db.prepare("SELECT seq FROM sqlite_sequence WHERE name = 'outbox'").get()?.seq ?? 0)
}

/** @param absent what to answer when there is no such file, or an empty one. */
export function readDatabase<T>(path: string, absent: T, read: (db: DatabaseSync) => T): T | undefined {
  if (!existsSync(path)) return absent
  try {
    const db = new DatabaseSync(path, { readOnly: true, timeout: 5_000 })
    try {
      const isEmpty = db.prepare('SELECT 1 FROM sqlite_schema LIMIT 1').get() === undefined
      return isEmpty ? absent : read(db)
    } finally {
      db.close()
    }
  } catch {
    return undefined
  }
}
