import assert from 'node:assert/strict'
import test from 'node:test'
import fc from 'fast-check'
import { EMPTY_ROOT, growTree, hashLeaf, hashNode } from '../../../src/evidence/merkle.ts'
import {
  consistencyProof,
  inclusionProof,
  rootHash,
  verifyConsistency,
  verifyInclusion,
} from '../../../src/evidence/merkle-proof.ts'
import { tilesFor } from '../../../src/evidence/tile.ts'
import { createLog, hashesOf, numberedEntries } from './log-under-test.ts'
import { leafHashes, naiveLeafHash, naiveRoot } from './naive-tree.ts'

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex')
const SIZES = [0, 1, 2, 3, 7, 8, 255, 256, 257, 65_536, 65_537]

test('merkle: the hashes of RFC 6962, section 2.1', () => {
  assert.equal(hex(EMPTY_ROOT), 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855')
  assert.equal(hex(hashLeaf(new Uint8Array(0))), '6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d')
  const [left, right] = leafHashes(2)
  assert.equal(hex(hashNode(left!, right!)), hex(naiveRoot([left!, right!])))
})

test('merkle: an entry of any length has the hash of the definition', () => {
  for (const length of [0, 1, 4094, 4095, 4096, 4097, 65_535]) {
    const entry = new Uint8Array(length).fill(length)
    assert.deepEqual(hashLeaf(entry), naiveLeafHash(entry), `${length}`)
  }
  assert.deepEqual(hashLeaf(Uint8Array.of(7)), naiveLeafHash(Uint8Array.of(7)), 'nothing of a longer one stays')
})

test('merkle: a tree that grew in any batches has the root of the recursive definition, and of its tiles', () => {
  const sizes = fc.array(fc.integer({ min: 0, max: 300 }), { maxLength: 6 })
  fc.assert(
    fc.property(sizes, batches => {
      const log = createLog()
      for (const batch of batches) log.append(numberedEntries(batch, log.tree.size))
      const expected = naiveRoot(leafHashes(log.tree.size))
      assert.deepEqual(log.tree.root(), expected)
      assert.deepEqual(rootHash(log.tree.size, hashesOf(log)), expected)
    }),
    { numRuns: 40 },
  )
})

test('merkle: the root at every size around the widths of tiles', () => {
  const tree = growTree()
  const hashes = leafHashes(65_537)
  for (const size of SIZES) {
    for (const hash of hashes.slice(tree.size, size)) tree.append(hash)
    assert.equal(tree.size, size)
    assert.deepEqual(tree.root(), naiveRoot(hashes.slice(0, size)), `${size}`)
  }
})

test('merkle: an edge that does not fit its size is refused', () => {
  const [hash] = leafHashes(1)
  const short = hash!.subarray(1)
  for (const edge of [
    { size: 1, hashes: [] },
    { size: 3, hashes: [hash!] },
    { size: 2, hashes: [hash!, hash!] },
    { size: 1, hashes: [short] },
    { size: -1, hashes: [] },
    { size: 0.5, hashes: [] },
    { size: 2 ** 53, hashes: [hash!] },
  ]) {
    assert.throws(() => growTree(edge), RangeError)
  }
})

test('merkle proofs: every proof in every tree of up to 70 leaves verifies, and for no other index, size or root', () => {
  const log = createLog(numberedEntries(70))
  const leaves = leafHashes(70)
  const roots = Array.from({ length: 71 }, (_, size) => naiveRoot(leaves.slice(0, size)))
  for (let size = 1; size <= 70; size++) {
    const whole = createLog(numberedEntries(size))
    const head = { size, root: roots[size]! }
    for (let at = 0; at < size; at++) {
      const proof = inclusionProof(at, size, hashesOf(whole))
      assert.ok(verifyInclusion(leaves[at]!, at, size, proof, head.root), `${at} in ${size}`)
      assert.ok(!verifyInclusion(leaves[at]!, (at + 1) % size, size, proof, head.root) || size === 1)
      assert.ok(!verifyInclusion(leaves[at]!, at, size, [...proof, leaves[0]!], head.root))
      assert.ok(!verifyInclusion(leaves[at]!, at, size, proof.slice(1), head.root) || size === 1)
    }
    for (let from = 0; from <= size; from++) {
      const proof = consistencyProof(from, size, hashesOf(whole))
      const older = { size: from, root: roots[from]! }
      assert.ok(verifyConsistency(older, head, proof), `${from} to ${size}`)
      assert.ok(!verifyConsistency(older, head, [...proof, leaves[0]!]))
      assert.ok(!verifyConsistency({ size: from, root: leaves[69]! }, head, proof))
      assert.ok(proof.length === 0 || !verifyConsistency(older, head, proof.slice(0, -1)))
    }
  }
  assert.throws(() => inclusionProof(70, 70, hashesOf(log)), RangeError)
  assert.throws(() => inclusionProof(-1, 70, hashesOf(log)), RangeError)
  assert.throws(() => inclusionProof(0, 0, hashesOf(log)), RangeError)
  assert.throws(() => consistencyProof(71, 70, hashesOf(log)), RangeError)
})

test('merkle proofs: with one bit changed anywhere none verifies', () => {
  const size = 65_537
  const log = createLog(numberedEntries(size))
  const leaves = leafHashes(size)
  const root = log.tree.root()
  const hashes = hashesOf(log)
  const bit = fc.nat()
  fc.assert(
    fc.property(fc.nat(size - 1), fc.integer({ min: 1, max: size - 1 }), bit, (index, from, at) => {
      const older = { size: from, root: rootHash(from, hashesOf(createLog(numberedEntries(from)))) }
      const inclusion = inclusionProof(index, size, hashes)
      const consistency = consistencyProof(from, size, hashes)
      assert.ok(verifyInclusion(leaves[index]!, index, size, inclusion, root))
      assert.ok(verifyConsistency(older, { size, root }, consistency))

      const [leafHash, itsRoot, ...proof] = withFlippedBit([leaves[index]!, root, ...inclusion], at)
      assert.ok(!verifyInclusion(leafHash!, index, size, proof, itsRoot!))
      const [olderRoot, newerRoot, ...path] = withFlippedBit([older.root, root, ...consistency], at)
      assert.ok(!verifyConsistency({ size: from, root: olderRoot! }, { size, root: newerRoot! }, path))
    }),
    { numRuns: 12 },
  )
})

test('merkle proofs: sizes and indexes that are no counts, and hashes that are none, are false and not an exception', () => {
  const [leaf, other] = leafHashes(2)
  const root = naiveRoot([leaf!, other!])
  assert.ok(verifyInclusion(leaf!, 0, 2, [other!], root))
  for (const [index, size] of [
    [-1, 2],
    [0.5, 2],
    [Number.NaN, 2],
    [0, Number.POSITIVE_INFINITY],
    [0, 2 ** 53],
    [2, 2],
    [0, 0],
  ] as const) {
    assert.ok(!verifyInclusion(leaf!, index, size, [other!], root), `${index} in ${size}`)
    assert.ok(!verifyConsistency({ size: index, root: leaf! }, { size, root }, [other!]))
  }
  assert.ok(!verifyInclusion(leaf!, 0, 2, [other!.subarray(1)], root))
  assert.ok(!verifyInclusion(leaf!, 0, 2, [other!], root.subarray(1)))
  const nothing = new Uint8Array(0)
  assert.ok(!verifyConsistency({ size: 0, root: nothing }, { size: 2, root }, []))
  assert.ok(!verifyConsistency({ size: 0, root: leaf! }, { size: 2, root }, []))
  assert.ok(verifyConsistency({ size: 0, root: EMPTY_ROOT }, { size: 2, root }, []))
})

test('merkle proofs: one needs few tiles, and they can be fetched before', () => {
  const size = 70_000
  const log = createLog(numberedEntries(size))
  for (const index of [0, 255, 256, 65_535, 65_536, size - 1]) {
    const needed = tilesFor(size, read => inclusionProof(index, size, read))
    assert.ok(needed.length <= 6, `${needed.length} tiles`)
    const fetched = new Map(needed.map(tile => [tile, log.readTile(tile)]))
    assert.ok([...fetched.values()].every(bytes => bytes.length > 0))
  }
})

function withFlippedBit(hashes: readonly Uint8Array[], at: number): Uint8Array[] {
  const bit = at % (hashes.length * 256)
  const copies = hashes.map(hash => Uint8Array.from(hash))
  copies[Math.floor(bit / 256)]![Math.floor((bit % 256) / 8)]! ^= 1 << (bit % 8)
  return copies
}
