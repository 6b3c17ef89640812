/** What the rate of rows is measured against: one table with the six B-trees of the reference schema, batches of 1,000. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { type AuditEvent, COLUMNS } from '../src/event/event.ts'

const BATCH = 1_000
const WRITTEN = COLUMNS.filter(column => column !== 'id' && column !== 'created_at')
const INDEXED = ['date_time', 'who', 'ip', 'action', 'severity', 'request_id'] as const

/** @returns rows a second, counting only the time that the database takes */
export async function naiveRate(next: () => AuditEvent, events: number): Promise<number> {
  const directory = mkdtempSync(join(tmpdir(), 'evc-bench-naive-'))
  const db = new DatabaseSync(join(directory, 'reference.db'))
  db.exec(`PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA cache_size = -65536;
    CREATE TABLE audit_events (id INTEGER PRIMARY KEY AUTOINCREMENT,
      ${WRITTEN.map(column => `${column} ${column === 'status_code' ? 'INTEGER' : 'TEXT'}`).join(', ')},
      created_at TEXT DEFAULT CURRENT_TIMESTAMP);
    ${INDEXED.map(column => `CREATE INDEX idx_${column} ON audit_events (${column});`).join('')}`)
  const insert = db.prepare(
    `INSERT INTO audit_events (${WRITTEN.join(', ')}) VALUES (${WRITTEN.map(() => '?').join(', ')})`,
  )
  let spentMs = 0
  for (let written = 0; written < events; written += BATCH) {
    const batch = Array.from({ length: BATCH }, next)
    const before = performance.now()
    db.exec('BEGIN')
    for (const event of batch) insert.run(...WRITTEN.map(column => event[column]))
    db.exec('COMMIT')
    spentMs += performance.now() - before
  }
  db.close()
  rmSync(directory, { recursive: true })
  return events / (spentMs / 1000)
}
