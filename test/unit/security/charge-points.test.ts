import assert from 'node:assert/strict'
import test from 'node:test'
import { metadataOf, OPERATOR, openSecurity, outcome, refusal } from './security-under-test.ts'

const CHOSEN = 'correct horse battery staple'

test('charge points: registering gives generated credentials once, or takes chosen ones and does not echo them', async t => {
  const central = await openSecurity(t)
  const { credentials, ...first } = await central.chargePoints.register({ cp_id: 'CP-1', location: 'North' }, OPERATOR)
  assert.match(credentials ?? '', /^[0-9a-f]{64}$/)
  assert.deepEqual(first, { cp_id: 'CP-1', location: 'North', security_status: 'ACTIVE' })
  assert.deepEqual(await central.register('CP-2', CHOSEN), {
    cp_id: 'CP-2',
    location: null,
    security_status: 'ACTIVE',
  })
  assert.deepEqual(central.trail(), ['SYSTEM CP_REGISTERED', 'SYSTEM CP_REGISTERED'])
  assert.deepEqual(metadataOf(central.last()), { cp_id: 'CP-2', actor: 'olga' })
  assert.equal(await outcome(central.register('CP-1')), 'CP_EXISTS')
  assert.equal(await outcome(central.register('CP-2', CHOSEN)), 'CP_EXISTS')
  assert.equal(central.trail().length, 2)
})

test('charge points: of two registrations at once one wins', async t => {
  const central = await openSecurity(t)
  const outcomes = await Promise.all([outcome(central.register('CP-1')), outcome(central.register('CP-1'))])
  assert.deepEqual(outcomes.sort(), ['CP_EXISTS', 'ok'])
  assert.deepEqual(central.trail(), ['SYSTEM CP_REGISTERED'])
})

test('charge points: what no door should let through is refused here too', async t => {
  const central = await openSecurity(t)
  const rulesOf = async (input: Parameters<typeof central.chargePoints.register>[0]) =>
    (await refusal(central.chargePoints.register(input, OPERATOR))).violations?.map(
      ({ field, rule }) => `${field}:${rule}`,
    )
  assert.deepEqual(await rulesOf({ cp_id: '' }), ['cp_id:pattern'])
  assert.deepEqual(await rulesOf({ cp_id: 'a b' }), ['cp_id:pattern'])
  assert.deepEqual(await rulesOf({ cp_id: 'a\n' }), ['cp_id:pattern'])
  assert.deepEqual(await rulesOf({ cp_id: 'a'.repeat(49) }), ['cp_id:maxLength'])
  assert.deepEqual(await rulesOf({ cp_id: 'a', location: 'x'.repeat(201), credentials: 'short' }), [
    'location:maxLength',
    'credentials:minLength',
  ])
  assert.deepEqual(await rulesOf({ cp_id: 'a', credentials: 'x'.repeat(257) }), ['credentials:maxLength'])
  assert.deepEqual(central.trail(), [])
  for (const cp_id of ['A', 'a'.repeat(48), 'EV*1-2_3=4:5+6|7@8.9'])
    assert.equal(await outcome(central.register(cp_id)), 'ok')
})

test('charge points: new credentials end the old ones and every token', async t => {
  const central = await openSecurity(t)
  const { credentials: old = '' } = await central.register('CP-1')
  const { token } = await central.authentication.byCredentials('CP-1', old)
  const { credentials, ...rest } = await central.chargePoints.reissueCredentials('CP-1', 'leaked', OPERATOR)
  assert.deepEqual(rest, { cp_id: 'CP-1', location: null, security_status: 'ACTIVE' })
  assert.equal(central.trail().at(-1), 'SYSTEM CREDENTIALS_ISSUED')
  assert.deepEqual(metadataOf(central.last()), { cp_id: 'CP-1', actor: 'olga', reason: 'leaked' })
  assert.equal(await outcome(central.authentication.byCredentials('CP-1', old)), 'AUTHENTICATION_FAILED')
  assert.equal(await outcome(central.authentication.bearer(token)), 'AUTHENTICATION_FAILED')
  assert.equal(await outcome(central.authentication.byCredentials('CP-1', credentials)), 'ok')
  assert.equal(await outcome(central.chargePoints.reissueCredentials('CP-9', undefined, OPERATOR)), 'CP_NOT_FOUND')
})

