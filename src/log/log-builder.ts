/**
 * The log as it grows: from rows to leaves, and from leaves to the tree and its files.
 *
 * Promise: after `finish` every tile and entry bundle that the new rows completed is a file, and the answer says all that the
 * database has to keep in the transaction of the rows. So the order is: files, then rows and head in one commit.
 *
 *   crash before the commit   files beyond the head, which nobody is shown; the next batch writes them anew, with other salts
 *   power loss after it       perhaps files that are missing or torn, below the head but not below `synced`; the next start
 *                             makes them anew from the rows and their salts (log-repair.ts)
 *
 * Owns, between batches, the right edge of the tree and the bundle that is not full. Must not read the database or know of a
 * transaction: whoever's was not committed says so by `resume` from where the database is.
 */
import { randomFillSync } from 'node:crypto'
import type { AuditEvent } from '../event/event.ts'
import { joinBytes, parseBase64Hash } from '../evidence/encoding.ts'
import { commitBase64, formatBundledLeaf, SALT_BYTES, SALT_SEED_BYTES, saltsOfSeed } from '../evidence/leaf.ts'
import { type GrowingTree, growTree, type Hash, type RightEdge } from '../evidence/merkle.ts'
import { hashBundled, TILE_WIDTH, type TileLevel } from '../evidence/tile.ts'
import { collectTiles, type TileCollector, type TileFile } from '../evidence/tile-collector.ts'
import { syncPath } from '../files/whole-file.ts'
import { type LogFiles, openLogFiles } from './log-files.ts'

/** A row as the log needs it. */
export interface LogRow {
  readonly id: number
  readonly event: AuditEvent
  readonly createdAt: string
  /** The event as its journal record spells it, if it has one: cheaper to hand to another thread. */
  readonly record?: string | undefined
}

/** Where the log is: what the database keeps at one size. */
export interface LogState {
  readonly edge: RightEdge
  /** Of each level, entries included, the tile that is not full. */
  readonly partialTiles: readonly TileFile[]
  /** Files of entries below this size are on disk, also after a power loss. */
  readonly syncedSize: number
}

/** What a batch adds. */
export interface LogGrowth extends LogState {
  readonly root: Hash
  /** Of each bundle that the new rows completed the seed of its salts (`saltsOfSeed`); undefined where they are not of one. */
  readonly seeds: readonly (Uint8Array | undefined)[]
  /** Of all new rows, 16 bytes each. */
  readonly salts: Uint8Array
  /** Of the new rows that are in the bundle that is not full, 32 bytes each. */
  readonly commitments: Uint8Array
  /** The tiles and bundles that the new rows completed, of a builder that writes no files; else undefined. */
  readonly fullTiles?: readonly TileFile[]
}

export interface LogBuilder {
  /** Size after everything that was added and finished; undefined before the first `resume`. */
  readonly size: number | undefined
  /** Forgets whatever it had and goes on from here. */
  resume(state: LogState): void
  /** Rows in the order of their ids, the first one behind the size. @throws an error of the file system, as `finish` */
  add(row: LogRow): void
  /** @throws an error of the file system; nothing of the batch counts then, until `resume`. */
  finish(): LogGrowth
  /**
   * Gives up what was added and not finished. When this returns no file is written for it any more, so call it while nobody else
   * can go on with the log. Nothing counts then until `resume`.
   */
  abandon(): void
  /** Up to which size files are on disk, also after a power loss: of all that was finished, unless the disk refuses. Waits for it. */
  sync(): number
  close(): void
}

