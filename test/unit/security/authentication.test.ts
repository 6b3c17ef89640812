import assert from 'node:assert/strict'
import crypto from 'node:crypto'
import { syncBuiltinESMExports } from 'node:module'
import test, { type TestContext } from 'node:test'
import { createContext, runInContext } from '../../../src/context/context.ts'
import { LIMITS } from '../../../src/limits.ts'
import { createSecurity } from '../../../src/security/create-security.ts'
import { chargePointRecord } from '../../contract/security-state.ts'
import {
  from,
  LOGGER,
  metadataOf,
  OPERATOR,
  openSecurity,
  outcome,
  refusal,
  SECRETS,
  SETTINGS,
  type SecurityUnderTest,
} from './security-under-test.ts'

const WRONG = '0'.repeat(64)
const CHOSEN = 'correct horse battery staple'

const login = (central: SecurityUnderTest, ip: string, cpId: string, secret: string) =>
  from(ip, () => central.authentication.byCredentials(cpId, secret))

async function generated(central: SecurityUnderTest, cpId: string): Promise<string> {
  const { credentials } = await central.register(cpId)
  assert.ok(credentials)
  return credentials
}

test('login: the right generated secret gets a token and leaves AUTH_SUCCESS', async t => {
  const central = await openSecurity(t)
  const secret = await generated(central, 'CP-1')
  assert.match(secret, /^[0-9a-f]{64}$/)
  central.clear()
  const { token, ...rest } = await login(central, '192.0.2.1', 'CP-1', secret)
  assert.deepEqual(rest, { cp_id: 'CP-1', location: null, security_status: 'ACTIVE', expires_in: 3600 })
  assert.equal(token.split('.').length, 3)
  assert.deepEqual(central.trail(), ['AUTH_SUCCESS'])
  const { who, ip, status_code } = central.last()
  assert.deepEqual({ who, ip, status_code }, { who: 'CP-1', ip: '192.0.2.1', status_code: 200 })
  assert.deepEqual(metadataOf(central.last()), { security_status: 'ACTIVE', method: 'credentials' })
})

test('login: unknown id and wrong secret are one refusal outside and two reasons in the trail', async t => {
  const central = await openSecurity(t)
  await generated(central, 'CP-1')
  central.clear()
  const unknown = await refusal(login(central, '192.0.2.1', 'CP-9', WRONG))
  const wrong = await refusal(login(central, '192.0.2.1', 'CP-1', WRONG))
  assert.deepEqual({ ...unknown, message: unknown.message }, { ...wrong, message: wrong.message })
  assert.equal(wrong.code, 'AUTHENTICATION_FAILED')
  assert.deepEqual(central.trail(), ['AUTH_FAIL UNKNOWN_CP', 'AUTH_FAIL INVALID_CREDENTIALS'])
  assert.deepEqual(
    central.events().map(event => event.status_code),
    [401, 401],
  )
})

test('login: only the right secret learns that a charge point is revoked or out of service', async t => {
  const central = await openSecurity(t)
  const secret = await generated(central, 'CP-1')
  await central.status.outOfService('CP-1', 'maintenance', OPERATOR)
  assert.equal(await outcome(login(central, '192.0.2.1', 'CP-1', WRONG)), 'AUTHENTICATION_FAILED')
  assert.equal(await outcome(login(central, '192.0.2.1', 'CP-1', secret)), 'CP_OUT_OF_SERVICE')
  await central.status.revoke('CP-1', 'stolen', OPERATOR)
  central.clear()
  assert.equal(await outcome(login(central, '192.0.2.1', 'CP-1', secret)), 'CP_REVOKED')
  assert.deepEqual(central.trail(), ['AUTH_FAIL REVOKED'])
  assert.equal(central.last().status_code, 403)
})

