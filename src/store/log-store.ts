/**
 * Keeps the log beside the rows: what the tree needs to go on, and the salts, in the transaction of the rows they are of. The
 * entries and the tree's tiles are files (log/log-builder.ts), written before that transaction commits.
 *
 *   log_head     one row: size, root, the roots of the perfect subtrees, and up to which size the files are synced
 *   log_edge     of each level of tiles, the hashes of the one that is not full
 *   log_bundles  of every 256 rows the seed of their salts. Where there is none, as when a row was erased: the salts, 16 bytes
 *                each, zeros for an erased row. While the bundle is not full, and so no file yet: the salts and the commitments;
 *                these stay where a row was erased meanwhile
 *
 * Owns nothing between transactions but the builder, which is told to go on from the database whenever that is not where the
 * builder left it: another writer went on, or a transaction was rolled back (`forget`).
 */
import type { DatabaseSync } from 'node:sqlite'
import { COLUMNS, type StoredEvent } from '../event/event.ts'
import { areSameBytes, HASH_BYTES, joinBytes } from '../evidence/encoding.ts'
import { formatLeaf, hasErasedSalt, SALT_BYTES, saltsOfSeed } from '../evidence/leaf.ts'
import { EMPTY_ROOT } from '../evidence/merkle.ts'
import { formatBundle, parseHashTile, TILE_WIDTH } from '../evidence/tile.ts'
import type { TileFile } from '../evidence/tile-collector.ts'
import { syncPath } from '../files/whole-file.ts'
import type { LogBuilder, LogGrowth, LogRow, LogState } from '../log/log-builder.ts'
import { openLogFiles, packsFrom } from '../log/log-files.ts'
import { StoreError } from './event-store.ts'
import { repairLog } from './log-repair.ts'
import { listSegments, readRows } from './segments.ts'

const LOG_TABLES = `
CREATE TABLE log_head (
  one INTEGER PRIMARY KEY CHECK (one = 1), size INTEGER NOT NULL, root BLOB NOT NULL, edge BLOB NOT NULL,
  synced_size INTEGER NOT NULL
);
CREATE TABLE log_edge (level INTEGER PRIMARY KEY, tile INTEGER NOT NULL, hashes BLOB NOT NULL);
CREATE TABLE log_bundles (bundle INTEGER PRIMARY KEY, salts BLOB NOT NULL, commitments BLOB, seed BLOB);
`

export interface LogStore {
  /** Call at the start of a transaction that appends rows behind `lastId`, which are in `table`. */
  resume(lastId: number, table: string): void
  add(row: LogRow): void
  /** Call before the commit. @throws an error of the file system or of SQLite; roll back then, and `forget`. */
  finish(): void
  /** Outside of a transaction: notes that the files are on disk, so that whoever goes on does not look at them again. */
  settle(): void
  /** The transaction was not committed, or may not have been. Call before it is rolled back: then another writer goes on with the files. */
  forget(): void
}

