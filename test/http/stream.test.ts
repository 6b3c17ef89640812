import assert from 'node:assert/strict'
import { connect } from 'node:net'
import test, { after, before } from 'node:test'
import { COLUMNS, type StoredEvent } from '../../src/event/event.ts'
import { LIMITS } from '../../src/limits.ts'
import { eventually, problemOf, startTestCentral, type TestCentral } from './harness.ts'

let central: TestCentral
before(async () => {
  central = await startTestCentral()
})
after(() => central.close())

interface Follower extends AsyncDisposable {
  readonly response: Response
  readonly events: StoredEvent[]
  readonly ids: number[]
  readonly positions: number[]
  isOver: boolean
}

async function follow(query = '', headers: Record<string, string> = {}): Promise<Follower> {
  const abort = new AbortController()
  const response = await fetch(`${central.url}/audit/stream${query}`, {
    headers: { 'x-admin-key': central.keys.auditor, ...headers },
    signal: abort.signal,
  })
  const follower: Follower = {
    response,
    events: [],
    ids: [],
    positions: [],
    isOver: false,
    async [Symbol.asyncDispose]() {
      abort.abort()
      await reading
    },
  }
  const reading = readInto(follower).catch(() => {
    follower.isOver = true
  })
  return follower
}

async function readInto(follower: Follower): Promise<void> {
  let text = ''
  for await (const chunk of follower.response.body?.pipeThrough(new TextDecoderStream()) ?? []) {
    const messages = (text + chunk).split('\n\n')
    text = messages.pop() ?? ''
    for (const message of messages) {
      const id = /^id: (\d+)$/m.exec(message)?.[1]
      if (id === undefined) continue
      if (!/^data: /m.test(message)) {
        follower.positions.push(Number(id))
        continue
      }
      follower.ids.push(Number(id))
      follower.events.push(JSON.parse(/^data: (.*)$/m.exec(message)?.[1] ?? ''))
    }
  }
  follower.isOver = true
}

/** Leaves one AUTH_FAIL each. */
async function fail(times: number, cpId = 'CP-STREAM'): Promise<void> {
  for (let i = 0; i < times; i++) {
    const body = { cp_id: cpId, credentials: 'wrong' }
    await central.send('POST', '/auth/credentials', { body, from: central.address() })
  }
}

const ascending = (ids: number[]) => ids.every((id, i) => i === 0 || id > (ids[i - 1] as number))

test('stream: begins after the head of now and brings events as they come, with their columns', async () => {
  await fail(3, 'CP-EARLY')
  const early = await central.send('GET', '/audit/events?limit=1', { as: 'auditor' })
  await central.eventsOf(early.requestId)
  await using follower = await follow()
  assert.equal(follower.response.status, 200)
  assert.equal(follower.response.headers.get('content-type'), 'text/event-stream')
  assert.match(follower.response.headers.get('x-request-id') ?? '', /^[A-Za-z0-9._:-]{1,128}$/)
  await fail(2, 'CP-LATE')
  await eventually(() => follower.events.filter(event => event.who === 'CP-LATE').length === 2)
  assert.equal(follower.events.filter(event => event.who === 'CP-EARLY').length, 0)
  for (const event of follower.events) assert.deepEqual(Object.keys(event), [...COLUMNS])
  assert.deepEqual(
    follower.ids,
    follower.events.map(event => event.id),
  )
  assert.ok(ascending(follower.ids))
})

test('stream: resumes from Last-Event-ID without gap or repeat while events arrive', async () => {
  await fail(5)
  const seen: number[] = []
  let last = 0
  const writing = fail(40)
  for (let round = 0; round < 4; round++) {
    await using follower = await follow('', { 'last-event-id': String(last) })
    const wanted = (round + 1) * 10
    await eventually(() => seen.length + follower.ids.length >= wanted)
    seen.push(...follower.ids.splice(0))
    last = seen.at(-1) as number
  }
  await writing
  assert.deepEqual(
    seen,
    Array.from({ length: seen.length }, (_, i) => i + 1),
  )
})

test('stream: takes the filters, and its position passes over what does not match', async () => {
  await using follower = await follow('?action=AUTH_FAIL&who=CP-WANTED')
  await fail(2, 'CP-OTHER')
  await fail(1, 'CP-WANTED')
  await fail(2, 'CP-OTHER')
  await fail(1, 'CP-WANTED')
  await eventually(() => follower.events.length === 2)
  for (const event of follower.events) assert.equal(event.who, 'CP-WANTED')
  await using resumed = await follow(`?who=CP-WANTED&last_event_id=${follower.ids[0]}`)
  await eventually(() => resumed.ids.length === 1)
  assert.deepEqual(resumed.ids, follower.ids.slice(1))
})