test('login: refusals raise exactly one incident at the threshold', async t => {
  const central = await openSecurity(t)
  for (let i = 0; i < 7; i++) await outcome(login(central, '192.0.2.1', 'CP-1', WRONG))
  assert.deepEqual(central.trail(), [
    ...Array(5).fill('AUTH_FAIL UNKNOWN_CP'),
    'INCIDENT BRUTE_FORCE_SUSPECTED',
    'AUTH_FAIL THROTTLED',
    'AUTH_FAIL THROTTLED',
  ])
})

test('login: past the threshold a pair gets 429 with a growing wait; unknown, generated and chosen ids alike', async t => {
  let [wallMs, monotonicMs] = [Date.UTC(2026, 5, 1), 1_000]
  const clock = { wallMs: () => wallMs, monotonicMs: () => monotonicMs }
  const settings = { ...SETTINGS, bruteForceThreshold: 2 }
  const central = await openSecurity(t, { settings, clock })
  await generated(central, 'GENERATED')
  await central.register('CHOSEN', CHOSEN)
  for (const [i, cpId] of ['GENERATED', 'CHOSEN', 'UNKNOWN'].entries()) {
    const waits: (number | undefined)[] = []
    for (let attempt = 0; attempt < 6; attempt++) {
      wallMs += attempt % 2 === 0 ? -3_600_000 : 315_360_000_000 // what it says changes no wait
      const { code, retryAfterSeconds } = await refusal(login(central, `192.0.2.${i}`, cpId, WRONG))
      assert.equal(code, retryAfterSeconds === undefined ? 'AUTHENTICATION_FAILED' : 'TOO_MANY_ATTEMPTS')
      waits.push(retryAfterSeconds)
      monotonicMs += (retryAfterSeconds ?? 0) * 1000
    }
    assert.deepEqual(waits, [undefined, undefined, 2, undefined, 4, undefined], cpId)
  }
  const throttled = central.events().filter(event => event.reason_code === 'THROTTLED')
  assert.equal(throttled.length, 6)
  assert.ok(throttled.every(event => event.status_code === 429))
})

test('login: no throttle stops the right generated secret', async t => {
  const central = await openSecurity(t)
  const secret = await generated(central, 'CP-1')
  for (let i = 0; i < 60; i++) await outcome(login(central, '192.0.2.1', `CP-${i % 30}`, WRONG))
  for (let i = 0; i < 40; i++) await outcome(login(central, `198.51.100.${i}`, 'CP-1', WRONG))
  assert.equal(await outcome(login(central, '192.0.2.1', 'CP-1', WRONG)), 'TOO_MANY_ATTEMPTS')
  assert.equal(await outcome(login(central, '192.0.2.1', 'CP-1', secret)), 'ok')
  assert.equal(await outcome(login(central, '203.0.113.9', 'CP-1', secret)), 'ok')
})

test('login: a pair that is refused spends no scrypt, not even for the right chosen secret', async t => {
  const central = await openSecurity(t, { settings: { ...SETTINGS, bruteForceThreshold: 2 } })
  await central.register('CP-1', CHOSEN)
  for (let i = 0; i < 2; i++) await outcome(login(central, '192.0.2.1', 'CP-1', WRONG))
  // 300 at once would overflow the scrypt queue (128) if one of them reached it.
  const outcomes = await Promise.all(
    Array.from({ length: 300 }, () => outcome(login(central, '192.0.2.1', 'CP-1', CHOSEN))),
  )
  assert.deepEqual(new Set(outcomes), new Set(['TOO_MANY_ATTEMPTS']))
})

test('login: a thousand guesses sent at once are no more guesses than the threshold', async t => {
  const central = await openSecurity(t)
  await central.register('CP-1', CHOSEN)
  const outcomes = await Promise.all(
    Array.from({ length: 1000 }, (_, i) => outcome(login(central, '192.0.2.1', 'CP-1', `wrong guess number ${i}`))),
  )
  assert.equal(outcomes.filter(code => code === 'AUTHENTICATION_FAILED').length, 5)
  assert.equal(outcomes.filter(code => code === 'TOO_MANY_ATTEMPTS').length, 995)
})

