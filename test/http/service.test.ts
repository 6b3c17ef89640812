import assert from 'node:assert/strict'
import test, { after, before } from 'node:test'
import { ONLY_SQLITE, problemOf, startTestCentral, type TestCentral } from './harness.ts'

const UUID_V7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/

let central: TestCentral
before(async () => {
  central = await startTestCentral({ EVC_TRUSTED_PROXIES: '127.0.0.1,10.0.0.0/8' })
})
after(() => central.close())

test('GET /health, /ready and /metrics need no key', async () => {
  const health = await central.send('GET', '/health')
  assert.equal(health.status, 200)
  assert.deepEqual(health.body, { status: 'ok' })
  const ready = await central.send('GET', '/ready')
  assert.equal(ready.status, 200, ready.text)
  assert.equal(ready.body.ready, true)
  assert.ok(ready.body.checks.length >= 4)
  for (const check of ready.body.checks) assert.deepEqual(Object.keys(check), ['name', 'ok', 'detail'])
  const metrics = await central.send('GET', '/metrics')
  assert.equal(metrics.status, 200)
  assert.match(metrics.headers.get('content-type') ?? '', /^text\/plain; version=0\.0\.4/)
  assert.match(metrics.text, /evc_http_request_duration_seconds_count\{method="GET",route="\/health",status="200"\} 1/)
  assert.match(metrics.text, /^evc_http_requests_in_flight 1$/m)
})

test('metrics: what callers write never becomes a label', async () => {
  await central.send('GET', '/nowhere/with-a-secret-in-it')
  await central.send('GET', '/security/status/CP-LABEL', { as: 'auditor' })
  const { text } = await central.send('GET', '/metrics')
  assert.doesNotMatch(text, /nowhere|secret-in-it|CP-LABEL/)
  assert.match(text, /route="none",status="404"/)
  assert.match(text, /route="\/security\/status\/:cp_id",status="404"/)
})

test('X-Request-ID: a good one is used, any other replaced by a UUIDv7; every answer has it', async () => {
  const idOf = async (headers: Record<string, string>, path = '/health') =>
    (await central.send('GET', path, { headers })).requestId
  for (const id of ['a', 'Trace:1.2_3-4', 'x'.repeat(128)]) assert.equal(await idOf({ 'x-request-id': id }), id)
  for (const id of ['', 'a b', 'x'.repeat(129), 'a/b', 'a,b', 'é']) {
    assert.match(await idOf({ 'x-request-id': id }), UUID_V7)
  }
  for (const path of ['/nowhere', '/charge-points', '/docs', '/openapi.json', '/metrics', '/docs/static/none']) {
    assert.equal(await idOf({ 'x-request-id': 'mine' }, path), 'mine', path)
  }
  assert.notEqual(await idOf({}), await idOf({}))
})

test('client address: X-Forwarded-For counts from a trusted proxy only, and then the right-most untrusted one', async () => {
  const ipFor = async (forwarded: string) => {
    const answer = await central.send('POST', '/auth/credentials', { text: '[', from: forwarded })
    return (await central.eventsOf(answer.requestId))[0]?.ip
  }
  assert.equal(await ipFor('203.0.113.1'), '203.0.113.1')
  assert.equal(await ipFor('1.1.1.1, 203.0.113.2, 10.1.2.3'), '203.0.113.2')
  assert.equal(await ipFor('203.0.113.3, not-an-address'), '127.0.0.1')
  assert.equal(await ipFor('2001:DB8::0001'), '2001:db8::1')
  const strict = await startTestCentral({ EVC_TRUSTED_PROXIES: '' })
  try {
    const answer = await strict.send('POST', '/auth/credentials', { text: '[', from: '203.0.113.1' })
    assert.equal((await strict.eventsOf(answer.requestId))[0]?.ip, '127.0.0.1')
  } finally {
    await strict.close()
  }
})

