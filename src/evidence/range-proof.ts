/**
 * The proof that leaves stand at the places that they claim, in a log that is not at hand: those of a range, in a tree whose root
 * somebody signed (docs/formats.md, "Archives").
 *
 * It is made of two known parts. The roots of the perfect subtrees before the range are the right edge of a tree; the leaves of the
 * range make that tree grow; and a consistency proof (RFC 6962, section 2.1.2) shows that the tree that comes of it is the
 * beginning of the signed one.
 */
import { type GrowingTree, growTree, type Hash, type RightEdge } from './merkle.ts'
import { consistencyProof, type ReadHash } from './merkle-proof.ts'

export interface RangeProof {
  /** Of the tree that ends before the range: one hash for each 1 in its size, the largest subtree first. */
  readonly edge: readonly Hash[]
  /** Of the tree that ends with the range with the signed one. */
  readonly consistency: readonly Hash[]
}

/**
 * Of the leaves from index `start` to before `end`, in the tree of `size` leaves.
 * @throws {RangeError} when the tree has not all of them
 */
export function rangeProof(start: number, end: number, size: number, readHash: ReadHash): RangeProof {
  return { edge: rightEdge(start, readHash).hashes, consistency: consistencyProof(end, size, readHash) }
}

/**
 * The tree before the range, to be grown by what claims to be all of the range; undefined when the edge is not one of its size. By
 * `verifyConsistency` the grown tree is compared with the signed one.
 */
export function growFrom(start: number, edge: readonly Hash[]): GrowingTree | undefined {
  try {
    return growTree({ size: start, hashes: edge })
  } catch {
    return undefined
  }
}

/** What a tree of this size is grown on from. */
export function rightEdge(size: number, readHash: ReadHash): RightEdge {
  const hashes: Hash[] = []
  let at = 0
  for (const width of powersIn(size)) {
    hashes.push(readHash(Math.log2(width), at / width))
    at += width
  }
  return { size, hashes }
}

/** The powers of two that a number is the sum of, the largest first. */
function powersIn(value: number): number[] {
  const powers: number[] = []
  for (let rest = value, power = 1; rest > 0; rest = Math.floor(rest / 2), power *= 2) {
    if (rest % 2 === 1) powers.unshift(power)
  }
  return powers
}