test('login: a charge point attacked from 200 addresses still logs in, from its own and from one it never used, also after a restart', async t => {
  const settings = { ...SETTINGS, bruteForceThreshold: 2 }
  const central = await openSecurity(t, { settings })
  await central.register('CP-1', CHOSEN)
  assert.equal(await outcome(login(central, '203.0.113.1', 'CP-1', CHOSEN)), 'ok')
  const attack = async (subject: SecurityUnderTest) => {
    const outcomes: string[] = []
    for (let i = 0; i < 200; i++) outcomes.push(await outcome(login(subject, `192.0.2.${i}`, 'CP-1', WRONG)))
    return outcomes
  }
  assert.deepEqual(new Set(await attack(central)), new Set(['AUTHENTICATION_FAILED']))
  assert.deepEqual(new Set(await attack(central)), new Set(['TOO_MANY_ATTEMPTS']))
  assert.equal(await outcome(login(central, '203.0.113.1', 'CP-1', CHOSEN)), 'ok')
  assert.equal(await outcome(login(central, '198.51.100.1', 'CP-1', CHOSEN)), 'ok')

  const stored = central.stored()
  await central.close()
  const restarted = await openSecurity(t, { path: central.path, settings })
  await restarted.replay(stored)
  assert.deepEqual(new Set(await attack(restarted)), new Set(['TOO_MANY_ATTEMPTS']))
  assert.equal(await outcome(login(restarted, '203.0.113.1', 'CP-1', CHOSEN)), 'ok')
  assert.equal(await outcome(login(restarted, '198.51.100.2', 'CP-1', CHOSEN)), 'ok')
})

test('login: 50 good charge points behind the address of a bad one are not refused', async t => {
  const settings = { ...SETTINGS, bruteForceThreshold: 2 }
  const central = await openSecurity(t, { settings })
  const nat = '192.0.2.1'
  const secrets = new Map<string, string>()
  for (let i = 0; i < 45; i++) secrets.set(`GOOD-${i}`, await generated(central, `GOOD-${i}`))
  for (let i = 45; i < 50; i++) {
    secrets.set(`GOOD-${i}`, `${CHOSEN} ${i}`)
    await central.register(`GOOD-${i}`, `${CHOSEN} ${i}`)
    assert.equal(await outcome(login(central, nat, `GOOD-${i}`, `${CHOSEN} ${i}`)), 'ok')
  }
  for (let i = 0; i < 40; i++) await outcome(login(central, nat, 'BAD', WRONG))
  for (let i = 0; i < 40; i++) await outcome(login(central, nat, `GUESS-${i}`, WRONG))
  assert.equal(await outcome(login(central, nat, 'GUESS-100', WRONG)), 'TOO_MANY_ATTEMPTS')
  for (const [cpId, secret] of secrets) assert.equal(await outcome(login(central, nat, cpId, secret)), 'ok', cpId)
})

test('login: the addresses of one IPv6 /64 are one address', async t => {
  const central = await openSecurity(t)
  for (let i = 0; i < 5; i++) await outcome(login(central, `2001:db8::${i + 1}`, 'CP-1', WRONG))
  assert.equal(await outcome(login(central, '2001:db8::ffff', 'CP-1', WRONG)), 'TOO_MANY_ATTEMPTS')
  assert.equal(await outcome(login(central, '2001:db8:0:1::1', 'CP-1', WRONG)), 'AUTHENTICATION_FAILED')
})

test('login: a chosen secret is cached, and the cache dies with it', async t => {
  const central = await openSecurity(t)
  await central.register('CP-1', CHOSEN)
  assert.equal((await login(central, '192.0.2.1', 'CP-1', CHOSEN)).cp_id, 'CP-1')
  const { credentials } = await central.chargePoints.reissueCredentials('CP-1', undefined, OPERATOR)
  assert.equal(await outcome(login(central, '192.0.2.1', 'CP-1', CHOSEN)), 'AUTHENTICATION_FAILED')
  assert.equal(await outcome(login(central, '192.0.2.1', 'CP-1', credentials)), 'ok')
})

