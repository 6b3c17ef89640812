/**
 * The way to a PostgreSQL server: a bounded pool of sessions, each with time-outs of its own, so that a server that is gone,
 * slow or behind a cut network costs its callers an error each (postgres-error.ts) and works again once it is back.
 *
 * Owns the pool. A session that failed in a way that leaves it in doubt is thrown away, never given to the next caller. Must not
 * know what the statements are about: every stage brings its own tables and migrations (migrations.ts).
 */
import { pipeline } from 'node:stream/promises'
import type pg from 'pg'
import { LIMITS } from '../limits.ts'
import { loadCopyStreams, loadDriver } from './driver.ts'
import { PostgresError, rethrow } from './postgres-error.ts'
import { formatPostgresAddress, parsePostgresUrl } from './postgres-url.ts'

export interface Session {
  /**
   * One statement, or without values several. `name` keeps it prepared in the session: for what is asked again and again.
   * @throws {PostgresError}
   */
  query<R extends pg.QueryResultRow = pg.QueryResultRow>(
    text: string,
    values?: readonly unknown[],
    name?: string,
  ): Promise<pg.QueryResult<R>>
  /** `COPY ... FROM STDIN`. @throws {PostgresError} */
  copy(text: string, bytes: Uint8Array): Promise<void>
}

export interface Postgres extends AsyncDisposable {
  /** The address without its password, for messages. */
  readonly address: string
  /** A session for as long as the work takes; outside of a transaction each statement is one. @throws {PostgresError} */
  use<T>(work: (session: Session) => Promise<T>): Promise<T>
  /**
   * One transaction, READ COMMITTED: committed when the work resolves, rolled back when it rejects. When the connection is lost
   * during the commit nobody can know whether it happened; that is UNAVAILABLE too, so whatever is tried again must be safe to be
   * done twice.
   * @throws {PostgresError}
   */
  transaction<T>(work: (session: Session) => Promise<T>): Promise<T>
  /** All statements see the same snapshot; nothing can be written. @throws {PostgresError} */
  snapshot<T>(work: (session: Session) => Promise<T>): Promise<T>
  /** Sessions in use end with their work; afterwards everything is UNAVAILABLE. Disposing does the same. */
  close(): Promise<void>
}

export interface PostgresOptions {
  readonly url: string
  readonly connectionsMax?: number
  readonly statementMsMax?: number
  /** Shown in pg_stat_activity unless the URL says another. */
  readonly applicationName?: string
  /** How long a session that nobody uses is kept; 10 s unless said. A new one costs tens of milliseconds until it knows the tables. */
  readonly keptMsMax?: number
}

/** How much longer we wait for an answer than the server may take: past it the network is what fails. */
const ANSWER_MARGIN_MS = 2_000
const KEPT_MS_MAX = 10_000
const INT8 = 20
/** A connection whose other end is gone is noticed within half a minute, here and by the server: what its session held is free then. */
const KEEP_ALIVE_MS = 10_000

/** Connects with the first use. @throws {Error} when the URL is not one (parsePostgresUrl) */
export function createPostgres(options: PostgresOptions): Postgres {
  const { statementMsMax = LIMITS.postgresStatementMsMax, connectionsMax = LIMITS.postgresConnectionsMax } = options
  const { Pool } = loadDriver()
  const pool = new Pool({
    ...clientConfig(options),
    max: connectionsMax,
    idleTimeoutMillis: options.keptMsMax ?? KEPT_MS_MAX,
    query_timeout: statementMsMax + ANSWER_MARGIN_MS,
    onConnect: client => prepareSession(client, statementMsMax),
  })
  pool.on('error', () => {}) // an idle session died: the pool has dropped it
  let closing: Promise<void> | undefined

  async function use<T>(work: (session: Session) => Promise<T>): Promise<T> {
    if (closing !== undefined) throw new PostgresError('UNAVAILABLE', 'the connection to PostgreSQL is closed')
    const client = await pool.connect().catch(rethrow)
    client.on('error', ignore) // the statement that is under way, or the next one, says so too
    let isSound = false
    try {
      const result = await work(sessionOf(client))
      isSound = true
      return result
    } catch (error) {
      isSound =
        client.getTransactionStatus() === 'I' && !(error instanceof PostgresError && error.code === 'UNAVAILABLE')
      throw error
    } finally {
      client.off('error', ignore)
      client.release(!isSound)
    }
  }

  function transaction<T>(begin: string, work: (session: Session) => Promise<T>): Promise<T> {
    return use(async session => {
      await session.query(begin)
      try {
        const result = await work(session)
        const { command } = await session.query('COMMIT')
        // The server's answer where a statement had failed, and the work went on all the same.
        if (command !== 'COMMIT')
          throw new Error('a transaction was not committed, as one of its statements had failed')
        return result
      } catch (error) {
        await session.query('ROLLBACK').catch(ignore) // without an answer the session is thrown away
        throw error
      }
    })
  }

  function close(): Promise<void> {
    closing ??= pool.end()
    return closing
  }

  return {
    address: formatPostgresAddress(parsePostgresUrl(options.url)),
    use,
    transaction: work => transaction('BEGIN ISOLATION LEVEL READ COMMITTED', work),
    snapshot: work => transaction('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY', work),
    close,
    [Symbol.asyncDispose]: close,
  }
}

