import assert from 'node:assert/strict'
import test from 'node:test'
import fc from 'fast-check'
import { COLUMNS, type StoredEvent } from '../../../src/event/event.ts'
import { formatEvents } from '../../../src/query/export-format.ts'
import { sampleEvent } from '../../contract/event-store.ts'
import { createEventFixture, createRandom, NEVER, naiveWalk, randomEvents } from './event-fixture.ts'

const stored = (fields: Partial<StoredEvent> = {}): StoredEvent => ({
  id: 1,
  ...sampleEvent(1),
  created_at: '2026-01-01T00:00:00.000Z',
  ...fields,
})

test('export: NDJSON is one object of the 14 columns a line', () => {
  const events = [stored(), stored({ id: 2, description: 'two\nlines', reason_code: null })]
  const text = formatEvents(events, 'ndjson', true)
  assert.ok(text.endsWith('\n'))
  const lines = text.slice(0, -1).split('\n')
  assert.deepEqual(
    lines.map(line => JSON.parse(line)),
    events,
  )
  assert.deepEqual(Object.keys(JSON.parse(lines[0] as string)), COLUMNS)
  assert.equal(formatEvents([], 'ndjson', true), '')
})

test('export: CSV has a header in the first chunk only, and lines end in CRLF', () => {
  const header = `${COLUMNS.join(',')}\r\n`
  assert.equal(formatEvents([], 'csv', true), header)
  assert.equal(formatEvents([], 'csv', false), '')
  const line = formatEvents([stored({ reason_code: null })], 'csv', false)
  assert.equal(
    line,
    '1,2026-01-01T00:00:01.000Z,CP-1,10.0.0.1,AUTH_FAIL,event 1,WARN,,request-1,/auth/credentials,POST,401,' +
      '"{""n"":1}",2026-01-01T00:00:00.000Z\r\n',
  )
})

test('export: no CSV cell is run as a formula', () => {
  for (const start of ['=', '+', '-', '@', '\t', '\r']) {
    const [event] = parseCsv(formatEvents([stored({ description: `${start}cmd|' /C calc'!A0` })], 'csv', false))
    assert.equal(event?.[5], `'${start}cmd|' /C calc'!A0`)
  }
  for (const start of ['\uff1d1', 'status ok;=HYPERLINK("//x")', 'a\t@b']) {
    const [event] = parseCsv(formatEvents([stored({ description: start })], 'csv', false))
    assert.equal(event?.[5], start.replace(/(?=[\uff1d=@])/, "'"))
  }
  const [event] = parseCsv(formatEvents([stored({ ip: '-', who: 'a=b' })], 'csv', false))
  assert.deepEqual(event?.slice(2, 4), ['a=b', '-'], 'a lone hyphen and a sign further on are harmless')
})

test('export: whatever a field holds, a CSV reader finds the same fields', () => {
  const text = fc.string({ unit: fc.constantFrom('a', '"', ',', '\r', '\n', '=', "'", ' ', '\u00e9') })
  fc.assert(
    fc.property(fc.array(fc.tuple(text, text), { minLength: 1, maxLength: 5 }), pairs => {
      const events = pairs.map(([who, description]) => stored({ who, description }))
      const read = parseCsv(formatEvents(events, 'csv', false))
      assert.deepEqual(
        read.map(cells => cells.length),
        pairs.map(() => 14),
      )
      const unguarded = (cell = '') => (/^'[=+\-@\t\r]/.test(cell) ? cell.slice(1) : cell)
      const given = pairs.map(pair => pair.map(value => (/^'[=+\-@\t\r]/.test(value) ? value.slice(1) : value)))
      assert.deepEqual(
        read.map(cells => [unguarded(cells[2]), unguarded(cells[5])]),
        given,
      )
    }),
  )
})

test('export: chunks put together are the whole export, in both formats', async () => {
  await using fixture = createEventFixture()
  await fixture.append(randomEvents(1_000, createRandom(7)))
  const filter = { action: ['AUTH_SUCCESS', 'AUTH_FAIL'] as const }
  for (const format of ['ndjson', 'csv'] as const) {
    for (const order of ['asc', 'desc'] as const) {
      let text = ''
      let count = 0
      let after: number | undefined
      do {
        const request = { filter, order, format, limit: 70, ...(after === undefined ? {} : { after }) }
        const chunk = fixture.queries.exportChunk(request, NEVER)
        text += chunk.text
        count += chunk.count
        after = chunk.next ?? undefined
      } while (after !== undefined)
      const expected = naiveWalk(fixture.rows, filter, order)
      assert.equal(count, expected.length)
      assert.equal(text, formatEvents(expected, format, true))
    }
  }
})

/** RFC 4180, written independently of the formatter. */
function parseCsv(text: string): string[][] {
  const lines: string[][] = []
  const cell = /(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r\n)/gy
  for (let line: string[] = [], found = cell.exec(text); found !== null; found = cell.exec(text)) {
    line.push(found[1]?.replaceAll('""', '"') ?? found[2] ?? '')
    if (found[3] === ',') continue
    lines.push(line)
    line = []
  }
  return lines
}
