/**
 * The log of a data folder as a move reads it: rows, salts, tiles and erasures, a batch at a time. Read-only. Of events that have left
 * as archives there are tiles and entries, and which archives took them.
 *
 * Nobody else may use the folder meanwhile; that, and that nothing waits in its journal, is for the caller to see to.
 */
import { DatabaseSync } from 'node:sqlite'
import { Refusal } from '../errors.ts'
import type { StoredEvent } from '../event/event.ts'
import { rootHash, type TreeHead } from '../evidence/merkle-proof.ts'
import { rightEdge } from '../evidence/range-proof.ts'
import { hashesFromTiles, TILE_WIDTH, type Tile, tilesOf } from '../evidence/tile.ts'
import type { LogGrowth } from '../log/log-builder.ts'
import { openLogFiles } from '../log/log-files.ts'
import { erasuresIn } from '../store/erasures.ts'
import { logRoot, readLogHead, readPartialCommitments, readSalts } from '../store/log-store.ts'
import { readLog } from '../store/log-view.ts'
import { type ArchiveRecord, leftThrough, listArchives } from '../store/retention.ts'
import { listSegments, readRows } from '../store/segments.ts'

export interface SourceBatch {
  /** None when they have left. */
  readonly rows: readonly StoredEvent[]
  readonly growth: LogGrowth & Required<Pick<LogGrowth, 'fullTiles'>>
  readonly erasures: readonly { readonly id: number; readonly tombstone: number }[]
  /** Those that took the last of their events with this batch. */
  readonly archives: readonly ArchiveRecord[]
}

export interface SourceLog extends Disposable {
  readonly db: DatabaseSync
  readonly head: TreeHead
  /** Events up to this one have left; 0 when none has. */
  readonly left: number
  /**
   * All that the log grew by from one size to a larger one. The smaller one ends a bundle; `left` is not between them.
   * @throws {Refusal} MIGRATION_REFUSED: the folder is damaged
   */
  read(before: number, through: number): SourceBatch
}

/** @throws {Refusal} MIGRATION_REFUSED: something in it has no place in PostgreSQL */
export function openSourceLog(auditDatabase: string): SourceLog {
  const db = new DatabaseSync(auditDatabase, { readOnly: true })
  const files = openLogFiles(logRoot(auditDatabase))
  const close = () => {
    files.close()
    db.close()
  }
  const archives = listArchives(db)
  const left = leftThrough(archives) ?? -1
  try {
    refuseUnmovable(db, left)
  } catch (error) {
    close()
    throw error
  }
  const { size, root } = readLogHead(db)
  const log = readLog(db, files)

  function read(before: number, through: number): SourceBatch {
    try {
      return {
        rows: before < left ? [] : readAllRows(db, before + 1, through),
        growth: readGrowth(before, through),
        erasures: erasuresIn(db, before + 1, through),
        archives: archives.filter(({ last_id }) => last_id > before && last_id <= through),
      }
    } catch (error) {
      if (!(error instanceof RangeError)) throw error // a tile that is not there, or is cut short
      throw new Refusal(
        'MIGRATION_REFUSED',
        `The log of the data folder is damaged: ${error.message}. See \`ev-central verify\`.`,
      )
    }
  }

  /** As the builder of the log would have said it. */
  function readGrowth(before: number, through: number): SourceBatch['growth'] {
    const tiles = [...tilesOf(through, before)].map((tile: Tile) => ({ tile, bytes: log.readTile(tile) }))
    const readHash = hashesFromTiles(through, log.readTile)
    return {
      fullTiles: tiles.filter(({ tile }) => tile.width === TILE_WIDTH),
      partialTiles: tiles.filter(({ tile }) => tile.width < TILE_WIDTH),
      edge: rightEdge(through, readHash),
      root: rootHash(through, readHash),
      salts: readSalts(db, before + 1, through),
      seeds: [],
      commitments: readPartialCommitments(db, through),
      syncedSize: through,
    }
  }

  return { db, head: { size, root }, left, read, [Symbol.dispose]: close }
}

/** @param left negative: what has left is not one range */
function refuseUnmovable(db: DatabaseSync, left: number): void {
  if (listSegments(db)[0]?.firstId !== left + 1) {
    throw new Refusal(
      'MIGRATION_REFUSED',
      'Segments of this trail have left as archives, and older events are still there, as when a legal hold keeps them. In PostgreSQL events leave in the order of their ids: archive the older ones first, once nothing holds them. Nothing was changed.',
    )
  }
  if (db.prepare('SELECT 1 FROM rewrites_due LIMIT 1').get() !== undefined) {
    throw new Refusal(
      'MIGRATION_REFUSED',
      'An erasure is not finished: start the service on the folder once, and stop it. Nothing was changed.',
    )
  }
}

function readAllRows(db: DatabaseSync, first: number, last: number): StoredEvent[] {
  const rows = listSegments(db)
    .filter(({ firstId, lastId = Number.POSITIVE_INFINITY }) => firstId <= last && lastId >= first)
    .flatMap(({ table }) => readRows(db, table, first, last))
  if (rows.length !== last - first + 1 || rows.some(({ id }, n) => id !== first + n)) {
    throw new RangeError(`not all of the events ${first} to ${last} are there`)
  }
  return rows
}