/** @param root of the log's files, which are looked at when the log is gone on with. */
export function createLogStore(db: DatabaseSync, builder: LogBuilder, root: string): LogStore {
  const selectBundle = db.prepare('SELECT salts, commitments, seed FROM log_bundles WHERE bundle = ?')
  const upsertBundle = db.prepare(
    'INSERT OR REPLACE INTO log_bundles (bundle, salts, commitments, seed) VALUES (?, ?, ?, ?)',
  )
  const deleteEdge = db.prepare('DELETE FROM log_edge')
  const insertEdge = db.prepare('INSERT INTO log_edge VALUES (?, ?, ?)')
  const upsertHead = db.prepare('INSERT OR REPLACE INTO log_head VALUES (1, ?, ?, ?, ?)')
  /** Unless another writer has gone on. */
  const noteSynced = db.prepare('UPDATE log_head SET synced_size = max(synced_size, ?) WHERE size = ?')
  let isKnown = false
  let size = 0
  let added = 0

  function writeBundles({ salts, commitments, seeds }: LogGrowth): void {
    let completed = 0
    for (let at = 0; at < added; ) {
      const bundle = Math.floor((size + at) / TILE_WIDTH)
      const filled = (size + at) % TILE_WIDTH
      const count = Math.min(TILE_WIDTH - filled, added - at)
      const before = filled === 0 ? undefined : selectBundle.get(bundle)
      const isFull = filled + count === TILE_WIDTH
      const ofAll = joinBytes(
        before === undefined ? new Uint8Array() : saltsIn(before).subarray(0, filled * SALT_BYTES),
        salts.subarray(at * SALT_BYTES, (at + count) * SALT_BYTES),
      )
      const drawn = isFull ? seeds[completed++] : undefined
      // One of a bundle that was begun before may be erased since: the seed would bring it back.
      const isAsDrawn = drawn !== undefined && (filled === 0 || areSameBytes(saltsOfSeed(drawn), ofAll))
      const seed = isAsDrawn ? drawn : undefined
      upsertBundle.run(
        bundle,
        seed === undefined ? ofAll : new Uint8Array(),
        isFull ? commitmentsOfErased(before) : joinBytes(bytesOf(before?.commitments), commitments),
        seed ?? null,
      )
      at += count
    }
  }

  /** All of a level that a tile was full of are in its file now. */
  function writeEdge({ partialTiles, edge, root, syncedSize }: LogGrowth): void {
    deleteEdge.run()
    for (const { tile, bytes } of partialTiles) {
      if (tile.level !== 'entries') insertEdge.run(tile.level, tile.index, bytes) // those are the rows
    }
    upsertHead.run(edge.size, root, joinBytes(...edge.hashes), syncedSize)
  }

  function goOn(lastId: number, table: string): void {
    const state = readLogState(db, lastId, table)
    if (state.syncedSize < lastId) {
      const files = openLogFiles(root)
      try {
        repairLog(db, files, { syncedSize: state.syncedSize, size: lastId })
        for (const path of files.takeUnsynced()) syncPath(path)
      } finally {
        files.close()
      }
      // Right they are, but whoever wrote them may not have synced them.
      if (lastId >= TILE_WIDTH) for (const path of packsFrom(root, state.syncedSize)) syncPath(path)
    }
    builder.resume({ ...state, syncedSize: lastId })
  }

  return {
    resume(lastId, table) {
      if (!isKnown || builder.size !== lastId) goOn(lastId, table)
      isKnown = true
      size = lastId
      added = 0
    },
    add(row) {
      builder.add(row)
      added++
    },
    finish() {
      if (added === 0) return
      const growth = builder.finish()
      writeBundles(growth)
      writeEdge(growth)
    },
    settle() {
      if (isKnown && builder.size !== undefined) noteSynced.run(builder.sync(), builder.size)
    },
    forget() {
      isKnown = false
      builder.abandon()
    },
  }
}

/** Of a database whose log has none yet: its bundles keep their salts. */
export function addSeeds(db: DatabaseSync): void {
  const columns = db.prepare('SELECT name FROM pragma_table_info(?)').all('log_bundles')
  if (columns.every(({ name }) => name !== 'seed')) db.exec('ALTER TABLE log_bundles ADD COLUMN seed BLOB')
}

/** The log of the rows that there are already. @throws {StoreError} FOREIGN when some of them have left the database */
export function buildLog(db: DatabaseSync, builder: LogBuilder, root: string): void {
  db.exec(LOG_TABLES)
  const log = createLogStore(db, builder, root)
  const segments = listSegments(db)
  log.resume(0, segments[0]?.table ?? '')
  let lastId = 0
  for (const { table } of segments) {
    for (const row of db.prepare(`SELECT ${COLUMNS.join(', ')} FROM ${table} ORDER BY id`).iterate()) {
      const event = row as unknown as StoredEvent
      if (event.id !== ++lastId) {
        throw new StoreError('FOREIGN', `event ${lastId} is not in the database any more, so there can be no log of it`)
      }
      log.add({ id: event.id, event, createdAt: event.created_at })
    }
  }
  log.finish()
}

const bundleOf = (id: number) => Math.floor((id - 1) / TILE_WIDTH)

/** Their rows have left, and took their salts along. */
export function dropBundles(db: DatabaseSync, firstId: number, lastId: number): void {
  db.prepare('DELETE FROM log_bundles WHERE bundle BETWEEN ? AND ?').run(bundleOf(firstId), bundleOf(lastId))
}

