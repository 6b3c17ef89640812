/** Several instances on one PostgreSQL, as clients see them; the log that they share: shared-log.test.ts. */
import assert from 'node:assert/strict'
import test, { after, before } from 'node:test'
import { postgresServer } from '../harness/postgres.ts'
import { eventually, problemOf, startTestCentral, type TestCentral } from './harness.ts'

const server = postgresServer()
const INSTANCES = 5
const FOUNDER = { name: 'admin', role: 'admin' } as const

/** What is promised is one second; the machine that runs this may have others to serve. */
const SOON_MS = 3_000

/** For all tests, each with charge points, addresses and admins of its own. */
let instances: TestCentral[] = []
let a: TestCentral
let b: TestCentral
let c: TestCentral

before(async () => {
  const environment = { EVC_DATABASE_URL: await server.createDatabase() }
  const keys = { admin: 'first-admin-key-0123456789abcdef0123456789', operator: '', auditor: '' }
  const starting = Array.from({ length: INSTANCES }, () => startTestCentral(environment, keys))
  instances = (await Promise.allSettled(starting)).flatMap(each => (each.status === 'fulfilled' ? [each.value] : []))
  await Promise.all(starting)
  ;[a, b, c] = instances as [TestCentral, TestCentral, TestCentral]
  keys.operator = (await a.security.admins.add('olga', 'operator', FOUNDER)).key
  keys.auditor = (await b.security.admins.add('aldo', 'auditor', FOUNDER)).key
})
after(() => Promise.all(instances.map(instance => instance.close())))

const login = (at: TestCentral, cpId: string, credentials: string, from: string) =>
  at.send('POST', '/auth/credentials', { from, body: { cp_id: cpId, credentials } })

test('instances: those that start at once share secrets, one log and one state', async () => {
  const registered = await Promise.all(
    instances.map((instance, i) =>
      instance.send('POST', '/charge-points', { as: 'admin', body: { cp_id: `CP-AT-${i}` } }),
    ),
  )
  assert.deepEqual(
    registered.map(answer => answer.status),
    instances.map(() => 201),
  )
  const logins = await Promise.all(
    registered.map(({ body }, i) =>
      login(instances[(i + 1) % INSTANCES] as TestCentral, body.cp_id, body.credentials, a.address()),
    ),
  )
  assert.deepEqual(
    logins.map(answer => answer.status),
    instances.map(() => 200),
  )
  const started = async () => (await a.send('GET', '/audit/events?reason_code=STARTED', { as: 'admin' })).body.events
  await eventually(async () => (await started()).length === INSTANCES)
  const checkpoints = () =>
    Promise.all(instances.map(async each => (await each.send('GET', '/checkpoint', { as: 'admin' })).text))
  await eventually(async () => {
    const shown = await checkpoints()
    return (
      shown.every(note => note.startsWith('ev-central/')) && new Set(shown.map(note => note.split('\n')[0])).size === 1
    )
  })
})

test('instances: what is issued by one is right at every other, at once', async () => {
  const { cpId, credentials } = await a.chargePoint()
  const from = a.address()
  const answer = await login(b, cpId, credentials, from)
  assert.equal(answer.status, 200, answer.text)
  const { token } = answer.body
  assert.equal((await a.send('POST', '/auth/token', { from, body: { cp_id: cpId, token } })).status, 200)
  await a.send('POST', '/status/out-of-service', { as: 'operator', body: { cp_id: cpId, reason: 'maintenance' } })
  await a.send('POST', '/status/restore', { as: 'operator', body: { cp_id: cpId } })
  assert.equal((await login(b, cpId, credentials, from)).status, 200)
  const renewed = await a.send('POST', `/charge-points/${cpId}/credentials`, { as: 'operator', body: {} })
  assert.equal((await login(b, cpId, renewed.body.credentials, from)).status, 200)
  const { key } = await a.security.admins.add('berta', 'auditor', FOUNDER)
  const read = await b.send('GET', '/security/status', { headers: { 'x-admin-key': key } })
  assert.equal(read.status, 200, read.text)
})

