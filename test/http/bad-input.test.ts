import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import test, { after, before } from 'node:test'
import { LIMITS } from '../../src/limits.ts'
import { type Answer, eventually, problemOf, startTestCentral, type TestCentral } from './harness.ts'

let central: TestCentral
before(async () => {
  central = await startTestCentral()
})
after(() => central.close())

const post = (text: string | Buffer, headers: Record<string, string> = {}) =>
  central.send('POST', '/auth/credentials', { text, headers, from: central.address() })

/** One VALIDATION_ERROR of bounded size, and nothing else. */
async function onlyValidationError(answer: Pick<Answer, 'requestId'>, status: number, who = 'unknown') {
  const [event, ...others] = await central.eventsOf(answer.requestId)
  assert.deepEqual(others, [])
  assert.equal(event?.action, 'VALIDATION_ERROR')
  assert.equal(event?.severity, 'WARN')
  assert.equal(event?.status_code, status)
  assert.equal(event?.who, who)
  assert.ok((event?.description ?? '').length <= 500)
  return event
}

test('bad input: a body that is not what it should be is 422 and one VALIDATION_ERROR', async () => {
  const bodies: Record<string, string | Buffer> = {
    nothing: '',
    'half of it': '{"cp_id":"CP-1"',
    'not an object': '"CP-1"',
    null: 'null',
    'an array': '[{"cp_id":"CP-1","credentials":"x"}]',
    'too deep': `${'['.repeat(30_000)}${']'.repeat(30_000)}`,
    'a name twice': '{"cp_id":"CP-1","credentials":"a","credentials":"b"}',
    'a prototype': '{"cp_id":"CP-1","credentials":"a","__proto__":{"x":1}}',
    'a constructor': '{"constructor":{"prototype":{"x":1}},"cp_id":"CP-1","credentials":"a"}',
    'invalid UTF-8': Buffer.from('{"cp_id":"CP-1","credentials":"\xff"}', 'latin1'),
    'many fields': JSON.stringify(Object.fromEntries(Array.from({ length: 5_000 }, (_, i) => [`f${i}`, 0]))),
  }
  for (const [name, body] of Object.entries(bodies)) {
    const answer = await post(body)
    const problem = problemOf(answer, 422, 'VALIDATION_FAILED')
    assert.ok(problem.errors.length > 0, name)
    await onlyValidationError(answer, 422)
  }
})

test('bad input: 100,000-deep JSON and 10 MiB bodies get 413, their answer arrives, and they cost little', async () => {
  const used = process.cpuUsage()
  for (const body of ['['.repeat(100_000), Buffer.alloc(10 * 1024 * 1024, 0x20)]) {
    const answer = await post(body)
    problemOf(answer, 413, 'PAYLOAD_TOO_LARGE')
    await onlyValidationError(answer, 413)
  }
  assert.ok(process.cpuUsage(used).user < 5_000_000)
  // The same without a length announced.
  const chunk = `10000\r\n${'x'.repeat(0x10000)}\r\n`
  const head = 'POST /auth/credentials HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n'
  const text = await central.raw([
    `${head}Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n`,
    chunk,
    chunk,
    '0\r\n\r\n',
  ])
  assert.match(text, /^HTTP\/1\.1 413 /)
})

