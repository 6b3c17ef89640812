/** What the security state in PostgreSQL holds of somebody who is to be erased; sqlite-remains.ts is the same for SQLite. */
import type { AuditEvent } from '../event/event.ts'
import type { Postgres, Session } from '../postgres/postgres.ts'
import { takeLock } from './postgres-change.ts'
import { STATE_TABLES } from './postgres-schema.ts'

/** A charge point or an admin that is there, or the location of one, as text. */
export async function findNameInUse(
  session: Session,
  name: string | undefined,
  holds: (text: string) => boolean,
): Promise<'registered' | 'location' | undefined> {
  const registered = await session.query(
    'SELECT FROM charge_points WHERE cp_id = $1 UNION ALL SELECT FROM admins WHERE name = $1 AND revoked_at IS NULL',
    [name ?? null],
  )
  if (registered.rowCount !== 0) return 'registered'
  const { rows } = await session.query<{ location: string }>(
    'SELECT location FROM charge_points WHERE location IS NOT NULL',
  )
  return rows.some(({ location }) => holds(location)) ? 'location' : undefined
}

/** Whether the event of a change that is no row yet is one of those. */
export async function isInOutbox(session: Session, holds: (event: AuditEvent) => boolean): Promise<boolean> {
  const { rows } = await session.query<{ event: string }>('SELECT event FROM outbox')
  return rows.some(({ event }) => holds(JSON.parse(event) as AuditEvent))
}

/**
 * Takes out what is left of a revoked admin and of the changes of a charge point, and an address out of those that are usual. The list
 * of changes is cut behind the last one that names it, not changed: whoever has not read that far reads everything anew, and so
 * misses nothing.
 */
export async function scrubState(
  session: Session,
  { who, network }: { readonly who: string | undefined; readonly network: string | undefined },
): Promise<void> {
  await takeLock(session)
  if (network !== undefined) await session.query('DELETE FROM usual_addresses WHERE network = $1', [network])
  if (who === undefined) return
  await session.query('DELETE FROM sessions WHERE admin = $1', [who])
  await session.query('DELETE FROM admins WHERE name = $1 AND revoked_at IS NOT NULL', [who])
  const named = await session.query<{ last: number | null }>(
    "SELECT max(number) AS last FROM security_changes WHERE kind = 'charge_point' AND name = $1",
    [who],
  )
  if (named.rows[0]?.last == null) return
  await session.query("INSERT INTO security_changes (kind, name) VALUES ('commit', '')")
  await session.query('DELETE FROM security_changes WHERE number <= $1', [named.rows[0].last])
}

/** Writes the tables anew, without what was deleted. One at a time, so that nobody waits for long, or for each other. */
export async function rewriteState(
  postgres: Pick<Postgres, 'transaction'>,
  prepare: (session: Session) => Promise<void>,
): Promise<void> {
  for (const table of STATE_TABLES) {
    await postgres.transaction(async session => {
      await prepare(session)
      await session.query('SELECT security_rewrite($1)', [table])
    })
  }
}
