import assert from 'node:assert/strict'
import test, { after, before } from 'node:test'
import { eventually, problemOf, startTestCentral, type TestCentral } from './harness.ts'

let central: TestCentral
before(async () => {
  central = await startTestCentral()
})
after(() => central.close())

const operate = (path: string, body: object) => central.send('POST', path, { as: 'operator', body })

test('every operator route: no key and a wrong one are 401, too small a role is 403, each an incident', async () => {
  const routes = {
    'POST /charge-points': ['admin', 'operator'],
    'GET /charge-points': ['admin', 'operator', 'auditor'],
    'DELETE /charge-points/X': ['admin', 'operator'],
    'POST /charge-points/X/credentials': ['admin', 'operator'],
    'POST /keys/generate': ['admin', 'operator'],
    'POST /keys/reset': ['admin', 'operator'],
    'POST /keys/revoke': ['admin', 'operator'],
    'POST /status/out-of-service': ['admin', 'operator'],
    'POST /status/restore': ['admin', 'operator'],
    'POST /status/revoke': ['admin', 'operator'],
    'GET /security/status': ['admin', 'operator', 'auditor'],
    'GET /security/status/X': ['admin', 'operator', 'auditor'],
    'GET /audit/events': ['admin', 'operator', 'auditor'],
    'GET /audit/events/1': ['admin', 'operator', 'auditor'],
    'GET /audit/failures': ['admin', 'operator', 'auditor'],
    'GET /audit/summary': ['admin', 'operator', 'auditor'],
    'GET /audit/incidents': ['admin', 'operator', 'auditor'],
    'GET /audit/stream': ['admin', 'operator', 'auditor'],
    'GET /audit/evidence': ['admin', 'operator', 'auditor'],
    'GET /audit/export': ['admin', 'operator', 'auditor'],
  }
  const refused: { requestId: string; who: string; status: number }[] = []
  for (const [route, roles] of Object.entries(routes)) {
    const [method = '', path = ''] = route.split(' ')
    // A body that no route would take: a stranger's is not even read.
    const text = method === 'POST' ? '[' : undefined
    for (const headers of [
      {},
      { 'x-admin-key': 'f'.repeat(64) },
      { 'x-admin-key': '' },
      { 'x-admin-key': 'k'.repeat(9_000) },
    ]) {
      const answer = await central.send(method, path, { headers, ...(text === undefined ? {} : { text }) })
      problemOf(answer, 401, 'UNAUTHORIZED')
      refused.push({ requestId: answer.requestId, who: 'unknown', status: 401 })
    }
    if (!roles.includes('auditor')) {
      const answer = await central.send(method, path, { as: 'auditor', ...(text === undefined ? {} : { text }) })
      problemOf(answer, 403, 'FORBIDDEN')
      refused.push({ requestId: answer.requestId, who: 'aldo', status: 403 })
    }
  }
  for (const { requestId, who, status } of [refused[0], refused.at(-1), refused[4]] as typeof refused) {
    const events = await central.eventsOf(requestId)
    assert.equal(events.length, 1)
    assert.equal(events[0]?.action, 'INCIDENT')
    assert.equal(events[0]?.severity, 'CRITICAL')
    assert.equal(events[0]?.reason_code, 'UNAUTHORIZED_ADMIN_ACCESS')
    assert.equal(events[0]?.who, who)
    assert.equal(events[0]?.status_code, status)
  }
  const { body } = await central.send('GET', '/audit/events?action=INCIDENT&limit=1000', { as: 'auditor' })
  assert.equal(body.events.length, refused.length)
})

