/**
 * What leaves the event database and what must stay: sealed segments, the archives they became, and legal holds.
 *
 *   event_archives  one row for each segment that left, with its file and the digest of its manifest; for ever
 *   legal_holds     time ranges whose segments stay; a row for as long as the hold lasts
 *
 * Each change is one transaction together with its SYSTEM event, as the next row of the log (`record` of the store): never one
 * without the other. Rejected: the outbox of the security database. The two databases do not commit together, so a crash
 * in between would leave either a segment that is gone without a word, or a word about a segment that is still there.
 * The row needs no journal record, as it is fsynced with what it tells of.
 */
import type { DatabaseSync } from 'node:sqlite'
import type { AuditEvent } from '../event/event.ts'
import { chunkOf } from './chunk-sets.ts'
import { dropBundles } from './log-store.ts'
import { dropSegment, listSegments, type Segment } from './segments.ts'

export const RETENTION_TABLES = `
CREATE TABLE event_archives (
  number INTEGER PRIMARY KEY, first_id INTEGER NOT NULL, last_id INTEGER NOT NULL, first_time TEXT NOT NULL,
  last_time TEXT NOT NULL, file TEXT NOT NULL, sha256 TEXT NOT NULL, manifest_sha256 TEXT NOT NULL,
  archived_at TEXT NOT NULL
);
CREATE TABLE legal_holds (
  id INTEGER PRIMARY KEY AUTOINCREMENT, start_time TEXT NOT NULL, end_time TEXT NOT NULL, reason TEXT NOT NULL,
  placed_by TEXT NOT NULL, placed_at TEXT NOT NULL
);
`

/** A segment that takes no more rows. */
export interface SealedSegment extends Segment {
  readonly lastId: number
  /** Times of its earliest and its latest event. */
  readonly firstTime: string
  readonly lastTime: string
}

export interface ArchiveRecord {
  /** Counts from 1, in the order in which they left. */
  readonly number: number
  readonly first_id: number
  readonly last_id: number
  readonly first_time: string
  readonly last_time: string
  /** Where it was written to. */
  readonly file: string
  readonly sha256: string
  readonly manifest_sha256: string
  readonly archived_at: string
}

export interface LegalHold {
  readonly id: number
  /** Inclusive. */
  readonly start_time: string
  /** Exclusive. */
  readonly end_time: string
  readonly reason: string
  readonly placed_by: string
  readonly placed_at: string
}

/** In the order of their ids. */
export function listSealed(db: DatabaseSync): SealedSegment[] {
  const selectTimes = db.prepare(
    'SELECT min(min_ms) AS first, max(max_ms) AS last FROM event_chunks WHERE chunk BETWEEN ? AND ?',
  )
  return listSegments(db).flatMap(segment => {
    const { firstId, lastId } = segment
    if (lastId === undefined) return []
    const { first, last } = selectTimes.get(chunkOf(firstId), chunkOf(lastId)) ?? {}
    const [firstTime, lastTime] = [first, last].map(ms => new Date(Number(ms)).toISOString()) as [string, string]
    return [{ ...segment, lastId, firstTime, lastTime }]
  })
}

/** In the order in which they left. */
export function listArchives(db: DatabaseSync): ArchiveRecord[] {
  return db
    .prepare('SELECT * FROM event_archives ORDER BY number')
    .all()
    .map(asRecord<ArchiveRecord>)
}

export function listHolds(db: DatabaseSync): LegalHold[] {
  return db
    .prepare('SELECT * FROM legal_holds ORDER BY id')
    .all()
    .map(asRecord<LegalHold>)
}

/** Whether the hold keeps the segment: some of the segment's time lies in it. */
export function isHeldBy({ start_time, end_time }: LegalHold, { firstTime, lastTime }: SealedSegment): boolean {
  return Date.parse(lastTime) >= Date.parse(start_time) && Date.parse(firstTime) < Date.parse(end_time)
}

