import assert from 'node:assert/strict'
import test from 'node:test'
import { LIMITS } from '../../../src/limits.ts'
import { createAdminThrottle } from '../../../src/security/admin-throttle.ts'

const WINDOW_MS = 600_000
const digest = (i: number) => i.toString(16).padStart(8, '0')

function throttleAt() {
  let at = 1_000
  const throttle = createAdminThrottle(WINDOW_MS, () => at)
  const pass = (ms: number) => {
    at += ms
  }
  return { ...throttle, pass, sizeNow: () => throttle.size }
}

test('admin throttle: 20 different wrong keys are looked at, then one each time a doubling delay has passed', () => {
  const throttle = throttleAt()
  for (let i = 0; i < 20; i++) assert.equal(throttle.wrongKey('10.0.0.1', digest(i)), 0)
  const waits: number[] = []
  for (let i = 20; i < 32; i++) {
    const wait = throttle.wrongKey('10.0.0.1', digest(i))
    waits.push(wait)
    throttle.pass(wait * 1000)
    assert.equal(throttle.wrongKey('10.0.0.1', digest(i)), 0)
  }
  assert.deepEqual(waits, [2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900])
  assert.equal(throttle.wrongKey('10.0.0.2', digest(1)), 0, 'others are not held up')
})

test('admin throttle: a client that repeats one stale key has more attempts, but not without end', () => {
  const throttle = throttleAt()
  for (let i = 0; i < 100; i++) assert.equal(throttle.wrongKey('10.0.0.1', digest(1)), 0)
  assert.equal(throttle.wrongKey('10.0.0.1', digest(1)), 2)
})

test('admin throttle: after its delay and a quiet window a network is as new', () => {
  const throttle = throttleAt()
  for (let i = 0; i < 20; i++) throttle.wrongKey('10.0.0.1', digest(i))
  throttle.pass(WINDOW_MS + 1_000)
  assert.equal(throttle.wrongKey('10.0.0.1', digest(20)), 0)
  assert.equal(throttle.wrongKey('10.0.0.1', digest(21)), 4, 'the delay had not passed before the window began')
  throttle.pass(WINDOW_MS + 5_000)
  for (let i = 0; i < 20; i++) assert.equal(throttle.wrongKey('10.0.0.1', digest(i)), 0)
})

test('admin throttle: an episode reports its first refusals each, then only those that double their number', () => {
  const throttle = throttleAt()
  const reported = (count: number, isThrottled: boolean) =>
    Array.from({ length: count }, () => throttle.incidentOf('10.0.0.1', isThrottled)).filter(n => n !== undefined)
  assert.equal(reported(200, false).length, 200)
  assert.deepEqual(reported(100_000, false), [320, 640, 1280, 2560, 5120, 10_240, 20_480, 40_960, 81_920])
  throttle.pass(WINDOW_MS + 1)
  assert.deepEqual(reported(100, true), [20, 40, 80])
})

test('admin throttle: memory stays bounded under a flood of networks, and whoever comes back is still known', () => {
  const throttle = throttleAt()
  for (let i = 0; i < 20; i++) throttle.wrongKey('10.0.0.1', digest(i))
  for (let i = 0; i < 3 * LIMITS.throttleAddressesMax; i++) throttle.wrongKey(`net-${i}`, digest(i))
  assert.ok(throttle.sizeNow() <= LIMITS.throttleAddressesMax)
  assert.equal(throttle.wrongKey('10.0.0.1', digest(99)), 2)
})