/** Of the rows of whole bundles, 16 bytes each. */
export function readSalts(db: DatabaseSync, firstId: number, lastId: number): Uint8Array {
  const rows = db
    .prepare('SELECT salts, seed FROM log_bundles WHERE bundle BETWEEN ? AND ? ORDER BY bundle')
    .all(bundleOf(firstId), bundleOf(lastId))
  return joinBytes(...rows.map(saltsIn))
}

/** Of the rows of a bundle. Undefined when there is no such bundle. */
export function readBundleSalts(db: DatabaseSync, bundle: number): Uint8Array | undefined {
  const row = db.prepare('SELECT salts, seed FROM log_bundles WHERE bundle = ?').get(bundle)
  return row && saltsIn(row)
}

/** Of an erased row nothing else says the commitment, should a power loss take the file that the bundle has become. */
function commitmentsOfErased(before: Record<string, unknown> | undefined): Uint8Array | null {
  const isErased = before !== undefined && hasErasedSalt(saltsIn(before))
  return isErased ? bytesOf(before.commitments) : null
}

function saltsIn(row: Record<string, unknown>): Uint8Array {
  return row.seed instanceof Uint8Array ? saltsOfSeed(row.seed) : bytesOf(row.salts)
}

export interface LogHead {
  readonly size: number
  readonly root: Uint8Array
  readonly edge: Uint8Array
  readonly syncedSize: number
}

export function readLogHead(db: DatabaseSync): LogHead {
  const row = db.prepare('SELECT size, root, edge, synced_size FROM log_head').get()
  if (row === undefined) return { size: 0, root: EMPTY_ROOT, edge: new Uint8Array(), syncedSize: 0 }
  return {
    size: Number(row.size),
    root: row.root as Uint8Array,
    edge: row.edge as Uint8Array,
    syncedSize: Number(row.synced_size),
  }
}

/** Of each level of hashes the tile that is not full. */
export function readPartialTiles(db: DatabaseSync): TileFile[] {
  const rows = db.prepare('SELECT level, tile, hashes FROM log_edge ORDER BY level').all()
  return rows.map(row => {
    const bytes = row.hashes as Uint8Array
    return { tile: { level: Number(row.level), index: Number(row.tile), width: bytes.length / HASH_BYTES }, bytes }
  })
}

/** The bundle that is not full, as its rows and commitments say; undefined when the last one is full. @param table holds its rows */
export function readPartialBundle(db: DatabaseSync, size: number, table: string): TileFile | undefined {
  const index = Math.floor(size / TILE_WIDTH)
  const width = size % TILE_WIDTH
  if (width === 0) return undefined
  const commitments = readPartialCommitments(db, size)
  const rows = readRows(db, table, index * TILE_WIDTH + 1, size)
  const entries = rows.map((row, n) => formatLeaf(row, commitments.subarray(n * HASH_BYTES, (n + 1) * HASH_BYTES)))
  return { tile: { level: 'entries', index, width }, bytes: formatBundle(entries) }
}

/** Of the rows of the bundle that is not full, 32 bytes each. */
export function readPartialCommitments(db: DatabaseSync, size: number): Uint8Array {
  return size % TILE_WIDTH === 0 ? new Uint8Array() : readCommitments(db, Math.floor(size / TILE_WIDTH))
}

/** Of a bundle's first rows, 32 bytes each; of none where they are not kept. */
export function readCommitments(db: DatabaseSync, bundle: number): Uint8Array {
  return bytesOf(db.prepare('SELECT commitments FROM log_bundles WHERE bundle = ?').get(bundle)?.commitments)
}

function readLogState(db: DatabaseSync, lastId: number, table: string): LogState {
  const { size, edge, syncedSize } = readLogHead(db)
  if (size !== lastId) throw new StoreError('FOREIGN', `the log has ${size} entries, and the last row is ${lastId}`)
  const hashes = parseHashTile(edge, edge.length / HASH_BYTES) ?? []
  const bundle = readPartialBundle(db, size, table)
  const partialTiles = [...readPartialTiles(db), ...(bundle === undefined ? [] : [bundle])]
  return { edge: { size, hashes }, partialTiles, syncedSize }
}

function bytesOf(column: unknown): Uint8Array {
  return column instanceof Uint8Array ? column : new Uint8Array()
}

/** Where the log's files are: beside the database, as those of SQLite are. */
export const logRoot = (databasePath: string) => `${databasePath}-log`
