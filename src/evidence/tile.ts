/**
 * Tiles of C2SP tlog-tiles: which there are for a tree of a size, how they are called, what is in them.
 *
 * A hash tile holds up to 256 hashes of one level; an entry bundle holds the up to 256 entries under a tile of level 0, and
 * is handled as a tile of the level called `entries`. A tile that is not full is partial: its width is part of its name,
 * so that what a name stands for never changes.
 */
import { sha256, sha256Into } from './crypto.ts'
import { HASH_BYTES, isCount, joinBytes } from './encoding.ts'
import { type Hash, perfectRoot, TILE_HEIGHT } from './merkle.ts'
import type { ReadHash } from './merkle-proof.ts'

export const TILE_WIDTH = 2 ** TILE_HEIGHT
/** By the 16 bits in which an entry's length is written. Rows are refused far earlier. */
export const ENTRY_BYTES_MAX = 65_535
/** A level of tiles has eight of the tree, and a tree of safe numbers has 53. */
const LEVEL_MAX = 6

export type TileLevel = number | 'entries'

export interface Tile {
  readonly level: TileLevel
  /** Counts from 0 in its level. */
  readonly index: number
  /** 1 to 256; below 256 the tile is partial. */
  readonly width: number
}

/** `tile/<L>/<N>[.p/<W>]`, with N in groups of three digits: 1234067 is `x001/x234/067` (tlog-tiles, "Merkle Tree"). */
export function formatTilePath({ level, index, width }: Tile): string {
  const groups = index
    .toString()
    .padStart(Math.ceil(index.toString().length / 3) * 3, '0')
    .match(/.{3}/g)!
  const partial = width === TILE_WIDTH ? '' : `.p/${width}`
  return `tile/${level}/${groups.map((group, i) => (i < groups.length - 1 ? `x${group}` : group)).join('/')}${partial}`
}

/** Undefined for anything but what `formatTilePath` writes for a tile that a tree can have. */
export function parseTilePath(path: string): Tile | undefined {
  const match = /^tile\/([0-9]|entries)\/((?:x[0-9]{3}\/){0,5}[0-9]{3})(?:\.p\/([0-9]{1,3}))?$/.exec(path)
  if (match === null) return undefined
  const [, level = '', groups = '', width] = match
  const tile: Tile = {
    level: level === 'entries' ? level : Number(level),
    index: Number(groups.replaceAll(/[x/]/g, '')),
    width: width === undefined ? TILE_WIDTH : Number(width),
  }
  return isTile(tile) && formatTilePath(tile) === path ? tile : undefined
}

function isTile({ level, index, width }: Tile): boolean {
  const height = heightOf(level)
  const isWidth = isCount(width) && width >= 1 && width <= TILE_WIDTH
  return (
    isWidth && height <= LEVEL_MAX && isCount(index) && isCount((index * TILE_WIDTH + width) * TILE_WIDTH ** height)
  )
}

/** The tile of this level and index in a tree of this size; undefined when the tree has none there. */
export function tileAt(level: TileLevel, index: number, size: number): Tile | undefined {
  const width = Math.min(TILE_WIDTH, countAt(level, size) - index * TILE_WIDTH)
  return width > 0 ? { level, index, width } : undefined
}

/**
 * Every hash tile and entry bundle of a tree of this size that a tree of `since` leaves has not: what a log has to write
 * when it grows. Of one level after the other, entry bundles first.
 */
export function* tilesOf(size: number, since = 0): Generator<Tile> {
  for (const level of levelsOf(size)) {
    for (let index = Math.floor(countAt(level, since) / TILE_WIDTH); ; index++) {
      const tile = tileAt(level, index, size)
      if (tile === undefined) break
      if (tile.width !== tileAt(level, index, since)?.width) yield tile
    }
  }
}

/** The levels that a tree of this size has tiles of. */
export function* levelsOf(size: number): Generator<TileLevel> {
  if (size > 0) yield 'entries'
  for (let level = 0; countAt(level, size) > 0; level++) yield level
}

/** How many hashes (or entries) the tiles of a level hold together in a tree of this size. */
export function countAt(level: TileLevel, size: number): number {
  return Math.floor(size / TILE_WIDTH ** heightOf(level))
}

const heightOf = (level: TileLevel) => (level === 'entries' ? 0 : level)

/** What stands before an entry in a bundle: its length, in 16 bits (tlog-tiles, "Log entries"). */
export const LENGTH_BYTES = 2

export function formatBundle(entries: readonly Uint8Array[]): Uint8Array {
  if (entries.length < 1 || entries.length > TILE_WIDTH) throw new RangeError('a bundle has 1 to 256 entries')
  return joinBytes(...entries.map(bundleEntry))
}