test('login: a chosen secret is checked against the disk after a restart', async t => {
  const central = await openSecurity(t)
  await central.register('CP-1', CHOSEN)
  await central.close()
  const restarted = await openSecurity(t, { path: central.path })
  assert.equal(await outcome(login(restarted, '192.0.2.1', 'CP-1', `${CHOSEN}.`)), 'AUTHENTICATION_FAILED')
  assert.equal(await outcome(login(restarted, '192.0.2.1', 'CP-1', CHOSEN)), 'ok')
})

test('login: what is revoked while a chosen secret is being checked is refused', async t => {
  const central = await openSecurity(t)
  await central.register('CP-1', CHOSEN)
  await central.register('CP-2', CHOSEN)
  await central.close()
  const restarted = await openSecurity(t, { path: central.path })
  const [revoked, changed] = [
    outcome(login(restarted, '192.0.2.1', 'CP-1', CHOSEN)),
    outcome(login(restarted, '192.0.2.1', 'CP-2', CHOSEN)),
  ]
  await restarted.status.revoke('CP-1', 'stolen', OPERATOR)
  await restarted.chargePoints.reissueCredentials('CP-2', undefined, OPERATOR)
  assert.equal(await revoked, 'CP_REVOKED')
  assert.equal(await changed, 'AUTHENTICATION_FAILED')
})

test('login: more checks of chosen secrets than may wait are busy, not failed, and count as no attempt', async t => {
  const central = await openSecurity(t)
  const cheap = `scrypt$2$1$1$${'A'.repeat(22)}$${'A'.repeat(43)}`
  const ids = Array.from({ length: 140 }, (_, i) => `CP-${i}`)
  await central.state.change(async transaction => {
    for (const cp_id of ids) {
      await transaction.putChargePoint(chargePointRecord({ cp_id, credential_kind: 'chosen', credential_hash: cheap }))
    }
  })
  const attempt = (i: number) => refusal(login(central, `192.0.2.${i}`, `CP-${i}`, WRONG))
  const refusals = await Promise.all(ids.map((_, i) => attempt(i)))
  const busy = refusals.flatMap(({ code }, i) => (code === 'OVERLOADED' ? [i] : []))
  assert.equal(busy.length, ids.length - LIMITS.scryptConcurrentMax - LIMITS.scryptWaitingMax)
  assert.ok(busy.every(i => (refusals[i]?.retryAfterSeconds ?? 0) > 0))
  const [first = 0] = busy
  for (let i = 0; i < 5; i++) assert.equal((await attempt(first)).code, 'AUTHENTICATION_FAILED')
  assert.equal((await attempt(first)).code, 'TOO_MANY_ATTEMPTS')
})

function countScrypts(t: TestContext): () => number {
  const spy = t.mock.method(crypto, 'scrypt')
  syncBuiltinESMExports()
  t.after(() => {
    spy.mock.restore()
    syncBuiltinESMExports()
  })
  return () => spy.mock.callCount()
}

test('login: without any chosen secret in the deployment no scrypt is run at all', async t => {
  const scrypts = countScrypts(t)
  const central = await openSecurity(t)
  const secret = await generated(central, 'CP-1')
  await login(central, '192.0.2.1', 'CP-1', secret)
  for (const cpId of ['CP-1', 'CP-9']) await outcome(login(central, '192.0.2.1', cpId, WRONG))
  assert.equal(scrypts(), 0)
})

