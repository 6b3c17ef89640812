import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import test, { type TestContext } from 'node:test'
import express, { type ErrorRequestHandler } from 'express'
import { auditExpress, auditExpressErrors } from '../../src/embed/express.ts'
import { currentContext } from '../../src/embed/index.ts'
import { adapterContract, deepContext, failLogin, meterError, missingError, post, send } from './adapter-contract.ts'
import { sharedAudit } from './temporary-audit.ts'

/** Express' own last handler prints every error to the console, where it would only confuse a reader of the tests. */
const quiet: ErrorRequestHandler = (error, _request, response, next) => {
  if (response.headersSent) next(error)
  else response.status(error.status ?? error.statusCode ?? 500).send('mine')
}

async function listen(app: express.Express) {
  app.set('env', 'test') // or Express prints what goes wrong
  const server = app.listen(0, '127.0.0.1')
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

adapterContract('express middleware', openShared, async ({ audit, trustedProxies, ...errorOptions }) => {
  const app = express()
  app.use(auditExpress({ audit, trustedProxies }))
  app.post('/listen', (request, response) => {
    request.resume().on('end', () => response.json({ requestId: currentContext()?.requestId }))
  })
  app.use(express.json())
  app.get('/context', async (_request, response) => response.json(await deepContext()))
  app.post('/login', async (request, response) => response.status(401).json(await failLogin(audit, request.body)))
  app.get('/throws', async () => {
    throw meterError()
  })
  app.get('/refuses', () => {
    throw missingError()
  })
  app.get('/nothing', (_request, response) => response.status(204).end())
  app.use(auditExpressErrors(errorOptions))
  app.use(quiet)
  return listen(app)
})

async function open(t: TestContext, routes: (app: express.Express) => void) {
  const { audit, stored } = await openShared()
  const app = express()
  app.use(auditExpress({ audit }))
  routes(app)
  app.use(auditExpressErrors())
  app.use(quiet)
  const server = await listen(app)
  t.after(() => server.close())
  return { url: server.url, audit, stored }
}

test("express middleware: the application's own error handler answers, and its status is recorded", async t => {
  const { url, stored } = await open(t, app => {
    app.use(express.json({ limit: 16 }))
    app.post('/small', (_request, response) => void response.send('ok'))
  })
  const answer = await post(`${url}/small`, JSON.stringify({ cp_id: 'x'.repeat(99) }))
  assert.deepEqual([answer.status, answer.text], [413, 'mine'])
  assert.deepEqual(
    (await stored()).map(event => [event.action, event.status_code, event.description]),
    [['VALIDATION_ERROR', 413, 'Request validation failed: body:size']],
  )
})

test('express middleware: behind a mounted router the whole path is the endpoint', async t => {
  const { url } = await open(t, app => {
    const router = express.Router()
    router.get('/inner', (_request, response) => void response.json(currentContext()))
    app.use('/outer', router)
  })
  assert.equal(JSON.parse((await send(`${url}/outer/inner?x=1`)).text).endpoint, '/outer/inner')
})

test('express middleware: a handler that fails after answering changes nothing of the answer, and is recorded', async t => {
  const { url, audit, stored } = await open(t, app => {
    app.get('/late', (_request, response) => {
      audit.authSuccess('CP-1')
      response.json({ answered: 'in full' })
      throw meterError()
    })
  })
  const { status, text } = await send(`${url}/late`)
  assert.deepEqual([status, JSON.parse(text)], [200, { answered: 'in full' }])
  assert.deepEqual(
    (await stored()).map(event => event.action),
    ['AUTH_SUCCESS', 'ERROR'],
  )
})

test('express middleware: streamed answers and answers to HEAD arrive as they were', async t => {
  const { url } = await open(t, app => {
    app.get('/stream', (_request, response) => {
      response.write('one ')
      setImmediate(() => response.write('two '))
      setImmediate(() => response.end('three'))
    })
    app.get('/text', (_request, response) => void response.send('h\u00e9llo'))
  })
  assert.equal((await send(`${url}/stream`)).text, 'one two three')
  const text = await send(`${url}/text`)
  assert.deepEqual([text.text, text.headers['content-length']], ['h\u00e9llo', '6'])
  const head = await send(`${url}/text`, { method: 'HEAD' })
  assert.deepEqual([head.status, head.text, head.headers['content-length']], [200, '', '6'])
})

test('express middleware: a failure that is never answered is recorded when the client goes away', async t => {
  const { promise: failed, resolve } = Promise.withResolvers<void>()
  const { audit, stored } = await openShared()
  const app = express()
  app.use(auditExpress({ audit }))
  app.use(express.json())
  app.use(auditExpressErrors())
  app.use(((_error, _request, _response, _next) => resolve()) satisfies ErrorRequestHandler)
  const server = await listen(app)
  t.after(() => server.close())
  const gone = new AbortController()
  const answer = fetch(server.url, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: '{',
    signal: gone.signal,
  })
  await failed
  const before = audit.status().recorded
  gone.abort()
  await assert.rejects(answer)
  while (audit.status().recorded === before) await new Promise(setImmediate)
  assert.deepEqual(
    (await stored()).map(event => [event.action, event.status_code]),
    [['VALIDATION_ERROR', 400]],
  )
})
