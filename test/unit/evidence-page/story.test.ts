import assert from 'node:assert/strict'
import test from 'node:test'
import { ACCESS, ACTIONS, INCIDENT, REASON } from '../../../src/event/catalogue.ts'
import type { EventRow } from '../../../src/evidence/leaf.ts'
import { addresses, answersOf, chargePoints, runsOf } from '../../../src/evidence-page/story.ts'
import { reasonWords, titleOf } from '../../../src/evidence-page/words.ts'

const row = (id: number, change: Partial<EventRow> = {}): EventRow => ({
  id,
  date_time: new Date(Date.UTC(2026, 2, 1, 8, 0, id)).toISOString(),
  who: 'CP-1',
  ip: '203.0.113.9',
  action: 'AUTH_FAIL',
  description: '',
  severity: 'WARN',
  reason_code: 'INVALID_CREDENTIALS',
  request_id: null,
  endpoint: null,
  http_method: null,
  status_code: 401,
  metadata_json: null,
  created_at: '2026-03-01T09:00:00.000Z',
  ...change,
})
const checked = (events: readonly EventRow[]) => events.map(event => ({ row: event, isErased: false, isProven: true }))
const answer = (rows: readonly EventRow[], question: string) =>
  answersOf(rows)
    .find(found => found.question === question)
    ?.answer.join('\n') ?? assert.fail()

test('words: every action, and every reason of a login, an incident and an access, has some', () => {
  for (const action of ACTIONS) assert.notEqual(titleOf({ action, reason_code: null }), action)
  for (const reason of Object.values({ ...REASON, ...INCIDENT, ...ACCESS }))
    assert.notEqual(reasonWords(reason), reason)
  assert.equal(titleOf({ action: 'NEW', reason_code: 'LATER' }), 'NEW: LATER')
})

test('runs: refused logins of one address are one, and end where something else happens', () => {
  const events = [
    row(1),
    row(2, { who: 'CP-2' }),
    row(3, { ip: '192.0.2.1' }),
    row(4, { action: 'AUTH_SUCCESS', reason_code: null }),
    row(5, { action: 'AUTH_SUCCESS', reason_code: null, who: 'CP-2' }),
  ]
  const runs = runsOf(checked(events)).map(({ first, last, count, names }) => [
    first.row.id,
    last.row.id,
    count,
    names.size,
  ])
  assert.deepEqual(runs, [
    [1, 2, 2, 2],
    [3, 3, 1, 1],
    [4, 4, 1, 1],
    [5, 5, 1, 1],
  ])
  assert.deepEqual(runsOf([]), [])
})

test('runs: what is not proven is never hidden among what is', () => {
  const [first, second] = checked([row(1), row(2)])
  assert.ok(first !== undefined && second !== undefined)
  const runs = runsOf([first, { ...second, isProven: false }])
  assert.deepEqual(
    runs.map(({ isProven }) => isProven),
    [true, false],
  )
})

test('who and where: most failures first; admins are no charge points, and no address is none', () => {
  const rows = [
    row(1),
    row(2, { who: 'CP-2' }),
    row(3, { who: 'CP-2' }),
    row(4, { action: 'ACCESS', who: 'olga', ip: '-' }),
  ]
  assert.deepEqual(
    chargePoints(rows).map(({ name, failures }) => [name, failures]),
    [
      ['CP-2', 2],
      ['CP-1', 1],
    ],
  )
  assert.deepEqual(
    addresses(rows).map(({ name, events }) => [name, events]),
    [['203.0.113.9', 3]],
  )
})

test('answers: of an attack that got in and was stopped', () => {
  const rows = [
    row(1),
    row(2, { reason_code: 'THROTTLED' }),
    row(3, { action: 'INCIDENT', reason_code: 'BRUTE_FORCE_SUSPECTED', who: 'unknown' }),
    row(4, { action: 'AUTH_SUCCESS', reason_code: null, who: 'CP-9' }),
    row(5, { action: 'KEY_REVOKE', reason_code: null, who: 'CP-9' }),
  ]
  assert.match(
    answer(rows, 'When was it noticed?'),
    /^2026-03-01 08:00:03 UTC.*\n24 hours.*2026-03-02 08:00:03.*\n72 hours.*2026-03-04/,
  )
  assert.match(
    answer(rows, 'What may have caused it?'),
    /1 incident: .*guess.*\n1 refused login: wrong.*\n1 refused login: slowed/,
  )
  assert.match(answer(rows, 'Did anybody get in?'), /CP-9 logged in from 203\.0\.113\.9.*event 4/)
  assert.match(answer(rows, 'What is affected?'), /1 charge point\(s\), from 1 address\(es\): CP-1/)
  assert.match(answer(rows, 'What was done?'), /1 attempt\(s\) by itself\.\n.*revoked, CP-9 \(event 5\)/)
})

test('answers: of calm, and of more than anybody reads', () => {
  for (const { answer } of answersOf([])) assert.equal(answer.length, 1)
  const many = Array.from({ length: 50 }, (_, i) => row(i + 1, { action: 'KEY_REVOKE', who: `CP-${i}` }))
  const lines = answer(many, 'What was done?').split('\n')
  assert.deepEqual([lines.length, lines.at(-1)], [13, 'and 38 more, below'])
})