test('POST /charge-points: generates credentials and shows them once, given ones are not echoed', async () => {
  const generated = await operate('/charge-points', { cp_id: 'REG*-_=:+|@.1', location: 'Süd, Säule 7' })
  assert.equal(generated.status, 201)
  assert.deepEqual(Object.keys(generated.body), ['cp_id', 'location', 'security_status', 'credentials'])
  assert.match(generated.body.credentials, /^[0-9a-f]{64}$/)
  assert.equal(generated.body.location, 'Süd, Säule 7')
  assert.equal(generated.body.security_status, 'ACTIVE')
  const given = await operate('/charge-points', { cp_id: 'REG-2', credentials: 'a-legacy-secret-of-theirs' })
  assert.equal(given.status, 201)
  assert.deepEqual(given.body, { cp_id: 'REG-2', location: null, security_status: 'ACTIVE' })
  problemOf(await operate('/charge-points', { cp_id: 'REG-2' }), 409, 'CP_EXISTS')
  for (const credentials of ['short', 'x'.repeat(257), '🔌'.repeat(15), '🔌'.repeat(257)]) {
    problemOf(await operate('/charge-points', { cp_id: 'REG-3', credentials }), 422, 'VALIDATION_FAILED')
  }
  const longest = { cp_id: 'REG-3', credentials: '🔌'.repeat(256), location: '⚡️'.repeat(100) }
  assert.equal((await operate('/charge-points', longest)).status, 201, 'characters are counted, not UTF-16 units')
})

test('POST /charge-points/{cp_id}/credentials: new ones work, old ones do not', async () => {
  const { cpId, credentials } = await central.chargePoint()
  const answer = await operate(`/charge-points/${cpId}/credentials`, { reason: 'unit replaced' })
  assert.equal(answer.status, 200)
  assert.deepEqual(Object.keys(answer.body), ['cp_id', 'location', 'security_status', 'credentials'])
  const login = (sent: string) =>
    central.send('POST', '/auth/credentials', { body: { cp_id: cpId, credentials: sent }, from: central.address() })
  assert.equal((await login(credentials)).status, 401)
  assert.equal((await login(answer.body.credentials)).status, 200)
  for (const [name, options] of Object.entries({
    'no body': {},
    'no body, called JSON': { text: '', headers: { 'content-type': 'application/json' } },
    'an empty object': { body: {} },
  })) {
    const again = await central.send('POST', `/charge-points/${cpId}/credentials`, { as: 'operator', ...options })
    assert.match(again.body.credentials, /^[0-9a-f]{64}$/, name)
  }
  const stray = { as: 'operator', body: { reasn: 'typo' } } as const
  problemOf(await central.send('POST', `/charge-points/${cpId}/credentials`, stray), 422, 'VALIDATION_FAILED')
  problemOf(await central.send('POST', '/keys/reset', { as: 'operator' }), 422, 'VALIDATION_FAILED')
  problemOf(await operate('/charge-points/NOBODY/credentials', {}), 404, 'CP_NOT_FOUND')
  problemOf(await operate('/charge-points/a%20b/credentials', {}), 422, 'VALIDATION_FAILED')
})

test('GET /charge-points: walks by cursor, by status; a cursor belongs to its filter', async () => {
  for (let i = 0; i < 5; i++) await operate('/charge-points', { cp_id: `LIST-${i}` })
  await operate('/status/out-of-service', { cp_id: 'LIST-3', reason: 'cable' })
  const seen: string[] = []
  let cursor = ''
  do {
    const { body } = await central.send('GET', `/charge-points?limit=2${cursor}`, { as: 'auditor' })
    assert.ok(body.charge_points.length <= 2)
    for (const chargePoint of body.charge_points) {
      assert.deepEqual(Object.keys(chargePoint), ['cp_id', 'location', 'security_status'])
      seen.push(chargePoint.cp_id)
    }
    cursor = body.next_cursor === null ? '' : `&cursor=${body.next_cursor}`
  } while (cursor !== '')
  assert.deepEqual(seen, [...new Set(seen)].sort())
  assert.deepEqual(
    seen.filter(cpId => cpId.startsWith('LIST')),
    ['LIST-0', 'LIST-1', 'LIST-2', 'LIST-3', 'LIST-4'],
  )
  const out = await central.send('GET', '/charge-points?status=OUT_OF_SERVICE', { as: 'operator' })
  assert.deepEqual(
    out.body.charge_points.map((chargePoint: { cp_id: string }) => chargePoint.cp_id),
    ['LIST-3'],
  )
  const first = await central.send('GET', '/charge-points?limit=1', { as: 'operator' })
  const foreign = `/charge-points?limit=1&status=ACTIVE&cursor=${first.body.next_cursor}`
  problemOf(await central.send('GET', foreign, { as: 'operator' }), 422, 'VALIDATION_FAILED')
  for (const query of ['status=active', 'limit=0', 'limit=1001', 'limit=1&limit=2', 'page=1', 'cursor=abc']) {
    problemOf(await central.send('GET', `/charge-points?${query}`, { as: 'operator' }), 422, 'VALIDATION_FAILED')
  }
})

