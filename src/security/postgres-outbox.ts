/** Events of those who have no journal, left in the queue of nobody, in the transaction of what they tell of. */
import { randomUUID } from 'node:crypto'
import type { AuditEvent } from '../event/event.ts'
import type { Session } from '../postgres/postgres.ts'

/** The first instance that looks records it, once. */
export async function leaveEvent(session: Session, event: AuditEvent): Promise<void> {
  await session.query("INSERT INTO outbox (uuid, event, instance) VALUES ($1, $2, '')", [
    randomUUID(),
    JSON.stringify(event),
  ])
}
