import assert from 'node:assert/strict'
import test, { after, before } from 'node:test'
import { COLUMNS, type StoredEvent } from '../../src/event/event.ts'
import { problemOf, startTestCentral, type TestCentral } from './harness.ts'

let central: TestCentral
const ATTACKER = '198.51.100.9'

before(async () => {
  central = await startTestCentral()
  const { cpId, credentials } = await central.chargePoint()
  const login = (secret: string, from: string) =>
    central.send('POST', '/auth/credentials', { body: { cp_id: cpId, credentials: secret }, from })
  await login(credentials, '203.0.113.1')
  let last = await login('guess', ATTACKER)
  for (let i = 0; i < 6; i++) last = await login(`guess-${i}`, ATTACKER)
  await central.eventsOf(last.requestId)
})
after(() => central.close())

const read = (path: string) => central.send('GET', path, { as: 'auditor' })
const idsOf = (events: StoredEvent[]) => events.map(event => event.id)

test('GET /audit/events: an event has exactly the 14 columns, newest first unless asked otherwise', async () => {
  const newest = await read('/audit/events')
  assert.equal(newest.status, 200)
  assert.deepEqual(Object.keys(newest.body), ['events', 'next_cursor'])
  for (const event of newest.body.events) assert.deepEqual(Object.keys(event), [...COLUMNS])
  const ids = idsOf(newest.body.events)
  assert.deepEqual(
    ids,
    ids.toSorted((a, b) => b - a),
  )
  const oldest = await read('/audit/events?order=asc&limit=3')
  assert.deepEqual(idsOf(oldest.body.events), [1, 2, 3])
})

test('GET /audit/events: every filter filters', async () => {
  const expectations: [string, (event: StoredEvent) => boolean][] = [
    ['who=CP-1', event => event.who === 'CP-1'],
    ['action=AUTH_FAIL', event => event.action === 'AUTH_FAIL'],
    ['action=AUTH_SUCCESS,INCIDENT', event => event.action === 'AUTH_SUCCESS' || event.action === 'INCIDENT'],
    [`ip=${ATTACKER}`, event => event.ip === ATTACKER],
    [`ip=::ffff:${ATTACKER}`, event => event.ip === ATTACKER],
    ['ip=-', event => event.ip === '-'],
    ['severity=CRITICAL,WARN', event => event.severity === 'CRITICAL' || event.severity === 'WARN'],
    [
      'reason_code=INVALID_CREDENTIALS,THROTTLED',
      event => /INVALID_CREDENTIALS|THROTTLED/.test(event.reason_code ?? ''),
    ],
    [`action=AUTH_FAIL&ip=${ATTACKER}&severity=WARN`, event => event.action === 'AUTH_FAIL' && event.ip === ATTACKER],
  ]
  for (const [query, matches] of expectations) {
    // The ids that are there before either question, as asking adds events.
    const { body: all } = await read('/audit/events?limit=1000&order=asc')
    const { body: found } = await read(`/audit/events?limit=1000&order=asc&${query}`)
    const last = all.events.at(-1).id
    const expected = all.events.filter(matches)
    assert.ok(expected.length > 0, query)
    assert.deepEqual(
      found.events.filter((event: StoredEvent) => event.id <= last),
      expected,
      query,
    )
  }
  const [first] = (await read('/audit/events?order=asc&limit=1')).body.events
  const until = (await read(`/audit/events?end_time=${first.date_time}`)).body.events
  assert.deepEqual(until, [])
  const since = (await read(`/audit/events?order=asc&limit=1&start_time=${first.date_time}`)).body.events
  assert.deepEqual(since, [first])
})

