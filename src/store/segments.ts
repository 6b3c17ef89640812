/**
 * `audit_events` in segments: tables of 131,072 rows, one of them growing.
 *
 * Why: the six documented indexes cost little in a table that fits into the page cache and ever more beyond it, and a
 * whole table can leave (retention) where single rows would leave holes. A small log is the documented table itself.
 * When the first segment is full, the table becomes `audit_events_1` and `audit_events` a view over all segments, so
 * stock tools and the documented SQL see one thing. The first segment keeps the documented index names, the others
 * carry their number behind it.
 *
 *   event_segments  which ids are in which table; `last_id` is NULL for the one that grows
 *
 * A segment that takes half as many rows as it has, or more, in one transaction gets its indexes at the end of it: sorting 131,072
 * entries once costs a third of putting them into six trees one by one, and leaves full pages.
 *
 * Everything here runs in the caller's transaction: a crash leaves either the segments before or those after.
 */
import type { DatabaseSync } from 'node:sqlite'
import { COLUMNS, type StoredEvent } from '../event/event.ts'
import { CHUNK_IDS, chunkOf } from './chunk-sets.ts'
import { dropChunks } from './chunk-store.ts'
import { dropCounts } from './segment-counts.ts'

/** Rows of a segment: whole chunks, so that a chunk is of one segment. */
export const SEGMENT_IDS = 128 * CHUNK_IDS

/** SQLite joins at most 500 tables by UNION ALL; beyond that many, the older ones stand behind a view of their own. */
const TABLES_PER_VIEW_MAX = 400

const VIEW = 'audit_events'

const INDEXED = ['date_time', 'who', 'action', 'ip', 'severity', 'request_id'] as const

export interface Segment {
  readonly number: number
  readonly table: string
  readonly firstId: number
  /** Undefined while it grows. */
  readonly lastId: number | undefined
}

export const SEGMENT_TABLE = `
CREATE TABLE event_segments (
  segment INTEGER PRIMARY KEY, table_name TEXT NOT NULL, first_id INTEGER NOT NULL, last_id INTEGER
);
`

/** The documented table with its indexes. */
export function documentedSchema(): string {
  return tableSchema(VIEW, 'INTEGER PRIMARY KEY AUTOINCREMENT') + indexSchema(VIEW, '')
}

function indexSchema(table: string, suffix: string): string {
  return INDEXED.map(column => `CREATE INDEX idx_audit_${column}${suffix} ON ${table}(${column});\n`).join('')
}

const suffixOf = (number: number) => (number === 1 ? '' : `_${number}`)

function tableSchema(table: string, id: string): string {
  return `
CREATE TABLE ${table} (
  id ${id},
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
`
}

/** Name of a segment's index on a column, for `INDEXED BY`. */
export function indexOf(segment: Segment, column: (typeof INDEXED)[number]): string {
  return `idx_audit_${column}${suffixOf(segment.number)}`
}

/** In the order of their ids; never empty. There are gaps where segments have left the database. */
export function listSegments(db: DatabaseSync): Segment[] {
  const rows = db.prepare('SELECT segment, table_name, first_id, last_id FROM event_segments ORDER BY segment').all()
  return rows.map(row => ({
    number: Number(row.segment),
    table: String(row.table_name),
    firstId: Number(row.first_id),
    lastId: row.last_id === null ? undefined : Number(row.last_id),
  }))
}

/** The one that this id is in, or was before it left; undefined: it is older than all that there are. */
export function segmentOf(segments: readonly Segment[], id: number): Segment | undefined {
  return segments.findLast(({ firstId }) => firstId <= id)
}

/** In the order of their ids. @param table of their segment */
export function readRows(db: DatabaseSync, table: string, firstId: number, lastId: number): StoredEvent[] {
  const select = db.prepare(`SELECT ${COLUMNS.join(', ')} FROM ${table} WHERE id BETWEEN ? AND ? ORDER BY id`)
  return select.all(firstId, lastId) as unknown as StoredEvent[]
}

/** The first segment's table is renamed once: what was noted of it before goes on under its new name. */
export function currentTable(db: DatabaseSync, noted: string): string {
  return noted === VIEW && listSegments(db).some(({ table }) => table === `${VIEW}_1`) ? `${VIEW}_1` : noted
}

/** The growing segment ends with `lastId`; a new one goes on behind it, without indexes until `indexSegment`. */
export function startNextSegment(db: DatabaseSync, full: Segment, lastId: number): Segment {
  db.prepare('UPDATE event_segments SET last_id = ? WHERE segment = ?').run(lastId, full.number)
  if (full.table === VIEW) {
    db.exec(`ALTER TABLE ${VIEW} RENAME TO ${VIEW}_1`)
    db.exec(`UPDATE event_segments SET table_name = '${VIEW}_1' WHERE segment = 1`)
  }
  const number = full.number + 1
  const next: Segment = { number, table: `${VIEW}_${number}`, firstId: lastId + 1, lastId: undefined }
  db.exec(tableSchema(next.table, 'INTEGER PRIMARY KEY'))
  db.prepare('INSERT INTO event_segments VALUES (?, ?, ?, NULL)').run(number, next.table, next.firstId)
  createViews(db)
  return next
}

/** Before the transaction that started it, or took its indexes away, ends. */
export function indexSegment(db: DatabaseSync, { table, number }: Segment): void {
  db.exec(indexSchema(table, suffixOf(number)))
}

/** In a transaction that adds more rows than it pays to put into them one by one, and then makes them anew (`indexSegment`). */
export function dropIndexes(db: DatabaseSync, segment: Segment): void {
  for (const column of INDEXED) db.exec(`DROP INDEX IF EXISTS ${indexOf(segment, column)}`)
}

/** Takes a full segment, its chunks and counts out of the database. The first one stays, empty: the documented index names are its. */
export function dropSegment(db: DatabaseSync, segment: Segment): void {
  if (segment.lastId === undefined) throw new Error('a growing segment cannot leave')
  db.prepare('DELETE FROM event_segments WHERE segment = ?').run(segment.number)
  dropChunks(db, chunkOf(segment.firstId), chunkOf(segment.lastId))
  dropCounts(db, segment.number)
  if (segment.number === 1) db.exec(`DELETE FROM ${segment.table}`)
  createViews(db)
  if (segment.number !== 1) db.exec(`DROP TABLE ${segment.table}`)
}

/** `audit_events` over all segments; more than SQLite joins at once stand in views `audit_events_upto_N`. */
function createViews(db: DatabaseSync): void {
  const old = db.prepare("SELECT name FROM sqlite_schema WHERE type = 'view' AND name LIKE 'audit_events%'").all()
  for (const { name } of old) db.exec(`DROP VIEW ${String(name)}`)
  const columns = COLUMNS.join(', ')
  const union = (tables: readonly string[]) =>
    tables.map(table => `SELECT ${columns} FROM ${table}`).join('\nUNION ALL\n')
  let tables: string[] = []
  for (const { number, table } of listSegments(db)) {
    tables.push(table)
    if (tables.length < TABLES_PER_VIEW_MAX) continue
    const older = `${VIEW}_upto_${number}`
    db.exec(`CREATE VIEW ${older} AS\n${union(tables)}`)
    tables = [older]
  }
  db.exec(`CREATE VIEW ${VIEW} AS\n${union(tables)}`)
}