test('bad input: wrong types and hostile values in every field are 422, named by field, the value nowhere', async () => {
  const { cpId } = await central.chargePoint()
  const hostile = [
    'nul\u0000x',
    'line\r\nInjected: yes',
    'ansi\u001b[31mred',
    'bidi\u202egnp.exe',
    'c1\u009bx',
    'sep\u2028x',
    'bom\ufeffx',
    'isolate\u2066x',
  ].map(text => JSON.stringify(text)) // prettier as source, escaped on the wire or not, they are the same text
  const values = [...hostile, '"\\ud800"', '"\\udc00x"', '1e400', '1', 'true', 'null', '[]', '{}', '""']
  const fields: [string, string, Record<string, string>][] = [
    ['/auth/credentials', 'cp_id', { credentials: '"x"' }],
    ['/auth/credentials', 'credentials', { cp_id: `"${cpId}"` }],
    ['/auth/token', 'token', { cp_id: `"${cpId}"` }],
    ['/charge-points', 'cp_id', {}],
    ['/charge-points', 'location', { cp_id: '"NEW"' }],
    ['/charge-points', 'credentials', { cp_id: '"NEW"' }],
    [`/charge-points/${cpId}/credentials`, 'reason', {}],
    ['/keys/generate', 'reason', { cp_id: `"${cpId}"` }],
    ['/keys/reset', 'reason', { cp_id: `"${cpId}"` }],
    ['/keys/revoke', 'cp_id', {}],
    ['/status/out-of-service', 'reason', { cp_id: `"${cpId}"` }],
    ['/status/restore', 'reason', { cp_id: `"${cpId}"` }],
    ['/status/revoke', 'reason', { cp_id: `"${cpId}"` }],
  ]
  const before = (await central.send('GET', '/charge-points?limit=1000', { as: 'auditor' })).text
  const samples: Answer[] = []
  for (const [path, field, others] of fields) {
    for (const value of values) {
      const members = Object.entries({ ...others, [field]: value }).map(([name, text]) => `"${name}":${text}`)
      const text = `{${members.join(',')}}`
      const answer = await central.send('POST', path, { as: 'operator', text, from: central.address() })
      const problem = problemOf(answer, 422, 'VALIDATION_FAILED')
      assert.deepEqual([...new Set(problem.errors.map((error: { field: string }) => error.field))], [field], text)
      assert.doesNotMatch(answer.text, /Injected|gnp\.exe|ansi|isolate/)
      if (value === values[1]) samples.push(answer)
    }
  }
  for (const answer of samples) {
    const [event, ...others] = await central.eventsOf(answer.requestId)
    assert.deepEqual(others, [])
    assert.equal(event?.action, 'VALIDATION_ERROR')
    assert.ok(
      event?.who === 'olga' || event?.who === cpId || event?.who === 'NEW' || event?.who === 'unknown',
      event?.who,
    )
  }
  assert.equal((await central.send('GET', '/charge-points?limit=1000', { as: 'auditor' })).text, before)
})

test('bad input: an unknown field is refused everywhere, in bodies and in query strings', async () => {
  const { cpId, credentials } = await central.chargePoint()
  const body = { cp_id: cpId, credentials, extra: 1 }
  const answer = await central.send('POST', '/auth/credentials', { body, from: central.address() })
  assert.deepEqual(problemOf(answer, 422, 'VALIDATION_FAILED').errors, [
    { field: 'extra', rule: 'additionalProperties' },
  ])
  const event = await onlyValidationError(answer, 422, cpId)
  assert.match(event?.description ?? '', /extra:additionalProperties/)
  for (const path of ['/charge-points?color=red', '/security/status?color=red', '/audit/events/1?color=red']) {
    problemOf(await central.send('GET', path, { as: 'operator' }), 422, 'VALIDATION_FAILED')
  }
  const stray = await central.send('POST', '/auth/credentials?token=abc', { body: { cp_id: cpId, credentials } })
  problemOf(stray, 422, 'VALIDATION_FAILED')
})

test('bad input: a field is unknown, too, where no body is read', async () => {
  const { cpId } = await central.chargePoint()
  const [post, remove] = [
    await central.send('POST', '/evidence/verification', { as: 'auditor', body: { through: 7 } }),
    await central.send('DELETE', `/charge-points/${cpId}`, { as: 'operator', body: { reason: 'sold' } }),
  ]
  assert.deepEqual(problemOf(post, 422, 'VALIDATION_FAILED').errors, [
    { field: 'through', rule: 'additionalProperties' },
  ])
  assert.deepEqual(problemOf(remove, 422, 'VALIDATION_FAILED').errors, [
    { field: 'reason', rule: 'additionalProperties' },
  ])
  for (const text of ['[]', '7', 'null'])
    problemOf(await central.send('POST', '/evidence/verification', { as: 'auditor', text }), 422, 'VALIDATION_FAILED')
  for (const text of ['', '{}'])
    assert.equal((await central.send('POST', '/evidence/verification', { as: 'auditor', text })).status, 202, text)
  assert.equal((await central.send('GET', `/security/status/${cpId}`, { as: 'operator' })).status, 200)
})

