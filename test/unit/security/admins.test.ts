import assert from 'node:assert/strict'
import test from 'node:test'
import { ROLES } from '../../../src/security/security.ts'
import { from, metadataOf, OPERATOR, openSecurity, outcome } from './security-under-test.ts'

const GIVEN = 'a-given-admin-key-of-32-characters'

test('admins: the first start makes one and returns its key once', async t => {
  const central = await openSecurity(t)
  const first = await central.bootstrap()
  assert.equal(first?.name, 'admin')
  assert.match(first?.key ?? '', /^evca_[0-9a-f]{64}$/)
  assert.equal(await central.bootstrap(), undefined)
  assert.deepEqual(await central.admins.authorize(first?.key, ['admin']), { name: 'admin', role: 'admin' })
  assert.deepEqual(central.trail(), ['SYSTEM ADMIN_ADDED'])
  assert.deepEqual(metadataOf(central.last()), { admin: 'admin', role: 'admin', actor: 'system' })
})

test('admins: a given key becomes that of the first admin; a changed one replaces it', async t => {
  const central = await openSecurity(t)
  assert.equal(await central.bootstrap(GIVEN), undefined)
  assert.equal(await central.bootstrap(GIVEN), undefined)
  assert.deepEqual(central.trail(), ['SYSTEM ADMIN_ADDED'])
  assert.equal(await outcome(central.admins.authorize(GIVEN, ROLES)), 'ok')
  await central.bootstrap(`${GIVEN}2`)
  assert.deepEqual(central.trail(), ['SYSTEM ADMIN_ADDED', 'SYSTEM ADMIN_ADDED'])
  assert.equal(await outcome(central.admins.authorize(GIVEN, ROLES)), 'UNAUTHORIZED')
  assert.equal(await outcome(central.admins.authorize(`${GIVEN}2`, ROLES)), 'ok')
  assert.equal((await central.admins.list()).length, 1)
})

test('admins: a given key revives nobody by itself, and never belongs to two', async t => {
  const central = await openSecurity(t)
  await central.bootstrap(GIVEN)
  const { key } = await central.admins.add('alice', 'admin', OPERATOR)
  await central.admins.revoke('admin', OPERATOR)
  await central.bootstrap(GIVEN)
  assert.equal(await outcome(central.admins.authorize(GIVEN, ROLES)), 'UNAUTHORIZED')
  await assert.rejects(central.bootstrap(key), /another admin/)
  await central.bootstrap(`${GIVEN}2`)
  assert.equal(await outcome(central.admins.authorize(`${GIVEN}2`, ROLES)), 'ok')
})

test('admins: missing, wrong and revoked keys are 401, a role that is not allowed is 403, each an incident', async t => {
  const central = await openSecurity(t)
  const { key } = await central.admins.add('audrey', 'auditor', OPERATOR)
  const { key: gone } = await central.admins.add('bob', 'operator', OPERATOR)
  await central.admins.revoke('bob', OPERATOR)
  central.clear()
  const cases = [
    [undefined, 'UNAUTHORIZED', 'unknown', 401, 'missing'],
    ['', 'UNAUTHORIZED', 'unknown', 401, 'missing'],
    [`evca_${'0'.repeat(64)}`, 'UNAUTHORIZED', 'unknown', 401, 'wrong'],
    ['x'.repeat(100_000), 'UNAUTHORIZED', 'unknown', 401, 'wrong'],
    [gone, 'UNAUTHORIZED', 'bob', 401, 'revoked'],
    [key, 'FORBIDDEN', 'audrey', 403, 'role'],
  ] as const
  for (const [sent, code, who, status, cause] of cases) {
    const call = () => outcome(central.admins.authorize(sent, ['admin', 'operator']))
    assert.equal(await from('192.0.2.1', call), code)
    const event = central.last()
    assert.deepEqual([event.who, event.status_code, event.ip], [who, status, '192.0.2.1'])
    assert.equal(metadataOf(event).cause, cause)
  }
  assert.deepEqual(central.trail(), Array(cases.length).fill('INCIDENT UNAUTHORIZED_ADMIN_ACCESS'))
  assert.deepEqual(await central.admins.authorize(key, ['auditor']), { name: 'audrey', role: 'auditor' })
  assert.equal(central.trail().length, cases.length)
})

test('admins: added once, listed with the revoked, revoked once, added again with a new key', async t => {
  const central = await openSecurity(t)
  await central.bootstrap(GIVEN)
  const { key, ...alice } = await central.admins.add('alice', 'operator', OPERATOR)
  assert.equal(await outcome(central.admins.add('alice', 'admin', OPERATOR)), 'ADMIN_EXISTS')
  assert.deepEqual((await central.admins.list())[1], alice)
  await central.admins.revoke('alice', OPERATOR)
  assert.equal(await outcome(central.admins.revoke('alice', OPERATOR)), 'ADMIN_NOT_FOUND')
  assert.equal(await outcome(central.admins.revoke('nobody', OPERATOR)), 'ADMIN_NOT_FOUND')
  assert.ok((await central.admins.list())[1]?.revoked_at)
  const again = await central.admins.add('alice', 'auditor', OPERATOR)
  assert.equal(await outcome(central.admins.authorize(key, ROLES)), 'UNAUTHORIZED')
  assert.equal(await outcome(central.admins.authorize(again.key, ['auditor'])), 'ok')
  assert.deepEqual(
    central.trail().filter(event => event.startsWith('SYSTEM')),
    ['SYSTEM ADMIN_ADDED', 'SYSTEM ADMIN_ADDED', 'SYSTEM ADMIN_REVOKED', 'SYSTEM ADMIN_ADDED'],
  )
})

test('admins: the last one with the role admin stays', async t => {
  const central = await openSecurity(t)
  await central.bootstrap(GIVEN)
  await central.admins.add('olga', 'operator', OPERATOR)
  assert.equal(await outcome(central.admins.revoke('admin', OPERATOR)), 'LAST_ADMIN')
  assert.equal(await outcome(central.admins.revoke('olga', OPERATOR)), 'ok')
  await central.admins.add('alice', 'admin', OPERATOR)
  const both = await Promise.all(['admin', 'alice'].map(name => outcome(central.admins.revoke(name, OPERATOR))))
  assert.deepEqual(both.sort(), ['LAST_ADMIN', 'ok'])
})

test('admins: names and roles outside the rules are refused', async t => {
  const central = await openSecurity(t)
  for (const name of ['', 'a b', 'a\u202eb', 'x'.repeat(65)]) {
    assert.equal(await outcome(central.admins.add(name, 'admin', OPERATOR)), 'VALIDATION_FAILED')
  }
  assert.equal(await outcome(central.admins.add('alice', 'root' as 'admin', OPERATOR)), 'VALIDATION_FAILED')
})