/** `gone`: an earlier attempt, which seemed to fail, was committed. */
export type TakenOut = 'left' | 'held' | 'gone'

/**
 * To be called within the transaction that puts it on record, if it `left`. A hold that was placed meanwhile keeps the
 * segment.
 */
export function takeOut(db: DatabaseSync, { number, firstId }: SealedSegment, archive: ArchiveRecord): TakenOut {
  const segment = listSealed(db).find(sealed => sealed.number === number && sealed.firstId === firstId)
  if (segment === undefined) return 'gone'
  if (listHolds(db).some(hold => isHeldBy(hold, segment))) return 'held'
  dropSegment(db, segment)
  dropBundles(db, segment.firstId, segment.lastId)
  db.prepare('INSERT INTO event_archives VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)').run(
    archive.number,
    archive.first_id,
    archive.last_id,
    archive.first_time,
    archive.last_time,
    archive.file,
    archive.sha256,
    archive.manifest_sha256,
    archive.archived_at,
  )
  return 'left'
}

/** It was written anew. To be called within the transaction that puts it on record. */
export function replaceArchive(db: DatabaseSync, { number, sha256, manifest_sha256 }: ArchiveRecord): void {
  db.prepare('UPDATE event_archives SET sha256 = ?, manifest_sha256 = ? WHERE number = ?').run(
    sha256,
    manifest_sha256,
    number,
  )
}

/** To be called within the transaction that puts it on record. */
export function addHold(db: DatabaseSync, hold: Omit<LegalHold, 'id'>): LegalHold {
  const { lastInsertRowid } = db
    .prepare('INSERT INTO legal_holds (start_time, end_time, reason, placed_by, placed_at) VALUES (?, ?, ?, ?, ?)')
    .run(hold.start_time, hold.end_time, hold.reason, hold.placed_by, hold.placed_at)
  return { id: Number(lastInsertRowid), ...hold }
}

/** To be called within the transaction that puts it on record. */
export function removeHold(db: DatabaseSync, id: number): LegalHold | undefined {
  const hold = listHolds(db).find(found => found.id === id)
  if (hold !== undefined) db.prepare('DELETE FROM legal_holds WHERE id = ?').run(id)
  return hold
}

/** The last id that has left, 0 when none has; undefined when what has left is not one range from the first event on. */
export function leftThrough(archives: readonly ArchiveRecord[]): number | undefined {
  let through = 0
  for (const { first_id, last_id } of archives.toSorted((a, b) => a.first_id - b.first_id)) {
    if (first_id !== through + 1) return undefined
    through = last_id
  }
  return through
}

/** Ids that are in no segment and in no archive on record: somebody took them out in another way. */
export function findUnexplainedGaps(db: DatabaseSync): string[] {
  const held = listSegments(db).map(({ firstId, lastId = Number.POSITIVE_INFINITY }) => [firstId, lastId] as const)
  const left = listArchives(db).map(({ first_id, last_id }) => [first_id, last_id] as const)
  return findGaps([...held, ...left])
}

/** @param ranges of ids, in any order */
export function findGaps(ranges: readonly (readonly [first: number, last: number])[]): string[] {
  const problems: string[] = []
  let next = 1
  for (const [first, last] of ranges.toSorted(([a], [b]) => a - b)) {
    if (first > next) problems.push(`the events ${next} to ${first - 1} are in no segment and no archive on record`)
    next = last + 1
  }
  return problems
}

/** A store whose database can be changed together with a row that says so. */
export interface RecordingStore {
  /**
   * One transaction, durable when this resolves: what `work` does, and the event that it returns as the next row.
   * Undefined: nothing is to be done, and nothing is. What `work` throws undoes all.
   * @throws {StoreError} UNAVAILABLE
   */
  record(work: (db: DatabaseSync) => AuditEvent | undefined): Promise<void>
}

/** Rows of node:sqlite have no prototype. */
function asRecord<T>(row: object): T {
  return { ...row } as T
}
