/**
 * The Merkle tree of RFC 6962, section 2.1 (RFC 9162 has the same): its hashes, and a tree that grows at its right edge.
 *
 * A tree is never held as a whole. The roots of its perfect subtrees, one for each 1 in the binary form of its size, are
 * all that is needed to append to it and to name its root. What hashes the tiles take is told while it grows.
 * Sizes are numbers up to 2^53 - 1. No bit operators: those of JavaScript end at 32 bits.
 */
import { sha256, sha256Into } from './crypto.ts'
import { HASH_BYTES, isCount } from './encoding.ts'

export type Hash = Uint8Array

/** The root of the tree without leaves: SHA-256 of nothing. */
export const EMPTY_ROOT: Hash = sha256(new Uint8Array(0))

/** Binary levels of the tree per level of tiles (tlog-tiles, "Merkle Tree"): a tile is 2^8 hashes wide. */
export const TILE_HEIGHT = 8

// Hashing is synchronous, so its input is put together in one place; a longer entry gets a place of its own.
const NODE_BYTES = 1 + 2 * HASH_BYTES
const node = new Uint8Array(NODE_BYTES)
node[0] = 1
const leaf = new Uint8Array(4096)
const tileRow = new Uint8Array(2 ** TILE_HEIGHT * HASH_BYTES)

/** SHA-256(0x00 || entry). */
export function hashLeaf(entry: Uint8Array): Hash {
  const length = entry.length + 1
  const place = length <= leaf.length ? leaf : new Uint8Array(length)
  place.set(entry, 1)
  return sha256(place.subarray(0, length))
}

/** SHA-256(0x01 || left || right). */
export function hashNode(left: Hash, right: Hash): Hash {
  node.set(left, 1)
  node.set(right, 1 + HASH_BYTES)
  return sha256(node)
}

/** The root over a power of two of hashes that lie one after the other, as in a full tile. Makes no array for each node. */
export function perfectRoot(hashes: Uint8Array): Hash {
  const row = hashes.length <= tileRow.length ? tileRow : new Uint8Array(hashes.length)
  row.set(hashes)
  for (let width = hashes.length / HASH_BYTES; width > 1; width /= 2) {
    for (let at = 0; at < width * HASH_BYTES; at += 2 * HASH_BYTES) {
      for (let i = 1; i < NODE_BYTES; i++) node[i] = row[at + i - 1]!
      sha256Into(node, row, at / 2)
    }
  }
  return row.slice(0, HASH_BYTES)
}

/** The roots of the perfect subtrees of a tree, the largest (leftmost) first. */
export interface RightEdge {
  readonly size: number
  readonly hashes: readonly Hash[]
}

export const EMPTY_EDGE: RightEdge = { size: 0, hashes: [] }

export interface GrowingTree {
  readonly size: number
  append(leafHash: Hash): void
  root(): Hash
  edge(): RightEdge
}

/** Told of every hash that the tiles of a level get, in their order; level 0 gets the leaf hashes. */
export type TileHashSink = (level: number, hash: Hash) => void

/**
 * A tree that goes on from an edge. Appending costs one node hash on average.
 * @throws {RangeError} when the edge has not one hash for each 1 in its size.
 */
export function growTree(edge: RightEdge = EMPTY_EDGE, onTileHash: TileHashSink = () => {}): GrowingTree {
  let { size } = edge
  const hashes = [...edge.hashes]
  if (!isCount(size) || hashes.length !== countOnes(size) || hashes.some(hash => hash.length !== HASH_BYTES)) {
    throw new RangeError('the edge does not fit its size')
  }
  return {
    get size() {
      return size
    },
    append(leafHash) {
      let hash = leafHash
      onTileHash(0, hash)
      // As in adding 1 to a binary number: every trailing 1 is a subtree that gets its right half now.
      for (let rest = size, height = 1; rest % 2 === 1; rest = (rest - 1) / 2, height++) {
        hash = hashNode(hashes.pop()!, hash)
        if (height % TILE_HEIGHT === 0) onTileHash(height / TILE_HEIGHT, hash)
      }
      hashes.push(hash)
      size++
    },
    root: () => foldEdge(hashes),
    edge: () => ({ size, hashes: [...hashes] }),
  }
}

/** The root over perfect subtrees that shrink to the right. */
export function foldEdge(hashes: readonly Hash[]): Hash {
  if (hashes.length === 0) return EMPTY_ROOT
  return hashes.reduceRight((right, left) => hashNode(left, right))
}

function countOnes(value: number): number {
  let ones = 0
  for (let rest = value; rest > 0; rest = Math.floor(rest / 2)) ones += rest % 2
  return ones
}
