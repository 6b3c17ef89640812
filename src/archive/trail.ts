/**
 * A trail as archiving sees it, in the embedded database or in a PostgreSQL: what could leave it and what keeps that there, and the
 * one step by which a segment is gone. What an archive is, when it is written and how it is compared is the same for both
 * (archive.ts). With PostgreSQL a segment is a partition.
 */
import type { AuditEvent } from '../event/event.ts'
import type { StoreLocation } from '../store/location.ts'
import type { Reclaimed } from '../store/reclaim.ts'
import type { ArchiveRecord, LegalHold, SealedSegment, TakenOut } from '../store/retention.ts'
import type { BlockText } from './blocks.ts'
import type { LogPart, SignedLog } from './log-proof.ts'
import { openSqliteTrail, readSqliteTrail } from './sqlite-trail.ts'

/** Reads it, while others may write or archive. */
export interface TrailView extends AsyncDisposable {
  /** Whether a segment leaves only when all before it have: what is held keeps those behind it, too. */
  readonly isInOrder: boolean
  /** In the order of their ids. */
  sealed(): Promise<SealedSegment[]>
  holds(): Promise<LegalHold[]>
  /** In the order in which they left. */
  archives(): Promise<ArchiveRecord[]>
  /** Sentences: ids that are neither there nor in an archive on record. */
  gaps(): Promise<string[]>
  /**
   * The newest checkpoint and the keys. `unsigned`: there is none that can be used; undefined: the log has no keys, as nobody signs
   * it.
   */
  signedLog(): Promise<SignedLog | 'unsigned' | undefined>
}

/** For the one who archives. */
export interface LeavingTrail extends TrailView {
  /** The rows of a sealed segment, each block in a moment's snapshot. @throws {Refusal} ARCHIVE_FAILED: not all are there */
  blocks(segment: SealedSegment): AsyncIterable<BlockText> | Iterable<BlockText>
  /** @throws {Refusal} ARCHIVE_FAILED: the log is not that of the segment */
  logPart(segment: SealedSegment, signed: SignedLog | undefined): Promise<LogPart>
  /**
   * One transaction, durable when this resolves: the segment is gone, its archive on record, and the event the next row. Nothing
   * of it when it is `held`, or `gone` already.
   * @throws {Refusal} STORE_UNAVAILABLE, ARCHIVE_RUNNING
   */
  takeOut(segment: SealedSegment, archive: ArchiveRecord, event: AuditEvent): Promise<TakenOut>
  /** Gives to the disk what is free; undefined where the server has done it. */
  reclaim(): Promise<Reclaimed | undefined>
}

/** @throws {StoreError} UNAVAILABLE, FOREIGN. @throws {PostgresError} */
export async function viewTrail(store: StoreLocation): Promise<TrailView> {
  if (store.kind === 'sqlite') return readSqliteTrail(store.path)
  const { readPostgresTrail } = await import('./postgres-trail.ts')
  return readPostgresTrail(store.url)
}

/** Until it is disposed of nobody else archives this trail or erases in it. @throws {Refusal} ARCHIVE_RUNNING, STORE_UNAVAILABLE */
export async function openTrail(store: StoreLocation): Promise<LeavingTrail> {
  if (store.kind === 'sqlite') return openSqliteTrail(store.path)
  const { openPostgresTrail } = await import('./postgres-trail.ts')
  return openPostgresTrail(store.url)
}

/** What has left by now. @throws as viewTrail */
export async function readKnownArchives(store: StoreLocation): Promise<ArchiveRecord[]> {
  await using trail = await viewTrail(store)
  return await trail.archives()
}
