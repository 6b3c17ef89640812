/**
 * Transactions that write the security state in PostgreSQL.
 *
 * Promise: changes of all instances are serial, and whoever is answered knows whether the change happened.
 *
 *   1. the advisory lock is taken                      somebody else holds it for too long: STATE_UNAVAILABLE
 *   2. the work reads and writes                       fails, or we die: rolled back
 *   3. a mark of this change is written to the feed
 *   4. COMMIT                                          the connection is lost: *uncertain*, nobody can say from here
 *   5. settled: the lock is taken anew, and then the mark is there or not. The lock is what makes this certain: whoever has it
 *      knows that the transaction before has ended, also on a standby that was promoted meanwhile.
 *
 * A server that does not come back in time leaves it uncertain: STATE_UNCERTAIN, and the caller has to look. The change and its
 * event are one transaction all the same.
 *
 * A lock and not SERIALIZABLE: changes are rare and short, the lock also puts the feed and the outbox in the order of the
 * commits, and `work` runs once, where SERIALIZABLE would have to run it again and again.
 */
import { randomUUID } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { Refusal } from '../errors.ts'
import { LIMITS } from '../limits.ts'
import type { Postgres, Session } from '../postgres/postgres.ts'
import { PostgresError } from '../postgres/postgres-error.ts'
import { CHANGE_LOCK } from './postgres-schema.ts'

export interface PostgresChanges {
  /** @throws {Refusal} STATE_UNAVAILABLE: nothing was written; STATE_UNCERTAIN */
  change<T>(work: (session: Session) => Promise<T>): Promise<T>
  /** For what may happen twice and is nobody's answer: no mark, an uncertain commit is STATE_UNAVAILABLE. */
  write<T>(work: (session: Session) => Promise<T>): Promise<T>
  lastWriteError(): string | null
}

const SETTLE_PAUSE_MS = 100
const RETRY_AFTER_SECONDS = 2
/** A deadlock, or a serialization failure: with what an operator does by hand. */
const GAVE_WAY = /^40/

export function createPostgresChanges(postgres: Postgres): PostgresChanges {
  let lastWriteError: string | null = null

  async function noting<T>(write: () => Promise<T>): Promise<T> {
    try {
      const result = await write()
      lastWriteError = null
      return result
    } catch (error) {
      const refusal = unavailable(error)
      if (refusal !== undefined) lastWriteError = (error as Error).message
      throw refusal ?? error
    }
  }

  async function change<T>(work: (session: Session) => Promise<T>): Promise<T> {
    const mark = randomUUID()
    let done: { readonly number: number; readonly result: T } | undefined
    try {
      return await postgres.transaction(async session => {
        await takeLock(session)
        const result = await work(session)
        done = { number: await writeMark(session, mark), result }
        return result
      })
    } catch (error) {
      if (done === undefined || !isAway(error)) throw error
      if (!(await wasCommitted(done.number, mark, error))) throw error
      return done.result
    }
  }

  /** Step 5. */
  async function wasCommitted(number: number, mark: string, cause: unknown): Promise<boolean> {
    const deadline = performance.now() + LIMITS.stateSettleMsMax
    for (;;) {
      try {
        return await postgres.transaction(async session => {
          await takeLock(session)
          const found = await session.query('SELECT 1 FROM security_changes WHERE number = $1 AND mark = $2', [
            number,
            mark,
          ])
          return found.rowCount === 1
        })
      } catch (error) {
        if (!isAway(error)) throw error
        if (performance.now() > deadline) throw new Refusal('STATE_UNCERTAIN', undefined, { cause })
        await delay(SETTLE_PAUSE_MS)
      }
    }
  }

  return {
    change: work => noting(() => change(work)),
    write: work => noting(() => postgres.transaction(work)),
    lastWriteError: () => lastWriteError,
  }
}

export async function takeLock(session: Session): Promise<void> {
  await session.query('SELECT pg_advisory_xact_lock($1)', [CHANGE_LOCK], 'security lock')
}

async function writeMark(session: Session, mark: string): Promise<number> {
  const written = await session.query<{ number: number }>(
    "INSERT INTO security_changes (mark, kind, name) VALUES ($1, 'commit', '') RETURNING number",
    [mark],
    'security mark',
  )
  return written.rows[0]?.number as number
}

function isAway(error: unknown): error is PostgresError {
  return error instanceof PostgresError && error.code === 'UNAVAILABLE'
}

/** The refusal that a failed statement comes to, or undefined. */
export function unavailable(cause: unknown): Refusal | undefined {
  const isPassing = isAway(cause) || (cause instanceof PostgresError && GAVE_WAY.test(cause.sqlState ?? ''))
  if (!isPassing) return undefined
  return new Refusal('STATE_UNAVAILABLE', 'PostgreSQL cannot be read or written now; nothing was changed.', {
    cause,
    retryAfterSeconds: RETRY_AFTER_SECONDS,
  })
}