test('addresses: an unknown one is 404, a known one with another method 405 with Allow, whatever the body', async () => {
  for (const [method, path] of [
    ['POST', '/nowhere'],
    ['GET', '/docs/json'],
    ['GET', '/docs/static/none'],
    ['GET', '/health/'],
    ['DELETE', '/audit'],
  ] as const) {
    const answer = await central.send(method, path, method === 'POST' ? { text: '[' } : {})
    problemOf(answer, 404, 'NOT_FOUND')
    assert.deepEqual(await central.eventsOf(answer.requestId), [])
  }
  const allowed: [string, string, string][] = [
    ['GET', '/auth/credentials', 'POST'],
    ['PUT', '/charge-points', 'GET, HEAD, POST'],
    ['POST', '/charge-points/CP-1', 'DELETE'],
    ['DELETE', '/audit/events/1', 'GET, HEAD'],
    ['OPTIONS', '/keys/reset', 'POST'],
    ['HEAD', '/audit/export', 'GET'],
    ['POST', '/', 'GET, HEAD'],
  ]
  for (const [method, path, allow] of allowed) {
    const answer = await central.send(method, path)
    assert.equal(answer.status, 405, path)
    if (method !== 'HEAD') problemOf(answer, 405, 'METHOD_NOT_ALLOWED')
    assert.equal(answer.headers.get('allow'), allow)
  }
})

test('HEAD answers like GET, without a body', async () => {
  const answer = await central.send('HEAD', '/health')
  assert.equal(answer.status, 200)
  assert.equal(answer.text, '')
  assert.equal(answer.headers.get('content-length'), '15')
})

test('every answer forbids sniffing and caching', async () => {
  for (const path of ['/health', '/nowhere', '/charge-points', '/audit/events', '/%zz']) {
    const { headers } = await central.send('GET', path, { as: 'auditor' })
    assert.equal(headers.get('x-content-type-options'), 'nosniff')
    assert.equal(headers.get('cache-control'), 'no-store')
    assert.equal(headers.get('x-powered-by'), null)
  }
})

test('GET /docs: an interactive page that needs nothing from elsewhere', async () => {
  const page = await central.send('GET', '/docs')
  assert.equal(page.status, 200)
  assert.match(page.headers.get('content-type') ?? '', /^text\/html/)
  const policy = page.headers.get('content-security-policy') ?? ''
  assert.match(policy, /default-src 'self'/)
  assert.doesNotMatch(policy, /https?:/)
  const assets = [...page.text.matchAll(/(?:src|href)="([^"]+)"/g)].map(match => match[1] as string)
  assert.equal(assets.length, 4)
  for (const asset of assets) {
    const url = new URL(asset, `${central.url}/docs`)
    assert.equal(url.origin, central.url)
    assert.equal((await fetch(url)).status, 200, asset)
  }
  assert.equal((await fetch(`${central.url}/docs/`)).status, 200)
})

test('GET /: leads to the reference', async () => {
  const answer = await fetch(`${central.url}/`, { redirect: 'manual' })
  assert.equal(answer.status, 302)
  assert.equal(answer.headers.get('location'), '/docs')
})

test('probes: parameters that a load balancer adds are let pass where it looks', async () => {
  for (const path of ['/health', '/ready', '/metrics']) {
    assert.equal((await central.send('GET', `${path}?probe=1`)).status, 200, path)
  }
})

test('an exception nobody foresaw is 500 with nothing of it, one ERROR event, and a line in the log', {
  skip: ONLY_SQLITE,
}, async () => {
  const own = await startTestCentral()
  try {
    await own.breakSecurityState()
    const answer = await own.send('POST', '/charge-points', { as: 'operator', body: { cp_id: 'CP-1' } })
    const problem = problemOf(answer, 500, 'INTERNAL_ERROR')
    assert.equal(problem.detail, 'Quote the request_id to the operator.')
    assert.doesNotMatch(answer.text, /sqlite|table|charge_points/i)
    const [event, ...others] = await own.eventsOf(answer.requestId)
    assert.deepEqual(others, [])
    assert.equal(event?.action, 'ERROR')
    assert.equal(event?.severity, 'ERROR')
    assert.equal(event?.who, 'CP-1')
    assert.equal(event?.status_code, 500)
    assert.equal(event?.reason_code, 'Error')
    assert.doesNotMatch(`${event?.description}${event?.metadata_json}`, / at |\.ts/)
    assert.match(own.log(), new RegExp(`"request_id":"${answer.requestId}","msg":"unhandled error"`))
  } finally {
    await own.close()
  }
})
