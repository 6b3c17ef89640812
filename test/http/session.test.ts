import assert from 'node:assert/strict'
import test, { after, before } from 'node:test'
import {
  type Answer,
  eventually,
  problemOf,
  type RequestOptions,
  startTestCentral,
  type TestCentral,
} from './harness.ts'

let central: TestCentral
before(async () => {
  central = await startTestCentral()
})
after(() => central.close())

const OWN = { 'x-evc-console': '1' }

async function signIn(key: string, options: RequestOptions = {}): Promise<{ answer: Answer; cookie: string }> {
  const answer = await central.send('POST', '/session', { body: { admin_key: key }, ...options })
  return { answer, cookie: (answer.headers.get('set-cookie') ?? '').split(';')[0] ?? '' }
}

const sendWith = (cookie: string, method: string, path: string, options: RequestOptions = {}) =>
  central.send(method, path, { ...options, headers: { cookie, ...OWN, ...options.headers } })

test('session: an admin key opens one; the cookie is out of reach of scripts and of other sites', async () => {
  const { answer } = await signIn(central.keys.operator)
  assert.equal(answer.status, 201)
  assert.deepEqual(Object.keys(answer.body).sort(), ['expires_at', 'name', 'role'])
  assert.equal(answer.body.name, 'olga')
  const cookie = answer.headers.get('set-cookie') ?? ''
  assert.match(cookie, /^evc-session=[A-Za-z0-9_-]{43}; Path=\/; HttpOnly; SameSite=Strict; Max-Age=1[78]\d\d$/)
  const [event] = await central.eventsOf(answer.requestId)
  assert.equal(`${event?.action} ${event?.reason_code} ${event?.who}`, 'ACCESS SIGNED_IN olga')
  assert.ok(!JSON.stringify(event).includes(cookie.slice(12, 55)))

  const behindTls = await signIn(central.keys.operator, { headers: { 'x-forwarded-proto': 'https' } })
  const secure = behindTls.answer.headers.get('set-cookie') ?? ''
  assert.match(secure, /^__Host-evc-session=.*; Secure$/)
  const who = await sendWith(behindTls.cookie, 'GET', '/session')
  assert.equal(who.body.name, 'olga')
})

test('session: it has the role of its admin, and no more', async () => {
  const { cookie } = await signIn(central.keys.auditor)
  assert.equal((await sendWith(cookie, 'GET', '/audit/overview')).status, 200)
  const refused = await sendWith(cookie, 'POST', '/charge-points', { body: { cp_id: 'CP-NO' } })
  problemOf(refused, 403, 'FORBIDDEN')
  const events = await central.eventsOf(refused.requestId)
  assert.deepEqual(
    events.map(event => [event.reason_code, event.who]),
    [['UNAUTHORIZED_ADMIN_ACCESS', 'aldo']],
  )
})

test('session: a wrong key is refused, on record and throttled; nobody signed in is no incident', async () => {
  const from = central.address()
  const { answer } = await signIn('no-key-of-anybody-0123456789abcdef', { headers: {}, from })
  problemOf(answer, 401, 'UNAUTHORIZED')
  assert.equal(answer.headers.get('set-cookie'), null)
  const [incident] = await central.eventsOf(answer.requestId)
  assert.equal(incident?.reason_code, 'UNAUTHORIZED_ADMIN_ACCESS')
  let last = answer
  for (let n = 0; n < 25; n++) last = (await signIn(`wrong-key-number-${n}-0123456789abcdef`, { from })).answer
  problemOf(last, 429, 'TOO_MANY_ATTEMPTS')

  const nobody = await central.send('GET', '/session')
  assert.equal(nobody.status, 204)
  assert.deepEqual(await central.eventsOf(nobody.requestId), [])
})

