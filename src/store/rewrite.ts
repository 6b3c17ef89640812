/**
 * Pages of a database without a trace of what was in them before.
 *
 * SQLite overwrites what is deleted (secure_delete), but not what a page had before its rows moved to another one. So a
 * table that something was erased from is written anew, into other pages, and its old pages are freed, which overwrites them.
 * Rejected: VACUUM, which holds the write lock and twice the disk for as long as the whole trail takes; segments are rewritten
 * one by one.
 */
import { DatabaseSync } from 'node:sqlite'
import { setTimeout } from 'node:timers/promises'
import { reclaimSpace } from './reclaim.ts'
import { currentTable } from './segments.ts'

const BUSY_TIMEOUT_MS = 30_000
const READERS_SPIN_MS = 20
const RETRY_MS = 100

/** In the caller's transaction, on a connection that deletes securely. Nothing refers to these tables but views, by name. */
export function rewriteTable(db: DatabaseSync, table: string): void {
  const [create, ...indexes] = db
    .prepare(
      "SELECT sql FROM sqlite_schema WHERE tbl_name = ? AND type IN ('table', 'index') AND sql IS NOT NULL ORDER BY type = 'index', name",
    )
    .all(table)
    .map(({ sql }) => String(sql))
  if (create === undefined) return // it left the database meanwhile
  db.exec('PRAGMA legacy_alter_table = ON') // so that views go on naming the table, not its old pages
  db.exec(`ALTER TABLE ${table} RENAME TO ${table}_old`)
  db.exec('PRAGMA legacy_alter_table = OFF')
  db.exec(`${create}; INSERT INTO ${table} SELECT * FROM ${table}_old; DROP TABLE ${table}_old`)
  for (const index of indexes) db.exec(index)
}

/** Whether an erasure has left tables to be rewritten. */
export function areRewritesDue(db: DatabaseSync): boolean {
  return db.prepare('SELECT 1 FROM rewrites_due LIMIT 1').get() !== undefined
}

/**
 * Does what an erasure left to do in the files of the event database: each table that is due, in a transaction of its own; then the
 * free pages and the write-ahead log. A crash in it leaves what is not done yet for the next call.
 *
 * @returns whether the write-ahead log could be emptied; not while somebody reads on and on, as a backup does.
 */
export async function finishRewrites(path: string, patienceMs: number): Promise<boolean> {
  const db = new DatabaseSync(path, { timeout: BUSY_TIMEOUT_MS })
  try {
    db.exec('PRAGMA secure_delete = ON')
    for (const { table_name } of db.prepare('SELECT table_name FROM rewrites_due').all()) {
      db.exec('BEGIN IMMEDIATE')
      rewriteTable(db, currentTable(db, String(table_name)))
      db.prepare('DELETE FROM rewrites_due WHERE table_name = ?').run(table_name as string)
      db.exec('COMMIT')
    }
    const { canShrink } = await reclaimSpace(path)
    if (!canShrink) db.exec('VACUUM') // its free pages are of a time when they were not overwritten
    return await emptyWriteAheadLog(db, patienceMs)
  } finally {
    db.close()
  }
}

/** Then all that was committed is in the database and on disk, and the log has no bytes. Not to be used for anything else after it. */
export async function emptyWriteAheadLog(db: DatabaseSync, patienceMs: number): Promise<boolean> {
  db.exec(`PRAGMA busy_timeout = ${READERS_SPIN_MS}`) // while it waits for readers, it keeps writers waiting, too
  for (const until = performance.now() + patienceMs; ; ) {
    const result = db.prepare('PRAGMA wal_checkpoint(TRUNCATE)').get()
    if (result?.busy === 0) return true
    if (performance.now() > until) return false
    await setTimeout(RETRY_MS)
  }
}
