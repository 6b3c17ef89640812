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
import { areSameBytes, HASH_BYTES } from '../evidence/encoding.ts'
import { commit, ERASED_COLUMNS, formatLeaf, formatPrivate, isErasedSalt, parseLeaf } from '../evidence/leaf.ts'
import { perfectRoot } from '../evidence/merkle.ts'
import { hashBundle, parseBundle, parseHashTile, TILE_WIDTH, type Tile, tileAt } from '../evidence/tile.ts'
import type { LogSnapshot, LogView } from '../store/log-view.ts'
import { listSegments, readRows, segmentOf } from '../store/segments.ts'

/** How far this round is, in events, and how many rounds went well. */
export type Watched =
  | { readonly kind: 'sound'; readonly through: number; readonly rounds: number }
  | ({ readonly kind: 'tampered' } & Odd)

/** The first event that is not as it was logged. */
interface Odd {
  readonly id: number
  readonly detail: string
}

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
        if (typeof found !== 'number') return { kind: 'tampered', ...found }
        next++
        if (found === TILE_WIDTH) continue
        rounds++ // the end
        next = 0
        break
      }
      return { kind: 'sound', through: next * TILE_WIDTH, rounds }
    },
  }
}

/** How many events it holds; less than are in a full one at the end of the log. */
function checkBundle(db: DatabaseSync, log: LogSnapshot, index: number): number | Odd {
  const tile = tileAt('entries', index, log.size)
  if (tile === undefined) return 0
  const { width } = tile
  const first = index * TILE_WIDTH + 1
  try {
    const bundle = log.readTile(tile)
    const entries = parseBundle(bundle, width)
    const odd = checkRows(db, log, { first, width, entries })
    if (odd !== undefined) return odd
    if (entries === undefined) return { id: first, detail: 'its bundle cannot be read' }
    const hashes = hashBundle(bundle, width) as Uint8Array
    if (width < TILE_WIDTH) return checkHashes(log.readTile({ ...tile, level: 0 }), hashes, first) ?? width
    if (hasParent(index, hashes, log)) return width
    return { id: first, detail: 'its bundle does not have the hash that the tile above says' }
  } catch (error) {
    if (error instanceof RangeError) return { id: first, detail: error.message }
    throw error
  }
}

/** Rows that have left are in archives, which have their own check. There are no entries when they cannot be told apart. */
function checkRows(
  db: DatabaseSync,
  log: LogSnapshot,
  { first, width, entries }: { first: number; width: number; entries: readonly Uint8Array[] | undefined },
): Odd | undefined {
  const segment = segmentOf(listSegments(db), first)
  if (segment === undefined || (segment.lastId !== undefined && segment.lastId < first)) return undefined
  const rows = readRows(db, segment.table, first, first + width - 1)
  for (let n = 0; n < width; n++) {
    const row = rows[n]
    if (row?.id !== first + n) return { id: first + n, detail: 'it is not in the database' }
    const entry = entries?.[n]
    if (entry !== undefined && !isRowOf(row, log.salt(row.id), entry)) return { id: row.id, detail: NOT_LOGGED }
  }
  return undefined
}

/** The entries of a bundle that is not full are made of the rows, so that it is the hashes that say what was logged. */
function checkHashes(logged: Uint8Array, hashes: Uint8Array, first: number): Odd | undefined {
  for (let at = 0; at < hashes.length; at += HASH_BYTES) {
    if (areSameBytes(logged.subarray(at, at + HASH_BYTES), hashes.subarray(at, at + HASH_BYTES))) continue
    return { id: first + at / HASH_BYTES, detail: NOT_LOGGED }
  }
  return undefined
}

const NOT_LOGGED = 'it is not what was logged'

/** Of an erased row only what its leaf says openly is left to compare; all else is blank. */
function isRowOf(row: StoredEvent, salt: Uint8Array | undefined, entry: Uint8Array): boolean {
  if (salt === undefined) return false
  if (!isErasedSalt(salt)) return areSameBytes(formatLeaf(row, commit(salt, row)), entry)
  const parsed = parseLeaf(entry)
  if (formatPrivate(row) !== ERASED_PRIVATE) return false
  return parsed.kind === 'leaf' && areSameBytes(formatLeaf(row, parsed.leaf.commitment), entry)
}

const ERASED_PRIVATE = formatPrivate(ERASED_COLUMNS)

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
