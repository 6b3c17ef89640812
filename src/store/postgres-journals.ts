/**
 * The journals of all instances, and how they are asked to be cleared: an erasure has to reach them, and nobody but its own instance
 * can write to one.
 *
 * `asked` counts requests. An instance that sees a higher number than it has worked off makes rows of everything it has recorded,
 * begins a new journal file, deletes the old ones, and says so. One that is away does it when it returns, before or behind
 * whatever it then records. There is no list of requests: whoever has worked off the last one has worked off all.
 */
import type { Session } from '../postgres/postgres.ts'

/** An instance that was silent for so long is away: it stopped, was killed or is cut off. */
const SILENT_SECONDS_MAX = 15
/** Each look is a read; only a few are written down. */
const SEEN_EVERY_SECONDS = 3

export interface ClearingRequest {
  readonly asked: number
  readonly cleared: number
}

/** @returns the last request, and the last one that this journal has worked off */
export async function reportJournal(session: Session, journal: string): Promise<ClearingRequest> {
  const { rows } = await session.query<ClearingRequest & { is_fresh: boolean }>(
    `SELECT asked, j.cleared, j.is_running AND j.seen_at > clock_timestamp() - make_interval(secs => ${SEEN_EVERY_SECONDS}) AS is_fresh
     FROM journal_clearing LEFT JOIN journals j ON j.id = $1`,
    [journal],
    'journal: look',
  )
  const { asked = 0, cleared, is_fresh } = rows[0] ?? {}
  if (is_fresh !== true) {
    await session.query(
      `INSERT INTO journals (id) VALUES ($1)
       ON CONFLICT (id) DO UPDATE SET seen_at = clock_timestamp(), is_running = true`,
      [journal],
      'journal: report',
    )
  }
  return { asked, cleared: cleared ?? 0 }
}

export async function noteCleared(session: Session, journal: string, request: number): Promise<void> {
  await session.query('UPDATE journals SET cleared = greatest(cleared, $2) WHERE id = $1', [journal, request])
}

/** Nobody need wait for it. */
export async function noteStopped(session: Session, journal: string): Promise<void> {
  await session.query('UPDATE journals SET is_running = false WHERE id = $1', [journal])
}

/** It is gone for good, or became rows: nobody need wait for it. If its instance returns after all, it reports, and clears it. */
export async function forgetJournal(session: Session, journal: string): Promise<void> {
  await session.query('DELETE FROM journals WHERE id = $1', [journal])
}

/** @returns the number of the request */
export async function askForClearing(session: Session): Promise<number> {
  const { rows } = await session.query<{ asked: number }>(
    'UPDATE journal_clearing SET asked = asked + 1 RETURNING asked',
  )
  return rows[0]?.asked ?? 0
}

export async function lastRequest(session: Session): Promise<number> {
  const { rows } = await session.query<{ asked: number }>('SELECT asked FROM journal_clearing')
  return rows[0]?.asked ?? 0
}

/** Journals that have not worked off the request; `isAway`: their instance was not heard of lately. */
export async function journalsBehind(
  session: Session,
  request: number,
): Promise<{ readonly id: string; readonly isAway: boolean }[]> {
  const { rows } = await session.query<{ id: string; is_away: boolean }>(
    `SELECT id, NOT is_running OR seen_at < clock_timestamp() - make_interval(secs => ${SILENT_SECONDS_MAX}) AS is_away
     FROM journals WHERE cleared < $1 ORDER BY id`,
    [request],
  )
  return rows.map(({ id, is_away }) => ({ id, isAway: is_away }))
}
