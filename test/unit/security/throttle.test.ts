import assert from 'node:assert/strict'
import test from 'node:test'
import fc from 'fast-check'
import { LIMITS } from '../../../src/limits.ts'
import { createThrottle, type Throttle } from '../../../src/security/throttle.ts'

const WINDOW = 600_000
const START = Date.UTC(2026, 0, 1)
const create = (threshold = 5) => createThrottle({ threshold, windowMs: WINDOW, acrossAddresses: true })
const attempt = (network: string, cpId: string, isUsual = false) => ({ network, cpId, isUsual })

/** Fails as fast as it is let to, from `at` on; returns the times at which attempts were admitted. */
function hammer(throttle: Throttle, attempts: (i: number) => ReturnType<typeof attempt>, until: number, at = START) {
  const admitted: number[] = []
  for (let i = 0; at < until; i++) {
    const wait = throttle.admit(attempts(i), at)
    if (wait === 0) admitted.push(at)
    else at += wait * 1000
  }
  return admitted
}

test('throttle: a pair is let through until the threshold, then after 2, 4, 8 ... seconds, up to the limit', () => {
  const throttle = create()
  const admitted = hammer(throttle, () => attempt('192.0.2.1', 'CP-1'), START + 2 * 3_600_000)
  const gaps = admitted.slice(1).map((at, i) => (at - (admitted[i] as number)) / 1000)
  assert.deepEqual(gaps.slice(0, 13), [0, 0, 0, 0, 2, 4, 8, 16, 32, 64, 128, 256, 512])
  assert.ok(gaps.slice(13).every(gap => gap === LIMITS.throttleDelaySecondsMax))
  assert.ok(gaps.length > 15)
})

test('throttle: a refused attempt says how long to wait and does not prolong it', () => {
  const throttle = create()
  for (let i = 0; i < 5; i++) throttle.admit(attempt('192.0.2.1', 'CP-1'), START)
  assert.equal(throttle.admit(attempt('192.0.2.1', 'CP-1'), START), 2)
  assert.equal(throttle.admit(attempt('192.0.2.1', 'CP-1'), START + 1500), 1)
  assert.equal(throttle.admit(attempt('192.0.2.1', 'CP-1'), START + 2000), 0)
})

test('throttle: failures count within the window only', () => {
  const throttle = create()
  for (let i = 0; i < 20; i++) {
    assert.equal(throttle.admit(attempt('192.0.2.1', 'CP-1'), START + i * (WINDOW / 4 + 1)), 0)
  }
})

test('throttle: a closed pair opens after its delay and a quiet window', () => {
  const throttle = create()
  for (let i = 0; i < 5; i++) throttle.admit(attempt('192.0.2.1', 'CP-1'), START)
  const later = START + 2000 + WINDOW + 1
  for (let i = 0; i < 5; i++) assert.equal(throttle.admit(attempt('192.0.2.1', 'CP-1'), later), 0)
  assert.equal(throttle.admit(attempt('192.0.2.1', 'CP-1'), later), 2)
})

test('throttle: success opens the pair', () => {
  const throttle = create()
  for (let i = 0; i < 5; i++) throttle.admit(attempt('192.0.2.1', 'CP-1'), START)
  assert.equal(throttle.admit(attempt('192.0.2.1', 'CP-1'), START + 2000), 0)
  throttle.succeeded(attempt('192.0.2.1', 'CP-1'))
  for (let i = 0; i < 5; i++) assert.equal(throttle.admit(attempt('192.0.2.1', 'CP-1'), START + 2000), 0)
})

test('throttle: attempts sent all at once are counted before any of them is known to fail', () => {
  const throttle = create()
  const waits = Array.from({ length: 1000 }, () => throttle.admit(attempt('192.0.2.1', 'CP-1'), START))
  assert.equal(waits.filter(wait => wait === 0).length, 5)
})

test('throttle: an attempt that was not checked after all does not count', () => {
  const throttle = create()
  for (let i = 0; i < 50; i++) {
    assert.equal(throttle.admit(attempt('192.0.2.1', 'CP-1'), START), 0)
    throttle.cancelled(attempt('192.0.2.1', 'CP-1'))
  }
})

test('throttle: other pairs are not touched by a failing one', () => {
  const throttle = create()
  hammer(throttle, () => attempt('192.0.2.1', 'CP-1'), START + 3_600_000)
  assert.equal(throttle.admit(attempt('192.0.2.1', 'CP-2'), START + 3_600_000), 0)
  assert.equal(throttle.admit(attempt('192.0.2.2', 'CP-1'), START + 3_600_000), 0)
})

test('throttle: an address that fails across many ids is held up, except for usual pairs', () => {
  const throttle = create()
  for (let i = 0; i < 21; i++) assert.equal(throttle.admit(attempt('192.0.2.1', `CP-${i}`), START), 0)
  assert.equal(throttle.admit(attempt('192.0.2.1', 'CP-100'), START), 2)
  assert.equal(throttle.admit(attempt('192.0.2.1', 'CP-101', true), START), 0)
  assert.equal(throttle.admit(attempt('192.0.2.2', 'CP-100'), START), 0)
  assert.equal(throttle.admit(attempt('192.0.2.1', 'CP-100'), START + 2000), 0)
  assert.equal(throttle.admit(attempt('192.0.2.1', 'CP-102'), START + 2000), 4)
})

