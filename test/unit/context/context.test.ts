import assert from 'node:assert/strict'
import test from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { acceptRequestId, createContext, currentContext, runInContext } from '../../../src/context/context.ts'

test('context: every field has a default and the request id is a UUIDv7', () => {
  const context = createContext()
  assert.match(context.requestId, /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
  assert.deepEqual({ ...context, requestId: '' }, { requestId: '', ip: '-', endpoint: null, httpMethod: null })
})

test('context: it cannot be changed', () => {
  const context = createContext({ ip: '192.0.2.1' })
  assert.throws(() => Object.assign(context, { ip: '192.0.2.2' }), TypeError)
  assert.equal(context.ip, '192.0.2.1')
})

test('context: concurrent work sees its own, after an await and in a catch', async () => {
  const seen = await Promise.all(
    Array.from({ length: 50 }, (_, i) =>
      runInContext(createContext({ requestId: `r${i}` }), async () => {
        await turn()
        try {
          await Promise.reject(new Error('x'))
        } catch {
          await turn()
        }
        return currentContext()?.requestId
      }),
    ),
  )
  assert.deepEqual(
    seen,
    Array.from({ length: 50 }, (_, i) => `r${i}`),
  )
  assert.equal(currentContext(), undefined)
})

test('context: a request id is taken only if it has the agreed form', () => {
  for (const good of ['a', 'A-b_c.d:9', 'x'.repeat(128)]) assert.equal(acceptRequestId(good), good)
  for (const bad of ['', 'x'.repeat(129), 'a b', 'a\nb', 'a\u0000', 'ü', '<script>', undefined, ['a', 'b'], 7]) {
    assert.match(acceptRequestId(bad), /^[0-9a-f-]{36}$/)
  }
})

test('context: a secret that was sent in the wrong header is no request id', () => {
  const token = `eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJDUC0xIn0.${'s'.repeat(43)}`
  for (const secret of [token, token.slice(0, 30), `evca_${'0'.repeat(64)}`]) {
    assert.match(acceptRequestId(secret), /^[0-9a-f-]{36}$/)
  }
})
