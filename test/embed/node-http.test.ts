import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { json } from 'node:stream/consumers'
import test, { type TestContext } from 'node:test'
import { currentContext, type EmbeddedAudit } from '../../src/embed/index.ts'
import { type NodeHandler, type WithAuditOptions, withAudit } from '../../src/embed/node-http.ts'
import { adapterContract, deepContext, failLogin, meterError, missingError, send } from './adapter-contract.ts'
import { sharedAudit } from './temporary-audit.ts'

async function listen(options: WithAuditOptions, handler: NodeHandler) {
  const server = createServer(withAudit(options, handler))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async close() {
      server.closeAllConnections()
      await new Promise(done => server.close(done))
    },
  }
}

const openShared = sharedAudit()

adapterContract('node:http wrapper', openShared, async ({ audit, problems: _always, ...options }) =>
  listen({ audit, ...options }, async (request, response) => {
    switch (request.url?.split('?')[0]) {
      case '/context':
        return response.end(JSON.stringify(await deepContext()))
      case '/listen':
        return request.resume().on('end', () => {
          response.end(JSON.stringify({ requestId: currentContext()?.requestId }))
        })
      case '/login': {
        const body = await json(request).catch(() => {
          throw Object.assign(new Error('not JSON'), { statusCode: 422 })
        })
        response.writeHead(401)
        return response.end(JSON.stringify(await failLogin(audit, body)))
      }
      case '/throws':
        throw meterError()
      case '/refuses':
        throw missingError()
      default:
        response.statusCode = 204
        return response.end()
    }
  }),
)

async function open(t: TestContext, handler: (audit: EmbeddedAudit) => NodeHandler) {
  const { audit, stored } = await openShared()
  const server = await listen({ audit }, handler(audit))
  t.after(() => server.close())
  return { url: server.url, stored }
}

test('node:http wrapper: an answer in one piece has its length, as without the wrapper', async t => {
  const { url } = await open(t, () => (request, response) => {
    response.end(request.url === '/bytes' ? Buffer.from('h\u00e9llo') : 'h\u00e9llo')
  })
  for (const path of ['/text', '/bytes']) {
    const { headers, text } = await send(url + path)
    assert.deepEqual([text, headers['content-length'], headers['transfer-encoding']], ['h\u00e9llo', '6', undefined])
  }
})

test('node:http wrapper: a synchronous throw is answered and recorded, and leaves no header of the handler behind', async t => {
  const { url, stored } = await open(t, () => (_request, response) => {
    response.setHeader('content-encoding', 'gzip')
    throw meterError()
  })
  const { status, headers, text } = await send(url)
  assert.deepEqual([status, headers['content-encoding']], [500, undefined])
  assert.equal(JSON.parse(text).code, 'INTERNAL_ERROR')
  assert.deepEqual(
    (await stored()).map(event => event.reason_code),
    ['TypeError'],
  )
})

test('node:http wrapper: an answer that fails half-way is cut off, so that it does not look whole', async t => {
  const { url, stored } = await open(t, () => async (_request, response) => {
    response.write('half of ')
    await new Promise(setImmediate)
    throw meterError()
  })
  await assert.rejects(send(url))
  assert.deepEqual(
    (await stored()).map(event => event.action),
    ['ERROR'],
  )
})

test('node:http wrapper: a handler that fails after answering changes nothing of the answer, and is recorded', async t => {
  const { url, stored } = await open(t, audit => (_request, response) => {
    audit.authSuccess('CP-1')
    response.end('in full')
    throw meterError()
  })
  const { status, text } = await send(url)
  assert.deepEqual([status, text], [200, 'in full'])
  assert.deepEqual(
    (await stored()).map(event => event.action),
    ['AUTH_SUCCESS', 'ERROR'],
  )
})

test('node:http wrapper: after end() the answer is decided, as without the wrapper', async t => {
  const { url } = await open(t, audit => (_request, response) => {
    audit.authSuccess('CP-1')
    response.end('decided')
    response.statusCode = 500
    assert.equal(response.headersSent, true)
    assert.throws(() => response.setHeader('x-late', '1'), { code: 'ERR_HTTP_HEADERS_SENT' })
    response.end('again')
  })
  const { status, text } = await send(url)
  assert.deepEqual([status, text], [200, 'decided'])
})

test('node:http wrapper: listeners that learn of a client gone away have the context', async t => {
  const { promise: seen, resolve } = Promise.withResolvers<string | undefined>()
  const gone = new AbortController()
  const { url } = await open(t, () => (_request, response) => {
    response.on('close', () => resolve(currentContext()?.requestId))
    gone.abort()
  })
  await assert.rejects(fetch(url, { headers: { 'x-request-id': 'r1' }, signal: gone.signal }))
  assert.equal(await seen, 'r1')
})

test('node:http wrapper: an error may name what is wrong with the request', async t => {
  const violations = [
    { field: 'cp_id', rule: 'required' },
    { field: 'evse.1', rule: 'type' },
  ]
  const { url, stored } = await open(t, () => () => {
    throw Object.assign(new Error('no'), { statusCode: 422, violations })
  })
  assert.deepEqual(JSON.parse((await send(url)).text).errors, violations)
  assert.deepEqual(
    (await stored()).map(event => event.description),
    ['Request validation failed: cp_id:required, evse.1:type'],
  )
})
