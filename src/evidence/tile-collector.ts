/**
 * Puts tiles together while a log grows: takes the pieces of each level in their order, hands out what is to be written.
 * Holds the full tiles since the last `take` and one partial tile of each level.
 */
import { joinBytes } from './encoding.ts'
import { countAt, levelsOf, TILE_WIDTH, type Tile, type TileLevel, tileAt } from './tile.ts'

export interface TileFile {
  readonly tile: Tile
  readonly bytes: Uint8Array
}

export interface TileCollector {
  /** A hash, or for the level `entries` an entry behind its length. It is kept as it is, so nobody may write to it any more. */
  add(level: TileLevel, piece: Uint8Array): void
  /** The tiles that became full since the last call, and those partial ones that grew, as they are now. */
  take(): TileFile[]
}

interface GrowingTile {
  index: number
  width: number
  pieces: Uint8Array[]
  hasGrown: boolean
}

/** Goes on from the tree of `size` leaves, whose partial tiles `readTile` gives. */
export function collectTiles(size: number, readTile: (tile: Tile) => Uint8Array): TileCollector {
  const growing = new Map<TileLevel, GrowingTile>()
  let full: TileFile[] = []

  for (const level of levelsOf(size)) {
    const index = Math.floor(countAt(level, size) / TILE_WIDTH)
    const tile = tileAt(level, index, size)
    const pieces = tile === undefined ? [] : [readTile(tile)]
    growing.set(level, { index, width: tile?.width ?? 0, pieces, hasGrown: false })
  }

  function tileOf(level: TileLevel): GrowingTile {
    const tile = growing.get(level) ?? { index: 0, width: 0, pieces: [], hasGrown: false }
    growing.set(level, tile)
    return tile
  }

  function fileOf(level: TileLevel, tile: GrowingTile): TileFile {
    const bytes = joinBytes(...tile.pieces)
    tile.pieces = [bytes]
    tile.hasGrown = false
    return { tile: { level, index: tile.index, width: tile.width }, bytes }
  }

  return {
    add(level, piece) {
      const tile = tileOf(level)
      tile.pieces.push(piece)
      tile.width++
      tile.hasGrown = true
      if (tile.width < TILE_WIDTH) return
      full.push(fileOf(level, tile))
      growing.set(level, { index: tile.index + 1, width: 0, pieces: [], hasGrown: false })
    },
    take() {
      const partial = [...growing].filter(([, tile]) => tile.hasGrown).map(([level, tile]) => fileOf(level, tile))
      const files = [...full, ...partial]
      full = []
      return files
    },
  }
}
