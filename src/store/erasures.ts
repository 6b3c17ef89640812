/**
 * Erasure in the event database: which rows hold a subject, and what is left of them.
 *
 *   log_erasures  of each erased row the event that says so, its tombstone; for ever
 *   rewrites_due  tables whose pages may still show what was erased, until they are rewritten (rewrite.ts)
 *
 * An erased row keeps its id and what its leaf says openly. Its private columns are blank, its salt is zeros, so that nobody
 * can find out by trying what they were; chunk columns and counts are made anew, and a name that no row has any more leaves the
 * dictionary. Leaf, tree and every proof given before stay as they are.
 */
import { createHash } from 'node:crypto'
import type { DatabaseSync } from 'node:sqlite'
import { ERASED_COLUMNS, SALT_BYTES } from '../evidence/leaf.ts'
import { TILE_WIDTH } from '../evidence/tile.ts'
import { CHUNK_IDS, chunkOf } from './chunk-sets.ts'
import { prepareChunkWriter, readChunk } from './chunk-store.ts'
import { StoreError } from './event-store.ts'
import { readBundleSalts } from './log-store.ts'
import type { LegalHold } from './retention.ts'
import { rewriteTable } from './rewrite.ts'
import { writeCounts } from './segment-counts.ts'
import { listSegments, type Segment, segmentOf } from './segments.ts'
import { nameHolds, PRIVATE_COLUMNS, type PrivateRow, rowHolds, type Subject, textHolds } from './subject.ts'

export const ERASURE_TABLES = `
CREATE TABLE log_erasures (id INTEGER PRIMARY KEY, tombstone INTEGER NOT NULL);
CREATE TABLE rewrites_due (table_name TEXT PRIMARY KEY) WITHOUT ROWID;
`

export interface HeldRow {
  readonly id: number
  readonly date_time: string
}

/** Rows behind `after` that hold the subject, in the order of their ids. A tombstone holds nobody. */
export function* rowsHolding(db: DatabaseSync, subject: Subject, after = 0): Generator<HeldRow> {
  // SQLite looks for the bare name and for text that may spell it in another way; what it finds is looked at here.
  const holds = PRIVATE_COLUMNS.map(column => `instr(${column}, :name) OR instr(${column}, '%')`).join(' OR ')
  for (const { table, lastId } of listSegments(db)) {
    if (lastId !== undefined && lastId <= after) continue
    const rows = db
      .prepare(
        `SELECT id, date_time, ${PRIVATE_COLUMNS.join(', ')} FROM ${table}
         WHERE id > :after AND NOT (action = 'SYSTEM' AND reason_code IS 'ERASED')
         AND (${holds} OR instr(metadata_json, '\\')) ORDER BY id`,
      )
      .iterate({ name: subject.name, after })
    for (const row of rows) {
      if (rowHolds(row as unknown as PrivateRow, subject)) {
        yield { id: Number(row.id), date_time: String(row.date_time) }
      }
    }
  }
}

/** Which of these ids were erased, and by which events; ascending. */
export function erasuresIn(
  db: DatabaseSync,
  firstId: number,
  lastId: number,
): { readonly id: number; readonly tombstone: number }[] {
  const rows = db.prepare('SELECT id, tombstone FROM log_erasures WHERE id BETWEEN ? AND ? ORDER BY id')
  return rows.all(firstId, lastId).map(({ id, tombstone }) => ({ id: Number(id), tombstone: Number(tombstone) }))
}

/** A hold whose time range has one of the rows, or that names the subject itself. */
export function holdOn(holds: readonly LegalHold[], rows: readonly HeldRow[], subject: Subject): LegalHold | undefined {
  const times = rows.map(({ date_time }) => Date.parse(date_time))
  return holds.find(hold => {
    const [start, end] = [Date.parse(hold.start_time), Date.parse(hold.end_time)]
    const isNamed = textHolds(hold.reason, subject) || nameHolds(hold.placed_by, subject)
    return isNamed || times.some(at => at >= start && at < end)
  })
}

/** What a tombstone says of the rows. */
export function digestOfIds(rows: readonly HeldRow[]): string {
  return createHash('sha256')
    .update(rows.map(({ id }) => id).join('\n'))
    .digest('hex')
}

/** What an erasure reaches that is no row here: events that left as archives. */
export interface ErasedElsewhere {
  readonly ids: readonly number[]
  /** Who and ip of these. */
  readonly names: readonly string[]
}

/**
 * Blanks the rows. To be called within the transaction whose row `tombstone` says so, on a connection that deletes securely.
 * The dictionary is rewritten at once, which changes the schema's version: by that, readers know to forget the rows they have
 * in memory.
 */
