/**
 * Makes tiles and entry bundles anew that a power loss took, from the rows and their salts: files are written before their
 * rows commit, but reach the disk in their own time, and up to `synced_size` of the head only they are known to have.
 *
 * A file that is as the rows say is left alone, so doing it again, or where nothing was lost, changes nothing. Runs in the
 * transaction of whoever goes on with the log. Crash within: it is done again.
 */
import type { DatabaseSync } from 'node:sqlite'
import { areSameBytes, HASH_BYTES, joinBytes } from '../evidence/encoding.ts'
import { commit, formatLeaf, isErasedSalt, parseLeaf, SALT_BYTES } from '../evidence/leaf.ts'
import { type Hash, perfectRoot } from '../evidence/merkle.ts'
import { formatBundle, parseBundle, TILE_WIDTH, type TileLevel } from '../evidence/tile.ts'
import { type LogFiles, TILES_PER_PACK } from '../log/log-files.ts'
import { readBundleSalts, readCommitments } from './log-store.ts'
import { listSegments, readRows, segmentOf } from './segments.ts'

/** @returns how many files' parts were made anew. */
export function repairLog(db: DatabaseSync, files: LogFiles, range: { syncedSize: number; size: number }): number {
  const { syncedSize, size } = range
  let repaired = 0
  const set = (level: TileLevel, index: number, bytes: Uint8Array) => {
    const stored = files.read(level, index)
    if (stored !== undefined && areSameBytes(stored, bytes)) return
    files.write(level, index, bytes)
    repaired++
  }
  const bundles = Math.floor(size / TILE_WIDTH)
  for (let from = Math.floor(syncedSize / TILE_WIDTH); from < bundles; ) {
    const until = Math.min(bundles, (Math.floor(from / TILES_PER_PACK) + 1) * TILES_PER_PACK)
    // All of a pack is read before any of it is written: a bundle that is written anew may take more room than it did.
    const pack = Array.from({ length: until - from }, (_, n) => entriesOf(db, files, from + n))
    for (const [n, entries] of pack.entries()) {
      if (entries === undefined) continue // its rows have left, and were synced before that
      set('entries', from + n, formatBundle(entries))
    }
    from = until
  }
  for (let level = 1; TILE_WIDTH ** (level + 1) <= size; level++) {
    const width = TILE_WIDTH ** (level + 1)
    for (let index = Math.floor(syncedSize / width); (index + 1) * width <= size; index++) {
      set(level, index, joinBytes(...rootsBelow(files, level, index)))
    }
  }
  return repaired
}

/**
 * The entries of a full bundle. Of an erased row the commitment is in the file, which was synced before the erasure; or, where
 * the bundle was not full then, beside the salts.
 */
function entriesOf(db: DatabaseSync, files: LogFiles, bundle: number): Uint8Array[] | undefined {
  const first = bundle * TILE_WIDTH + 1
  const table = segmentOf(listSegments(db), first)?.table
  const salts = readBundleSalts(db, bundle)
  if (table === undefined || salts === undefined) return undefined
  const rows = readRows(db, table, first, first + TILE_WIDTH - 1)
  if (rows.length < TILE_WIDTH) return undefined
  const stored = files.read('entries', bundle)
  const before = stored && parseBundle(stored, TILE_WIDTH)
  const commitments = readCommitments(db, bundle)
  return rows.map((row, n) => {
    const salt = salts.subarray(n * SALT_BYTES, (n + 1) * SALT_BYTES)
    const entry = before?.[n]
    if (isErasedSalt(salt) && entry !== undefined && parseLeaf(entry).kind === 'leaf') return entry
    const commitment = commitments.subarray(n * HASH_BYTES, (n + 1) * HASH_BYTES)
    if (isErasedSalt(salt) && commitment.length === HASH_BYTES) return formatLeaf(row, commitment)
    return formatLeaf(row, commit(salt, row))
  })
}

/** The hashes of a tile: the roots of the 256 tiles below it. */
function rootsBelow(files: LogFiles, level: number, index: number): Hash[] {
  return Array.from({ length: TILE_WIDTH }, (_, n) => {
    const tile = files.read(level - 1, index * TILE_WIDTH + n)
    if (tile === undefined) throw new RangeError(`tile ${index * TILE_WIDTH + n} of level ${level - 1} is not there`)
    return perfectRoot(tile)
  })
}