/**
 * A connection of its own, outside of any pool, as LISTEN needs it; the caller ends it and hears of its end by `error` or `end`.
 * @throws {PostgresError}
 */
export async function connectPostgres(options: PostgresOptions): Promise<pg.Client> {
  const { Client } = loadDriver()
  const client = new Client(clientConfig(options))
  client.on('error', ignore) // without a listener a lost connection would end the process; 'end' follows
  try {
    await client.connect()
    await prepareSession(client, options.statementMsMax ?? LIMITS.postgresStatementMsMax)
    return client
  } catch (error) {
    void client.end().catch(ignore)
    return rethrow(error)
  }
}

function clientConfig({ url, applicationName = 'ev-central' }: PostgresOptions): pg.ClientConfig {
  const { password, applicationName: named, ...address } = parsePostgresUrl(url)
  return {
    ...address,
    ...(password === undefined ? {} : { password }),
    application_name: named ?? applicationName,
    connectionTimeoutMillis: LIMITS.postgresConnectMsMax, // also of the wait for a session of the pool
    keepAlive: true,
    keepAliveInitialDelayMillis: KEEP_ALIVE_MS,
    types: { getTypeParser: parserOf() as typeof pg.types.getTypeParser },
  }
}

/** Ids and counts are whole numbers far below 2^53. */
function parserOf() {
  const { types } = loadDriver()
  return (type: number, format?: 'text' | 'binary'): unknown =>
    type === INT8 && format !== 'binary' ? Number : types.getTypeParser(type, format as 'text')
}

/**
 * By statements, not by start-up parameters, which connection poolers refuse. What a database or role has for people (formats of dates,
 * ends of sessions that are idle) is not for us; `transaction_timeout` is of PostgreSQL 17. A commit is always on disk before it is
 * answered; a server that does more by itself (remote_apply) is left to it.
 */
async function prepareSession(client: pg.ClientBase, statementMsMax: number): Promise<void> {
  await client.query(
    `SET statement_timeout = ${statementMsMax}; SET lock_timeout = ${Math.min(statementMsMax, LIMITS.postgresLockMsMax)};
     SET idle_in_transaction_session_timeout = ${LIMITS.postgresIdleMsMax}; SET timezone = 'UTC'; SET jit = off;
     SET datestyle = 'ISO'; SET bytea_output = 'hex'; SET idle_session_timeout = 0;
     SET tcp_keepalives_idle = ${KEEP_ALIVE_MS / 1_000}; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3; SET standard_conforming_strings = on;
     SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') IN ('off', 'local');
     SELECT set_config('transaction_timeout', '0', false) WHERE current_setting('transaction_timeout', true) IS NOT NULL`,
  )
}

function sessionOf(client: pg.PoolClient): Session {
  return {
    async query(text, values, name) {
      const config = { text, ...(values && { values: [...values] }), ...(name !== undefined && { name }) }
      return await client.query(config).catch(rethrow)
    },
    async copy(text, bytes) {
      const { from } = loadCopyStreams()
      await pipeline([bytes], client.query(from(text))).catch(rethrow)
    },
  }
}

function ignore(): void {}