export function eraseRows(
  db: DatabaseSync,
  rows: readonly HeldRow[],
  elsewhere: ErasedElsewhere,
  { subject, tombstone }: { readonly subject: Subject; readonly tombstone: number },
): void {
  const segments = listSegments(db)
  const touched = new Set(rows.map(({ id }) => segmentWith(segments, id)))
  const names = blankRows(db, rows, segments)
  for (const name of elsewhere.names) names.add(name)
  zeroSalts(db, rows)
  const insertErasure = db.prepare('INSERT OR IGNORE INTO log_erasures VALUES (?, ?)')
  for (const id of [...rows.map(({ id }) => id), ...elsewhere.ids]) insertErasure.run(id, tombstone)
  renewChunks(db, rows, segments)
  for (const segment of touched) if (segment.lastId !== undefined) writeCounts(db, segment, segment.lastId)
  forgetNames(db, names, segments, subject)
  const note = db.prepare('INSERT OR IGNORE INTO rewrites_due VALUES (?)')
  for (const table of [...[...touched].map(segment => segment.table), 'log_bundles', 'legal_holds']) note.run(table)
  rewriteTable(db, 'event_names')
}

/** Files that show the subject and are to be destroyed, on record in the transaction that erases it, as tables are. */
const FILE_DUE = 'file:'

export function noteFilesDue(db: DatabaseSync, names: readonly string[]): void {
  const note = db.prepare('INSERT OR IGNORE INTO rewrites_due VALUES (?)')
  for (const name of names) note.run(FILE_DUE + name)
}

export function listFilesDue(db: DatabaseSync): string[] {
  const rows = db.prepare("SELECT table_name FROM rewrites_due WHERE table_name LIKE 'file:%'").all()
  return rows.map(({ table_name }) => String(table_name).slice(FILE_DUE.length))
}

/** Rows that are to be erased are there. */
const segmentWith = (segments: readonly Segment[], id: number) => segmentOf(segments, id) as Segment

/** @returns who and ip as they were */
function blankRows(db: DatabaseSync, rows: readonly HeldRow[], segments: readonly Segment[]): Set<string> {
  const names = new Set<string>()
  const columns = PRIVATE_COLUMNS.map(column => `${column} = :${column}`).join(', ')
  const statements = new Map(
    segments.map(segment => [
      segment,
      {
        select: db.prepare(`SELECT who, ip FROM ${segment.table} WHERE id = ?`),
        update: db.prepare(`UPDATE ${segment.table} SET ${columns} WHERE id = :id`),
      },
    ]),
  )
  for (const { id } of rows) {
    const { select, update } = statements.get(segmentWith(segments, id)) as NonNullable<
      ReturnType<typeof statements.get>
    >
    const { who, ip } = select.get(id) ?? {}
    names.add(String(who)).add(String(ip))
    update.run({ ...ERASED_COLUMNS, id })
  }
  return names
}

function zeroSalts(db: DatabaseSync, rows: readonly HeldRow[]): void {
  const update = db.prepare('UPDATE log_bundles SET salts = ?, seed = NULL WHERE bundle = ?')
  const bundleOf = (id: number) => Math.floor((id - 1) / TILE_WIDTH)
  for (const [bundle, ofBundle] of Map.groupBy(rows, ({ id }) => bundleOf(id))) {
    const stored = readBundleSalts(db, bundle)
    if (stored === undefined) throw new StoreError('FOREIGN', `the log has no salts of event ${ofBundle[0]?.id}`)
    const salts = stored.slice()
    for (const { id } of ofBundle) {
      const at = ((id - 1) % TILE_WIDTH) * SALT_BYTES
      salts.fill(0, at, at + SALT_BYTES)
    }
    update.run(salts, bundle)
  }
}

function renewChunks(db: DatabaseSync, rows: readonly HeldRow[], segments: readonly Segment[]): void {
  const write = prepareChunkWriter(db)
  for (const chunk of new Set(rows.map(({ id }) => chunkOf(id)))) {
    const complete = readChunk(db, chunk, segmentWith(segments, chunk * CHUNK_IDS + 1).table)
    if (complete.count === CHUNK_IDS) write(complete)
  }
}

/** Of the erased rows' names those that no row has any more, and every one that holds the subject. */
function forgetNames(db: DatabaseSync, names: Set<string>, segments: readonly Segment[], subject: Subject): void {
  const deleteName = db.prepare('DELETE FROM event_names WHERE name = ?')
  const selects = segments.flatMap(({ table }) =>
    ['who', 'ip'].map(column => db.prepare(`SELECT 1 FROM ${table} WHERE ${column} = ? LIMIT 1`)),
  )
  for (const name of names) if (selects.every(select => select.get(name) === undefined)) deleteName.run(name)
  for (const { name } of db.prepare('SELECT name FROM event_names WHERE instr(name, ?)').all(subject.name)) {
    if (nameHolds(String(name), subject)) deleteName.run(name as string)
  }
}
