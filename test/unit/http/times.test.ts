import assert from 'node:assert/strict'
import test from 'node:test'
import { DURATION, parseDuration } from '../../../src/http/times.ts'

test('times: lengths of time', () => {
  const expected: Record<string, number> = { 90: 90, '90s': 90, '15m': 900, '1h': 3600, '2d': 172_800, hour: 3600 }
  for (const [text, seconds] of Object.entries(expected)) {
    assert.match(text, new RegExp(DURATION, 'u'))
    assert.equal(parseDuration(text), seconds)
  }
  for (const text of ['0', '01', '1w', '-1h', '1.5h', 'h', '', '1e3', '99999999']) {
    assert.doesNotMatch(text, new RegExp(DURATION, 'u'))
  }
})
