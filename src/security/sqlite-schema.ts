/**
 * The security database's schema, as a list of migrations: number n brings `user_version` from n to n + 1.
 *
 * A migration is never changed once released; a new one is appended. Versions only go up, so a file of a newer version
 * is refused instead of guessed at.
 */
import type { DatabaseSync } from 'node:sqlite'
import { SecurityStateError } from './security-state.ts'

/** "EVCS": marks the file as ours. */
const APPLICATION_ID = 0x45564353

const MIGRATIONS = [
  `
  CREATE TABLE charge_points (
    cp_id           TEXT PRIMARY KEY,
    location        TEXT,
    security_status TEXT NOT NULL CHECK (security_status IN ('ACTIVE', 'OUT_OF_SERVICE', 'REVOKED')),
    credential_kind TEXT NOT NULL CHECK (credential_kind IN ('generated', 'chosen')),
    credential_hash TEXT NOT NULL,
    token_version   INTEGER NOT NULL,
    created_at      TEXT NOT NULL,
    updated_at      TEXT NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX charge_points_by_status ON charge_points (security_status, cp_id);
  CREATE INDEX charge_points_chosen ON charge_points (cp_id) WHERE credential_kind = 'chosen';

  -- "number" is never used again, so the nonces of a key can never be taken for those of another.
  CREATE TABLE keys (
    number      INTEGER PRIMARY KEY AUTOINCREMENT,
    key_id      TEXT NOT NULL UNIQUE,
    cp_id       TEXT NOT NULL REFERENCES charge_points (cp_id) ON DELETE CASCADE,
    version     INTEGER NOT NULL,
    wrapped     BLOB,
    fingerprint TEXT NOT NULL,
    nonces_used INTEGER NOT NULL DEFAULT 0,
    created_at  TEXT NOT NULL,
    revoked_at  TEXT,
    UNIQUE (cp_id, version),
    CHECK ((wrapped IS NULL) = (revoked_at IS NOT NULL))
  ) STRICT;
  CREATE UNIQUE INDEX keys_current ON keys (cp_id) WHERE revoked_at IS NULL;

  CREATE TABLE message_nonces (
    key_number INTEGER NOT NULL,
    nonce      BLOB NOT NULL,
    PRIMARY KEY (key_number, nonce)
  ) STRICT, WITHOUT ROWID;
  -- Keys that are gone and whose nonces are still to be deleted, a piece at a time.
  CREATE TABLE keys_to_sweep (key_number INTEGER PRIMARY KEY) STRICT;
  CREATE TRIGGER keys_revoked AFTER UPDATE OF revoked_at ON keys
    WHEN old.revoked_at IS NULL AND new.revoked_at IS NOT NULL AND old.nonces_used > 0
    BEGIN INSERT INTO keys_to_sweep VALUES (old.number); END;
  CREATE TRIGGER keys_deleted AFTER DELETE ON keys
    WHEN old.revoked_at IS NULL AND old.nonces_used > 0
    BEGIN INSERT INTO keys_to_sweep VALUES (old.number); END;

  CREATE TABLE admins (
    name       TEXT PRIMARY KEY,
    role       TEXT NOT NULL CHECK (role IN ('admin', 'operator', 'auditor')),
    key_hash   TEXT NOT NULL UNIQUE,
    created_at TEXT NOT NULL,
    revoked_at TEXT
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE last_seen (
    cp_id        TEXT PRIMARY KEY REFERENCES charge_points (cp_id) ON DELETE CASCADE,
    last_success TEXT NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE usual_addresses (
    cp_id   TEXT NOT NULL REFERENCES charge_points (cp_id) ON DELETE CASCADE,
    network TEXT NOT NULL,
    seen_at TEXT NOT NULL,
    PRIMARY KEY (cp_id, network)
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE outbox (
    id    INTEGER PRIMARY KEY AUTOINCREMENT,
    uuid  TEXT NOT NULL,
    event TEXT NOT NULL
  ) STRICT;

  CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
  `,
  `
  CREATE TABLE sessions (
    id_hash    TEXT PRIMARY KEY,
    admin      TEXT NOT NULL,
    key_hash   TEXT NOT NULL,
    created_at TEXT NOT NULL,
    expires_at TEXT NOT NULL,
    ended_at   TEXT
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX sessions_of_admin ON sessions (admin, created_at) WHERE ended_at IS NULL;
  CREATE INDEX sessions_by_expiry ON sessions (expires_at);
  `,
] as const

/**
 * Brings a new or older file to this version; refuses any other without writing to it.
 * @throws {SecurityStateError} foreign or newer
 */
export function migrate(database: DatabaseSync, path: string): void {
  const found = refuseForeign(database, path)
  database.exec('PRAGMA journal_mode = WAL')
  if (found === MIGRATIONS.length) return // a full disk is no reason not to start
  // Crash inside: the transaction is gone and the next start does it again.
  database.exec('BEGIN IMMEDIATE')
  try {
    // Asked again under the lock: another process may have just done it.
    const version = refuseForeign(database, path)
    for (const migration of MIGRATIONS.slice(version)) database.exec(migration)
    database.exec(`PRAGMA application_id = ${APPLICATION_ID}; PRAGMA user_version = ${MIGRATIONS.length}; COMMIT`)
  } catch (error) {
    if (database.isTransaction) database.exec('ROLLBACK')
    throw error
  }
}

function refuseForeign(database: DatabaseSync, path: string): number {
  let application: number
  let version: number
  let tables: number
  try {
    application = pragma(database, 'application_id')
    version = pragma(database, 'user_version')
    tables = Number(database.prepare('SELECT count(*) AS n FROM sqlite_schema').get()?.n)
  } catch (cause) {
    if ((cause as { errcode?: number }).errcode !== SQLITE_NOTADB) throw cause
    throw new SecurityStateError(`${path} is not a database`, { cause })
  }
  const isEmpty = tables === 0 && application === 0 && version === 0
  if (!isEmpty && application !== APPLICATION_ID) {
    throw new SecurityStateError(`${path} is a database, but not the security state of EV Central`)
  }
  if (version > MIGRATIONS.length) {
    throw new SecurityStateError(
      `${path} was written by a newer EV Central (schema ${version}); this one knows ${MIGRATIONS.length}`,
    )
  }
  return version
}

const SQLITE_NOTADB = 26

function pragma(database: DatabaseSync, name: string): number {
  return Number(database.prepare(`PRAGMA ${name}`).get()?.[name])
}
