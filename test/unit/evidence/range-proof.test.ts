/** Proofs of ranges, against the definition of the tree. */
import assert from 'node:assert/strict'
import test from 'node:test'
import { encodeText } from '../../../src/evidence/encoding.ts'
import { hashLeaf } from '../../../src/evidence/merkle.ts'
import { verifyConsistency } from '../../../src/evidence/merkle-proof.ts'
import { growFrom, rangeProof } from '../../../src/evidence/range-proof.ts'
import { naiveRoot } from './naive-tree.ts'

const SIZE_MAX = 24
const leaves = Array.from({ length: SIZE_MAX }, (_, n) => hashLeaf(encodeText(`leaf ${n}`)))
const readHash = (height: number, index: number) =>
  naiveRoot(leaves.slice(index * 2 ** height, (index + 1) * 2 ** height))

/** Whether the leaves are proven to be those from `start` on; that they are all is for the caller to count. */
function isProven(range: typeof leaves, start: number, size: number, proof: ReturnType<typeof rangeProof>): boolean {
  const tree = growFrom(start, proof.edge)
  for (const leaf of range) tree?.append(leaf)
  const signed = { size, root: naiveRoot(leaves.slice(0, size)) }
  return tree !== undefined && verifyConsistency({ size: tree.size, root: tree.root() }, signed, proof.consistency)
}

test('range proof: every range of every small tree is proven, and nothing else in its place', () => {
  for (let size = 1; size <= SIZE_MAX; size++) {
    for (let end = 1; end <= size; end++) {
      for (let start = 0; start < end; start += 1 + (size % 3)) {
        const proof = rangeProof(start, end, size, readHash)
        const range = leaves.slice(start, end)
        const where = `${start} to ${end} of ${size}`
        assert.ok(isProven(range, start, size, proof), where)
        const other = hashLeaf(encodeText('another'))
        assert.ok(!isProven(range.with((start + end) % range.length, other), start, size, proof), where)
        if (range.length > 1) assert.ok(!isProven(range.slice(1), start, size, proof), where)
        assert.ok(!isProven([...range, other], start, size, proof), where)
        if (start > 0) assert.ok(!isProven(range, start - 1, size, proof), where)
        for (const [n] of proof.edge.entries()) {
          assert.ok(!isProven(range, start, size, { ...proof, edge: proof.edge.with(n, other) }), where)
        }
        for (const [n] of proof.consistency.entries()) {
          const consistency = proof.consistency.with(n, other)
          assert.ok(!isProven(range, start, size, { ...proof, consistency }), where)
        }
      }
    }
  }
})

test('range proof: an edge of another size is none', () => {
  assert.equal(growFrom(3, [leaves[0]!]), undefined)
  assert.equal(growFrom(3, [leaves[0]!, new Uint8Array(31)]), undefined)
  assert.equal(growFrom(-1, []), undefined)
  assert.throws(() => rangeProof(0, 5, 4, readHash), RangeError)
})
