import assert from 'node:assert/strict'
import test from 'node:test'
import { createTally, sparseTally } from '../../../src/query/tally.ts'
import { createRandom } from './event-fixture.ts'

test('tally: the ten that were seen most, of equal count the lower number first, with their failures', () => {
  for (const tally of [createTally(100), sparseTally()]) {
    for (let name = 99; name >= 0; name--) {
      for (let i = 0; i < (name < 12 ? 3 : 1); i++) tally.add(name, 1, i === 0 && name % 2 === 0 ? 1 : 0)
    }
    assert.deepEqual(
      tally.top(),
      Array.from({ length: 10 }, (_, name) => ({ name, count: 3, failures: name % 2 === 0 ? 1 : 0 })),
    )
  }
})

test('tally: nothing seen, nothing listed', () => {
  assert.deepEqual(createTally(0).top(), [])
  assert.deepEqual(sparseTally().top(), [])
})

test('tally: invented names, however many, neither displace a frequent one nor are kept', () => {
  const random = createRandom(11)
  const tally = sparseTally(1_000)
  const frequent = new Map<number, number>()
  for (let invented = 1_000; invented < 200_000; invented++) {
    tally.add(invented, 1, 0)
    if (random() < 0.2) continue
    const name = Math.floor(random() * 10)
    tally.add(name, 1, 1)
    frequent.set(name, (frequent.get(name) ?? 0) + 1)
  }
  const top = tally.top()
  assert.deepEqual(top.map(({ name }) => name).sort(), [...frequent.keys()].sort())
  for (const { name, count, failures } of top) {
    assert.equal(count, frequent.get(name), 'counted exactly')
    assert.equal(failures, count)
  }
})
