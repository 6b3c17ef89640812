import assert from 'node:assert/strict'
import test from 'node:test'
import { LIMITS } from '../../../src/limits.ts'
import { createEventFixture, createRandom, NEVER, randomEvents, START, timeAt } from './event-fixture.ts'

test('steps: each says what a summary of its time says, whether it holds events or not', async () => {
  await using fixture = createEventFixture()
  const random = createRandom(31)
  await fixture.append(randomEvents(4_000, random))
  const { queries, rows } = fixture
  const ofAnEvent = (Date.parse(rows[2_000]?.date_time ?? '') - START) / 1000
  for (const [from, until, stepSeconds] of [
    [100.25, 700.25, 60],
    [ofAnEvent - 1_234.567, ofAnEvent, 90],
    [ofAnEvent, ofAnEvent + 150, 60],
    [3_900, 6_100, 100],
    [80_000, 80_060, 1],
    [10, 10, 60],
  ] as const) {
    const expected = []
    for (let start = from; start < until; start += stepSeconds) {
      const range = { start_time: timeAt(start), end_time: timeAt(Math.min(until, start + stepSeconds)) }
      const { by_action, by_reason } = queries.summary({ ...range, bucketSeconds: 60 }, NEVER)
      expected.push({ by_action, by_reason })
    }
    const request = { start_time: timeAt(from), end_time: timeAt(until), stepSeconds }
    assert.deepEqual(queries.steps(request, NEVER), expected, JSON.stringify(request))
  }
})

test('steps: more than the limit, or none, are refused; running out of time is no smaller sum', async () => {
  await using fixture = createEventFixture()
  await fixture.append(randomEvents(10, createRandom(1)))
  const start_time = timeAt(0)
  for (const stepSeconds of [1, 0, -1, Number.NaN]) {
    const request = { start_time, end_time: timeAt(LIMITS.summaryBucketsMax + 1), stepSeconds }
    assert.throws(() => fixture.queries.steps(request, NEVER), { code: 'VALIDATION_FAILED' })
  }
  const request = { start_time, end_time: timeAt(1_000), stepSeconds: 1 }
  assert.throws(() => fixture.queries.steps(request, { passed: () => true }), { code: 'QUERY_TIMEOUT' })
})
