/**
 * A read-only connection to the event database and what the queries are made of.
 *
 * Every statement is bounded: by a count, by one chunk, or by a key of which there are few. Reads take snapshots
 * (write-ahead log), so they neither wait for the indexer nor make it wait.
 */
import { DatabaseSync } from 'node:sqlite'
import type { ReadHash } from '../evidence/merkle-proof.ts'
import { hashesFromTiles } from '../evidence/tile.ts'
import { openLogFiles } from '../log/log-files.ts'
import { type Connection, createConnection } from '../store/connection.ts'
import { StoreError } from '../store/event-store.ts'
import { logRoot } from '../store/log-store.ts'
import { type LogSnapshot, readLog } from '../store/log-view.ts'
import { SCHEMA_VERSION, schemaVersion } from '../store/schema.ts'
import { type ChunkReader, createChunkReader } from './chunk-reader.ts'
import { createRootMemory } from './root-memory.ts'
import { createSegmentReader, type SegmentReader } from './segment-reader.ts'

export interface EventDatabase
  extends Pick<SegmentReader, 'lastId' | 'event' | 'events' | 'presentId' | 'keysOf' | 'keysAmong'>,
    Omit<ChunkReader, 'refresh'> {
  readonly db: DatabaseSync
  /** The log, as the snapshot has it. */
  log(): LogSnapshot
  /** What proofs of a tree of this size are made of. @throws {RangeError} when the log has no such hash, or it cannot be read */
  hashes(log: LogSnapshot, size: number): ReadHash
}

/** Readers wait for nobody but a process that holds the whole database for itself. */
const BUSY_TIMEOUT_MS = 250
const CACHE_KIB = 8 * 1024

export interface EventConnection {
  /**
   * One snapshot for all of the work. Keep it short: the write-ahead log cannot start again meanwhile.
   * @throws {StoreError} UNAVAILABLE or FOREIGN
   */
  inSnapshot<R>(work: (database: EventDatabase) => R): R
  close(): void
}

export function connectToEvents(path: string): EventConnection {
  const connection: Connection<ReturnType<typeof open>> = createConnection(path, () => open(path))
  return {
    inSnapshot: work =>
      connection.use(({ begin, commit, refresh, database }) => {
        begin.run()
        refresh()
        const result = work(database) // a throw leaves the transaction to the connection, which rolls it back
        commit.run()
        return result
      }),
    close: () => connection.close(),
  }
}

function open(path: string) {
  const db = new DatabaseSync(path, { readOnly: true, timeout: BUSY_TIMEOUT_MS })
  try {
    if (schemaVersion(db) !== SCHEMA_VERSION) {
      throw new StoreError('UNAVAILABLE', 'the event database has not been set up yet')
    }
    db.exec(`PRAGMA cache_size = -${CACHE_KIB}`)
    const segments = createSegmentReader(db)
    const chunks = createChunkReader(db)
    const files = openLogFiles(logRoot(path))
    const remember = createRootMemory()
    const database: EventDatabase = {
      db,
      log: () => readLog(db, files),
      hashes: (log, size) => remember(hashesFromTiles(size, log.readTile)),
      ...chunks,
      ...segments,
    }
    return {
      db,
      database,
      begin: db.prepare('BEGIN'),
      commit: db.prepare('COMMIT'),
      refresh() {
        const isAnew = segments.refresh()
        chunks.refresh(segments.lastId(), segments.growingTable(), isAnew)
      },
    }
  } catch (error) {
    db.close()
    throw error
  }
}