test('instances: revoked at one, refused at every other within a second: logins, tokens, keys', async t => {
  const { cpId, credentials } = await a.chargePoint()
  const from = a.address()
  await a.send('POST', '/keys/generate', { as: 'operator', body: { cp_id: cpId } })
  const { token } = (await login(b, cpId, credentials, from)).body
  const bearer = { headers: { authorization: `Bearer ${token}` } }
  assert.equal((await b.send('GET', '/keys/current', bearer)).status, 200)
  await a.send('POST', '/status/revoke', { as: 'operator', body: { cp_id: cpId, reason: 'stolen' } })
  const startedAt = performance.now()
  await eventually(async () => (await login(b, cpId, credentials, from)).status === 403, SOON_MS)
  t.diagnostic(`refused after ${Math.round(performance.now() - startedAt)} ms`)
  problemOf(await b.send('POST', '/auth/token', { from, body: { cp_id: cpId, token } }), 403, 'CP_REVOKED')
  assert.notEqual((await b.send('GET', '/keys/current', bearer)).status, 200)
})

test('instances: an admin revoked at one is refused at every other, and their live streams end', async t => {
  const { key } = await a.security.admins.add('eva', 'auditor', FOUNDER)
  const stream = await fetch(`${b.url}/audit/stream`, { headers: { 'x-admin-key': key } })
  assert.equal(stream.status, 200)
  const ended = (async () => {
    for await (const _ of stream.body ?? []);
    return performance.now()
  })()
  await a.security.admins.revoke('eva', FOUNDER)
  const revokedAt = performance.now()
  await eventually(async () => {
    const answer = await b.send('GET', '/security/status', { headers: { 'x-admin-key': key } })
    return answer.status === 401
  }, SOON_MS)
  const endedAfter = (await ended) - revokedAt
  t.diagnostic(`the stream ended after ${Math.round(endedAfter)} ms`)
  assert.ok(endedAfter < SOON_MS, `${endedAfter} ms`)
})

test('instances: a session of one is one of all; signed out anywhere, it is over everywhere at once, streams included', async () => {
  const signIn = async (key: string) => {
    const answer = await a.send('POST', '/session', { body: { admin_key: key } })
    assert.equal(answer.status, 201, answer.text)
    return { cookie: (answer.headers.get('set-cookie') ?? '').split(';')[0] ?? '', 'x-evc-console': '1' }
  }
  const headers = await signIn(a.keys.operator)
  assert.equal((await b.send('GET', '/session', { headers })).body.name, 'olga')
  assert.equal((await b.send('POST', '/session/renew', { headers })).status, 200)
  const stream = await fetch(`${b.url}/audit/overview/stream`, { headers })
  assert.equal(stream.status, 200)
  const ended = (async () => {
    for await (const _ of stream.body ?? []);
  })()
  assert.equal((await a.send('DELETE', '/session', { headers })).status, 204)
  problemOf(await b.send('GET', '/security/status', { headers }), 401, 'SESSION_ENDED')
  await ended

  const ofEmil = await signIn((await a.security.admins.add('emil', 'auditor', FOUNDER)).key)
  assert.equal((await b.send('GET', '/security/status', { headers: ofEmil })).status, 200, 'an admin that is news')
  await a.security.admins.revoke('emil', FOUNDER)
  const status = async () => (await b.send('GET', '/security/status', { headers: ofEmil })).status
  await eventually(async () => (await status()) === 401, SOON_MS)
})

test('instances: guessed sessions are counted with wrong keys, over all of them', async () => {
  const guess = (at: TestCentral, n: number) =>
    at.send('GET', '/security/status', {
      from: '192.0.2.78',
      headers: { cookie: `evc-session=${`${n}`.padStart(43, 'A')}`, 'x-evc-console': '1' },
    })
  for (let i = 0; i < 20; i++) assert.equal((await guess(a, i)).status, 401)
  await eventually(async () => (await guess(b, 99)).status === 429, SOON_MS)
})

