import assert from 'node:assert/strict'
import test from 'node:test'
import { pastByMonotonic } from '../../../src/event/clock.ts'

test('clock: the past is as long ago by the monotonic clock, the future is now, and order is kept', () => {
  const past = pastByMonotonic({ wallMs: () => 1_000_000, monotonicMs: () => 500 })
  assert.deepEqual(
    [400_000, 999_000, 998_000, 1_000_000, 9_000_000, 999_999].map(past),
    [-599_500, -500, -500, 500, 500, 500],
  )
})