test('stream: who was told a position and no event yet goes on from there, and misses none', async () => {
  const filter = '?action=AUTH_FAIL&who=CP-RARE'
  let position: number | undefined
  {
    await using follower = await follow(filter)
    await eventually(() => follower.positions.length > 0)
    position = follower.positions[0]
  }
  await fail(2, 'CP-RARE')
  await using resumed = await follow(filter, { 'last-event-id': String(position) })
  await eventually(() => resumed.ids.length === 2)
  assert.ok(resumed.ids.every(id => id > Number(position)))
  assert.deepEqual(resumed.positions, [], 'it knows where it is: its id is not repeated')
})

test('stream: a Last-Event-ID beyond the newest event begins after the newest, so that a trail that was set back is followed', async () => {
  await using follower = await follow('?who=CP-SET-BACK', { 'last-event-id': '9007199254740991' })
  await fail(1, 'CP-SET-BACK')
  await eventually(() => follower.ids.length === 1)
})

test('stream: connecting is one ACCESS event', async () => {
  await using follower = await follow('?severity=CRITICAL')
  const requestId = follower.response.headers.get('x-request-id') ?? ''
  const [event, ...others] = await central.eventsOf(requestId)
  assert.deepEqual(others, [])
  assert.equal(event?.action, 'ACCESS')
  assert.equal(event?.reason_code, 'READ')
  assert.equal(event?.who, 'aldo')
  assert.equal(event?.status_code, 200)
})

test('stream: a Last-Event-ID that is none is refused', async () => {
  for (const id of ['-1', 'abc', '1.5', '01', '99999999999999999999']) {
    const options = { as: 'auditor', headers: { 'last-event-id': id } } as const
    problemOf(await central.send('GET', '/audit/stream', options), 422, 'VALIDATION_FAILED')
  }
})

test('stream: ends when its admin is revoked, also if the name comes back at once', async () => {
  const founder = { name: 'admin', role: 'admin' } as const
  const { key } = await central.security.admins.add('leaver', 'auditor', founder)
  await using follower = await follow('', { 'x-admin-key': key })
  await using other = await follow()
  assert.equal(follower.response.status, 200)
  await central.security.admins.revoke('leaver', founder)
  await central.security.admins.add('leaver', 'auditor', founder) // with another key: the old one stays out
  await eventually(() => follower.isOver)
  assert.equal(other.isOver, false)
})

test('stream: a follower that does not read is held back and holds up nobody', async () => {
  const socket = connect(central.port, '127.0.0.1')
  socket.write(`GET /audit/stream?last_event_id=0 HTTP/1.1\r\nHost: x\r\nX-Admin-Key: ${central.keys.auditor}\r\n\r\n`)
  socket.pause()
  await using follower = await follow('?who=CP-BESIDE')
  await fail(2, 'CP-BESIDE')
  await eventually(() => follower.events.length === 2)
  socket.destroy()
})

test('stream: only so many followers; a place is free again when one leaves', async () => {
  const followers: Follower[] = []
  try {
    while (followers.length < LIMITS.streamClientsMax) {
      const follower = await follow('?severity=CRITICAL')
      if (follower.response.status !== 200) break // of the tests before, one may just be leaving
      followers.push(follower)
    }
    await eventually(async () => {
      const refused = await follow()
      const { status } = refused.response
      if (status === 200) followers.push(refused)
      return status === 503
    })
    const answer = await central.send('GET', '/audit/stream', { as: 'auditor' })
    problemOf(answer, 503, 'OVERLOADED')
    assert.equal(answer.headers.get('retry-after'), '5')
    const metrics = await central.send('GET', '/metrics')
    assert.match(metrics.text, new RegExp(`^evc_http_stream_clients ${LIMITS.streamClientsMax}$`, 'm'))
    await followers.pop()?.[Symbol.asyncDispose]()
    await eventually(async () => {
      const follower = await follow()
      followers.push(follower)
      return follower.response.status === 200
    })
  } finally {
    for (const follower of followers) await follower[Symbol.asyncDispose]()
  }
})

test('stream: closing the service ends it, promptly', async () => {
  const own = await startTestCentral()
  const response = await fetch(`${own.url}/audit/stream`, { headers: { 'x-admin-key': own.keys.admin } })
  const text = response.text()
  const began = performance.now()
  await own.close()
  await text
  assert.ok(performance.now() - began < LIMITS.closeGraceMs)
})
