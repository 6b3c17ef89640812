import assert from 'node:assert/strict'
import { createCipheriv, randomBytes } from 'node:crypto'
import test, { after, before } from 'node:test'
import { eventually, problemOf, type RequestOptions, startTestCentral, type TestCentral } from './harness.ts'

let central: TestCentral
before(async () => {
  central = await startTestCentral()
})
after(() => central.close())

const login = (cp_id: string, credentials: string, from = central.address()) =>
  central.send('POST', '/auth/credentials', { body: { cp_id, credentials }, from })

const operate = (path: string, body: object) => central.send('POST', path, { as: 'operator', body })

test('POST /auth/credentials: the right secret gets a token, and the trail one AUTH_SUCCESS', async () => {
  const { cpId, credentials } = await central.chargePoint()
  const answer = await login(cpId, credentials, '203.0.113.7')
  assert.equal(answer.status, 200)
  assert.equal(answer.headers.get('cache-control'), 'no-store')
  assert.deepEqual(Object.keys(answer.body), [
    'success',
    'cp_id',
    'security_status',
    'is_authorized',
    'message',
    'token',
    'token_type',
    'expires_in',
  ])
  assert.equal(answer.body.success, true)
  assert.equal(answer.body.cp_id, cpId)
  assert.equal(answer.body.security_status, 'ACTIVE')
  assert.equal(answer.body.is_authorized, true)
  assert.equal(answer.body.token_type, 'Bearer')
  assert.equal(answer.body.expires_in, 86_400)

  const [event, ...others] = await central.eventsOf(answer.requestId)
  assert.deepEqual(others, [])
  assert.equal(event?.action, 'AUTH_SUCCESS')
  assert.equal(event?.severity, 'INFO')
  assert.equal(event?.who, cpId)
  assert.equal(event?.ip, '203.0.113.7')
  assert.equal(event?.status_code, 200)
  assert.equal(event?.reason_code, null)
  assert.equal(event?.endpoint, '/auth/credentials')
  assert.equal(event?.http_method, 'POST')
})

test('POST /auth/credentials: an unknown id and a wrong secret are answered alike and recorded apart', async () => {
  const { cpId } = await central.chargePoint()
  const wrong = await login(cpId, 'not-the-secret')
  const unknown = await login('CP-NOBODY', 'not-the-secret')
  for (const [answer, cp_id] of [
    [wrong, cpId],
    [unknown, 'CP-NOBODY'],
  ] as const) {
    const problem = problemOf(answer, 401, 'AUTHENTICATION_FAILED')
    assert.equal(problem.success, false)
    assert.equal(problem.cp_id, cp_id)
    assert.equal(problem.is_authorized, false)
  }
  const shape = ({ body }: typeof wrong) => ({ ...body, cp_id: '', request_id: '' })
  assert.deepEqual(shape(wrong), shape(unknown))
  const reasons = []
  for (const { requestId } of [wrong, unknown]) {
    const events = await central.eventsOf(requestId)
    assert.equal(events.length, 1)
    assert.equal(events[0]?.action, 'AUTH_FAIL')
    assert.equal(events[0]?.status_code, 401)
    reasons.push(events[0]?.reason_code)
  }
  assert.deepEqual(reasons, ['INVALID_CREDENTIALS', 'UNKNOWN_CP'])
})

test('POST /auth/credentials: out of service and revoked are 403 with the right secret, and say so in the trail', async () => {
  const { cpId, credentials } = await central.chargePoint()
  await operate('/status/out-of-service', { cp_id: cpId, reason: 'cable' })
  const out = await login(cpId, credentials)
  assert.equal(problemOf(out, 403, 'CP_OUT_OF_SERVICE').is_authorized, false)
  assert.equal((await central.eventsOf(out.requestId))[0]?.reason_code, 'OUT_OF_SERVICE')
  await operate('/status/revoke', { cp_id: cpId, reason: 'stolen' })
  const revoked = await login(cpId, credentials)
  assert.equal(problemOf(revoked, 403, 'CP_REVOKED').success, false)
  assert.equal((await central.eventsOf(revoked.requestId))[0]?.reason_code, 'REVOKED')
  problemOf(await login(cpId, 'not-the-secret'), 401, 'AUTHENTICATION_FAILED')
})

