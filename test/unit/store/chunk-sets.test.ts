import assert from 'node:assert/strict'
import test from 'node:test'
import fc from 'fast-check'
import {
  addMember,
  CHUNK_IDS,
  emptySet,
  formatSet,
  memberBack,
  memberFrom,
  parseSet,
} from '../../../src/store/chunk-sets.ts'

const members = fc.oneof(
  fc.uniqueArray(fc.nat(CHUNK_IDS - 1), { maxLength: 70 }),
  fc.uniqueArray(fc.nat(CHUNK_IDS - 1), { minLength: 55, maxLength: CHUNK_IDS }),
)

function setOf(numbers: readonly number[]) {
  const set = emptySet()
  for (const n of numbers) addMember(set, n)
  return set
}

test('chunk sets: what is formatted parses to the same set, in at most 128 bytes', () => {
  fc.assert(
    fc.property(members, numbers => {
      const bytes = formatSet(setOf(numbers))
      assert.deepEqual(parseSet(bytes), setOf(numbers))
      assert.ok(bytes.byteLength <= 128)
    }),
    { numRuns: 200 },
  )
})

test('chunk sets: the next member in either direction is the one a sorted list has', () => {
  fc.assert(
    fc.property(members, fc.integer({ min: -1, max: CHUNK_IDS }), (numbers, n) => {
      const set = setOf(numbers)
      const sorted = numbers.toSorted((a, b) => a - b)
      if (n >= 0) assert.equal(memberFrom(set, n), sorted.find(member => member >= n) ?? -1)
      if (n < CHUNK_IDS) assert.equal(memberBack(set, n), sorted.findLast(member => member <= n) ?? -1)
    }),
    { numRuns: 500 },
  )
})