test('GET /audit/events: a walk by cursor sees every row once while rows arrive, either way', async () => {
  for (const order of ['asc', 'desc']) {
    const last = (await read('/audit/events?limit=1')).body.events[0].id
    const seen: number[] = []
    let cursor: string | null = ''
    while (cursor !== null && seen.length < 2_000) {
      const path: string = `/audit/events?limit=7&order=${order}${cursor === '' ? '' : `&cursor=${cursor}`}`
      const { body } = await read(path) // which adds a row itself
      seen.push(...idsOf(body.events))
      cursor = body.next_cursor
      if (order === 'asc' && (seen.at(-1) ?? 0) > last + 20) break // it would never end: every page adds a row
    }
    assert.equal(new Set(seen).size, seen.length)
    const old = seen.filter(id => id <= last).toSorted((a, b) => a - b)
    assert.deepEqual(
      old,
      Array.from({ length: last }, (_, i) => i + 1),
    )
  }
})

test('GET /audit/events: a cursor belongs to its filter and its order', async () => {
  const { next_cursor: cursor } = (await read('/audit/events?limit=1&action=AUTH_FAIL')).body
  assert.equal((await read(`/audit/events?limit=5&action=AUTH_FAIL&cursor=${cursor}`)).status, 200)
  for (const query of [
    `cursor=${cursor}`,
    `action=INCIDENT&cursor=${cursor}`,
    `action=AUTH_FAIL&order=asc&cursor=${cursor}`,
    `action=AUTH_FAIL&cursor=${cursor}x`,
    'cursor=AAAA',
  ]) {
    const problem = problemOf(await read(`/audit/events?limit=1&${query}`), 422, 'VALIDATION_FAILED')
    assert.equal(problem.errors[0].field, 'cursor')
  }
})

test('audit reads: what is not valid is 422, with field and rule, and one VALIDATION_ERROR', async () => {
  const broken: [string, string][] = [
    ['/audit/events?ip=203.0.113.777', 'ip'],
    ['/audit/failures?ip=xyz', 'ip'],
    ['/audit/export?ip=10.0.0.0/8', 'ip'],
    ['/audit/events?limit=0', 'limit'],
    ['/audit/events?limit=1001', 'limit'],
    ['/audit/events?limit=ten', 'limit'],
    ['/audit/events?limit=1&limit=2', 'limit'],
    ['/audit/events?action=LOGIN', 'action'],
    ['/audit/events?severity=warn', 'severity'],
    ['/audit/events?reason_code=a%20b', 'reason_code'],
    ['/audit/events?order=up', 'order'],
    ['/audit/events?start_time=yesterday', 'start_time'],
    ['/audit/events?start_time=2025-12-14T00:00:00', 'start_time'],
    ['/audit/events?start_time=2025-12-14T00:00:01Z&end_time=2025-12-14T00:00:00Z', 'end_time'],
    ['/audit/events?who=%1b%5b31m', 'who'],
    ['/audit/events?offset=5', 'offset'],
    ['/audit/events/0', 'id'],
    ['/audit/events/abc', 'id'],
    ['/audit/failures?minutes=0', 'minutes'],
    ['/audit/failures?minutes=1441', 'minutes'],
    ['/audit/failures?cp_id=a%20b', 'cp_id'],
    ['/audit/summary?bucket=1s', 'bucket'],
    ['/audit/summary?start_time=2000-01-01T00:00:00Z', 'start_time'],
    ['/audit/incidents?limit=100000', 'limit'],
    ['/audit/export?format=xml', 'format'],
    ['/audit/stream?limit=5', 'limit'],
  ]
  for (const [path, field] of broken) {
    const problem = problemOf(await read(path), 422, 'VALIDATION_FAILED')
    assert.deepEqual(Object.keys(problem.errors[0]), ['field', 'rule'], path)
    assert.equal(problem.errors[0].field, field, path)
  }
  const answer = await read('/audit/events?limit=0&order=up')
  const [event, ...others] = await central.eventsOf(answer.requestId)
  assert.deepEqual(others, [])
  assert.equal(event?.action, 'VALIDATION_ERROR')
  assert.equal(event?.severity, 'WARN')
  assert.equal(event?.who, 'aldo')
  assert.equal(event?.status_code, 422)
  assert.match(event?.description ?? '', /limit:minimum/)
})

