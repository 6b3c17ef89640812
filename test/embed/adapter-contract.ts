/**
 * What every adapter promises, as a suite: the same small application behind Fastify, Express and node:http, real
 * servers, real requests, a real audit trail.
 *
 *   GET  /context    currentContext() after a few awaits
 *   POST /login      reads a JSON body, records AUTH_FAIL for its cp_id without passing a context, answers 401
 *   POST /listen     currentContext() in a listener of the request's own `end`
 *   GET  /throws     throws a TypeError
 *   GET  /refuses    throws an error with statusCode 404
 *   GET  /nothing    answers 204 without a body
 */
import assert from 'node:assert/strict'
import { request as httpRequest, type IncomingHttpHeaders } from 'node:http'
import test, { type TestContext } from 'node:test'
import { setImmediate, setTimeout } from 'node:timers/promises'
import { currentContext, type EmbeddedAudit } from '../../src/embed/index.ts'
import type { SharedAudit } from './temporary-audit.ts'

export interface AdapterTestOptions {
  readonly audit: EmbeddedAudit
  readonly trustedProxies?: readonly string[]
  readonly problems?: boolean
  readonly who?: (request: { readonly headers: IncomingHttpHeaders }) => string | undefined
}

export type StartAdapter = (options: AdapterTestOptions) => Promise<{ url: string; close(): Promise<void> }>

/** The handlers' common part, so that the adapters' applications differ in the framework only. */
export async function deepContext() {
  await setTimeout(1)
  await Promise.all([setImmediate(), Promise.resolve()])
  return currentContext() ?? null
}

export async function failLogin(audit: EmbeddedAudit, body: unknown) {
  const { cp_id } = body as { cp_id: string }
  await setTimeout(Math.random() * 5)
  audit.authFail(cp_id, undefined, audit.REASON.INVALID_CREDENTIALS)
  await setImmediate()
  return { requestId: currentContext()?.requestId ?? null }
}

export const meterError = () => new TypeError('the meter does not answer')
export const missingError = () => Object.assign(new Error('there is no such charge point'), { statusCode: 404 })

interface Answer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly text: string
}

export interface Sent {
  readonly method?: string
  readonly headers?: Record<string, string>
  readonly body?: string
}

/** One request over a connection of its own, headers as given, also such as `fetch` would not send. */
export function send(url: string, { method = 'GET', headers = {}, body }: Sent = {}): Promise<Answer> {
  const json = body === undefined ? {} : { 'content-type': 'application/json' }
  return new Promise((resolve, reject) => {
    const request = httpRequest(url, { method, agent: false, headers: { ...json, ...headers } }, response => {
      let text = ''
      response.setEncoding('utf8')
      response.on('data', chunk => {
        text += chunk
      })
      response.on('end', () => resolve({ status: response.statusCode ?? 0, headers: response.headers, text }))
      response.on('error', reject)
    })
    request.on('error', reject)
    request.end(body)
  })
}

export const post = (url: string, body: string, headers: Record<string, string> = {}) =>
  send(url, { method: 'POST', body, headers })

