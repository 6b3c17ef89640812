import assert from 'node:assert/strict'
import test from 'node:test'
import fc from 'fast-check'
import type { CpStatus } from '../../../src/security/security.ts'
import { metadataOf, OPERATOR, openSecurity, outcome } from './security-under-test.ts'

const ARROWS = new Set([
  'ACTIVE>OUT_OF_SERVICE',
  'OUT_OF_SERVICE>ACTIVE',
  'ACTIVE>REVOKED',
  'OUT_OF_SERVICE>REVOKED',
  'REVOKED>OUT_OF_SERVICE',
])
const TARGET = { outOfService: 'OUT_OF_SERVICE', restore: 'ACTIVE', revoke: 'REVOKED' } as const

test('status: any walk follows the arrows and nothing else; one event per step', async t => {
  const central = await openSecurity(t)
  let walks = 0
  const moves = fc.array(fc.constantFrom<keyof typeof TARGET>('outOfService', 'restore', 'revoke'), { maxLength: 8 })
  await fc.assert(
    fc.asyncProperty(moves, async walk => {
      const cpId = `CP-${walks++}`
      await central.register(cpId)
      central.clear()
      let status: CpStatus = 'ACTIVE'
      let steps = 0
      for (const move of walk) {
        const next = TARGET[move]
        const isAllowed = ARROWS.has(`${status}>${next}`)
        assert.equal(
          await outcome(central.status[move](cpId, 'because', OPERATOR)),
          isAllowed ? 'ok' : 'INVALID_TRANSITION',
        )
        if (!isAllowed) continue
        steps++
        assert.deepEqual(metadataOf(central.last()), {
          old_status: status,
          new_status: next,
          reason: 'because',
          actor: 'olga',
        })
        assert.equal(central.last().severity, next === 'ACTIVE' ? 'INFO' : 'WARN')
        status = next
      }
      assert.deepEqual(central.trail(), Array(steps).fill('STATUS_CHANGE'))
      assert.equal((await central.chargePoints.status(cpId)).security_status, status)
    }),
    { numRuns: 30 },
  )
})

test('status: an unknown charge point has none', async t => {
  const central = await openSecurity(t)
  for (const move of ['outOfService', 'restore', 'revoke'] as const) {
    assert.equal(await outcome(central.status[move]('CP-9', 'because', OPERATOR)), 'CP_NOT_FOUND')
  }
  assert.deepEqual(central.trail(), [])
})

test('status: revoking takes the key and every token with it, in one step', async t => {
  const central = await openSecurity(t)
  const { credentials = '' } = await central.register('CP-1')
  await central.keys.generate('CP-1', undefined, OPERATOR)
  const { token } = await central.authentication.byCredentials('CP-1', credentials)
  central.clear()
  const change = await central.status.revoke('CP-1', 'stolen', OPERATOR)
  assert.deepEqual(change, { cp_id: 'CP-1', old_status: 'ACTIVE', new_status: 'REVOKED' })
  assert.deepEqual(central.trail(), ['STATUS_CHANGE', 'KEY_REVOKE'])
  assert.equal(await outcome(central.keys.current('CP-1')), 'KEY_NOT_FOUND')
  assert.equal(await outcome(central.authentication.bearer(token)), 'CP_REVOKED')
  assert.deepEqual((await central.chargePoints.status('CP-1')).has_key, false)
})

test('status: going out of service keeps key and tokens', async t => {
  const central = await openSecurity(t)
  const { credentials = '' } = await central.register('CP-1')
  await central.keys.generate('CP-1', undefined, OPERATOR)
  const { token } = await central.authentication.byCredentials('CP-1', credentials)
  await central.status.outOfService('CP-1', 'maintenance', OPERATOR)
  await central.status.restore('CP-1', undefined, OPERATOR)
  assert.equal(await outcome(central.keys.current('CP-1')), 'ok')
  assert.equal(await outcome(central.authentication.bearer(token)), 'ok')
})