/** @param sync told the size after a batch; answers up to which size the files are on disk, also after a power loss. */
export function createLogBuilder(files: Pick<LogFiles, 'write' | 'close'>, sync: (size: number) => number): LogBuilder {
  let tree: GrowingTree | undefined
  let tiles: TileCollector | undefined
  const partialTiles = new Map<TileLevel, TileFile>()
  const salts = drawSalts()
  /** Of the new rows in the bundle that is not full, in base64. */
  let commitments: string[] = []

  /** Whatever is full becomes a file, at least with each bundle, so that a large batch is not held in memory. */
  function writeTiles(collector: TileCollector): void {
    for (const file of collector.take()) {
      const { level, width } = file.tile
      if (width < TILE_WIDTH) partialTiles.set(level, file)
      else {
        partialTiles.delete(level)
        files.write(level, file.tile.index, file.bytes)
      }
    }
  }

  return {
    get size() {
      return tree?.size
    },
    resume(state) {
      partialTiles.clear()
      for (const file of state.partialTiles) partialTiles.set(file.tile.level, file)
      tiles = collectTiles(state.edge.size, ({ level }) => partialTiles.get(level)?.bytes ?? new Uint8Array())
      tree = growTree(state.edge, tiles.add)
      salts.resume(state)
      commitments = []
    },
    add({ id, event, createdAt }) {
      if (tree === undefined || tiles === undefined) throw new Error('the log builder was not resumed')
      const row = { ...event, id, created_at: createdAt }
      const commitment = commitBase64(salts.next(), row)
      const bundled = formatBundledLeaf(row, commitment)
      commitments.push(commitment)
      tree.append(hashBundled(bundled))
      tiles.add('entries', bundled)
      if (tree.size % TILE_WIDTH > 0) return
      writeTiles(tiles)
      commitments = []
    },
    finish() {
      if (tree === undefined || tiles === undefined) throw new Error('the log builder was not resumed')
      writeTiles(tiles)
      const added = {
        ...salts.take(),
        commitments: joinBytes(...commitments.map(text => parseBase64Hash(text) as Hash)),
      }
      commitments = []
      const { size } = tree
      return {
        ...added,
        edge: tree.edge(),
        root: tree.root(),
        partialTiles: [...partialTiles.values()],
        syncedSize: sync(size),
      }
    },
    abandon() {},
    sync: () => sync(tree?.size ?? 0),
    close: () => files.close(),
  }
}

/** One that works in the caller's thread, and whose files are on disk when a batch is finished. @param root of the log's files */
export function openLogBuilder(root: string): LogBuilder {
  const files = openLogFiles(root)
  return createLogBuilder(files, size => {
    for (const path of files.takeUnsynced()) syncPath(path)
    return size
  })
}

/** One that writes no files: what a batch completed comes back with its growth, for whoever stores it. Works in the caller's thread. */
export function createDetachedLogBuilder(): LogBuilder {
  let fullTiles: TileFile[] = []
  const keep: LogFiles['write'] = (level, index, bytes) => {
    fullTiles.push({ tile: { level, index, width: TILE_WIDTH }, bytes })
  }
  const builder = createLogBuilder({ write: keep, close: () => {} }, size => size)
  return {
    get size() {
      return builder.size
    },
    resume(state) {
      fullTiles = []
      builder.resume(state)
    },
    add: builder.add,
    finish() {
      const growth = { ...builder.finish(), fullTiles }
      fullTiles = []
      return growth
    },
    abandon: builder.abandon,
    sync: builder.sync,
    close: builder.close,
  }
}

/**
 * The salts of each bundle are made of one random seed, so that a store need not keep 16 bytes of them a row. Nobody is told the
 * seed before its bundle is full: whoever has a copy of the database, such as a backup, has no salt of a row that came after it.
 */
function drawSalts() {
  let seed: Uint8Array | undefined
  let current: Uint8Array = new Uint8Array()
  /** Places in the bundle: of the next row, and of the first one whose salt was not taken. */
  let [next, first] = [0, 0]
  let given: Uint8Array[] = []
  let seeds: (Uint8Array | undefined)[] = []

  function draw(): Uint8Array {
    const drawn = randomFillSync(new Uint8Array(SALT_SEED_BYTES))
    current = saltsOfSeed(drawn)
    return drawn
  }

  function give(): void {
    given.push(current.subarray(first * SALT_BYTES, next * SALT_BYTES))
    first = next
  }

  return {
    /** The salts of a bundle that was begun before are of two seeds, and neither is told. */
    resume({ edge }: LogState): void {
      draw()
      seed = undefined
      next = edge.size % TILE_WIDTH
      first = next
      given = []
      seeds = []
    },
    next(): Uint8Array {
      if (next === TILE_WIDTH) [next, first] = [0, 0]
      if (next === 0) seed = draw()
      const salt = current.subarray(next * SALT_BYTES, ++next * SALT_BYTES)
      if (next === TILE_WIDTH) {
        give()
        seeds.push(seed)
      }
      return salt
    },
    /** All since the last time. */
    take(): Pick<LogGrowth, 'salts' | 'seeds'> {
      give()
      const taken = { salts: joinBytes(...given), seeds }
      given = []
      seeds = []
      return taken
    },
  }
}
