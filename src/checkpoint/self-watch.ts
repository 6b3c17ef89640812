/**
 * Reads the trail again in the background, a few bundles at a time, round and round: every row against its leaf, every leaf against
 * the tiles. What was changed under a running service is noticed without anybody asking.
 *
 * Promise: a step takes about the time it is given, and each snapshot is that of one bundle, so neither the indexer nor its
 * checkpoints wait. Owns its place in the round, which begins anew with the process. Synchronous, for the signer's thread. The
 * whole judgement, with checkpoints, keys and erasures, is `ev-central verify` (src/verify).
 */
import type { DatabaseSync } from 'node:sqlite'
import type { StoredEvent } from '../event/event.ts'
import { areSameBytes } from '../evidence/encoding.ts'
import { commit, formatLeaf, isErasedSalt, parseLeaf } from '../evidence/leaf.ts'
import { perfectRoot } from '../evidence/merkle.ts'
import { hashBundle, parseBundle, parseHashTile, TILE_WIDTH, type Tile, tileAt } from '../evidence/tile.ts'
import type { LogSnapshot, LogView } from '../store/log-view.ts'
import { listSegments, readRows, segmentOf } from '../store/segments.ts'

/** How far this round is, in events, and how many rounds went well. */
export type Watched =
  | { readonly kind: 'sound'; readonly through: number; readonly rounds: number }
  /** The first event that is not as it was logged. */
  | { readonly kind: 'tampered'; readonly id: number; readonly detail: string }

export interface SelfWatch {
  /** Looks at bundles for about so long. */
  step(ms: number, on: { readonly db: DatabaseSync; readonly view: LogView }): Watched
}

export function createSelfWatch(): SelfWatch {
  let next = 0
  let rounds = 0
  return {
    step(ms, { db, view }) {
      const until = performance.now() + ms
      while (performance.now() < until) {
        const found = view.inSnapshot(log => checkBundle(db, log, next))
        if (found === 'end') {
          rounds++
          next = 0
          break
        }
        if (found !== 'sound') return { kind: 'tampered', ...found }
        next++
      }
      return { kind: 'sound', through: next * TILE_WIDTH, rounds }
    },
  }
}

/** `end`: there is no such full bundle. The one that is not full is looked at with each signature. */
function checkBundle(
  db: DatabaseSync,
  log: LogSnapshot,
  index: number,
): 'sound' | 'end' | { id: number; detail: string } {
  if ((index + 1) * TILE_WIDTH > log.size) return 'end'
  const first = index * TILE_WIDTH + 1
  try {
    const bundle = log.readTile(tileAt('entries', index, log.size) as Tile)
    const entries = parseBundle(bundle, TILE_WIDTH)
    if (entries === undefined) return { id: first, detail: 'its bundle cannot be read' }
    const odd = checkRows(db, log, first, entries)
    if (odd !== undefined) return odd
    const hashes = hashBundle(bundle, TILE_WIDTH) as Uint8Array
    if (!hasParent(index, hashes, log)) {
      return { id: first, detail: 'its bundle does not have the hash that the tile above says' }
    }
    return 'sound'
  } catch (error) {
    if (error instanceof RangeError) return { id: first, detail: error.message }
    throw error
  }
}

/** Rows that have left are in archives, which have their own check. */
function checkRows(db: DatabaseSync, log: LogSnapshot, first: number, entries: readonly Uint8Array[]) {
  const segment = segmentOf(listSegments(db), first)
  if (segment === undefined || (segment.lastId !== undefined && segment.lastId < first)) return undefined
  const rows = readRows(db, segment.table, first, first + TILE_WIDTH - 1)
  for (const [n, entry] of entries.entries()) {
    const row = rows[n]
    if (row?.id !== first + n) return { id: first + n, detail: 'it is not in the database' }
    if (!isRowOf(row, log.salt(row.id), entry)) return { id: row.id, detail: 'it is not what was logged' }
  }
  return undefined
}

/** Of an erased row only what its leaf says openly is left to compare. */
function isRowOf(row: StoredEvent, salt: Uint8Array | undefined, entry: Uint8Array): boolean {
  if (salt === undefined) return false
  if (!isErasedSalt(salt)) return areSameBytes(formatLeaf(row, commit(salt, row)), entry)
  const parsed = parseLeaf(entry)
  return parsed.kind === 'leaf' && areSameBytes(formatLeaf(row, parsed.leaf.commitment), entry)
}

/** Whether the tile of level 1 has the hash of this full bundle. @param hashes of its entries. @throws {RangeError} as `readTile` */
export function hasParent(
  index: number,
  hashes: Uint8Array,
  { size, readTile }: Pick<LogSnapshot, 'size' | 'readTile'>,
): boolean {
  const parent = tileAt(1, Math.floor(index / TILE_WIDTH), size) as Tile
  const row = parseHashTile(readTile(parent), parent.width)?.[index % TILE_WIDTH]
  return row !== undefined && areSameBytes(perfectRoot(hashes), row)
}