test('DELETE /charge-points/{cp_id}: gone, its trail stays', async () => {
  const { cpId } = await central.chargePoint()
  const answer = await central.send('DELETE', `/charge-points/${cpId}`, { as: 'operator' })
  assert.equal(answer.status, 204)
  assert.equal(answer.text, '')
  assert.equal(answer.headers.get('content-length'), null)
  problemOf(await central.send('DELETE', `/charge-points/${cpId}`, { as: 'operator' }), 404, 'CP_NOT_FOUND')
  problemOf(await central.send('GET', `/security/status/${cpId}`, { as: 'operator' }), 404, 'CP_NOT_FOUND')
  assert.ok((await central.eventsOf(answer.requestId)).length >= 1)
})

test('keys: generate, reset and revoke answer and record as documented', async () => {
  const { cpId } = await central.chargePoint()
  problemOf(await operate('/keys/reset', { cp_id: cpId }), 404, 'KEY_NOT_FOUND')
  problemOf(await operate('/keys/revoke', { cp_id: cpId }), 404, 'KEY_NOT_FOUND')
  for (const path of ['/keys/generate', '/keys/reset', '/keys/revoke']) {
    problemOf(await operate(path, { cp_id: 'NOBODY' }), 404, 'CP_NOT_FOUND')
  }
  const steps = [
    ['/keys/generate', 'KEY_GENERATE', 'INFO', 1],
    ['/keys/reset', 'KEY_RESET', 'WARN', 2],
    ['/keys/revoke', 'KEY_REVOKE', 'WARN', 2],
  ] as const
  for (const [path, action, severity, version] of steps) {
    const answer = await operate(path, { cp_id: cpId, reason: 'rotation' })
    assert.equal(answer.status, 200, answer.text)
    assert.deepEqual(Object.keys(answer.body), ['success', 'cp_id', 'key_id', 'version', 'fingerprint', 'message'])
    assert.equal(answer.body.version, version)
    const [event, ...others] = await central.eventsOf(answer.requestId)
    assert.deepEqual(others, [])
    assert.equal(event?.action, action)
    assert.equal(event?.severity, severity)
    assert.equal(event?.who, cpId)
    const metadata = JSON.parse(event?.metadata_json ?? '{}')
    assert.equal(metadata.version, version)
    assert.equal(metadata.fingerprint, answer.body.fingerprint)
    assert.equal(metadata.reason, 'rotation')
    assert.equal(metadata.actor, 'olga')
    if (path === '/keys/generate') problemOf(await operate(path, { cp_id: cpId }), 409, 'KEY_EXISTS')
  }
  const resting = await central.chargePoint()
  await operate('/status/out-of-service', { cp_id: resting.cpId, reason: 'cable' })
  problemOf(await operate('/keys/generate', { cp_id: resting.cpId }), 409, 'CP_NOT_ACTIVE')
})