test('instances: wrong admin keys are counted over all of them', async () => {
  const guess = (at: TestCentral, key: string) =>
    at.send('GET', '/security/status', { from: '192.0.2.77', headers: { 'x-admin-key': key } })
  for (let i = 0; i < 20; i++) assert.equal((await guess(a, `${i}`.padStart(32, 'x'))).status, 401)
  assert.equal((await guess(a, 'y'.repeat(32))).status, 429)
  await eventually(async () => (await guess(b, 'y'.repeat(32))).status === 429, SOON_MS)
  const right = await b.send('GET', '/security/status', { as: 'auditor', from: '192.0.2.77' })
  assert.equal(right.status, 200)
})

test('instances: five failures spread over three of them are one episode, and so are ten', async t => {
  const three = [a, b, c]
  const { cpId } = await a.chargePoint()
  const from = a.address()
  const wrong = '0'.repeat(64)
  for (let i = 0; i < 5; i++) {
    const answer = await login(three[i % 3] as TestCentral, cpId, wrong, from)
    assert.equal(answer.status, 401)
  }
  const incidents = async () => {
    const filter = `action=INCIDENT&reason_code=BRUTE_FORCE_SUSPECTED&who=${cpId}&order=asc`
    return (await a.send('GET', `/audit/events?${filter}`, { as: 'auditor' })).body.events
  }
  const startedAt = performance.now()
  await eventually(async () => (await incidents()).length > 0, SOON_MS)
  t.diagnostic(`an incident after ${Math.round(performance.now() - startedAt)} ms`)
  const hasCounted = async (instance: TestCentral) =>
    (await instance.send('GET', `/security/status/${cpId}`, { as: 'auditor' })).body.failures_in_window === 5
  for (const instance of three) await eventually(() => hasCounted(instance), SOON_MS)
  // The pair is throttled by now, at all of them; what is refused for that counts too. Two seconds later each would let one through.
  for (const instance of three) {
    const answers = [await login(instance, cpId, wrong, from), await login(instance, cpId, wrong, from)]
    assert.equal(answers.at(-1)?.status, 429, 'a throttle that one of them closed is closed everywhere')
  }
  await eventually(async () => (await incidents()).length > 1, SOON_MS)
  for (const instance of three) await instance.send('GET', '/audit/failures', { as: 'auditor' })
  const found = await incidents()
  const counts = found.map((event: { metadata_json: string }) => JSON.parse(event.metadata_json).failure_count)
  assert.deepEqual(counts, [5, 10])
})

test('instances: what one records, a stream of another shows', async () => {
  const stream = await fetch(`${b.url}/audit/stream?action=SYSTEM&reason_code=CP_REGISTERED`, {
    headers: { 'x-admin-key': b.keys.auditor },
  })
  const { cpId } = await a.chargePoint()
  let text = ''
  for await (const bytes of stream.body ?? []) {
    text += Buffer.from(bytes).toString()
    if (text.includes(cpId)) break
  }
  assert.match(text, new RegExp(cpId))
})

test('instances: each verifies the trail of all when it is asked to', async () => {
  await eventually(async () => (await a.send('GET', '/checkpoint', { as: 'admin' })).status === 200)
  assert.equal((await b.send('POST', '/evidence/verification', { as: 'admin' })).status, 202)
  let { body } = await b.send('GET', '/evidence/verification', { as: 'admin' })
  await eventually(async () => {
    body = (await b.send('GET', '/evidence/verification', { as: 'admin' })).body
    return body.phase !== 'running'
  })
  assert.deepEqual([body.phase, body.verdict], ['done', 'PRISTINE'], body.sentence)
})
