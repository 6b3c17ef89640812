/**
 * The event database's schema, as versioned migrations (PRAGMA user_version), and how a foreign file is told.
 *
 * `audit_events` is the documented table to the letter: anyone may open the file with stock tools. What
 * else the store needs lives in tables of its own:
 *   event_segments  which tables hold the rows, when one is not enough (segments.ts)
 *   positions       how far each source (a journal, an import) has been indexed
 *   once_keys       rows that must never be written twice
 *   event_chunks, event_columns, event_facets   what is kept of every 1,024 rows (chunk-store.ts)
 *   event_names, event_kinds                    their dictionaries
 *   event_counts    what a summary counts of every full segment (segment-counts.ts)
 *   event_archives, legal_holds                 which segments left, and which must not (retention.ts)
 *   log_head, log_edge, log_bundles             the log of the rows (log-store.ts)
 *   log_erasures, rewrites_due                  which rows were erased (erasures.ts)
 */
import type { DatabaseSync } from 'node:sqlite'
import type { LogBuilder } from '../log/log-builder.ts'
import { removeLeafTiles } from '../log/log-files.ts'
import { CHUNK_IDS, chunkOf } from './chunk-sets.ts'
import { CHUNK_TABLES, packStoredColumns, prepareChunkWriter, readChunk } from './chunk-store.ts'
import { DICTIONARY_TABLES } from './dictionary.ts'
import { ERASURE_TABLES } from './erasures.ts'
import { StoreError } from './event-store.ts'
import { addSeeds, buildLog } from './log-store.ts'
import { RETENTION_TABLES } from './retention.ts'
import { COUNTS_TABLE, rebuildCounts } from './segment-counts.ts'
import { documentedSchema, listSegments, SEGMENT_TABLE } from './segments.ts'

/** `EVCA` in ASCII: marks the file as ours (PRAGMA application_id). */
export const APPLICATION_ID = 0x45564341

const FIRST = `
${documentedSchema()}
CREATE TABLE positions (source TEXT PRIMARY KEY, position INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE once_keys (key BLOB PRIMARY KEY) WITHOUT ROWID;
`

/** Whatever rows there are become the first segment; the chunks are made anew from them. */
function toSegments(db: DatabaseSync): void {
  db.exec('DROP TABLE IF EXISTS event_chunks; DROP TABLE IF EXISTS event_facets')
  db.exec(CHUNK_TABLES + DICTIONARY_TABLES + SEGMENT_TABLE)
  db.exec("INSERT INTO event_segments VALUES (1, 'audit_events', 1, NULL)")
  const lastId = Number(db.prepare('SELECT max(id) AS id FROM audit_events').get()?.id ?? 0)
  const write = prepareChunkWriter(db)
  for (let chunk = 0; chunk < chunkOf(lastId + 1); chunk++) {
    const complete = readChunk(db, chunk, 'audit_events')
    if (complete.count !== CHUNK_IDS) throw new StoreError('FOREIGN', 'the ids of audit_events are not gapless')
    write(complete)
  }
}

/** Segments that are full already are counted now. */
function toCounts(db: DatabaseSync): void {
  db.exec(COUNTS_TABLE)
  rebuildCounts(db, listSegments(db))
}

/** What takes less room from now on: columns, and salts that are made of seeds. */
function toLessRoom(db: DatabaseSync): void {
  packStoredColumns(db)
  addSeeds(db)
}

/** Entry n takes a database from version n to n + 1. Never edited once released, only added to. */
const MIGRATIONS: readonly ((db: DatabaseSync, log: LogBuilder, logRoot: string) => void)[] = [
  db => db.exec(FIRST),
  toSegments,
  db => db.exec(RETENTION_TABLES),
  toCounts,
  buildLog,
  db => db.exec(ERASURE_TABLES),
  toLessRoom,
]

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

/**
 * Brings the database to the current version. All steps and the version number are one transaction; files that no version from this
 * one on reads go after it, as an older version needs them should it fail, and, after a crash between the two, at the next start.
 * @param log has the log of an older database made, in the folder `logRoot`.
 */
export function migrate(db: DatabaseSync, log: LogBuilder, logRoot: string): void {
  if (schemaVersion(db) !== SCHEMA_VERSION) toCurrentVersion(db, log, logRoot)
  removeLeafTiles(logRoot)
}

function toCurrentVersion(db: DatabaseSync, log: LogBuilder, logRoot: string): void {
  db.exec('BEGIN IMMEDIATE')
  // Asked again under the lock: another process may have migrated meanwhile. A crash before COMMIT leaves the old version.
  for (let version = schemaVersion(db); version < SCHEMA_VERSION; version++) MIGRATIONS[version]?.(db, log, logRoot)
  db.exec(`PRAGMA application_id = ${APPLICATION_ID}`)
  db.exec(`PRAGMA user_version = ${SCHEMA_VERSION}`)
  db.exec('COMMIT')
}

function pragma(db: DatabaseSync, name: string): number {
  return Number(db.prepare(`PRAGMA ${name}`).get()?.[name])
}
