/**
 * A data folder as a source: the event database in one read transaction, the packs of tiles and the signed files beside it. Works
 * while the service runs, and on a copy that cannot be written.
 *
 * The signed files are read before the transaction begins, so that no checkpoint is ahead of the rows.
 */
import { dirname, join } from 'node:path'
import { EMPTY_ROOT } from '../../evidence/merkle.ts'
import { TILE_WIDTH } from '../../evidence/tile.ts'
import { checkBundles } from '../range.ts'
import type { EvidenceSource, Overview } from '../source.ts'
import { claimOf } from './archive-claims.ts'
import { type LogDatabase, openLogDatabase, UnreadableSource } from './log-database.ts'
import { findHiddenRanges, findUnreachable } from './reachability.ts'
import { databaseOf, logOf, type OpenReader, openDataFolderReader } from './readers.ts'
import { readSignedFiles, type SignedFiles } from './signed-files.ts'
import { startWorkers, type WorkerPool } from './worker-pool.ts'

const OPEN_TRIES_MAX = 50
/** Below, starting threads takes longer than the work. */
export const LEAVES_FOR_WORKERS_MIN = 65_536

export interface SourceOptions {
  /** Threads beside this one; 0: none. */
  readonly workers?: number
}

/** @throws {UnreadableSource} */
export async function openDataFolder(path: string, { workers = 2 }: SourceOptions = {}): Promise<EvidenceSource> {
  await using undo = new AsyncDisposableStack()
  const signed = await readSignedFiles(logOf(path))
  let database = openLogDatabase(databaseOf(path))
  const isLarge = (database.head()?.size ?? 0) >= LEAVES_FOR_WORKERS_MIN
  const pool = isLarge && workers > 0 ? undo.use(startWorkers({ kind: 'data folder', path }, workers)) : undefined
  if (pool !== undefined) database = await agree(database, path, pool)
  const reader = undo.use(openDataFolderReader(database, path))
  const size = database.head()?.size ?? 0
  const overview = readOverview(database, path, signed)
  const owned = undo.move()
  return sourceOf({ overview, reader, pool, size, database, dispose: () => owned.disposeAsync() })
}

/**
 * Until all readers see the same rows: a segment that leaves or an event that is erased between two of them would look like a fault.
 * Rows that were only added do no harm.
 */
async function agree(first: LogDatabase, path: string, pool: WorkerPool): Promise<LogDatabase> {
  let database = first
  try {
    let seen = await pool.fingerprints('fingerprint')
    for (let tries = 0; tries < OPEN_TRIES_MAX; tries++) {
      if (seen.every(fingerprint => fingerprint === database.fingerprint)) return database
      database[Symbol.dispose]()
      database = openLogDatabase(databaseOf(path))
      seen = await pool.fingerprints('reopen')
    }
    throw new UnreadableSource('rows leave or are erased all the time; try again')
  } catch (error) {
    database[Symbol.dispose]()
    throw error
  }
}

function readOverview(database: LogDatabase, path: string, signed: SignedFiles): Overview {
  const { db, segments } = database
  const lastIds = segments.map(({ table }) => Number(db.prepare(`SELECT max(id) AS id FROM ${table}`).get()?.id ?? 0))
  return {
    kind: 'data folder',
    head: database.head() ?? { size: 0, root: EMPTY_ROOT, edge: new Uint8Array(), syncedSize: 0 },
    ...signed,
    rows: {
      lastId: Math.max(0, ...lastIds),
      hidden: findHiddenRanges(database),
      archives: database.archives.map(archive => claimOf(archive, [join(path, 'archive'), dirname(archive.file)])),
      erasures: database.erasures(),
      areErasuresOfSome: false,
      records: database.records(),
    },
  }
}

function sourceOf(parts: {
  overview: Overview
  reader: OpenReader
  pool: WorkerPool | undefined
  size: number
  database: LogDatabase
  dispose: () => Promise<void>
}): EvidenceSource {
  const { overview, reader, pool, size, database, dispose } = parts
  return {
    overview,
    parallel: pool?.size ?? 0,
    // The end of the log is looked at here, as another reader may see it grown.
    async checkRange(range) {
      return pool === undefined || range.end * TILE_WIDTH > size ? checkBundles(reader, range) : pool.checkRange(range)
    },
    readTile: reader.readTile,
    lookFurther: async () => [...findUnreachable(database, overview.rows?.hidden ?? [], size)],
    [Symbol.asyncDispose]: dispose,
  }
}