/** An entry as it stands in a bundle. */
export function bundleEntry(entry: Uint8Array): Uint8Array {
  const bundled = new Uint8Array(LENGTH_BYTES + entry.length)
  bundled.set(entry, LENGTH_BYTES)
  setLength(bundled)
  return bundled
}

/** Writes it before an entry that is in its place. */
export function setLength(bundled: Uint8Array): void {
  const length = bundled.length - LENGTH_BYTES
  if (length > ENTRY_BYTES_MAX) throw new RangeError(`an entry has at most ${ENTRY_BYTES_MAX} bytes`)
  bundled[0] = length >> 8
  bundled[1] = length
}

/** SHA-256(0x00 || entry), of an entry as it stands in a bundle: the zero takes the place of the length's second byte for so long. */
export function hashBundled(bundled: Uint8Array): Hash {
  const [, low = 0] = bundled
  bundled[1] = 0
  const hash = sha256(bundled.subarray(1))
  bundled[1] = low
  return hash
}

/** The entries, as views into the bundle. Undefined when they are not exactly `width`. */
export function parseBundle(bundle: Uint8Array, width: number): Uint8Array[] | undefined {
  const entries: Uint8Array[] = []
  let at = 0
  while (at < bundle.length && entries.length < width) {
    const start = at + 2
    if (start > bundle.length) return undefined
    at = start + bundle[at]! * 256 + bundle[at + 1]!
    if (at > bundle.length) return undefined
    entries.push(bundle.subarray(start, at))
  }
  return at === bundle.length && entries.length === width ? entries : undefined
}

/**
 * The tile of level 0 over a bundle: the hashes of its entries as leaves. Undefined when the entries are not exactly `width`.
 * @param bundle whose lengths are overwritten: an entry is hashed behind a zero, for which there is room. Makes no array for each.
 */
export function hashBundle(bundle: Uint8Array, width: number): Uint8Array<ArrayBuffer> | undefined {
  const hashes = new Uint8Array(width * HASH_BYTES)
  let at = 0
  for (let n = 0; n < width; n++) {
    const end = at + 2 + bundle[at]! * 256 + bundle[at + 1]!
    if (!(end <= bundle.length)) return undefined
    bundle[at + 1] = 0
    sha256Into(bundle.subarray(at + 1, end), hashes, n * HASH_BYTES)
    at = end
  }
  return at === bundle.length ? hashes : undefined
}

/** The hashes, as views into the tile. Undefined when they are not exactly `width`. */
export function parseHashTile(tile: Uint8Array, width: number): Hash[] | undefined {
  if (tile.length !== width * HASH_BYTES) return undefined
  return Array.from({ length: width }, (_, i) => hashIn(tile, i))
}

const hashIn = (tile: Uint8Array, at: number): Hash => tile.subarray(at * HASH_BYTES, (at + 1) * HASH_BYTES)

/**
 * Reads hashes of a tree out of its tiles, for making proofs. `readTile` is asked for tiles of this size only, and once for each.
 * @throws {RangeError} for a hash that the tree has not, and when a tile has not the width of its name.
 */
export function hashesFromTiles(size: number, readTile: (tile: Tile) => Uint8Array): ReadHash {
  const read = new Map<string, Uint8Array>()
  return (height, index) => {
    const level = Math.floor(height / TILE_HEIGHT)
    const width = 2 ** (height % TILE_HEIGHT)
    const first = index * width
    const tile = tileAt(level, Math.floor(first / TILE_WIDTH), size)
    const at = first % TILE_WIDTH
    if (tile === undefined || at + width > tile.width) throw new RangeError('the tree has not this hash')
    const name = `${level} ${tile.index}`
    const bytes = read.get(name) ?? readTile(tile)
    if (bytes.length !== tile.width * HASH_BYTES) throw new RangeError('the tile has not the width of its name')
    read.set(name, bytes)
    return perfectRoot(bytes.subarray(at * HASH_BYTES, (at + width) * HASH_BYTES))
  }
}

/** Which tiles a proof is made from, for whoever has to fetch them first: `tilesFor(size, read => inclusionProof(7, size, read))`. */
export function tilesFor(size: number, make: (readHash: ReadHash) => unknown): Tile[] {
  const tiles = new Map<string, Tile>()
  const note = (tile: Tile) => {
    tiles.set(formatTilePath(tile), tile)
    return new Uint8Array(tile.width * HASH_BYTES)
  }
  make(hashesFromTiles(size, note))
  return [...tiles.values()]
}
