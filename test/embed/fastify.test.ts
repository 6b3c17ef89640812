import assert from 'node:assert/strict'
import test, { type TestContext } from 'node:test'
import fastify, { type FastifyInstance } from 'fastify'
import { type AuditFastifyOptions, auditFastify } from '../../src/embed/fastify.ts'
import { currentContext } from '../../src/embed/index.ts'
import { adapterContract, deepContext, failLogin, meterError, missingError, post, send } from './adapter-contract.ts'
import { sharedAudit } from './temporary-audit.ts'

const openShared = sharedAudit()

adapterContract('fastify plugin', openShared, async ({ audit, ...options }) => {
  const app = fastify()
  app.register(auditFastify, { audit, ...options })
  app.get('/context', deepContext)
  app.post('/login', async (request, reply) => reply.code(401).send(await failLogin(audit, request.body)))
  app.get('/throws', async () => {
    throw meterError()
  })
  app.get('/refuses', () => {
    throw missingError()
  })
  app.get('/nothing', (_request, reply) => reply.code(204).send())
  app.register(async scope => {
    scope.removeAllContentTypeParsers()
    scope.addContentTypeParser('application/json', (_request, payload, done) => {
      payload.resume().on('end', () => done(null, { requestId: currentContext()?.requestId }))
    })
    scope.post('/listen', async request => request.body)
  })
  return { url: await app.listen({ host: '127.0.0.1', port: 0 }), close: () => app.close() }
})

async function open(t: TestContext, routes: (app: FastifyInstance) => void, options?: Partial<AuditFastifyOptions>) {
  const { audit, stored } = await openShared()
  const app = fastify()
  app.register(auditFastify, { audit, ...options })
  routes(app)
  const url = await app.listen({ host: '127.0.0.1', port: 0 })
  t.after(() => app.close())
  return { url, stored }
}

const body = {
  type: 'object',
  required: ['cp_id'],
  properties: { cp_id: { type: 'string', maxLength: 8 }, evse: { type: 'array', items: { type: 'integer' } } },
}

test("fastify plugin: a schema violation keeps Fastify's own answer and names field and rule in the event", async t => {
  const { url, stored } = await open(t, app => {
    app.post('/cp', { schema: { body } }, async () => 'ok')
    app.get('/cp', { schema: { querystring: { type: 'object', required: ['limit'] } } }, async () => 'ok')
  })
  const missing = await post(`${url}/cp`, '{}')
  assert.equal(missing.status, 400)
  assert.equal(JSON.parse(missing.text).code, 'FST_ERR_VALIDATION')
  await post(`${url}/cp`, '{"cp_id": "canary-4711"}')
  await post(`${url}/cp`, '{"cp_id": "CP-1", "evse": [1, "x"]}')
  await send(`${url}/cp`)
  const events = await stored()
  assert.deepEqual(
    events.map(event => [event.action, event.status_code, event.description]),
    [
      ['VALIDATION_ERROR', 400, 'Request validation failed: cp_id:required'],
      ['VALIDATION_ERROR', 400, 'Request validation failed: cp_id:maxLength'],
      ['VALIDATION_ERROR', 400, 'Request validation failed: evse.1:type'],
      ['VALIDATION_ERROR', 400, 'Request validation failed: querystring.limit:required'],
    ],
  )
  assert.doesNotMatch(JSON.stringify(events), /canary/)
})

test("fastify plugin: the application's error handler stays, has the context, and its status is the one recorded", async t => {
  const { url, stored } = await open(t, app => {
    app.setErrorHandler((_error, _request, reply) => {
      reply.code(418).send({ mine: true, requestId: currentContext()?.requestId })
    })
    app.post('/cp', { schema: { body } }, async () => 'ok')
    app.get('/throws', () => {
      throw meterError()
    })
  })
  for (const answer of [await post(`${url}/cp`, '{'), await post(`${url}/cp`, '{}'), await send(`${url}/throws`)]) {
    assert.equal(answer.status, 418)
    assert.deepEqual(JSON.parse(answer.text), { mine: true, requestId: answer.headers['x-request-id'] })
  }
  assert.deepEqual(
    (await stored()).map(event => [event.action, event.status_code]),
    [
      ['VALIDATION_ERROR', 418],
      ['VALIDATION_ERROR', 418],
      ['ERROR', 500],
    ],
  )
})

test('fastify plugin: an error handler that fails itself leaves one event of the error it was given', async t => {
  const { url, stored } = await open(t, app => {
    app.setErrorHandler(() => {
      throw new RangeError('the handler is broken too')
    })
    app.get('/throws', () => {
      throw meterError()
    })
  })
  assert.equal((await send(`${url}/throws`)).status, 500)
  assert.deepEqual(
    (await stored()).map(event => event.reason_code),
    ['TypeError'],
  )
})

test('fastify plugin: size and type of a body, also one sent to no route at all', async t => {
  const { url, stored } = await open(t, app => {
    app.post('/small', { bodyLimit: 16 }, async () => 'ok')
  })
  assert.equal((await post(`${url}/small`, JSON.stringify({ cp_id: 'x'.repeat(99) }))).status, 413)
  assert.equal((await post(`${url}/small`, 'hello', { 'content-type': 'text/html' })).status, 415)
  assert.equal((await post(`${url}/nowhere`, '{')).status, 400)
  assert.equal((await send(`${url}/nowhere`)).status, 404)
  assert.deepEqual(
    (await stored()).map(event => [event.action, event.status_code, event.endpoint, event.description]),
    [
      ['VALIDATION_ERROR', 413, '/small', 'Request validation failed: body:size'],
      ['VALIDATION_ERROR', 415, '/small', 'Request validation failed: body:content_type'],
      ['VALIDATION_ERROR', 400, '/nowhere', 'Request validation failed: body:malformed'],
    ],
  )
})

test('fastify plugin: a status set before the error was thrown counts as the application means it', async t => {
  const { url, stored } = await open(t, app => {
    app.get('/gone', (_request, reply) => {
      reply.code(410)
      throw new Error('no longer here')
    })
  })
  assert.equal((await send(`${url}/gone`)).status, 410)
  assert.deepEqual(await stored(), [])
})

test('fastify plugin: hooks of scopes below it see the context, the response hook included', async t => {
  const seen: (string | undefined)[] = []
  const { promise: responded, resolve } = Promise.withResolvers<void>()
  const { url } = await open(t, app => {
    app.register(async scope => {
      scope.addHook('preHandler', async () => void seen.push(currentContext()?.requestId))
      scope.addHook('onSend', async () => void seen.push(currentContext()?.requestId))
      scope.addHook('onResponse', async () => {
        seen.push(currentContext()?.requestId)
        resolve()
      })
      scope.post('/scoped', async () => 'ok')
    })
  })
  await post(`${url}/scoped`, '{}', { 'x-request-id': 'r1' })
  await responded
  assert.deepEqual(seen, ['r1', 'r1', 'r1'])
})
