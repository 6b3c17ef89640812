import assert from 'node:assert/strict'
import { test } from 'node:test'
import { sha256 } from '../../../src/evidence/crypto.ts'
import { hashLeaf, hashNode } from '../../../src/evidence/merkle.ts'
import { inclusionProof, type ReadHash } from '../../../src/evidence/merkle-proof.ts'
import { createRootMemory } from '../../../src/query/root-memory.ts'

const LEAVES = 2 ** 13 + 77

/** Of a tree in memory: each hash worked out of those below it. */
function treeOf(leaves: number): ReadHash {
  const heights = [Array.from({ length: leaves }, (_, n) => hashLeaf(sha256(Uint8Array.of(n >> 8, n))))]
  while (heights.at(-1)!.length > 1) {
    const below = heights.at(-1)!
    heights.push(Array.from({ length: below.length >> 1 }, (_, n) => hashNode(below[2 * n]!, below[2 * n + 1]!)))
  }
  return (height, index) => heights[height]![index]!
}

test('root memory: proofs are the same with it, and what is large is worked out once', () => {
  const tree = treeOf(LEAVES)
  const asked = new Map<string, number>()
  const counted: ReadHash = (height, index) => {
    const name = `${height} ${index}`
    asked.set(name, (asked.get(name) ?? 0) + 1)
    return tree(height, index)
  }
  const readHash = createRootMemory()(counted)
  const sizes = [LEAVES, LEAVES - 1, 2 ** 13, 2 ** 12 + 1]
  for (const size of sizes) {
    for (let index = 0; index < size; index += 97) {
      assert.deepEqual(inclusionProof(index, size, readHash), inclusionProof(index, size, tree))
    }
  }
  const large = [...asked].filter(([name]) => Number(name.split(' ')[0]) >= 12)
  assert.ok(large.length > 0)
  assert.ok(large.every(([, times]) => times === 1))
})
