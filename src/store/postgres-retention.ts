/**
 * What leaves a PostgreSQL and what has left it: sealed partitions and the archives they became, as retention.ts has it for
 * segments. They leave in the order of their ids, so what is there is always one range that ends with the log.
 */
import type { Session } from '../postgres/postgres.ts'
import { CHUNK_IDS } from './chunk-sets.ts'
import { type ArchiveRecord, findGaps, type SealedSegment } from './retention.ts'

const SELECT_SEALED = `SELECT number, table_name AS table, first_id, last_id, t.first_time, t.last_time,
    keep_days > 0 AND t.last_time::timestamptz > now() - keep_days * interval '1 day' AS kept FROM event_partitions
  CROSS JOIN LATERAL (SELECT min(min_time) AS first_time, max(max_time) AS last_time FROM event_times
    WHERE chunk BETWEEN (first_id - 1) / ${CHUNK_IDS} AND (last_id - 1) / ${CHUNK_IDS}) AS t
  CROSS JOIN event_layout
  WHERE last_id <= (SELECT size FROM log_head) ORDER BY number`

interface SealedRow {
  readonly number: number
  readonly table: string
  readonly first_id: number
  readonly last_id: number
  readonly first_time: string
  readonly last_time: string
  /** By the owner, and so those behind it. */
  readonly kept: boolean
}

/** Partitions that take no more rows and may leave as far as the owner is concerned, in the order of their ids. */
export async function readSealed(session: Session): Promise<SealedSegment[]> {
  const { rows } = await session.query<SealedRow & Record<string, unknown>>(SELECT_SEALED)
  const kept = rows.findIndex(row => row.kept)
  return rows
    .slice(0, kept < 0 ? rows.length : kept)
    .map(({ number, table, first_id, last_id, first_time, last_time }) => {
      const range = { firstId: first_id, lastId: last_id }
      return { number, table, ...range, firstTime: spell(first_time), lastTime: spell(last_time) }
    })
}

const spell = (time: string) => new Date(time).toISOString()

/** In the order in which they left. */
export async function readArchives(session: Session): Promise<ArchiveRecord[]> {
  const columns = 'number, first_id, last_id, first_time, last_time, file, sha256, manifest_sha256, archived_at'
  const sql = `SELECT ${columns} FROM event_archives ORDER BY number`
  return (await session.query<ArchiveRecord & Record<string, unknown>>(sql)).rows
}

/** Of a log that is moved here; for the owner. Within the transaction that brings the last of their leaves. */
export async function noteArchives(session: Session, archives: readonly ArchiveRecord[]): Promise<void> {
  const sql = 'INSERT INTO event_archives SELECT * FROM json_populate_recordset(NULL::event_archives, $1)'
  await session.query(sql, [JSON.stringify(archives)])
}

/** Within the transaction whose row `event` tells of it. */
export async function takeOutPartition(session: Session, archive: ArchiveRecord, event: number): Promise<void> {
  await session.query('SELECT evc_archive_partition($1, $2)', [JSON.stringify(archive), event])
}

/** It was written anew. Within the transaction whose row `tombstone` says so, behind the erasure itself. */
export async function replaceArchiveShared(
  session: Session,
  { number, sha256, manifest_sha256 }: ArchiveRecord,
  tombstone: number,
): Promise<void> {
  await session.query('SELECT evc_replace_archive($1, $2, $3, $4)', [number, sha256, manifest_sha256, tombstone])
}

/** As findUnexplainedGaps. */
export async function findPartitionGaps(session: Session): Promise<string[]> {
  const sql = 'SELECT first_id, last_id FROM event_partitions UNION ALL SELECT first_id, last_id FROM event_archives'
  const { rows } = await session.query<{ first_id: number; last_id: number }>(sql)
  return findGaps(rows.map(({ first_id, last_id }) => [first_id, last_id]))
}
