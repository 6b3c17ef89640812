/**
 * Inclusion and consistency proofs of RFC 6962, sections 2.1.1 and 2.1.2: made from stored hashes, and verified by the
 * algorithms of RFC 9162, sections 2.1.3.2 and 2.1.4.2, which know nothing of how proofs are made.
 *
 * Making throws a RangeError for what has no proof. Verifying never throws: indexes, sizes, the number of hashes and their
 * lengths may be anything, and anything but the one right proof is false.
 */
import { areSameBytes, HASH_BYTES, isCount } from './encoding.ts'
import { EMPTY_ROOT, foldEdge, type Hash, hashNode } from './merkle.ts'

/** The hash of the perfect subtree of 2^height leaves from leaf index * 2^height on. All its leaves are in the tree. */
export type ReadHash = (height: number, index: number) => Hash

/** The proof that leaf `index` is in the tree of `size` leaves, from its sibling up. */
export function inclusionProof(index: number, size: number, readHash: ReadHash): Hash[] {
  if (!isCount(index) || !isCount(size) || index >= size) throw new RangeError('the tree has no such leaf')
  const proof: Hash[] = []
  let start = 0
  let end = size
  while (end - start > 1) {
    const middle = start + powerBelow(end - start)
    if (index < middle) {
      proof.push(hashRange(middle, end, readHash))
      end = middle
    } else {
      proof.push(hashRange(start, middle, readHash))
      start = middle
    }
  }
  return proof.reverse()
}

/** The proof that the tree of `from` leaves is the beginning of the tree of `to` leaves. Empty if either says nothing. */
export function consistencyProof(from: number, to: number, readHash: ReadHash): Hash[] {
  if (!isCount(from) || !isCount(to) || from > to) throw new RangeError('a tree does not shrink')
  if (from === 0) return []
  const proof: Hash[] = []
  let start = 0
  let end = to
  while (end !== from) {
    const middle = start + powerBelow(end - start)
    if (from <= middle) {
      proof.push(hashRange(middle, end, readHash))
      end = middle
    } else {
      proof.push(hashRange(start, middle, readHash))
      start = middle
    }
  }
  if (start > 0) proof.push(hashRange(start, end, readHash)) // from 0 on it is the old root, which the verifier has
  return proof.reverse()
}

/** The root of the tree of `size` leaves. */
export function rootHash(size: number, readHash: ReadHash): Hash {
  return hashRange(0, size, readHash)
}

/** The root that an inclusion proof leads to; undefined when the proof has not the length that index and size ask for. */
function rootOfInclusion(leafHash: Hash, index: number, size: number, proof: readonly Hash[]): Hash | undefined {
  if (!isCount(index) || !isCount(size) || index >= size) return undefined
  if (![leafHash, ...proof].every(isHash)) return undefined
  let at = index
  let last = size - 1
  let root = leafHash
  for (const hash of proof) {
    if (last === 0) return undefined
    if (isOdd(at) || at === last) {
      root = hashNode(hash, root)
      for (; !isOdd(at) && at !== 0; at = half(at)) last = half(last)
    } else {
      root = hashNode(root, hash)
    }
    at = half(at)
    last = half(last)
  }
  return last === 0 ? root : undefined
}

export function verifyInclusion(
  leafHash: Hash,
  index: number,
  size: number,
  proof: readonly Hash[],
  root: Hash,
): boolean {
  const found = rootOfInclusion(leafHash, index, size, proof)
  return found !== undefined && areSameBytes(found, root)
}

/** A tree and what it is called. */
export interface TreeHead {
  readonly size: number
  readonly root: Hash
}

/** Whether the older tree is proven to be the beginning of the newer one. The empty tree begins every tree, without proof. */
export function verifyConsistency(older: TreeHead, newer: TreeHead, proof: readonly Hash[]): boolean {
  if (!isCount(older.size) || !isCount(newer.size) || older.size > newer.size) return false
  if (older.size === 0 && !areSameBytes(older.root, EMPTY_ROOT)) return false
  if (older.size === newer.size) return proof.length === 0 && areSameBytes(older.root, newer.root)
  if (![older.root, newer.root, ...proof].every(isHash)) return false
  if (older.size === 0) return proof.length === 0

  let at = older.size - 1
  let last = newer.size - 1
  for (; isOdd(at); at = half(at)) last = half(last)
  // A tree of 2^k leaves is a node of the newer tree itself, so the proof leaves it out.
  const [first, ...hashes] = at === 0 ? [older.root, ...proof] : proof
  if (first === undefined || proof.length === 0) return false
  let olderRoot = first
  let newerRoot = first
  for (const hash of hashes) {
    if (last === 0) return false
    if (isOdd(at) || at === last) {
      olderRoot = hashNode(hash, olderRoot)
      newerRoot = hashNode(hash, newerRoot)
      for (; !isOdd(at) && at !== 0; at = half(at)) last = half(last)
    } else {
      newerRoot = hashNode(newerRoot, hash)
    }
    at = half(at)
    last = half(last)
  }
  return last === 0 && areSameBytes(olderRoot, older.root) && areSameBytes(newerRoot, newer.root)
}

/** The hash of the leaves from `start` to before `end`, where `start` is a multiple of the largest power in their number. */
function hashRange(start: number, end: number, readHash: ReadHash): Hash {
  const hashes: Hash[] = []
  for (let at = start; at < end; ) {
    const width = powerBelow(end - at + 1)
    hashes.push(readHash(Math.log2(width), at / width))
    at += width
  }
  return foldEdge(hashes)
}

/** The largest power of two below a number of at least 2. */
function powerBelow(value: number): number {
  let power = 1
  while (power * 2 < value) power *= 2
  return power
}

const isOdd = (value: number) => value % 2 === 1
const half = (value: number) => Math.floor(value / 2)
const isHash = (hash: Uint8Array) => hash.length === HASH_BYTES
