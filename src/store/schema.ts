/**
 * The event database's schema, as versioned migrations (PRAGMA user_version), and how a foreign file is told.
 *
 * `audit_events` is the documented table to the letter (decision D2): anyone may open the file with stock tools. What
 * else the store needs lives in tables of its own:
 *   positions    how far each source (a journal, an import) has been indexed
 *   once_keys    rows that must never be written twice
 *   event_chunks the time map: earliest and latest date_time of every 1,024 ids, so that a time range becomes id ranges
 *   event_facets per chunk and value of action, severity and reason_code, the set of ids that have it (chunk-sets.ts)
 */
import type { DatabaseSync } from 'node:sqlite'
import { StoreError } from './event-store.ts'

/** `EVCA` in ASCII: marks the file as ours (PRAGMA application_id). */
export const APPLICATION_ID = 0x45564341

const AUDIT_EVENTS = `
CREATE TABLE audit_events (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  date_time TEXT NOT NULL,
  who TEXT NOT NULL,
  ip TEXT NOT NULL,
  action TEXT NOT NULL,
  description TEXT NOT NULL,
  severity TEXT NOT NULL,
  reason_code TEXT,
  request_id TEXT,
  endpoint TEXT,
  http_method TEXT,
  status_code INTEGER,
  metadata_json TEXT,
  created_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
);
CREATE INDEX idx_audit_date_time ON audit_events(date_time);
CREATE INDEX idx_audit_who ON audit_events(who);
CREATE INDEX idx_audit_action ON audit_events(action);
CREATE INDEX idx_audit_ip ON audit_events(ip);
CREATE INDEX idx_audit_severity ON audit_events(severity);
CREATE INDEX idx_audit_request_id ON audit_events(request_id);
`

const OWN_TABLES = `
CREATE TABLE positions (source TEXT PRIMARY KEY, position INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE once_keys (key BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE event_chunks (chunk INTEGER PRIMARY KEY, min_date_time TEXT NOT NULL, max_date_time TEXT NOT NULL);
CREATE TABLE event_facets (
  facet INTEGER NOT NULL, value TEXT NOT NULL, chunk INTEGER NOT NULL, ids BLOB NOT NULL,
  PRIMARY KEY (facet, value, chunk)
) WITHOUT ROWID;
`

/** Entry n takes a database from version n to n + 1. Never edited once released, only added to. */
const MIGRATIONS: readonly string[] = [AUDIT_EVENTS + OWN_TABLES]

export const SCHEMA_VERSION = MIGRATIONS.length

/**
 * Version of our schema in the file, 0 when it is empty. Reads only.
 * @throws {StoreError} FOREIGN when the file belongs to something else or to a newer version.
 */
export function schemaVersion(db: DatabaseSync): number {
  const version = pragma(db, 'user_version')
  const application = pragma(db, 'application_id')
  if (application !== APPLICATION_ID) {
    const isEmpty = db.prepare('SELECT 1 FROM sqlite_schema LIMIT 1').get() === undefined
    if (application !== 0 || version !== 0 || !isEmpty) {
      throw new StoreError('FOREIGN', 'the file is a database of something else')
    }
    return 0
  }
  if (version > SCHEMA_VERSION) {
    throw new StoreError(
      'FOREIGN',
      `the database is of version ${version}, newer than this program's ${SCHEMA_VERSION}`,
    )
  }
  return version
}

/** Brings the database to the current version. All steps and the version number are one transaction. */
export function migrate(db: DatabaseSync): void {
  if (schemaVersion(db) === SCHEMA_VERSION) return
  db.exec('BEGIN IMMEDIATE')
  // Asked again under the lock: another process may have migrated meanwhile. A crash before COMMIT leaves the old version.
  for (let version = schemaVersion(db); version < SCHEMA_VERSION; version++) db.exec(MIGRATIONS[version] as string)
  db.exec(`PRAGMA application_id = ${APPLICATION_ID}`)
  db.exec(`PRAGMA user_version = ${SCHEMA_VERSION}`)
  db.exec('COMMIT')
}

function pragma(db: DatabaseSync, name: string): number {
  return Number(db.prepare(`PRAGMA ${name}`).get()?.[name])
}