test('bad input: what is wrong with many fields is told in at most five words and a count', async () => {
  const fields = Object.fromEntries(Array.from({ length: 7 }, (_, i) => [`field_${'abcdefg'[i]}`, 1]))
  const answer = await post(JSON.stringify({ cp_id: 'CP-1', credentials: 'x', ...fields }))
  assert.equal(problemOf(answer, 422, 'VALIDATION_FAILED').errors.length, 7)
  const event = await onlyValidationError(answer, 422, 'CP-1')
  assert.match(
    event?.description ?? '',
    /(?:field_[a-e]:additionalProperties, ){4}field_e:additionalProperties \(\+2 more\)$/,
  )
})

test('bad input: another content type is 415 and one VALIDATION_ERROR; JSON in UTF-8 is not', async () => {
  for (const type of [
    'text/plain',
    'application/xml',
    'multipart/form-data; boundary=x',
    'nonsense',
    'application/json; charset=latin1',
  ]) {
    const answer = await post('{}', { 'content-type': type })
    problemOf(answer, 415, 'UNSUPPORTED_MEDIA_TYPE')
    await onlyValidationError(answer, 415)
  }
  problemOf(await post('{}', { 'content-encoding': 'gzip' }), 415, 'UNSUPPORTED_MEDIA_TYPE')
  for (const type of ['application/json; charset=utf-8', 'APPLICATION/JSON', 'application/json;charset="UTF-8"']) {
    problemOf(await post('{}', { 'content-type': type }), 422, 'VALIDATION_FAILED')
  }
})

test('bad input: what is not HTTP gets a problem document, a request id, one event, and the connection closed', async () => {
  const big = 'a'.repeat(20_000)
  const cases: [string, number, string][] = [
    ['\u0016\u0003\u0001 this is not HTTP\r\n\r\n', 400, 'BAD_REQUEST'],
    ['FETCH /health HTTP/1.1\r\nHost: x\r\n\r\n', 400, 'BAD_REQUEST'],
    ['GET /health HTTP/1.1\r\nHost: x\r\nX-A: a\u0000b\r\n\r\n', 400, 'BAD_REQUEST'],
    ['GET /health HTTP/1.1\r\nHost: x\r\nX-Request-ID: \u001b[31m\r\n\r\n', 400, 'BAD_REQUEST'],
    [`GET /health HTTP/1.1\r\nHost: x\r\nX-A: ${big}\r\n\r\n`, 431, 'HEADERS_TOO_LARGE'],
    [`GET /${big} HTTP/1.1\r\nHost: x\r\n\r\n`, 414, 'URI_TOO_LONG'],
    [
      'POST /messages HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n',
      400,
      'BAD_REQUEST',
    ],
  ]
  for (const [bytes, status, code] of cases) {
    const text = await central.raw([bytes])
    const [head = '', body = ''] = text.split('\r\n\r\n')
    assert.match(head, new RegExp(`^HTTP/1\\.1 ${status} `))
    assert.match(head, /\r\nContent-Type: application\/problem\+json\r\n/)
    assert.match(head, /\r\nConnection: close/)
    const problem = JSON.parse(body)
    assert.equal(problem.code, code)
    const requestId = /\r\nX-Request-ID: (.*)\r\n/.exec(head)?.[1] ?? ''
    assert.equal(problem.request_id, requestId)
    await onlyValidationError({ requestId }, status)
  }
})