test('session: a cookie counts only in requests of our own pages', async () => {
  const { cookie } = await signIn(central.keys.admin)
  const register = (headers: Record<string, string>) =>
    central.send('POST', '/charge-points', { headers: { cookie, ...headers }, body: { cp_id: 'CP-FORGED' } })
  problemOf(await register({}), 401, 'UNAUTHORIZED')
  problemOf(await register({ 'x-evc-console': '1', 'sec-fetch-site': 'cross-site' }), 401, 'UNAUTHORIZED')
  problemOf(await register({ 'x-evc-console': '1', 'sec-fetch-site': 'same-site' }), 401, 'UNAUTHORIZED')
  const foreign = { headers: { cookie, 'sec-fetch-site': 'cross-site' } }
  problemOf(await central.send('GET', '/audit/export', foreign), 401, 'UNAUTHORIZED')
  assert.equal((await register({ 'x-evc-console': '1', 'sec-fetch-site': 'same-origin' })).status, 201)
  // The page asks for a download without a header of its own.
  const download = await central.send('GET', '/audit/export?format=csv', {
    headers: { cookie, 'sec-fetch-site': 'same-origin' },
  })
  assert.equal(download.status, 200)
})

test('session: a guessed one is an incident, an ended one is not', async () => {
  const guessed = await sendWith(`evc-session=${'A'.repeat(43)}`, 'GET', '/audit/overview', { from: central.address() })
  problemOf(guessed, 401, 'UNAUTHORIZED')
  assert.equal((await central.eventsOf(guessed.requestId))[0]?.reason_code, 'UNAUTHORIZED_ADMIN_ACCESS')

  const { cookie } = await signIn(central.keys.operator)
  const out = await sendWith(cookie, 'DELETE', '/session')
  assert.equal(out.status, 204)
  assert.match(out.headers.get('set-cookie') ?? '', /^evc-session=; .*Max-Age=0/)
  const [event] = await central.eventsOf(out.requestId)
  assert.equal(`${event?.action} ${event?.reason_code} ${event?.who}`, 'ACCESS SIGNED_OUT olga')
  const after = await sendWith(cookie, 'GET', '/audit/overview')
  problemOf(after, 401, 'SESSION_ENDED')
  assert.deepEqual(await central.eventsOf(after.requestId), [])
  assert.equal((await sendWith(cookie, 'GET', '/session')).status, 204)
})

test('session: signing out everywhere ends all of the admin and none of others; the key goes on working', async () => {
  const first = await signIn(central.keys.operator)
  const second = await signIn(central.keys.operator)
  const other = await signIn(central.keys.auditor)
  assert.equal((await sendWith(first.cookie, 'DELETE', '/sessions')).status, 204)
  problemOf(await sendWith(second.cookie, 'GET', '/security/status'), 401, 'SESSION_ENDED')
  assert.equal((await sendWith(other.cookie, 'GET', '/security/status')).status, 200)
  assert.equal((await central.send('GET', '/security/status', { as: 'operator' })).status, 200)
})

test('session: it is renewed, and survives a restart of the service', async () => {
  const { cookie, answer } = await signIn(central.keys.operator)
  await eventually(async () => Date.now() > Date.parse(answer.body.expires_at) - 30 * 60_000 + 5)
  const renewed = await sendWith(cookie, 'POST', '/session/renew')
  assert.ok(renewed.body.expires_at > answer.body.expires_at)
  assert.ok(renewed.headers.get('set-cookie')?.startsWith(cookie))
  await central.stop()
  await central.start()
  assert.equal((await sendWith(cookie, 'GET', '/session')).body.name, 'olga')
})

test('session: a revoked admin is out at once, streams included', async () => {
  const { key } = await central.security.admins.add('rita', 'auditor', { name: 'admin', role: 'admin' })
  const { cookie } = await signIn(key)
  const stream = await fetch(`${central.url}/audit/overview/stream`, { headers: { cookie } })
  const reader = (stream.body ?? assert.fail()).getReader()
  const { value } = await reader.read()
  assert.match(Buffer.from(value ?? []).toString(), /^retry: /)
  await central.security.admins.revoke('rita', { name: 'admin', role: 'admin' })
  problemOf(await sendWith(cookie, 'GET', '/audit/overview'), 401, 'SESSION_ENDED')
  let isDone = false
  while (!isDone) isDone = (await reader.read()).done
})

test('session: an admin has so many at a time; a further one ends the oldest', async () => {
  const { key } = await central.security.admins.add('many', 'auditor', { name: 'admin', role: 'admin' })
  const cookies: string[] = []
  for (let n = 0; n < 21; n++) cookies.push((await signIn(key)).cookie)
  problemOf(await sendWith(cookies[0] ?? '', 'GET', '/security/status'), 401, 'SESSION_ENDED')
  assert.equal((await sendWith(cookies[1] ?? '', 'GET', '/security/status')).status, 200)
})
