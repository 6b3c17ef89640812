/**
 * One archives a trail in PostgreSQL, or erases in it, at a time: an advisory lock of that database, held by a session of its own
 * for as long as that lasts. A session can be lost, and the lock with it; so whoever changes something asks again, under the lock
 * of the head, whether it is still held.
 */
import { Refusal } from '../errors.ts'
import { connectPostgres, type Postgres, type Session } from '../postgres/postgres.ts'
import { available, rethrow } from '../postgres/postgres-error.ts'

/** `EVCE` in ASCII. */
export const ARCHIVE_LOCK = 0x45564345

export interface SharedArchiveLock extends AsyncDisposable {
  /** @throws {Refusal} ARCHIVE_RUNNING: it was lost */
  assertHeld(session: Session): Promise<void>
}

/** @throws {Refusal} ARCHIVE_RUNNING: somebody else has it. @throws {PostgresError} */
export async function lockArchivingShared(url: string, applicationName: string): Promise<SharedArchiveLock> {
  const client = await connectPostgres({ url, applicationName })
  const end = () => client.end().catch(() => {})
  try {
    const pid = await takeLock({ query: (sql, values = []) => client.query(sql, [...values]).catch(rethrow) })
    return { assertHeld: session => assertHeldBy(session, pid), [Symbol.asyncDispose]: end }
  } catch (error) {
    await end()
    throw error
  }
}

/**
 * For as long as the work takes, in whose session it is held. One that is lost gives it away; so what is written asks again whether it is
 * still to be done.
 * @throws {Refusal} ARCHIVE_RUNNING, STORE_UNAVAILABLE
 */
export async function withArchiveLock<T>(
  postgres: Pick<Postgres, 'use'>,
  work: (session: Session, lockPid: number) => Promise<T>,
): Promise<T> {
  return available(() =>
    postgres.use(async session => {
      const pid = await takeLock(session)
      try {
        return await work(session, pid)
      } finally {
        await session.query('SELECT pg_advisory_unlock($1)', [ARCHIVE_LOCK]).catch(() => {})
      }
    }),
  )
}

/** @returns pid of the session. @throws {Refusal} ARCHIVE_RUNNING */
async function takeLock(session: Pick<Session, 'query'>): Promise<number> {
  const sql = 'SELECT pg_try_advisory_lock($1) AS got, pg_backend_pid() AS pid'
  const { rows } = await session.query<{ got: boolean; pid: number }>(sql, [ARCHIVE_LOCK])
  if (rows[0]?.got !== true) throw new Refusal('ARCHIVE_RUNNING')
  return rows[0].pid
}

/** @param pid of the session that took it. @throws {Refusal} ARCHIVE_RUNNING */
export async function assertHeldBy(session: Session, pid: number): Promise<void> {
  const held = await session.query(
    `SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted AND pid = $1 AND classid = 0 AND objid = $2 AND objsubid = 1
     AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`,
    [pid, ARCHIVE_LOCK],
  )
  if (held.rowCount === 0) throw new Refusal('ARCHIVE_RUNNING', 'The lock of archiving was lost; try again.')
}