test('bad input: a chunk that is none, in the middle of a body, is 400 in the context of its request', async () => {
  const head =
    'POST /auth/token HTTP/1.1\r\nHost: x\r\nX-Request-ID: broken-chunk\r\nContent-Type: application/json\r\n'
  const text = await central.raw([`${head}Transfer-Encoding: chunked\r\n\r\n`, 'ZZZ\r\n'])
  assert.match(text, /^HTTP\/1\.1 400 /)
  const event = await onlyValidationError({ requestId: 'broken-chunk' }, 400)
  assert.equal(event?.endpoint, '/auth/token')
})

test('bad input: garbage behind a good request does not cost that its answer', async () => {
  const text = await central.raw(['GET /health HTTP/1.1\r\nHost: x\r\n\r\nGARBAGE\r\n\r\n'])
  assert.match(text, /^HTTP\/1\.1 200 OK\r\n[\s\S]*\{"status":"ok"\}HTTP\/1\.1 400 /)
})

test('bad input: addresses too long, badly escaped or unknown, and no Host', async () => {
  problemOf(await central.send('GET', `/health?${'a'.repeat(9_000)}`), 414, 'URI_TOO_LONG')
  const escaped = await central.send('GET', '/charge-points/%zz', { as: 'operator' })
  problemOf(escaped, 400, 'BAD_REQUEST')
  await onlyValidationError(escaped, 400)
  assert.match(await central.raw(['GET /health HTTP/1.1\r\nConnection: close\r\n\r\n']), /^HTTP\/1\.1 400 /)
  const long = `/security/status/${'a'.repeat(2_000)}`
  problemOf(await central.send('GET', long, { as: 'operator' }), 422, 'VALIDATION_FAILED')
})

test('bad input: what two parties on the way could read in two ways is refused, and a tunnel', async () => {
  const { cpId, credentials } = await central.chargePoint()
  const body = JSON.stringify({ cp_id: cpId, credentials })
  const login = (headers: string, sent = body, version = 'HTTP/1.1') =>
    central.raw([
      `POST /auth/credentials ${version}\r\nConnection: close\r\nX-Forwarded-For: ${central.address()}\r\n${headers}\r\n${sent}`,
    ])
  const length = `Content-Length: ${body.length}\r\n`
  const json = `Content-Type: application/json\r\n`
  const chunked = `${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`
  assert.match(await login(`Host: x\r\n${json}${length}`), /^HTTP\/1\.1 200 /)
  assert.match(await login(`Host: [::1]:8080\r\n${json}Transfer-Encoding: Chunked\r\n`, chunked), /^HTTP\/1\.1 200 /)
  const refused: [string, string, number][] = [
    [`Host: x\r\nHost: y\r\n${json}${length}`, body, 400],
    [`Host: x/@y\r\n${json}${length}`, body, 400],
    [`Host: x\r\n${json}Transfer-Encoding: gzip, chunked\r\n`, chunked, 400],
    [`Host: x\r\n${json}Content-Type: text/plain\r\n${length}`, body, 415],
  ]
  for (const [headers, sent, status] of refused) {
    assert.match(await login(headers, sent), new RegExp(`^HTTP/1\\.1 ${status} `), headers)
  }
  assert.match(await login(`Host: x\r\n${json}${length}`, body, 'HTTP/0.9'), /^HTTP\/1\.1 400 /)
  assert.match(await central.raw(['GET /health\r\n\r\n']), /^HTTP\/1\.1 400 /)
  const tunnel = await central.raw(['CONNECT db.internal:5432 HTTP/1.1\r\nHost: db.internal\r\n\r\n'])
  assert.match(tunnel, /^HTTP\/1\.1 400 [\s\S]*"BAD_REQUEST"/)

  const token = (await central.send('POST', '/auth/credentials', { text: body })).body.token
  const bearer = `Authorization: Bearer ${token}\r\n`
  const keys = (headers: string) =>
    central.raw([`GET /keys/current HTTP/1.1\r\nHost: x\r\nConnection: close\r\n${headers}\r\n`])
  assert.match(await keys(bearer), /"KEY_NOT_FOUND"/)
  assert.match(await keys(`${bearer}Authorization: Bearer of.somebody.else\r\n`), /^HTTP\/1\.1 401 /)
})

