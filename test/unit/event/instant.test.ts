import assert from 'node:assert/strict'
import test from 'node:test'
import { parseInstant } from '../../../src/event/instant.ts'

test('instant: any ISO-8601 time with a zone gets the one spelling of the trail', () => {
  const expected: Record<string, string> = {
    '2025-12-14T08:30:00Z': '2025-12-14T08:30:00.000Z',
    '2025-12-14T08:30:00.5Z': '2025-12-14T08:30:00.500Z',
    '2025-12-14T08:30:00.123456789Z': '2025-12-14T08:30:00.123Z',
    '2025-12-14T08:30Z': '2025-12-14T08:30:00.000Z',
    '2025-12-14T08:30:00+01:00': '2025-12-14T07:30:00.000Z',
    '2025-12-14T08:30:00 01:00': '2025-12-14T07:30:00.000Z',
    '2025-12-14T08:30:00-0330': '2025-12-14T12:00:00.000Z',
    '2024-02-29T00:00:00Z': '2024-02-29T00:00:00.000Z',
  }
  for (const [sent, normal] of Object.entries(expected)) assert.equal(parseInstant(sent), normal, sent)
})

test('instant: what has no zone, no such day, or is no time at all is refused', () => {
  for (const sent of [
    '2025-12-14',
    '2025-12-14T08:30:00',
    '2025-02-30T00:00:00Z',
    '2025-13-01T00:00:00Z',
    '2025-12-14T25:00:00Z',
    '2025-12-14T08:30:60Z',
    '2025-12-14T08:30:00+25:00',
    '2025-12-14 08:30:00Z',
    '1765701000',
    'yesterday',
    '+012025-12-14T08:30:00Z',
    '0000-01-01T00:00:00+01:00',
    '',
  ]) {
    assert.equal(parseInstant(sent), undefined, sent)
  }
})