test('charge points: a removed one is unknown; registered again it starts anew', async t => {
  const central = await openSecurity(t)
  const { credentials = '' } = await central.register('CP-1')
  await central.authentication.byCredentials('CP-1', credentials)
  await central.keys.generate('CP-1', undefined, OPERATOR)
  await central.chargePoints.remove('CP-1', OPERATOR)
  assert.equal(central.trail().at(-1), 'SYSTEM CP_DELETED')
  assert.equal(await outcome(central.authentication.byCredentials('CP-1', credentials)), 'AUTHENTICATION_FAILED')
  for (const call of [
    central.chargePoints.remove('CP-1', OPERATOR),
    central.chargePoints.status('CP-1'),
    central.keys.generate('CP-1', undefined, OPERATOR),
  ]) {
    assert.equal(await outcome(call), 'CP_NOT_FOUND')
  }
  await central.register('CP-1')
  assert.equal(await outcome(central.authentication.byCredentials('CP-1', credentials)), 'AUTHENTICATION_FAILED')
  const { has_key, last_success } = await central.chargePoints.status('CP-1')
  assert.deepEqual({ has_key, last_success }, { has_key: false, last_success: null })
})

test('charge points: pages end where the charge points do', async t => {
  const central = await openSecurity(t)
  for (const cpId of ['C', 'A', 'B']) await central.register(cpId)
  const { list, statuses } = central.chargePoints
  const ids = (page: { charge_points: { cp_id: string }[]; next: string | null }) => [
    page.charge_points.map(({ cp_id }) => cp_id).join(''),
    page.next,
  ]
  assert.deepEqual(ids(await list({ limit: 2 })), ['AB', 'B'])
  assert.deepEqual(ids(await list({ limit: 2, after: 'B' })), ['C', null])
  assert.deepEqual(ids(await list({ limit: 3 })), ['ABC', null])
  assert.deepEqual(ids(await statuses({ limit: 1, after: 'A' })), ['B', 'B'])
  await central.status.revoke('B', 'stolen', OPERATOR)
  assert.deepEqual(ids(await list({ limit: 9, status: 'REVOKED' })), ['B', null])
  assert.deepEqual(ids(await statuses({ limit: 9, status: 'ACTIVE' })), ['AC', null])
})

test('charge points: the status tells key version and age', async t => {
  t.mock.timers.enable({ apis: ['Date'], now: Date.UTC(2026, 5, 1) })
  const central = await openSecurity(t)
  await central.register('CP-1')
  await central.keys.generate('CP-1', undefined, OPERATOR)
  t.mock.timers.setTime(Date.now() + 90_500)
  assert.deepEqual(await central.chargePoints.status('CP-1'), {
    cp_id: 'CP-1',
    location: null,
    security_status: 'ACTIVE',
    has_key: true,
    key_version: 1,
    key_age_seconds: 90,
    last_success: null,
    failures_in_window: 0,
    updated_at: '2026-06-01T00:00:00.000Z',
  })
})

test('charge points: no secret is in the trail, the outbox or the database', async t => {
  const central = await openSecurity(t)
  central.journal.isFull = true // so the outbox keeps every event
  const { credentials = '' } = await central.register('CP-1')
  await central.register('CP-2', CHOSEN)
  await central.keys.generate('CP-1', undefined, OPERATOR)
  const { key } = await central.keys.current('CP-1')
  const { key: adminKey } = await central.admins.add('alice', 'admin', OPERATOR)
  const stored = JSON.stringify([
    await central.state.outbox(0, 100),
    await central.state.chargePoints({ limit: 10 }),
    await central.state.admins(),
  ])
  for (const secret of [credentials, CHOSEN, key, adminKey, adminKey.slice(5)]) {
    assert.equal(stored.includes(secret), false)
  }
})