export function adapterContract(name: string, openShared: () => Promise<SharedAudit>, start: StartAdapter): void {
  async function open(t: TestContext, options: Omit<AdapterTestOptions, 'audit'> = {}) {
    const { audit, stored } = await openShared()
    const app = await start({ audit, ...options })
    t.after(() => app.close())
    return { url: app.url, audit, stored }
  }

  test(`${name}: the context is there after awaits, and the answer carries its request id`, async t => {
    const { url } = await open(t)
    const { headers, text } = await send(`${url}/context?token=of-no-concern`)
    const context = JSON.parse(text)
    assert.deepEqual(context, {
      requestId: headers['x-request-id'],
      ip: '127.0.0.1',
      endpoint: '/context',
      httpMethod: 'GET',
    })
    assert.match(String(headers['x-request-id']), /^[0-9a-f]{8}-[0-9a-f]{4}-7/)
  })

  test(`${name}: the context is there in listeners of the request's own events`, async t => {
    const { url } = await open(t)
    const { headers, text } = await post(`${url}/listen`, '{"a":1}')
    assert.equal(JSON.parse(text).requestId, headers['x-request-id'])
  })

  test(`${name}: a request id that fits is taken over, a hostile one is replaced`, async t => {
    const { url } = await open(t)
    const fits = await send(`${url}/context`, { headers: { 'x-request-id': 'trace:1.2_3-4' } })
    assert.equal(fits.headers['x-request-id'], 'trace:1.2_3-4')
    for (const hostile of ['<script>', 'two words', 'x'.repeat(129), '\u00e4', "1';--"]) {
      const { headers } = await send(`${url}/context`, { headers: { 'x-request-id': hostile } })
      assert.match(String(headers['x-request-id']), /^[0-9a-f-]{36}$/)
    }
  })

  test(`${name}: X-Forwarded-For counts only behind a trusted proxy, and then from the right`, async t => {
    const headers = { 'x-forwarded-for': '6.6.6.6, 203.0.113.9, 10.0.0.1' }
    const plain = await open(t)
    assert.equal(JSON.parse((await send(`${plain.url}/context`, { headers })).text).ip, '127.0.0.1')
    const behind = await open(t, { trustedProxies: ['127.0.0.1', '10.0.0.0/8'] })
    assert.equal(JSON.parse((await send(`${behind.url}/context`, { headers })).text).ip, '203.0.113.9')
  })

  test(`${name}: a trusted proxy that is no address is refused at once`, async t => {
    await assert.rejects(open(t, { trustedProxies: ['proxy.example'] }), TypeError)
  })

  test(`${name}: events of concurrent requests carry their own request's id, and no other's`, async t => {
    const { url, stored } = await open(t)
    const names = Array.from({ length: 40 }, (_, i) => `CP-${i}`)
    const answers = await Promise.all(
      names.map(cp_id => post(`${url}/login`, JSON.stringify({ cp_id }), { 'x-request-id': `request-of-${cp_id}` })),
    )
    for (const [i, answer] of answers.entries()) {
      assert.equal(answer.status, 401)
      assert.equal(JSON.parse(answer.text).requestId, `request-of-${names[i]}`)
    }
    const events = await stored()
    assert.equal(events.length, names.length)
    for (const event of events) {
      assert.equal(event.request_id, `request-of-${event.who}`)
      assert.deepEqual([event.endpoint, event.http_method, event.ip], ['/login', 'POST', '127.0.0.1'])
    }
  })

  test(`${name}: an answer goes out when its events are durable`, async t => {
    const { url, audit } = await open(t)
    const before = audit.status().journal.appendedSequence
    for (let i = 1; i <= 20; i++) {
      await post(`${url}/login`, '{"cp_id":"CP-1"}')
      const { appendedSequence, durableSequence } = audit.status().journal
      assert.equal(durableSequence, appendedSequence)
      assert.equal(appendedSequence, before + i)
    }
  })

  test(`${name}: an unhandled error is an ERROR event with the context`, async t => {
    const { url, stored } = await open(t)
    const { status, headers } = await send(`${url}/throws?q=1`)
    assert.equal(status, 500)
    const [event, ...others] = await stored()
    assert.equal(others.length, 0)
    assert.equal(event?.action, 'ERROR')
    assert.equal(event.severity, 'ERROR')
    assert.equal(event.reason_code, 'TypeError')
    assert.equal(event.status_code, 500)
    assert.equal(event.description, 'System error: TypeError - the meter does not answer')
    assert.equal(event.who, 'system')
    assert.equal(event.request_id, headers['x-request-id'])
    assert.deepEqual([event.endpoint, event.http_method, event.ip], ['/throws', 'GET', '127.0.0.1'])
  })

  test(`${name}: a body that does not parse is a VALIDATION_ERROR with the answered status and none of the body`, async t => {
    const { url, stored } = await open(t)
    const { status, headers } = await post(`${url}/login`, '{"cp_id": "CP-1", "credentials": "canary-4711')
    assert.ok(status >= 400 && status < 500)
    const [event, ...others] = await stored()
    assert.equal(others.length, 0)
    assert.equal(event?.action, 'VALIDATION_ERROR')
    assert.equal(event.severity, 'WARN')
    assert.equal(event.status_code, status)
    assert.equal(event.who, 'unknown')
    assert.equal(event.request_id, headers['x-request-id'])
    assert.deepEqual([event.endpoint, event.http_method, event.ip], ['/login', 'POST', '127.0.0.1'])
    assert.match(event.description, /^Request validation failed: body:/)
    assert.doesNotMatch(JSON.stringify(event), /canary/)
  })

  test(`${name}: a refusal that the application chose is no event`, async t => {
    const { url, stored } = await open(t)
    assert.equal((await send(`${url}/refuses`)).status, 404)
    assert.deepEqual(await stored(), [])
  })

  test(`${name}: an answer without a body stays one`, async t => {
    const { url } = await open(t)
    const { status, headers, text } = await send(`${url}/nothing`)
    assert.deepEqual([status, text, headers['content-length']], [204, '', undefined])
  })

  test(`${name}: the application can name who failed; one that throws at that names nobody`, async t => {
    const named = await open(t, { who: request => String(request.headers['x-cp-id']) })
    await send(`${named.url}/throws`, { headers: { 'x-cp-id': 'CP-7' } })
    await post(`${named.url}/login`, '{', { 'x-cp-id': 'CP-8' })
    assert.deepEqual(
      (await named.stored()).map(event => event.who),
      ['CP-7', 'CP-8'],
    )
    const throwing = await open(t, {
      who: () => {
        throw new Error('who knows')
      },
    })
    assert.equal((await send(`${throwing.url}/throws`)).status, 500)
    assert.deepEqual(
      (await throwing.stored()).map(event => [event.who, event.description]),
      [['system', 'System error: TypeError - the meter does not answer']],
    )
  })

  test(`${name}: asked for problems, errors are answered as RFC 9457 and tell nothing of the inside`, async t => {
    const { url, stored } = await open(t, { problems: true })
    const broken = await send(`${url}/throws`)
    assert.equal(broken.status, 500)
    assert.match(String(broken.headers['content-type']), /^application\/problem\+json/)
    assert.equal(JSON.parse(broken.text).code, 'INTERNAL_ERROR')
    assert.equal(JSON.parse(broken.text).request_id, broken.headers['x-request-id'])
    assert.doesNotMatch(broken.text, /meter/)

    const invalid = await post(`${url}/login`, '{ canary')
    assert.equal(invalid.status, 422)
    assert.match(String(invalid.headers['content-type']), /^application\/problem\+json/)
    assert.equal(JSON.parse(invalid.text).code, 'VALIDATION_FAILED')
    assert.equal(JSON.parse(invalid.text).errors[0].field, 'body')
    assert.doesNotMatch(invalid.text, /canary/)

    const missing = await send(`${url}/refuses`)
    assert.equal(missing.status, 404)
    assert.equal(JSON.parse(missing.text).detail, 'there is no such charge point')
    assert.deepEqual(
      (await stored()).map(event => [event.action, event.status_code]),
      [
        ['ERROR', 500],
        ['VALIDATION_ERROR', 422],
      ],
    )
  })
}
