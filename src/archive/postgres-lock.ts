/**
 * One archives a trail in PostgreSQL, or erases in it, at a time: an advisory lock of that database, held by a session of its own
 * for as long as that lasts. A session can be lost, and the lock with it; so whoever changes something asks again, under the lock
 * of the head, whether it is still held.
 */
import { Refusal } from '../errors.ts'
import { connectPostgres, type Session } from '../postgres/postgres.ts'
import { asPostgresError } from '../postgres/postgres-error.ts'

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
    const { rows } = await client
      .query<{ got: boolean; pid: number }>('SELECT pg_try_advisory_lock($1) AS got, pg_backend_pid() AS pid', [
        ARCHIVE_LOCK,
      ])
      .catch(rethrow)
    if (rows[0]?.got !== true) throw new Refusal('ARCHIVE_RUNNING')
    const { pid } = rows[0]
    return { assertHeld: session => assertHeldBy(session, pid), [Symbol.asyncDispose]: end }
  } catch (error) {
    await end()
    throw error
  }
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

function rethrow(error: unknown): never {
  throw asPostgresError(error)
}
