/** Roots over the leaves of one bundle. */
import { sha256Into } from '../evidence/crypto.ts'
import { HASH_BYTES } from '../evidence/encoding.ts'
import { foldEdge, growTree, type Hash } from '../evidence/merkle.ts'

/** The roots of the perfect subtrees over the first `count` leaves; undefined when one of these is missing. */
export function edgeOf(leaves: readonly (Hash | undefined)[], count = leaves.length): readonly Hash[] | undefined {
  const tree = growTree()
  for (let n = 0; n < count; n++) {
    const leaf = leaves[n]
    if (leaf === undefined) return undefined
    tree.append(leaf)
  }
  return tree.edge().hashes
}

export function rootOf(leaves: readonly (Hash | undefined)[]): Hash | undefined {
  const edge = edgeOf(leaves)
  return edge && foldEdge(edge)
}

const NODE_BYTES = 1 + 2 * HASH_BYTES
const node = new Uint8Array(NODE_BYTES)
node[0] = 1

/** The same of a power of two of leaves that lie one after the other, as in a full tile. Makes no array for each node. */
export function rootOfFull(leaves: Uint8Array): Hash {
  const hashes = leaves.slice()
  for (let width = hashes.length / HASH_BYTES; width > 1; width /= 2) {
    for (let at = 0; at < width * HASH_BYTES; at += 2 * HASH_BYTES) {
      for (let i = 1; i < NODE_BYTES; i++) node[i] = hashes[at + i - 1]!
      sha256Into(node, hashes, at / 2)
    }
  }
  return hashes.slice(0, HASH_BYTES)
}
