/**
 * The log as one snapshot of the database shows it: its head, its tiles and entry bundles, and the salts of rows. What is full
 * comes from the packs, what is not from the database. Read-only.
 */
import type { DatabaseSync } from 'node:sqlite'
import { HASH_BYTES } from '../evidence/encoding.ts'
import { SALT_BYTES } from '../evidence/leaf.ts'
import type { TreeHead } from '../evidence/merkle-proof.ts'
import { countAt, formatBundle, parseBundle, TILE_WIDTH, type Tile } from '../evidence/tile.ts'
import type { LogFiles } from '../log/log-files.ts'
import { readBundleSalts, readLogHead, readPartialBundle, readPartialTiles } from './log-store.ts'
import { listSegments, segmentOf } from './segments.ts'

export interface LogSnapshot extends TreeHead {
  /**
   * A tile of the tree, also one of an earlier size: a partial tile is the beginning of what there is.
   * @throws {RangeError} when the tree has no such tile, or it cannot be read.
   */
  readTile(tile: Tile): Uint8Array
  /** The salt of a row, zeros when it was erased; undefined when there is no such row. */
  salt(id: number): Uint8Array | undefined
}

export interface LogView {
  /** One snapshot for all of the work. Keep it short: the write-ahead log cannot start again meanwhile. */
  inSnapshot<R>(work: (log: LogSnapshot) => R): R
}

export function openLogView(db: DatabaseSync, files: LogFiles): LogView {
  return {
    inSnapshot(work) {
      db.exec('BEGIN')
      try {
        return work(readLog(db, files))
      } finally {
        if (db.isTransaction) db.exec('COMMIT')
      }
    },
  }
}

/** In a transaction of the caller's. */
export function readLog(db: DatabaseSync, files: LogFiles): LogSnapshot {
  const { size, root } = readLogHead(db)
  let partial: ReturnType<typeof readPartialTiles> | undefined
  /** Of the bundle that was asked for last: neighbours ask for the same. */
  let known: { readonly bundle: number; readonly salts: Uint8Array | undefined } | undefined

  function partialTile({ level, index }: Tile): Uint8Array | undefined {
    if (level === 'entries') return readPartialBundle(db, size, tableOf(db, size))?.bytes
    partial ??= readPartialTiles(db)
    return partial.find(({ tile }) => tile.level === level && tile.index === index)?.bytes
  }

  return {
    size,
    root,
    readTile(tile) {
      const { level, index, width } = tile
      const there = Math.min(TILE_WIDTH, countAt(level, size) - index * TILE_WIDTH)
      const bytes = there < width ? undefined : there === TILE_WIDTH ? files.read(level, index) : partialTile(tile)
      const cut = bytes && beginning(level, bytes, there, width)
      if (cut === undefined) throw new RangeError(`tile ${index} of level ${level} is not there`)
      return cut
    },
    salt(id) {
      if (id < 1 || id > size) return undefined
      const bundle = Math.floor((id - 1) / TILE_WIDTH)
      if (known?.bundle !== bundle) known = { bundle, salts: readBundleSalts(db, bundle) }
      const { salts } = known
      const at = ((id - 1) % TILE_WIDTH) * SALT_BYTES
      return salts !== undefined && salts.length >= at + SALT_BYTES ? salts.slice(at, at + SALT_BYTES) : undefined
    },
  }
}

/** The first `width` of the hashes or entries there are. */
export function beginning(
  level: Tile['level'],
  bytes: Uint8Array,
  there: number,
  width: number,
): Uint8Array | undefined {
  if (there === width) return bytes
  if (level !== 'entries') return bytes.subarray(0, width * HASH_BYTES)
  const entries = parseBundle(bytes, there)
  return entries && formatBundle(entries.slice(0, width))
}

function tableOf(db: DatabaseSync, id: number): string {
  return segmentOf(listSegments(db), id)?.table ?? 'audit_events'
}
