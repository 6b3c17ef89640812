import assert from 'node:assert/strict'
import test from 'node:test'
import { pino } from 'pino'
import type { Metadata } from '../../../src/audit/audit.ts'
import { watchClock } from '../../../src/service/clock-watch.ts'

function setUp() {
  const time = { wallMs: Date.UTC(2026, 5, 1), elapsedMs: 5_000 }
  const recorded: { reason: string; metadata: Metadata | undefined }[] = []
  const watch = watchClock({
    audit: { system: (reason, _context, options) => void recorded.push({ reason, metadata: options?.metadata }) },
    logger: pino({ level: 'silent' }),
    wallMs: () => time.wallMs,
    elapsedMs: () => time.elapsedMs,
  })
  const pass = (elapsedMs: number, wallMs = elapsedMs) => {
    time.elapsedMs += elapsedMs
    time.wallMs += wallMs
    watch.look()
  }
  return { watch, recorded, pass }
}

test('clock watch: a jump either way is recorded once, with its size and both times', t => {
  const { watch, recorded, pass } = setUp()
  t.after(() => watch[Symbol.dispose]())
  pass(1_000)
  pass(1_000, 1_000 - 3_600_000)
  pass(1_000)
  pass(1_000, 1_000 + 315_360_000_000)
  pass(1_000)
  assert.deepEqual(recorded, [
    {
      reason: 'CLOCK_JUMPED',
      metadata: {
        jump_seconds: -3600,
        expected_time: '2026-06-01T00:00:02.000Z',
        found_time: '2026-05-31T23:00:02.000Z',
      },
    },
    {
      reason: 'CLOCK_JUMPED',
      metadata: {
        jump_seconds: 315_360_000,
        expected_time: '2026-05-31T23:00:04.000Z',
        found_time: '2036-05-28T23:00:04.000Z',
      },
    },
  ])
})

test('clock watch: a clock that is brought in line slowly, and a machine that slept, are no jumps', t => {
  const { watch, recorded, pass } = setUp()
  t.after(() => watch[Symbol.dispose]())
  for (let i = 0; i < 10_000; i++) pass(1_000, 1_005)
  pass(8 * 3_600_000) // asleep: both clocks went on
  pass(1_000, 1_000 - 5_000)
  assert.deepEqual(recorded, [])
})
