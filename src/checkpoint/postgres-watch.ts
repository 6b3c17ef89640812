/**
 * The row of `log_watch`: how far the trail in a PostgreSQL was read again, by whichever instance does it, and what was found changed.
 *
 * Every signer reads it under the lock of all signers, and signs nothing while something is found; so one finding stops all
 * instances, and those that start later. It is taken back when the event is found as it was logged again.
 */
import type { Session } from '../postgres/postgres.ts'

/** `EVCW` in ASCII: whoever reads the trail again holds this advisory lock of the database. */
export const WATCH_LOCK = 0x45564357

/** The next bundle to be looked at, and how many rounds went well. */
export interface WatchPlace {
  readonly bundle: number
  readonly rounds: number
}

/** The first event that is not as it was logged. */
export interface Tampering {
  readonly id: number
  readonly detail: string
}

export interface FoundTampering extends Tampering {
  readonly foundAt: Date
}

export interface WatchState extends WatchPlace {
  readonly tampered: FoundTampering | undefined
}

export async function readWatch(session: Session): Promise<WatchState> {
  const { rows } = await session.query<{
    bundle: number
    rounds: number
    tampered_id: number | null
    detail: string
    found_at: Date
  }>('SELECT bundle, rounds, tampered_id, detail, found_at FROM log_watch', [], 'log: watch')
  const { bundle = 0, rounds = 0, tampered_id: id = null, detail = '', found_at: foundAt = new Date(0) } = rows[0] ?? {}
  return { bundle, rounds, tampered: id === null ? undefined : { id, detail, foundAt } }
}

export async function notePlace(session: Session, { bundle, rounds }: WatchPlace): Promise<void> {
  await session.query('UPDATE log_watch SET bundle = $1, rounds = $2', [bundle, rounds])
}

/** The same finding again changes nothing. */
export async function noteTampering(session: Session, { id, detail }: Tampering): Promise<void> {
  await session.query(
    `UPDATE log_watch SET tampered_id = $1, detail = $2, found_at = clock_timestamp()
     WHERE tampered_id IS DISTINCT FROM $1`,
    [id, detail],
  )
}

export async function takeBackTampering(session: Session): Promise<void> {
  await session.query('UPDATE log_watch SET tampered_id = NULL, detail = NULL, found_at = NULL')
}
