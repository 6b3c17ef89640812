import assert from 'node:assert/strict'
import test, { after, before } from 'node:test'
import { COLUMNS, type StoredEvent } from '../../src/event/event.ts'
import { eventually, startTestCentral, type TestCentral } from './harness.ts'

const EVENTS = 2_500

let central: TestCentral
before(async () => {
  central = await startTestCentral()
  const text = '{"cp_id":"CP-EXPORT"}'
  let left = EVENTS
  await Promise.all(
    Array.from({ length: 16 }, async () => {
      while (left-- > 0) await central.send('POST', '/auth/credentials', { text })
    }),
  )
  const last = await central.send('POST', '/auth/credentials', { text })
  await central.eventsOf(last.requestId)
})
after(() => central.close())

const exported = (query: string) => central.send('GET', `/audit/export?${query}`, { as: 'auditor' })
const parsed = (text: string): StoredEvent[] =>
  text
    .split('\n')
    .filter(line => line !== '')
    .map(line => JSON.parse(line))

test('export: NDJSON, oldest first, every row once, bounded to what was there when it began', async () => {
  const head = (await central.send('GET', '/audit/events?limit=1', { as: 'auditor' })).body.events[0].id
  const answer = await exported('format=ndjson')
  assert.equal(answer.status, 200)
  assert.match(answer.headers.get('content-type') ?? '', /^application\/x-ndjson/)
  assert.match(
    answer.headers.get('content-disposition') ?? '',
    /^attachment; filename="audit-events-[\dT-]+Z\.ndjson"$/,
  )
  assert.equal(answer.headers.get('cache-control'), 'no-store')
  const events = parsed(answer.text)
  assert.ok(events.length >= EVENTS)
  assert.deepEqual(
    events.map(event => event.id),
    Array.from({ length: events.length }, (_, i) => i + 1),
  )
  assert.ok((events.at(-1)?.id ?? 0) >= head)
  for (const event of events) assert.deepEqual(Object.keys(event), [...COLUMNS])
})

test('export: while events arrive it ends, and repeats nothing', async () => {
  let isWriting = true
  const writing = (async () => {
    while (isWriting) await central.send('POST', '/auth/credentials', { text: '{}' })
  })()
  const events = parsed((await exported('')).text)
  isWriting = false
  await writing
  assert.deepEqual(
    events.map(event => event.id),
    Array.from({ length: events.length }, (_, i) => i + 1),
  )
})

test('export: CSV has a header line and the same rows', async () => {
  const csv = await exported('format=csv&who=CP-EXPORT')
  assert.match(csv.headers.get('content-type') ?? '', /^text\/csv/)
  const [header, ...lines] = csv.text.split('\r\n')
  assert.equal(header, COLUMNS.join(','))
  assert.equal(lines.pop(), '')
  const { text } = await exported('format=ndjson&who=CP-EXPORT')
  assert.deepEqual(
    lines.map(line => Number(line.split(',')[0])),
    parsed(text).map(event => event.id),
  )
})

test('export: takes filters and order', async () => {
  const events = parsed((await exported('order=desc&action=VALIDATION_ERROR&who=CP-EXPORT')).text)
  assert.equal(events.length, EVENTS + 1)
  const ids = events.map(event => event.id)
  assert.deepEqual(
    ids,
    ids.toSorted((a, b) => b - a),
  )
  assert.ok(events.every(event => event.action === 'VALIDATION_ERROR'))
  assert.equal((await exported('who=NOBODY')).text, '')
  assert.equal((await exported('who=NOBODY&format=csv')).text, `${COLUMNS.join(',')}\r\n`)
})

test('export: a client that goes away ends it', async () => {
  const abort = new AbortController()
  const response = await fetch(`${central.url}/audit/export`, {
    headers: { 'x-admin-key': central.keys.auditor },
    signal: abort.signal,
  })
  const reader = response.body?.getReader()
  await reader?.read()
  abort.abort()
  await eventually(async () => /^evc_http_requests_in_flight 1$/m.test((await central.send('GET', '/metrics')).text))
})

test('export: breaks off when its admin is revoked meanwhile', async () => {
  const founder = { name: 'admin', role: 'admin' } as const
  /** Whether what came was cut; the revocation may come when all is sent. */
  const isCut = async () => {
    const { key } = await central.security.admins.add('leaver', 'auditor', founder)
    const response = await fetch(`${central.url}/audit/export`, { headers: { 'x-admin-key': key } })
    const reader = response.body?.getReader() ?? assert.fail()
    await reader.read()
    await central.security.admins.revoke('leaver', founder)
    try {
      while (!(await reader.read()).done);
      return false
    } catch {
      return true
    }
  }
  await eventually(isCut)
  assert.match(central.log(), /an export broke off/)
})