test('status: every transition is allowed or refused as documented, and recorded', async () => {
  const { cpId } = await central.chargePoint()
  const steps = [
    ['/status/restore', 'INVALID_TRANSITION'],
    ['/status/out-of-service', 'OUT_OF_SERVICE', 'WARN'],
    ['/status/restore', 'ACTIVE', 'INFO'],
    ['/status/revoke', 'REVOKED', 'WARN'],
    ['/status/restore', 'INVALID_TRANSITION'],
    ['/status/revoke', 'INVALID_TRANSITION'],
    ['/status/out-of-service', 'OUT_OF_SERVICE', 'WARN'],
    ['/status/restore', 'ACTIVE', 'INFO', null],
    ['/status/revoke', 'REVOKED', 'WARN'],
  ] as const
  let status = 'ACTIVE'
  for (const [path, outcome, severity, reason = 'because'] of steps) {
    const answer = await operate(path, { cp_id: cpId, ...(reason !== null && { reason }) })
    if (outcome === 'INVALID_TRANSITION') {
      problemOf(answer, 409, 'INVALID_TRANSITION')
      continue
    }
    assert.equal(answer.status, 200, answer.text)
    assert.deepEqual(Object.keys(answer.body), ['success', 'cp_id', 'old_status', 'new_status', 'message'])
    assert.equal(answer.body.old_status, status)
    assert.equal(answer.body.new_status, outcome)
    status = outcome
    const changes = (await central.eventsOf(answer.requestId)).filter(event => event.action === 'STATUS_CHANGE')
    assert.equal(changes.length, 1)
    assert.equal(changes[0]?.severity, severity)
    assert.equal(changes[0]?.who, cpId)
    const metadata = JSON.parse(changes[0]?.metadata_json ?? '{}')
    const { old_status } = answer.body
    assert.deepEqual(metadata, { old_status, new_status: outcome, reason, actor: 'olga' })
  }
  for (const path of ['/status/out-of-service', '/status/revoke']) {
    problemOf(await operate(path, { cp_id: cpId }), 422, 'VALIDATION_FAILED')
    problemOf(await operate(path, { cp_id: 'NOBODY', reason: 'x' }), 404, 'CP_NOT_FOUND')
  }
  problemOf(await operate('/status/restore', { cp_id: 'NOBODY' }), 404, 'CP_NOT_FOUND')
})

test('GET /security/status: tells the state of one and of all, and is no read of the trail', async () => {
  const { cpId, credentials } = await central.chargePoint()
  await operate('/keys/generate', { cp_id: cpId })
  const from = central.address()
  await central.send('POST', '/auth/credentials', { body: { cp_id: cpId, credentials }, from })
  await central.send('POST', '/auth/credentials', { body: { cp_id: cpId, credentials: 'wrong' }, from })
  const ask = () => central.send('GET', `/security/status/${cpId}`, { as: 'auditor' })
  await eventually(async () => (await ask()).body.failures_in_window > 0)
  const answer = await ask()
  assert.equal(answer.status, 200)
  const { last_success, updated_at, key_age_seconds, ...rest } = answer.body
  assert.deepEqual(rest, {
    cp_id: cpId,
    location: null,
    security_status: 'ACTIVE',
    has_key: true,
    key_version: 1,
    failures_in_window: 1,
  })
  assert.match(last_success, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
  assert.match(updated_at, /Z$/)
  assert.ok(key_age_seconds >= 0 && key_age_seconds < 60)
  const all = await central.send('GET', '/security/status?limit=1000', { as: 'auditor' })
  assert.ok(all.body.charge_points.some((status: { cp_id: string }) => status.cp_id === cpId))
  assert.equal(all.body.next_cursor, null)
  assert.deepEqual(await central.eventsOf(answer.requestId), [])
})

test('an admin that is revoked is refused from the next request on', async () => {
  const founder = { name: 'admin', role: 'admin' } as const
  const { key } = await central.security.admins.add('temporary', 'auditor', founder)
  const ask = () => central.send('GET', '/charge-points', { headers: { 'x-admin-key': key } })
  assert.equal((await ask()).status, 200)
  await central.security.admins.revoke('temporary', founder)
  await eventually(async () => (await ask()).status === 401)
})

test('charge points: one named `.` or `..` is reached by whoever sends the address as it is', async () => {
  for (const cpId of ['.', '..']) {
    assert.equal((await operate('/charge-points', { cp_id: cpId })).status, 201)
    const ask = (method: string, path: string) =>
      central.raw([
        `${method} ${path} HTTP/1.1\r\nHost: x\r\nX-Admin-Key: ${central.keys.operator}\r\nConnection: close\r\n\r\n`,
      ])
    assert.match(await ask('GET', `/security/status/${cpId}`), new RegExp(`^HTTP/1.1 200 [^]*"cp_id":"${cpId}"`))
    assert.match(await ask('POST', `/charge-points/${cpId}/credentials`), /^HTTP\/1.1 200 /)
    assert.match(await ask('DELETE', `/charge-points/${cpId}`), /^HTTP\/1.1 204 /)
  }
})
