/**
 * A session that sees one moment of a PostgreSQL database, and writes nothing: REPEATABLE READ, READ ONLY. Other sessions see
 * the same moment by the name of the snapshot, for as long as this one is open.
 *
 * How a server is reached and what of it may be shown (src/postgres) is shared with the service: it decides where bytes come from,
 * and none of them is believed. What they have to say is asked for here anew.
 *
 * The table of events is locked before the moment is chosen, so that no partition leaves between that and the first look at it;
 * those that read the same moment later are covered by that lock.
 *
 * A statement that fails ends the transaction. So nothing that is stored may make one fail: sums cannot overflow, no text is
 * parsed by the server, and values that are too large to be right are not fetched.
 */
import { buffer } from 'node:stream/consumers'
import type pg from 'pg'
import { loadCopyStreams } from '../../postgres/driver.ts'
import { connectPostgres } from '../../postgres/postgres.ts'
import { rethrow } from '../../postgres/postgres-error.ts'

export interface SnapshotReader {
  /** Whole numbers as numbers, where they are exact. One statement at a time. @throws {PostgresError} */
  rows(sql: string, values?: readonly unknown[]): Promise<Record<string, unknown>[]>
  /** What a SELECT finds, in the binary format of COPY (postgres-tuples.ts). @throws {PostgresError} */
  copy(select: string): Promise<Buffer>
}

export interface Snapshot extends SnapshotReader, AsyncDisposable {
  readonly name: string
}

const UNDEFINED_TABLE = '42P01'
const INSUFFICIENT_PRIVILEGE = '42501'
const LOCK_MS_MAX = 10_000

/** What a spelled snapshot may look like, as it becomes part of a statement. */
const NAME = /^[0-9A-Fa-f-]{1,64}$/

const BEGIN = 'BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY'

/**
 * Row security would leave rows out without a word; switched off, it is an error. A verifier may take hours, so time-outs of
 * the server do not count.
 */
const SETTINGS = `SET LOCAL row_security = off; SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = '${LOCK_MS_MAX}ms';
  SET LOCAL idle_in_transaction_session_timeout = 0`

/** @param name of a snapshot that another session holds; left out, a new one. @throws {PostgresError} */
export async function openSnapshot(url: string, name?: string): Promise<Snapshot> {
  if (name !== undefined && !NAME.test(name)) throw new RangeError('this is no name of a snapshot')
  const client = await connectPostgres({ url, applicationName: 'ev-central verify' })
  const reader = readerOf(client)
  try {
    await client.query(BEGIN).catch(rethrow)
    if (name === undefined) await lockEvents(client)
    else await client.query(`SET TRANSACTION SNAPSHOT '${name}'`).catch(rethrow)
    await client.query(SETTINGS).catch(rethrow)
    const own = name ?? String((await reader.rows('SELECT pg_export_snapshot() AS name'))[0]?.name)
    return { ...reader, name: own, [Symbol.asyncDispose]: () => end(client) }
  } catch (error) {
    await end(client)
    throw error
  }
}

/** A session that sees one moment after the other, each for as long as its work takes. */
export interface ShortSnapshots extends AsyncDisposable {
  /** One at a time. @throws {PostgresError} then it is of no use any more */
  take<T>(work: (snapshot: SnapshotReader) => Promise<T>): Promise<T>
}

/** @throws {PostgresError} */
export async function openShortSnapshots(url: string): Promise<ShortSnapshots> {
  const client = await connectPostgres({ url, applicationName: 'ev-central self-check' })
  const reader = readerOf(client)
  return {
    async take(work) {
      await client.query(BEGIN).catch(rethrow)
      await lockEvents(client)
      await client.query('SET LOCAL row_security = off').catch(rethrow)
      const result = await work(reader)
      await client.query('COMMIT').catch(rethrow)
      return result
    },
    [Symbol.asyncDispose]: () => end(client),
  }
}

function readerOf(client: pg.Client): SnapshotReader {
  const { to } = loadCopyStreams()
  return {
    async rows(sql, values = []) {
      const result = await client.query({ text: sql, values: [...values] }).catch(rethrow)
      return result.rows as Record<string, unknown>[]
    },
    copy: select => buffer(client.query(to(`COPY (${select}) TO STDOUT (FORMAT binary)`))).catch(rethrow),
  }
}

/** Whether it is there, and may be read, is told by whoever asks for it. */
async function lockEvents(client: pg.Client): Promise<void> {
  await client.query('SAVEPOINT lock').catch(rethrow)
  try {
    await client.query(`SET LOCAL lock_timeout = '${LOCK_MS_MAX}ms'; LOCK TABLE ONLY audit_events IN ACCESS SHARE MODE`)
  } catch (error) {
    if (![UNDEFINED_TABLE, INSUFFICIENT_PRIVILEGE].includes(String((error as { code?: unknown }).code))) rethrow(error)
    await client.query('ROLLBACK TO SAVEPOINT lock').catch(rethrow)
  }
  await client.query('RELEASE SAVEPOINT lock').catch(rethrow)
}

/** The server ends the transaction with its session. */
async function end(client: pg.Client): Promise<void> {
  await client.end().catch(() => {})
}