test('login: with one, every wrong answer costs exactly one scrypt, whatever the id is', async t => {
  const scrypts = countScrypts(t)
  const central = await openSecurity(t)
  const secret = await generated(central, 'GENERATED')
  await central.register('CHOSEN', CHOSEN)
  let before = scrypts()
  assert.equal(before, 1)
  for (const cpId of ['GENERATED', 'CHOSEN', 'UNKNOWN']) {
    await outcome(login(central, '192.0.2.1', cpId, WRONG))
    assert.equal(scrypts() - before, 1, cpId)
    before = scrypts()
  }
  await login(central, '192.0.2.1', 'GENERATED', secret)
  await login(central, '192.0.2.1', 'CHOSEN', CHOSEN)
  assert.equal(scrypts() - before, 0, 'a generated secret needs none, a chosen one was cached at registration')
})

test('login: replay counts checked failures of secrets and tokens apart, and nothing else', async t => {
  const central = await openSecurity(t)
  const secret = await generated(central, 'CP-1')
  const { token } = await login(central, '192.0.2.1', 'CP-1', secret)
  for (let i = 0; i < 8; i++) await outcome(login(central, '192.0.2.7', 'CP-1', WRONG))
  for (let i = 0; i < 4; i++) await outcome(from('192.0.2.8', () => central.authentication.byToken('CP-1', 'x')))
  await central.status.outOfService('CP-1', 'maintenance', OPERATOR)
  for (let i = 0; i < 9; i++) await outcome(login(central, '192.0.2.9', 'CP-1', secret))
  const stored = central.stored()
  await central.close()

  const restarted = await openSecurity(t, { path: central.path })
  await restarted.replay(stored)
  const { retryAfterSeconds = 0 } = await refusal(login(restarted, '192.0.2.7', 'CP-1', WRONG))
  assert.ok(retryAfterSeconds <= 2, 'the three throttled attempts did not prolong the wait')
  assert.equal(await outcome(login(restarted, '192.0.2.9', 'CP-1', WRONG)), 'AUTHENTICATION_FAILED')
  assert.equal(await outcome(login(restarted, '192.0.2.8', 'CP-1', WRONG)), 'AUTHENTICATION_FAILED')
  const byToken = () => outcome(from('192.0.2.8', () => restarted.authentication.byToken('CP-1', 'x')))
  assert.deepEqual([await byToken(), await byToken()], ['AUTHENTICATION_FAILED', 'TOO_MANY_ATTEMPTS'])
  assert.equal(await outcome(restarted.authentication.byToken('CP-1', token)), 'CP_OUT_OF_SERVICE')
})

test('login: last success and failures in the window show in the status, also after a restart', async t => {
  const central = await openSecurity(t)
  const secret = await generated(central, 'CP-1')
  assert.equal((await central.chargePoints.status('CP-1')).last_success, null)
  await outcome(login(central, '192.0.2.1', 'CP-1', WRONG))
  await login(central, '192.0.2.1', 'CP-1', secret)
  const { last_success, failures_in_window } = await central.chargePoints.status('CP-1')
  assert.equal(failures_in_window, 1)
  assert.ok(Math.abs(Date.parse(last_success ?? '') - Date.now()) < 5000)
  await central.close()
  const restarted = await openSecurity(t, { path: central.path })
  assert.equal((await restarted.chargePoints.status('CP-1')).last_success, last_success)
})

test('login: another key-encryption key is refused at the start', async t => {
  const central = await openSecurity(t)
  const secrets = { ...SECRETS, keyEncryptionKey: Buffer.from('another key-encryption key, long enough') }
  const { state, audit } = central
  await assert.rejects(
    createSecurity({ state, audit, secrets, settings: SETTINGS, logger: LOGGER }),
    /EVC_KEY_ENCRYPTION_KEY is not the one/,
  )
})

test('login: work without an address is throttled by charge point all the same', async t => {
  const central = await openSecurity(t)
  const local = () => runInContext(createContext(), () => outcome(central.authentication.byCredentials('CP-1', WRONG)))
  const outcomes: string[] = []
  for (let i = 0; i < 6; i++) outcomes.push(await local())
  assert.deepEqual(outcomes, [...Array(5).fill('AUTHENTICATION_FAILED'), 'TOO_MANY_ATTEMPTS'])
})
