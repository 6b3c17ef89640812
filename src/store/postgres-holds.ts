/** Legal holds in PostgreSQL: what is kept of them is as in retention.ts. Each change goes with its event (`record` of the store). */
import type { Session } from '../postgres/postgres.ts'
import type { LegalHold } from './retention.ts'

export async function readHolds(session: Session): Promise<LegalHold[]> {
  const sql = 'SELECT id, start_time, end_time, reason, placed_by, placed_at FROM legal_holds ORDER BY id'
  return (await session.query<LegalHold & Record<string, unknown>>(sql)).rows
}

/** To be called within the transaction that puts it on record. */
export async function insertHold(session: Session, hold: Omit<LegalHold, 'id'>): Promise<LegalHold> {
  const { rows } = await session.query<{ id: number }>(
    'INSERT INTO legal_holds (start_time, end_time, reason, placed_by, placed_at) VALUES ($1, $2, $3, $4, $5) RETURNING id',
    [hold.start_time, hold.end_time, hold.reason, hold.placed_by, hold.placed_at],
  )
  return { id: rows[0]?.id ?? 0, ...hold }
}

/** To be called within the transaction that puts it on record. */
export async function deleteHold(session: Session, id: number): Promise<LegalHold | undefined> {
  const hold = (await readHolds(session)).find(found => found.id === id)
  if (hold !== undefined) await session.query('DELETE FROM legal_holds WHERE id = $1', [id])
  return hold
}
