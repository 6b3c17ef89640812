/** Reads the tiles of a directory in the layout of C2SP tlog-tiles. The hash tile of a level that was read last is kept. */
import { readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { ENTRY_BYTES_MAX, formatTilePath, TILE_WIDTH, type Tile } from '../../evidence/tile.ts'

export interface TileFiles {
  /** Undefined when it is missing, or larger than a tile can be. */
  read(tile: Tile): Uint8Array | undefined
}

const TILE_BYTES_MAX = TILE_WIDTH * (2 + ENTRY_BYTES_MAX)

export function openTileFiles(root: string): TileFiles {
  let last: { readonly path: string; readonly bytes: Uint8Array | undefined } | undefined
  return {
    read(tile) {
      const path = join(root, formatTilePath(tile))
      if (last?.path === path) return last.bytes
      const found = statSync(path, { throwIfNoEntry: false })
      const bytes = found?.isFile() === true && found.size <= TILE_BYTES_MAX ? readFileSync(path) : undefined
      if (tile.level === 1) last = { path, bytes }
      return bytes
    },
  }
}
