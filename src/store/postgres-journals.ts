/**
 * How the journals of all instances are asked to be cleared: an erasure has to reach them, and nobody but its own instance can write to
 * one.
 *
 * `journal_clearing` counts requests. An instance that sees a higher number than it has worked off (`cleared` of `instances`) makes
 * rows of everything it has recorded, begins a new journal file, deletes the old ones, and says so. One that is away does it when it
 * returns, before or behind whatever it then records. There is no list of requests: whoever has worked off the last one has
 * worked off all. Nobody waits for journals that are forgotten or adopted.
 */
import type { Session } from '../postgres/postgres.ts'

/** An instance that was silent for so long is away: it says that it is there every few seconds (service/presence.ts). */
const SILENT_SECONDS_MAX = 15

/** Whether there is a request that this journal has not worked off. @returns its number */
export async function readClearing(session: Session, journal: string): Promise<number | undefined> {
  const { rows } = await session.query<{ asked: number }>(
    'SELECT asked FROM journal_clearing, instances WHERE journal_id = $1 AND cleared < asked',
    [journal],
    'journal: look',
  )
  return rows[0]?.asked
}

export async function noteCleared(session: Session, journal: string, request: number): Promise<void> {
  await session.query('UPDATE instances SET cleared = greatest(cleared, $2) WHERE journal_id = $1', [journal, request])
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
    `SELECT journal_id AS id,
       state <> 'running' OR seen_at < clock_timestamp() - make_interval(secs => ${SILENT_SECONDS_MAX}) AS is_away
     FROM instances WHERE cleared < $1 AND state IN ('running', 'stopped') ORDER BY journal_id`,
    [request],
  )
  return rows.map(({ id, is_away }) => ({ id, isAway: is_away }))
}