test('POST /auth/credentials: repeated failures are throttled with Retry-After, and become one incident', async () => {
  const { cpId } = await central.chargePoint()
  const from = central.address()
  let answer = await login(cpId, 'guess-0', from)
  for (let i = 1; answer.status === 401 && i < 12; i++) answer = await login(cpId, `guess-${i}`, from)
  const problem = problemOf(answer, 429, 'TOO_MANY_ATTEMPTS')
  assert.equal(problem.success, false)
  assert.equal(problem.cp_id, cpId)
  assert.equal(problem.is_authorized, false)
  assert.match(answer.headers.get('retry-after') ?? '', /^[1-9]\d*$/)
  assert.equal((await central.eventsOf(answer.requestId))[0]?.reason_code, 'THROTTLED')
  const { body } = await central.send('GET', `/audit/events?action=INCIDENT&who=${cpId}`, { as: 'auditor' })
  assert.ok(body.events.length >= 1)
  assert.equal(body.events.at(-1).reason_code, 'BRUTE_FORCE_SUSPECTED')
})

test('POST /auth/...: every refusal says that nobody is authorized, with the id if one could be read', async () => {
  const json = { 'content-type': 'application/json' }
  const cases: [string, RequestOptions, number, string | null][] = [
    ['a field is missing', { body: { cp_id: 'CP-1' } }, 422, 'CP-1'],
    ['an unknown field', { body: { cp_id: 'CP-1', credentials: 'x', token: 'x', more: 1 } }, 422, 'CP-1'],
    ['no id', { body: { credentials: 'x', token: 'x' } }, 422, null],
    ['an id that is none', { body: { cp_id: 'a b', credentials: 'x', token: 'x' } }, 422, null],
    ['an id of another type', { body: { cp_id: { cp_id: 'CP-1' }, credentials: 'x', token: 'x' } }, 422, null],
    ['no JSON', { text: '{"cp_id":"CP-1"', headers: json }, 422, null],
    ['no body', {}, 422, null],
    ['too large', { text: ' '.repeat(70_000), headers: json }, 413, null],
    ['another type', { text: 'cp_id=CP-1', headers: { 'content-type': 'text/plain' } }, 415, null],
  ]
  for (const path of ['/auth/credentials', '/auth/token']) {
    for (const [name, options, status, cp_id] of cases) {
      const { status: answered, body } = await central.send('POST', path, { ...options, from: central.address() })
      assert.equal(answered, status, name)
      const { success, is_authorized } = body
      assert.deepEqual(
        { success, cp_id: body.cp_id, is_authorized },
        { success: false, cp_id, is_authorized: false },
        name,
      )
    }
  }
  assert.ok(!('success' in (await central.send('POST', '/charge-points', { as: 'admin', body: {} })).body))
})

test('POST /auth/credentials: an incident has the status that the failure which raised it was answered with', async () => {
  const { cpId } = await central.chargePoint()
  const from = central.address()
  const answers = new Map<string, number>()
  for (let i = 1; i <= 10; i++) {
    const { requestId, status } = await login(cpId, `guess-${i}`, from)
    answers.set(requestId, status)
  }
  let incidents: { request_id: string; status_code: number }[] = []
  await eventually(async () => {
    const { body } = await central.send('GET', `/audit/events?action=INCIDENT&who=${cpId}`, { as: 'auditor' })
    incidents = body.events
    return incidents.length >= 2
  })
  assert.deepEqual(
    incidents.map(({ status_code }) => status_code),
    incidents.map(({ request_id }) => answers.get(request_id)),
  )
  assert.deepEqual(incidents.map(({ status_code }) => status_code).toSorted(), [401, 429])
})

test('POST /auth/credentials: a charge point out of service that keeps calling is no brute force', async () => {
  const { cpId, credentials } = await central.chargePoint()
  const from = central.address()
  await operate('/status/out-of-service', { cp_id: cpId, reason: 'cable' })
  for (let i = 0; i < 6; i++) problemOf(await login(cpId, credentials, from), 403, 'CP_OUT_OF_SERVICE')
  await operate('/status/revoke', { cp_id: cpId, reason: 'stolen' })
  for (let i = 0; i < 6; i++) problemOf(await login(cpId, credentials, from), 403, 'CP_REVOKED')
  const trail = (query: string) => central.send('GET', `/audit/events?who=${cpId}&${query}`, { as: 'auditor' })
  assert.equal((await trail('action=AUTH_FAIL')).body.events.length, 12, 'each is a failed login on record')
  assert.deepEqual((await trail('action=INCIDENT')).body.events, [])
  const status = await central.send('GET', `/security/status/${cpId}`, { as: 'auditor' })
  assert.equal(status.body.failures_in_window, 0)
})

