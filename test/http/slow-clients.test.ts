import assert from 'node:assert/strict'
import { connect } from 'node:net'
import test from 'node:test'
import { LIMITS } from '../../src/limits.ts'
import { eventually, startTestCentral } from './harness.ts'

test('slow clients: are cut off after their time with 408 and one event each; the service goes on; idle ones leave none', async () => {
  const central = await startTestCentral()
  try {
    const { cpId, credentials } = await central.chargePoint()
    const slow = Array.from({ length: 60 }, (_, i) => drip(central.port, i % 2 === 0))
    const idle = Array.from({ length: 300 }, () => drip(central.port, undefined))
    const over = Promise.all([...slow, ...idle])
    let isOver = false
    over.finally(() => {
      isOver = true
    })
    let worst = 0
    while (!isOver) {
      const began = performance.now()
      const body = { cp_id: cpId, credentials }
      const answer = await central.send('POST', '/auth/credentials', { body, from: central.address() })
      assert.equal(answer.status, 200)
      worst = Math.max(worst, performance.now() - began)
      await new Promise(resolve => setTimeout(resolve, 200))
    }
    assert.ok(worst < 2_000, `a login took ${worst} ms`)
    for (const text of await Promise.all(slow)) assert.match(text, /^HTTP\/1\.1 408 Request Timeout\r\n/)
    for (const text of await Promise.all(idle)) assert.equal(text, '')
    const last = await central.send('GET', '/audit/events?limit=1', { as: 'auditor' })
    await central.eventsOf(last.requestId)
    const { body } = await central.send('GET', '/audit/events?action=VALIDATION_ERROR&limit=1000', { as: 'auditor' })
    assert.equal(body.events.length, slow.length)
    for (const event of body.events) {
      assert.equal(event.status_code, 408)
      assert.equal(event.description, 'Request validation failed: request:request_timeout')
    }
  } finally {
    await central.close()
  }
})

test('slow clients: who takes no answer holds neither the places of others nor memory', async t => {
  const central = await startTestCentral()
  t.after(() => central.close())
  const { cpId, credentials } = await central.chargePoint()
  const before = process.memoryUsage().arrayBuffers
  const greedy = connect(central.port, '127.0.0.1').pause()
  t.after(() => greedy.destroy())
  greedy.on('error', () => {})
  greedy.write(
    'GET /docs/static/swagger-ui-bundle.js HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(LIMITS.requestsInFlightMax + 50),
  )
  /** Of some at once, as the first answers are taken by the system, which frees the places of these. */
  const logins = async () => {
    const body = { cp_id: cpId, credentials }
    const answers = Array.from({ length: 20 }, () => central.send('POST', '/auth/credentials', { body }))
    return (await Promise.all(answers)).map(({ status }) => status)
  }
  await eventually(async () => (await logins()).includes(503))
  assert.ok(process.memoryUsage().arrayBuffers - before < 64 * 1024 * 1024)
  await eventually(async () => (await logins()).every(status => status === 200))
})

/** Sends a byte now and then: of headers without end, or of a body; undefined sends nothing at all. */
function drip(port: number, isBody: boolean | undefined): Promise<string> {
  const { promise, resolve } = Promise.withResolvers<string>()
  const socket = connect(port, '127.0.0.1')
  let received = ''
  let timer: NodeJS.Timeout | undefined
  if (isBody !== undefined) {
    socket.write('POST /auth/credentials HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n')
    if (isBody) socket.write('Content-Length: 1000\r\n\r\n')
    timer = setInterval(() => socket.write(isBody ? ' ' : 'X'), 500)
  }
  socket.on('data', data => {
    received += data
    clearInterval(timer)
  })
  socket.on('error', () => {})
  socket.on('close', () => {
    clearInterval(timer)
    resolve(received)
  })
  return promise
}