test('throttle: many failures of few ids do not close an address', () => {
  const throttle = create()
  for (let i = 0; i < 100; i++) throttle.admit(attempt('192.0.2.1', `CP-${i % 20}`), START)
  assert.equal(throttle.admit(attempt('192.0.2.1', 'CP-new'), START), 0)
})

test('throttle: without an address only pair and charge point count', () => {
  const throttle = create()
  for (let i = 0; i < 100; i++) assert.equal(throttle.admit(attempt('-', `CP-${i}`), START), 0)
})

test('throttle: guesses of one id from many addresses share a growing delay; its usual address, and one that has not failed yet, is let in', () => {
  const throttle = create()
  const admitted = hammer(throttle, i => attempt(`192.0.2.${i % 5}`, 'CP-1'), START + 86_400_000)
  assert.equal(admitted.filter(at => at === START).length, 21)
  assert.ok(admitted.length < 21 + 9 + 96, `${admitted.length} guesses in a day`)
  const end = START + 86_400_000
  assert.equal(throttle.admit(attempt('203.0.113.1', 'CP-1', true), end - 1), 0)
  assert.equal(throttle.admit(attempt('198.51.100.1', 'CP-2'), end - 1), 0)
  assert.equal(throttle.admit(attempt('198.51.100.1', 'CP-1'), end - 1), 0)
  assert.ok(throttle.admit(attempt('198.51.100.1', 'CP-1'), end - 1) > 0, 'it has failed by then')
  const closedMs = LIMITS.throttleDelaySecondsMax * 1000
  assert.ok(throttle.admit(attempt('198.51.100.1', 'CP-1'), end - 2 + closedMs) > 0)
  assert.equal(throttle.admit(attempt('198.51.100.2', 'CP-1'), end - 2 + closedMs), 0)
})

test('throttle: of two attempts that an address sends at once while others attack, one is let in; one that was not checked is not held against it', () => {
  const throttle = create()
  for (let i = 0; i < 21; i++) assert.equal(throttle.admit(attempt(`192.0.2.${i}`, 'CP-1'), START), 0)
  assert.equal(throttle.admit(attempt('198.51.100.1', 'CP-1'), START), 0)
  assert.ok(throttle.admit(attempt('198.51.100.1', 'CP-1'), START) > 0)
  throttle.cancelled(attempt('198.51.100.1', 'CP-1'))
  assert.equal(throttle.admit(attempt('198.51.100.1', 'CP-1'), START), 0)
})

test('throttle: failures from a usual address do not fill the lanes that others share', () => {
  const throttle = create()
  hammer(throttle, () => attempt('203.0.113.1', 'CP-1', true), START + 6 * 3_600_000)
  assert.equal(throttle.admit(attempt('192.0.2.1', 'CP-1'), START + 6 * 3_600_000), 0)
})

test('throttle: tokens do not count across addresses', () => {
  const throttle = createThrottle({ threshold: 5, windowMs: WINDOW, acrossAddresses: false })
  for (let i = 0; i < 200; i++) assert.equal(throttle.admit(attempt(`192.0.2.${i}`, 'unknown'), START), 0)
})

test('throttle: replayed failures leave the same state as those that were seen', () => {
  const [seen, replayed] = [create(), create()]
  for (let i = 0; i < 5; i++) {
    seen.admit(attempt('192.0.2.1', 'CP-1'), START + i)
    replayed.replay(attempt('192.0.2.1', 'CP-1'), START + i)
  }
  for (let ms = 0; ms < 5000; ms += 500) {
    const next = attempt('192.0.2.1', 'CP-1')
    assert.equal(replayed.admit(next, START + ms), seen.admit(next, START + ms))
  }
})

test('throttle: 120,000 hostile addresses and ids do not grow it without limit', () => {
  const throttle = create()
  for (let i = 0; i < 120_000; i++) throttle.admit(attempt(`n${i}`, `CP-${i}`), START + i)
  const most = 2 * LIMITS.throttlePairsMax + LIMITS.throttleAddressesMax
  assert.ok(throttle.size <= most, `${throttle.size} lanes`)
})

test('throttle: whatever comes, the wait is between 0 and the limit, and a success or a cancel never closes a lane', () => {
  const step = fc.record({
    network: fc.constantFrom('a', 'b'),
    cpId: fc.constantFrom('x', 'y', 'z'),
    isUsual: fc.boolean(),
    end: fc.constantFrom('fails', 'succeeds', 'is cancelled'),
    ms: fc.integer({ min: 0, max: 700_000 }),
  })
  fc.assert(
    fc.property(fc.array(step, { maxLength: 120 }), fc.integer({ min: 2, max: 4 }), (steps, threshold) => {
      const throttle = create(threshold)
      let at = START
      for (const { end, ms, ...tried } of steps) {
        at += ms
        const wait = throttle.admit(tried, at)
        assert.ok(wait >= 0 && wait <= LIMITS.throttleDelaySecondsMax)
        if (wait > 0) continue
        if (end === 'succeeds') throttle.succeeded(tried)
        if (end === 'is cancelled') throttle.cancelled(tried)
        if (end === 'succeeds') assert.equal(throttle.admit({ ...tried, isUsual: true }, at), 0)
        if (end === 'succeeds') throttle.cancelled({ ...tried, isUsual: true })
      }
    }),
    { numRuns: 300 },
  )
})