test('POST /auth/token: answers with the same token; a bad, foreign or outdated one is 401', async () => {
  const { cpId, credentials } = await central.chargePoint()
  const other = await central.chargePoint()
  const { token } = (await login(cpId, credentials)).body
  const check = (cp_id: string, sent: string) =>
    central.send('POST', '/auth/token', { body: { cp_id, token: sent }, from: central.address() })

  const good = await check(cpId, token)
  assert.equal(good.status, 200)
  assert.equal(good.body.token, token)
  assert.ok(good.body.expires_in > 86_000 && good.body.expires_in <= 86_400)

  for (const [cp_id, sent] of [
    [cpId, 'nonsense'],
    [other.cpId, token],
    [cpId, `${token}x`],
  ] as const) {
    const bad = await check(cp_id, sent)
    assert.equal(problemOf(bad, 401, 'AUTHENTICATION_FAILED').cp_id, cp_id)
    assert.equal((await central.eventsOf(bad.requestId))[0]?.reason_code, 'INVALID_TOKEN')
  }
  await operate(`/charge-points/${cpId}/credentials`, {})
  const outdated = await check(cpId, token)
  problemOf(outdated, 401, 'AUTHENTICATION_FAILED')
  assert.equal((await central.eventsOf(outdated.requestId))[0]?.reason_code, 'TOKEN_VERSION_MISMATCH')
})

test('GET /keys/current and POST /messages: with the token of the charge point only', async () => {
  const { cpId, credentials } = await central.chargePoint()
  const { token } = (await login(cpId, credentials)).body
  const headers = { authorization: `Bearer ${token}` }
  const fetchKey = (sent: Record<string, string>) =>
    central.send('GET', '/keys/current', { headers: sent, from: central.address() })

  problemOf(await fetchKey(headers), 404, 'KEY_NOT_FOUND')
  const generated = await operate('/keys/generate', { cp_id: cpId })
  const current = await fetchKey({ authorization: `bearer ${token}` })
  assert.equal(current.status, 200)
  assert.equal(current.headers.get('cache-control'), 'no-store')
  assert.deepEqual(Object.keys(current.body), ['cp_id', 'key_id', 'version', 'algorithm', 'key'])
  assert.equal(current.body.key_id, generated.body.key_id)
  assert.equal(current.body.algorithm, 'AES-256-GCM')
  for (const sent of [{}, { authorization: token }, { authorization: 'Basic abc' }, { authorization: 'Bearer x y' }]) {
    const refused = await fetchKey(sent as Record<string, string>)
    const problem = problemOf(refused, 401, 'AUTHENTICATION_FAILED')
    assert.equal(refused.headers.get('www-authenticate'), 'Bearer realm="ev-central"')
    assert.equal('success' in problem, false)
  }

  const payload = sealed(Buffer.from(current.body.key, 'base64'), cpId)
  const deliver = (sent: string) =>
    central.send('POST', '/messages', { body: { payload: sent }, headers, from: central.address() })
  const accepted = await deliver(payload)
  assert.equal(accepted.status, 200)
  assert.deepEqual(accepted.body, { accepted: true, cp_id: cpId, key_version: 1 })
  for (const sent of [payload, sealed(randomBytes(32), cpId)]) {
    const refused = await deliver(sent)
    problemOf(refused, 400, 'TAMPERING_DETECTED')
    const incidents = (await central.eventsOf(refused.requestId)).filter(event => event.action === 'INCIDENT')
    assert.equal(incidents.length, 1)
    assert.equal(incidents[0]?.reason_code, 'TAMPERING_DETECTED')
    assert.ok(JSON.parse(incidents[0]?.metadata_json ?? '{}').cause)
  }
  for (const sent of ['', '!!', 'abc', 'a'.repeat(50_000)]) problemOf(await deliver(sent), 422, 'VALIDATION_FAILED')
})

function sealed(key: Buffer, cpId: string): string {
  const nonce = randomBytes(12)
  const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(Buffer.from(cpId))
  return Buffer.concat([nonce, cipher.update('meter 42'), cipher.final(), cipher.getAuthTag()]).toString('base64')
}
