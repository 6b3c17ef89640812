/** Roots over the leaves of one bundle. */
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
