import assert from 'node:assert/strict'
import test from 'node:test'
import { type BruteForceReport, createDetector, type Detector } from '../../../src/audit/detector.ts'

const WINDOW_MS = 600_000
const START = Date.UTC(2026, 0, 1)
const detector = () => createDetector({ threshold: 5, windowMs: WINDOW_MS })

/** One failure as the audit service treats it; the report it raised, if any. */
function fail(on: Detector, ip: string, cpId: string, at: number): BruteForceReport | undefined {
  on.fail(ip, cpId, at)
  const due = on.due(ip, cpId, at)
  if (due !== undefined) on.markReported(ip, cpId, at)
  return due
}

test('detector: the fifth failure within the window raises exactly one report, then the 10th, 20th and 40th', () => {
  const on = detector()
  const counts: number[] = []
  for (let i = 1; i <= 79; i++) {
    const report = fail(on, '192.0.2.1', 'CP-1', START + i * 1000)
    if (report !== undefined) counts.push(report.failureCount)
  }
  assert.deepEqual(counts, [5, 10, 20, 40])
})

test('detector: five failures spread over more than the window raise nothing', () => {
  const on = detector()
  for (let i = 0; i < 20; i++) assert.equal(fail(on, '192.0.2.1', 'CP-1', START + i * 150_001), undefined)
})

test('detector: the fifth failure exactly at the end of the window still counts', () => {
  const on = detector()
  const times = [0, 1, 2, 3, WINDOW_MS]
  const reports = times.map(at => fail(on, '192.0.2.1', 'CP-1', START + at))
  assert.equal(reports.at(-1)?.failureCount, 5)
})

test('detector: a quiet window ends the episode and the next one is reported anew', () => {
  const on = detector()
  for (let i = 0; i < 7; i++) fail(on, '192.0.2.1', 'CP-1', START + i)
  assert.equal(on.isSuspected('192.0.2.1', 'CP-1', START + WINDOW_MS), true)
  assert.equal(on.isSuspected('192.0.2.1', 'CP-1', START + WINDOW_MS + 7), false)
  const later = START + WINDOW_MS * 3
  const counts = Array.from({ length: 5 }, (_, i) => fail(on, '192.0.2.1', 'CP-1', later + i)?.failureCount)
  assert.deepEqual(counts, [undefined, undefined, undefined, undefined, 5])
})

test('detector: one address trying many charge points is one episode of scope ip', () => {
  const on = detector()
  const reports = Array.from({ length: 5 }, (_, i) => fail(on, '192.0.2.1', `CP-${i}`, START + i))
  assert.deepEqual(reports.at(-1), { scope: 'ip', failureCount: 5, distinctCpIds: 5, episode: 0, step: 5 })
})

test('detector: many addresses trying one charge point are one episode of scope cp_id', () => {
  const on = detector()
  const counts: (number | undefined)[] = []
  for (let i = 0; i < 200; i++) {
    const report = fail(on, `198.51.100.${i}`, 'CP-1', START + i)
    if (report !== undefined) assert.equal(report.scope, 'cp_id')
    if (report !== undefined) counts.push(report.failureCount)
  }
  assert.deepEqual(counts, [5, 10, 20, 40, 80, 160])
})

test('detector: addresses of one IPv6 /64 are one subject, those of another are not', () => {
  const on = detector()
  for (let i = 1; i <= 4; i++) fail(on, `2001:db8::${i}`, `CP-${i}`, START)
  assert.equal(fail(on, '2001:db8:0:1::1', 'CP-9', START), undefined)
  assert.equal(fail(on, '2001:db8:0:0:ffff::1', 'CP-10', START)?.scope, 'ip')
})

test('detector: failures without an id count for the address only', () => {
  const on = detector()
  for (let i = 0; i < 4; i++) fail(on, `192.0.2.${i}`, 'unknown', START)
  assert.equal(fail(on, '192.0.2.99', 'unknown', START), undefined)
  assert.equal(on.failuresInWindow('cp_id', 'unknown', START), 0)
})

test('detector: 100,000 hostile addresses stay within the bound and do not hide the one that keeps coming', () => {
  const on = detector()
  const reports: number[] = []
  for (let i = 0; i < 100_000; i++) {
    fail(on, `10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`, `X-${i}`, START + i / 1000)
    if (i % 20_000 === 0) {
      const report = fail(on, '192.0.2.66', `Y-${i}`, START + i / 1000)
      if (report !== undefined) reports.push(report.failureCount)
    }
  }
  assert.ok(on.size <= 100_000, `${on.size} subjects`)
  assert.deepEqual(reports, [5])
})

test('detector: failures in the window fall out of it one by one', () => {
  const on = detector()
  for (let i = 0; i < 3; i++) on.fail('192.0.2.1', 'CP-1', START + i * 1000)
  assert.equal(on.failuresInWindow('cp_id', 'CP-1', START + 2000), 3)
  assert.equal(on.failuresInWindow('cp_id', 'CP-1', START + WINDOW_MS + 1500), 1)
  assert.equal(on.failuresInWindow('cp_id', 'CP-2', START), 0)
})
