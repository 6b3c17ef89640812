/**
 * Erasure in PostgreSQL: which rows hold a subject, and what is left of them in tables. What is left in the rows is as in erasures.ts;
 * blanking them is the function `evc_erase_events` (postgres-erasure-schema.ts), as the runtime role cannot.
 */
import type { Session } from '../postgres/postgres.ts'
import type { HeldRow } from './erasures.ts'
import { PRIVATE_COLUMNS, type PrivateRow, rowHolds, type Subject } from './subject.ts'

/** Rows that one statement looks at: so that each is short, whatever there is. */
const WINDOW_IDS = 32_768

/** PostgreSQL looks for the bare name and for text that may spell it in another way; what it finds is looked at here. */
const SELECT_HOLDING = `SELECT id, date_time, ${PRIVATE_COLUMNS.join(', ')} FROM audit_events
  WHERE id > $1 AND id <= $2 AND NOT (action = 'SYSTEM' AND reason_code IS NOT DISTINCT FROM 'ERASED')
  AND (${PRIVATE_COLUMNS.map(column => `strpos(${column}, $3) > 0 OR strpos(${column}, '%') > 0`).join(' OR ')}
    OR strpos(metadata_json, '\\') > 0) ORDER BY id`

/** Rows behind `after`, up to `through`, that hold the subject, in the order of their ids. A tombstone holds nobody. */
export async function findHolding(
  session: Session,
  subject: Subject,
  { after, through }: { readonly after: number; readonly through: number },
): Promise<HeldRow[]> {
  const found: HeldRow[] = []
  for (let from = after; from < through; from += WINDOW_IDS) {
    const { rows } = await session.query<{ id: number; date_time: string } & PrivateRow>(SELECT_HOLDING, [
      from,
      Math.min(from + WINDOW_IDS, through),
      subject.name,
    ])
    for (const row of rows) if (rowHolds(row, subject)) found.push({ id: row.id, date_time: row.date_time })
  }
  return found
}

/** Without those that somebody else erased meanwhile. */
export async function withoutErased(session: Session, rows: readonly HeldRow[]): Promise<HeldRow[]> {
  const ids = rows.map(({ id }) => id)
  const erased = await session.query<{ id: number }>('SELECT id FROM log_erasures WHERE id = ANY ($1)', [ids])
  const known = new Set(erased.rows.map(({ id }) => id))
  return rows.filter(({ id }) => !known.has(id))
}

/** Within the transaction whose row `tombstone` is. */
export async function eraseHeld(session: Session, rows: readonly HeldRow[], tombstone: number): Promise<void> {
  await session.query('SELECT evc_erase_events($1, $2)', [rows.map(({ id }) => id), tombstone])
}

/** Tables whose files may show what was erased. */
export async function rewritesDue(session: Session): Promise<string[]> {
  const { rows } = await session.query<{ table_name: string }>('SELECT table_name FROM rewrites_due ORDER BY 1')
  return rows.map(({ table_name }) => table_name)
}

/** Writes one of them anew; nothing when it is not due any more. */
export async function rewriteDue(session: Session, table: string): Promise<void> {
  await session.query('SELECT evc_finish_erasure($1)', [table])
}

/**
 * Transactions that may still see what was erased: those of this database, and those of others that write, as they keep the
 * horizon back. Each has a name of its own, so one that is not among them later has ended.
 */
export async function openTransactions(session: Session): Promise<Set<string>> {
  const { rows } = await session.query<{ name: string }>(
    `SELECT DISTINCT l.virtualtransaction AS name FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
     WHERE l.granted AND l.pid IS DISTINCT FROM pg_backend_pid() AND (l.locktype = 'transactionid' AND l.mode = 'ExclusiveLock'
       OR l.locktype = 'virtualxid' AND a.datname = current_database() AND a.usesysid IS NOT NULL)`,
  )
  return new Set(rows.map(({ name }) => name))
}