test('bad input: a client that breaks off leaves no ERROR, and the count of requests in flight comes down again', async () => {
  const socket = connect(central.port, '127.0.0.1')
  socket.write('POST /auth/credentials HTTP/1.1\r\nHost: x\r\nX-Request-ID: broke-off\r\n')
  socket.write('Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"cp')
  await eventually(async () => /^evc_http_requests_in_flight 2$/m.test((await central.send('GET', '/metrics')).text))
  socket.destroy()
  await eventually(async () => /^evc_http_requests_in_flight 1$/m.test((await central.send('GET', '/metrics')).text))
  const events = await central.eventsOf('broke-off')
  assert.ok(events.every(event => event.action === 'VALIDATION_ERROR') && events.length <= 1)
})

test('bad input: hundreds of idle sockets are no hindrance, and leave no event', async () => {
  const count = () => central.send('GET', '/audit/events?action=VALIDATION_ERROR&limit=1', { as: 'auditor' })
  const before = (await count()).body.events[0].id
  const sockets: Socket[] = []
  await Promise.all(
    Array.from({ length: 1_000 }, () => {
      const { promise, resolve } = Promise.withResolvers<void>()
      const socket = connect(central.port, '127.0.0.1', resolve)
      socket.on('error', () => resolve())
      sockets.push(socket)
      return promise
    }),
  )
  const { cpId, credentials } = await central.chargePoint()
  const body = { cp_id: cpId, credentials }
  const answer = await central.send('POST', '/auth/credentials', { body, from: central.address() })
  assert.equal(answer.status, 200)
  for (const socket of sockets) socket.destroy()
  await central.eventsOf(answer.requestId)
  assert.equal((await count()).body.events[0].id, before)
})

test('overload: more requests than can be served at once are turned away with Retry-After, until there is room', async () => {
  const head =
    'POST /auth/credentials HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n'
  const sockets: Socket[] = []
  // A few at a time, or a server that is busy has no place for them in its queue; and some more, for those that are cut off meanwhile.
  while (sockets.length < LIMITS.requestsInFlightMax + 100) {
    const opened = Array.from({ length: 100 }, () => {
      const socket = connect(central.port, '127.0.0.1')
      socket.on('error', () => {})
      return socket
    })
    await Promise.all(opened.map(socket => once(socket, 'connect')))
    for (const socket of opened) socket.write(head) // the body never comes
    sockets.push(...opened)
  }
  let refused: Answer | undefined
  await eventually(async () => {
    const answer = await central.send('GET', '/ready')
    if (answer.status === 503) refused = answer
    return refused !== undefined
  })
  problemOf(refused as Answer, 503, 'OVERLOADED')
  assert.equal(refused?.headers.get('retry-after'), '1')
  assert.equal((await central.send('GET', '/health')).status, 200, 'nobody restarts what is busy')
  // Those whose body never comes make room for others, long before their time is over.
  const ready = async () => (await central.send('GET', '/ready')).status === 200
  await eventually(ready, LIMITS.requestTimeoutMs - 6_000)
  for (const socket of sockets) socket.destroy()
  await eventually(ready)
})

test('bad input: after all of it no line of the log and no event holds a character that acts on a terminal', async () => {
  // biome-ignore lint/complexity/useRegexLiterals: the characters would act on whoever reads this file
  const acting = new RegExp('[\\u0000-\\u0009\\u000b-\\u001f\\u007f-\\u009f\\u202a-\\u202e\\u2066-\\u2069]')
  assert.doesNotMatch(central.log(), acting)
  const exported = await central.send('GET', '/audit/export', { as: 'auditor' })
  assert.equal(exported.status, 200)
  assert.doesNotMatch(exported.text, acting)
  assert.doesNotMatch(exported.text, /"action":"ERROR"/)
})
