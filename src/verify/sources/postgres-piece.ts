/**
 * A few bundles of the log in PostgreSQL, looked at by themselves in one short snapshot: every row against its leaf, every leaf against the
 * tiles, and those against the tiles above them, up to the ones that are not full.
 *
 * What is not full is in the root of the head, which each signature compares with what was signed. So what passes here is under
 * the newest checkpoint. Checkpoints, keys, erasures and indexes are for the whole judgement (verify.ts).
 */
import { areSameBytes, HASH_BYTES } from '../../evidence/encoding.ts'
import { type Hash, perfectRoot } from '../../evidence/merkle.ts'
import { countAt, TILE_WIDTH } from '../../evidence/tile.ts'
import type { OddBundle, RangeReport } from '../source.ts'
import {
  createPostgresBundles,
  type EdgeTiles,
  type Ids,
  nameOf,
  readEdge,
  readLeft,
  readTiles,
} from './postgres-bundles.ts'
import { endOf } from './postgres-reach.ts'
import { openShortSnapshots, type SnapshotReader } from './postgres-snapshot.ts'
import { createTextMaker } from './postgres-tuples.ts'

/** The first event that is not as it was logged. `detail` goes on where `event 17, ` ends. */
export interface Changed {
  readonly id: number
  readonly detail: string
}

export interface PieceChecker extends AsyncDisposable {
  /**
   * Looks at the piece that a bundle is in. `next`: the bundle behind it; undefined: it is the last one, or there is none.
   * @throws {PostgresError} then the checker is of no use any more
   */
  check(bundle: number): Promise<{ readonly changed: Changed | undefined; readonly next: number | undefined }>
}

/** Some megabytes, read in some ten milliseconds. A tile of level 1 has no piece of another. */
const PIECE_BUNDLES = 16
const LEVELS_MAX = 8

type TextMaker = ReturnType<typeof createTextMaker>

/** @throws {PostgresError} */
export async function openPieceChecker(url: string): Promise<PieceChecker> {
  const snapshots = await openShortSnapshots(url)
  const makeText = createTextMaker()
  return {
    check: bundle => snapshots.take(snapshot => checkPiece(snapshot, makeText, bundle - (bundle % PIECE_BUNDLES))),
    [Symbol.asyncDispose]: () => snapshots[Symbol.asyncDispose](),
  }
}

async function checkPiece(snapshot: SnapshotReader, makeText: TextMaker, first: number) {
  const [head] = await snapshot.rows('SELECT size::bigint FROM log_head')
  const size = Number(head?.size ?? 0)
  const bundles = Math.ceil(size / TILE_WIDTH)
  if (first >= bundles) return { changed: undefined, next: undefined }
  const end = Math.min(first + PIECE_BUNDLES, bundles)
  const edge = await readEdge(snapshot)
  const left = await readLeftBefore(snapshot)
  const report = await createPostgresBundles(snapshot, edge, left, makeText).checkRange({ first, end, size, sizes: [] })
  const changed = firstChanged(report) ?? (await findWrongAbove(snapshot, edge, { first, size }))
  return { changed, next: end < bundles ? end : undefined }
}

/**
 * What leaves are the oldest events. A range that is said to have left from among those that are there would hide that they were deleted;
 * so then nothing is believed to have left.
 */
async function readLeftBefore(snapshot: SnapshotReader): Promise<readonly Ids[]> {
  const left = await readLeft(snapshot)
  const last = endOf(left)
  const [there] = await snapshot.rows('SELECT min(first_id)::bigint AS first FROM event_partitions')
  const isBefore = left.every(range => range.last <= last) && last < Number(there?.first ?? Number.POSITIVE_INFINITY)
  return isBefore ? left : []
}

function firstChanged({ odd, findings }: RangeReport): Changed | undefined {
  const found = odd.map(changedIn)
  for (const { at, detail } of findings) if ('id' in at) found.push({ id: at.id, detail: lowerCased(detail) })
  return found.sort((a, b) => a.id - b.id)[0]
}

/** Which of the places is the right one is not asked here: as soon as they differ, the event is not as it was logged. */
function changedIn({ index, width, detail }: OddBundle): Changed {
  const firstId = index * TILE_WIDTH + 1
  const { rows, entries, tile } = detail?.leaves ?? {}
  for (let n = 0; n < width; n++) {
    const id = firstId + n
    const leaf = entries?.[n] ?? tile?.[n]
    if (leaf === undefined) return { id, detail: UNREADABLE }
    if (rows !== undefined && !isSame(rows[n], leaf)) {
      const isThere = detail?.rows?.some(row => row.id === id) ?? false
      return { id, detail: isThere ? 'it is not what was logged' : 'it is not in the database' }
    }
    if (entries !== undefined && !isSame(entries[n], tile?.[n])) {
      return { id, detail: 'its entry does not have the hash of its leaf' }
    }
  }
  if (entries === undefined || tile === undefined) return { id: firstId, detail: UNREADABLE }
  const fault = detail?.faults[0]
  return { id: firstId, detail: fault === undefined ? WRONG_TILE : lowerCased(fault) }
}

const UNREADABLE = 'its tile or bundle cannot be read'
const WRONG_TILE = 'its tile does not have the hash that the tile above says'

const isSame = (a: Hash | undefined, b: Hash | undefined) => a !== undefined && b !== undefined && areSameBytes(a, b)
const lowerCased = (text: string) => text.charAt(0).toLowerCase() + text.slice(1)

/** From the tile of level 1 up; the hash in it that is of a bundle was compared with that. */
async function findWrongAbove(
  snapshot: SnapshotReader,
  edge: EdgeTiles,
  { first, size }: { readonly first: number; readonly size: number },
): Promise<Changed | undefined> {
  const places = Array.from({ length: LEVELS_MAX }, (_, n) => ({
    level: n + 1,
    index: Math.floor(first / TILE_WIDTH ** (n + 1)),
  }))
  const isFull = ({ level, index }: { level: number; index: number }) =>
    (index + 1) * TILE_WIDTH <= countAt(level, size)
  const full = places.filter(isFull)
  if (full.length === 0) return undefined
  const wanted = full.map(({ level, index }) => `(${level}, ${index})`).join(', ')
  const tiles = await readTiles(snapshot, `(level, tile) IN (${wanted})`)
  for (const { level, index } of full) {
    const tile = tiles.get(nameOf(level, index))
    const isWhole = tile?.length === TILE_WIDTH * HASH_BYTES
    const above = edgeOrTile(tiles, edge, level + 1, Math.floor(index / TILE_WIDTH))
    const at = (index % TILE_WIDTH) * HASH_BYTES
    if (isWhole && isSame(perfectRoot(tile), above?.subarray(at, at + HASH_BYTES))) continue
    const id = index * TILE_WIDTH ** (level + 1) + 1
    return { id, detail: isWhole ? WRONG_TILE : `the tile of level ${level} above it cannot be read` }
  }
  return undefined
}

function edgeOrTile(tiles: ReadonlyMap<string, Uint8Array>, edge: EdgeTiles, level: number, index: number) {
  const partial = edge.get(level)
  return tiles.get(nameOf(level, index)) ?? (partial?.index === index ? partial.hashes : undefined)
}
