import assert from 'node:assert/strict'
import test from 'node:test'
import { batchedStream, END, type KeyStream, OutOfTime, probedIntersection } from '../../../src/query/id-streams.ts'
import { createRandom, type Random } from '../../torture/random.ts'

const NEVER = { passed: () => false }

/** Keys from 0 to `end`, each with this probability. */
const draw = (random: Random, end: number, probability: number) =>
  Array.from({ length: end }, (_, key) => key).filter(() => random.chance(probability))

const streamOf = (keys: readonly number[]): KeyStream =>
  batchedStream((key, count) => keys.filter(at => at >= key).slice(0, count))

function keysIn(stream: KeyStream): number[] {
  const keys: number[] = []
  for (let key = stream.seek(0); key !== END; key = stream.seek(key + 1)) keys.push(key)
  return keys
}

test('probed intersection: gives what both streams have, whichever is rarer, and wherever', () => {
  const random = createRandom(11)
  let probed = 0
  for (const [of, others] of [
    [0.5, 0.02],
    [0.02, 0.5],
    [0.001, 0.3],
    [0.3, 0.001],
    [0.1, 0.1],
    [0, 0.1],
    [0.1, 0],
    [1, 1],
  ] as const) {
    for (let round = 0; round < 5; round++) {
      // Of each half of the keys the other one is the rarer.
      const half = (a: number, b: number) => [
        ...draw(random, 3_000, a),
        ...draw(random, 3_000, b).map(key => key + 3_000),
      ]
      const [keys, rare] = [half(of, others), half(others, of)]
      const known = new Set(keys)
      const among = (candidates: readonly number[]) => {
        probed++
        return candidates.filter(key => known.has(key))
      }
      assert.deepEqual(
        keysIn(probedIntersection(streamOf(keys), streamOf(rare), among, NEVER)),
        rare.filter(key => known.has(key)),
      )
    }
  }
  assert.ok(probed > 20, `${probed}`)
})

test('probed intersection: where nothing is in common it ends, or says how far it came when time is up', () => {
  const even = Array.from({ length: 40_000 }, (_, n) => n * 2)
  const odd = Array.from({ length: 800 }, (_, n) => n * 100 + 1)
  const stream = (deadline: { passed(): boolean }) =>
    probedIntersection(streamOf(even), streamOf(odd), () => [], deadline)
  assert.equal(stream(NEVER).seek(0), END)
  let looks = 0
  assert.throws(
    () => stream({ passed: () => ++looks > 3 }).seek(0),
    (error: unknown) => error instanceof OutOfTime && error.key > 1_000,
  )
})

test('probed intersection: time that is up while the others look is never told as a place before the key', () => {
  const others = Array.from({ length: 100 }, (_, n) => n * 100)
  const late: KeyStream = {
    seek(key) {
      if (key < 5_000) return Math.ceil(key / 100) * 100
      throw new OutOfTime(key - 1_000) // as the beginning of a chunk is
    },
  }
  const every = batchedStream((key, count) => Array.from({ length: count }, (_, n) => key + n))
  const stream = probedIntersection(every, late, keys => [...keys], NEVER)
  const found: number[] = []
  assert.throws(
    () => {
      for (const key of others) found.push(stream.seek(key))
    },
    (error: unknown) => error instanceof OutOfTime && error.key > (found.at(-1) ?? assert.fail()),
  )
})
