/** A log in memory, made by the parts under test: its tree, its tiles by path, and proofs from them. */
import { type GrowingTree, growTree, hashLeaf } from '../../../src/evidence/merkle.ts'
import { bundleEntry, formatTilePath, hashesFromTiles, type Tile } from '../../../src/evidence/tile.ts'
import { collectTiles } from '../../../src/evidence/tile-collector.ts'

export interface LogUnderTest {
  readonly tree: GrowingTree
  /** By path, as they would be files. */
  readonly tiles: Map<string, Uint8Array>
  readonly readTile: (tile: Tile) => Uint8Array
  append(entries: readonly Uint8Array[]): void
}

export function createLog(entries: readonly Uint8Array[] = []): LogUnderTest {
  const tiles = new Map<string, Uint8Array>()
  const readTile = (tile: Tile) => {
    const bytes = tiles.get(formatTilePath(tile))
    if (bytes === undefined) throw new Error(`there is no ${formatTilePath(tile)}`)
    return bytes
  }
  let tree = growTree()
  const log = {
    get tree() {
      return tree
    },
    tiles,
    readTile,
    /** Each batch goes on from what the one before left behind, as after a restart. */
    append(batch: readonly Uint8Array[]) {
      const collector = collectTiles(tree.size, readTile)
      tree = growTree(tree.edge(), collector.add)
      for (const entry of batch) {
        collector.add('entries', bundleEntry(entry))
        tree.append(hashLeaf(entry))
      }
      for (const { tile, bytes } of collector.take()) tiles.set(formatTilePath(tile), bytes)
    },
  }
  log.append(entries)
  return log
}

export function numberedEntries(count: number, first = 0): Uint8Array[] {
  return Array.from({ length: count }, (_, i) => new TextEncoder().encode(String(first + i)))
}

export function hashesOf(log: LogUnderTest, size = log.tree.size) {
  return hashesFromTiles(size, log.readTile)
}