test('every read of the trail is one ACCESS event with the filter, also one that finds nothing', async () => {
  const reads: [string, string, number, object][] = [
    [
      '/audit/events?who=CP-1&action=AUTH_FAIL,INCIDENT',
      'READ',
      200,
      { who: 'CP-1', action: ['AUTH_FAIL', 'INCIDENT'] },
    ],
    ['/audit/events/1', 'READ', 200, { id: 1 }],
    ['/audit/events/999999', 'READ', 404, { id: 999_999 }],
    ['/audit/failures?minutes=5', 'READ', 200, { minutes: 5 }],
    ['/audit/summary?bucket=1h', 'READ', 200, { bucket_seconds: 3600 }],
    ['/audit/incidents', 'READ', 200, {}],
    ['/audit/export?format=csv&who=CP-1', 'EXPORT', 200, { format: 'csv', who: 'CP-1' }],
  ]
  for (const [path, reason, status, filter] of reads) {
    const answer = await read(path)
    assert.equal(answer.status, status, path)
    const [event, ...others] = await central.eventsOf(answer.requestId)
    assert.deepEqual(others, [], path)
    assert.equal(event?.action, 'ACCESS')
    assert.equal(event?.severity, 'INFO')
    assert.equal(event?.who, 'aldo')
    assert.equal(event?.reason_code, reason)
    assert.equal(event?.status_code, status)
    const metadata = JSON.parse(event?.metadata_json ?? '{}')
    for (const [name, value] of Object.entries(filter)) assert.deepEqual(metadata[name], value, path)
  }
})

test('GET /audit/events/{id}: one event, or EVENT_NOT_FOUND', async () => {
  const one = await read('/audit/events/2')
  assert.deepEqual(Object.keys(one.body), [...COLUMNS])
  assert.equal(one.body.id, 2)
  problemOf(await read('/audit/events/9007199254740991'), 404, 'EVENT_NOT_FOUND')
})

test('GET /audit/failures: recent AUTH_FAIL by address and charge point', async () => {
  const { body } = await read(`/audit/failures?ip=${ATTACKER}&cp_id=CP-1`)
  assert.deepEqual(Object.keys(body), ['events', 'count'])
  assert.equal(body.count, 7)
  for (const event of body.events) {
    assert.equal(event.action, 'AUTH_FAIL')
    assert.equal(event.ip, ATTACKER)
  }
  assert.equal((await read('/audit/failures?ip=192.0.2.1')).body.count, 0)
  assert.equal((await read('/audit/failures?cp_id=CP-404')).body.count, 0)
})

test('GET /audit/summary: totals, tops and a series that add up', async () => {
  const { status, body } = await read('/audit/summary?bucket=1d')
  assert.equal(status, 200)
  const sum = (counts: Record<string, number>) => Object.values(counts).reduce((a, b) => a + b, 0)
  assert.equal(body.by_action.AUTH_FAIL, 7)
  assert.equal(body.by_action.AUTH_SUCCESS, 1)
  assert.equal(sum(body.by_action), body.total)
  assert.equal(sum(body.by_severity), body.total)
  assert.equal(body.bucket_seconds, 86_400)
  assert.equal(
    body.series.reduce((total: number, bucket: { total: number }) => total + bucket.total, 0),
    body.total,
  )
  assert.deepEqual(body.top_addresses.find((top: { ip: string }) => top.ip === ATTACKER).failures, 7)
  assert.ok(body.top_charge_points.some((top: { cp_id: string }) => top.cp_id === 'CP-1'))
  assert.equal(Date.parse(body.end_time) - Date.parse(body.start_time), 86_400_000)
})

test('GET /audit/incidents: one attack is one episode', async () => {
  const { body } = await read('/audit/incidents')
  assert.deepEqual(Object.keys(body), ['episodes', 'count'])
  const attacks = body.episodes.filter((episode: { ip: string }) => episode.ip === ATTACKER)
  assert.equal(attacks.length, 1)
  assert.equal(attacks[0].reason_code, 'BRUTE_FORCE_SUSPECTED')
  assert.ok(attacks[0].event_ids.includes(attacks[0].episode_id))
  assert.deepEqual((await read('/audit/incidents?end_time=2000-01-01T00:00:00Z')).body.episodes, [])
})
