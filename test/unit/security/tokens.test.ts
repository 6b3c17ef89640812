import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import test from 'node:test'
import { SignJWT, UnsecuredJWT } from 'jose'
import { deriveKey } from '../../../src/security/derived-keys.ts'
import { createTokens } from '../../../src/security/tokens.ts'
import {
  from,
  OPERATOR,
  openSecurity,
  outcome,
  refusal,
  SECRETS,
  type SecurityUnderTest,
} from './security-under-test.ts'

const KEY = deriveKey(SECRETS.tokenSecret, 'charge-point-tokens')
const tokens = createTokens({ tokenSecret: SECRETS.tokenSecret, ttlSeconds: 60 })
const INVALID = { reason: 'INVALID_TOKEN', cpId: undefined }
const now = () => Math.floor(Date.now() / 1000)
const claims = (changed: Record<string, unknown> = {}) => ({
  iss: 'ev-central',
  aud: 'charge-point',
  sub: 'CP-1',
  jti: 'a',
  ver: 7,
  iat: now(),
  exp: now() + 60,
  ...changed,
})
const sign = (payload: Record<string, unknown>, header: Record<string, unknown> = {}) =>
  new SignJWT(payload).setProtectedHeader({ alg: 'HS256', typ: 'JWT', ...header }).sign(KEY)

test('tokens: what is issued reads back', async () => {
  const { token, expiresIn } = tokens.issue('CP-1', 7)
  assert.equal(expiresIn, 60)
  const read = await tokens.read(token)
  assert.ok(!('reason' in read))
  assert.deepEqual(
    { ...read, expiresIn: read.expiresIn > 57 && read.expiresIn <= 60 },
    {
      cpId: 'CP-1',
      version: 7,
      expiresIn: true,
    },
  )
})

test('tokens: the hand-made equal of an issued one is read, so the refusals below are for their one difference', async () => {
  assert.ok(!('reason' in (await tokens.read(await sign(claims())))))
})

test('tokens: a token has one spelling, also in the bits and signs that decoding passes over', async () => {
  const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
  const { token } = tokens.issue('CP-1', 7)
  assert.ok(!('reason' in (await tokens.read(token))))
  for (const other of ALPHABET.replace(token.at(-1) as string, '')) {
    assert.deepEqual(await tokens.read(token.slice(0, -1) + other), INVALID, `last character ${other}`)
  }
  for (const other of [`${token}=`, `${token} `, ` ${token}`, `${token}\n`, token.replaceAll('.', ' .')]) {
    assert.deepEqual(await tokens.read(other), INVALID, JSON.stringify(other))
  }
})

test('tokens: other algorithms, keys, types, issuers and audiences are refused', async () => {
  const [head = '', body = ''] = (await sign(claims())).split('.')
  const forgeries = {
    'alg none': new UnsecuredJWT(claims()).encode(),
    'alg none with a signature': `${Buffer.from('{"alg":"none","typ":"JWT"}').toString('base64url')}.${body}.AAAA`,
    'no signature': `${head}.${body}.`,
    'foreign key': await new SignJWT(claims()).setProtectedHeader({ alg: 'HS256', typ: 'JWT' }).sign(randomBytes(32)),
    'the secret itself as key': await new SignJWT(claims())
      .setProtectedHeader({ alg: 'HS256', typ: 'JWT' })
      .sign(SECRETS.tokenSecret),
    HS512: await new SignJWT(claims()).setProtectedHeader({ alg: 'HS512', typ: 'JWT' }).sign(randomBytes(64)),
    'no type': await sign(claims(), { typ: undefined }),
    'other type': await sign(claims(), { typ: 'at+jwt' }),
    'other issuer': await sign(claims({ iss: 'someone' })),
    'other audience': await sign(claims({ aud: 'admin' })),
    'issued by nobody': await sign(claims({ iss: undefined })),
    'not yet valid': await sign(claims({ nbf: now() + 60 })),
    'version as text': await sign(claims({ ver: '7' })),
    'subject as number': await sign(claims({ sub: 7 })),
  }
  for (const [what, token] of Object.entries(forgeries)) assert.deepEqual(await tokens.read(token), INVALID, what)
})

test('tokens: every claim is required', async () => {
  for (const claim of ['sub', 'jti', 'ver', 'iat', 'exp', 'aud', 'iss']) {
    assert.deepEqual(await tokens.read(await sign(claims({ [claim]: undefined }))), INVALID, claim)
  }
})

test('tokens: garbage of any kind is invalid, never an error', async () => {
  const garbage = ['', '.', '..', '...', 'x', 'a.b.c', `${'a'.repeat(5000)}.b.c`, '\u0000', '{}', 'e30.e30.e30']
  for (const text of garbage) assert.deepEqual(await tokens.read(text), INVALID, text.slice(0, 20))
  const long = await sign(claims({ padding: 'x'.repeat(4096) }))
  assert.deepEqual(await tokens.read(long), INVALID)
})

test('tokens: an expired one is told apart, by its signed name', async () => {
  assert.deepEqual(await tokens.read(await sign(claims({ exp: now() - 1 }))), { reason: 'EXPIRED_TOKEN', cpId: 'CP-1' })
})

async function loggedIn(central: SecurityUnderTest, cpId: string): Promise<{ secret: string; token: string }> {
  const { credentials: secret = '' } = await central.register(cpId)
  const { token } = await from('192.0.2.1', () => central.authentication.byCredentials(cpId, secret))
  central.clear()
  return { secret, token }
}

test('token login: answers the same token with the time it has left', async t => {
  t.mock.timers.enable({ apis: ['Date'], now: Date.UTC(2026, 5, 1) })
  const central = await openSecurity(t)
  const { token } = await loggedIn(central, 'CP-1')
  t.mock.timers.setTime(Date.now() + 100_000)
  const login = await from('192.0.2.1', () => central.authentication.byToken('CP-1', token))
  assert.deepEqual(login, { cp_id: 'CP-1', location: null, security_status: 'ACTIVE', token, expires_in: 3500 })
  assert.deepEqual(central.trail(), ['AUTH_SUCCESS'])
  t.mock.timers.setTime(Date.now() + 3_500_000)
  assert.equal(await outcome(central.authentication.byToken('CP-1', token)), 'AUTHENTICATION_FAILED')
  assert.equal(central.trail().at(-1), 'AUTH_FAIL EXPIRED_TOKEN')
})

test('token login: each way to fail has its reason in the trail and one answer outside', async t => {
  const central = await openSecurity(t)
  const { token } = await loggedIn(central, 'CP-1')
  const { token: other } = await loggedIn(central, 'CP-2')
  await central.chargePoints.remove('CP-2', OPERATOR)
  central.clear()
  const answers = [
    await refusal(from('192.0.2.1', () => central.authentication.byToken('CP-1', 'nonsense'))),
    await refusal(from('192.0.2.2', () => central.authentication.byToken('CP-1', other))),
    await refusal(from('192.0.2.3', () => central.authentication.byToken('CP-2', other))),
    // Of an id that is unknown, that is the reason, whatever comes with it.
    await refusal(from('192.0.2.5', () => central.authentication.byToken('CP-2', 'nonsense'))),
    await refusal(from('192.0.2.6', () => central.authentication.byToken('CP-GHOST', token))),
  ]
  await central.chargePoints.reissueCredentials('CP-1', undefined, OPERATOR)
  answers.push(await refusal(from('192.0.2.4', () => central.authentication.byToken('CP-1', token))))
  assert.equal(new Set(answers.map(({ code, message }) => `${code} ${message}`)).size, 1)
  assert.deepEqual(
    central.trail().filter(event => event.startsWith('AUTH_FAIL')),
    [
      'AUTH_FAIL INVALID_TOKEN',
      'AUTH_FAIL INVALID_TOKEN',
      'AUTH_FAIL UNKNOWN_CP',
      'AUTH_FAIL UNKNOWN_CP',
      'AUTH_FAIL UNKNOWN_CP',
      'AUTH_FAIL TOKEN_VERSION_MISMATCH',
    ],
  )
})

test('token login: status comes before the version, so a revoked charge point learns that it is', async t => {
  const central = await openSecurity(t)
  const { token } = await loggedIn(central, 'CP-1')
  await central.status.revoke('CP-1', 'stolen', OPERATOR)
  assert.equal(await outcome(central.authentication.byToken('CP-1', token)), 'CP_REVOKED')
  assert.equal(central.trail().at(-1), 'AUTH_FAIL REVOKED')
  await central.status.outOfService('CP-1', 'found again', OPERATOR)
  assert.equal(await outcome(central.authentication.byToken('CP-1', token)), 'CP_OUT_OF_SERVICE')
  await central.status.restore('CP-1', undefined, OPERATOR)
  assert.equal(await outcome(central.authentication.byToken('CP-1', token)), 'AUTHENTICATION_FAILED')
  assert.equal(central.trail().at(-1), 'AUTH_FAIL TOKEN_VERSION_MISMATCH')
})

test('token login: wrong ones are throttled, a valid one passes, and secrets are not held up by it', async t => {
  const central = await openSecurity(t)
  const { token } = await loggedIn(central, 'CP-1')
  const chosen = 'correct horse battery staple'
  await central.register('CP-2', chosen)
  const wrong = (cpId: string) => from('192.0.2.1', () => outcome(central.authentication.byToken(cpId, 'x')))
  for (const cpId of ['CP-1', 'CP-2']) {
    for (let i = 0; i < 5; i++) assert.equal(await wrong(cpId), 'AUTHENTICATION_FAILED')
    assert.equal(await wrong(cpId), 'TOO_MANY_ATTEMPTS')
  }
  assert.equal(await from('192.0.2.1', () => outcome(central.authentication.byToken('CP-1', token))), 'ok')
  assert.equal(await from('192.0.2.1', () => outcome(central.authentication.byCredentials('CP-2', chosen))), 'ok')
})

test('token login: an address that tries many ids is throttled', async t => {
  const central = await openSecurity(t)
  const wrong = (cpId: string) => from('192.0.2.1', () => outcome(central.authentication.byToken(cpId, 'x')))
  for (let i = 0; i < 21; i++) assert.equal(await wrong(`CP-${i}`), 'AUTHENTICATION_FAILED')
  assert.equal(await wrong('CP-100'), 'TOO_MANY_ATTEMPTS')
})

test('bearer: a valid token names its charge point, quietly; a missing or wrong one is a refused login', async t => {
  const central = await openSecurity(t)
  const { token } = await loggedIn(central, 'CP-1')
  assert.deepEqual(await central.authentication.bearer(token), {
    cp_id: 'CP-1',
    location: null,
    security_status: 'ACTIVE',
  })
  assert.deepEqual(central.trail(), [])
  for (const wrong of [undefined, '', 'x']) {
    assert.equal(await outcome(from('192.0.2.1', () => central.authentication.bearer(wrong))), 'AUTHENTICATION_FAILED')
    assert.equal(central.trail().at(-1), 'AUTH_FAIL INVALID_TOKEN')
    assert.equal(central.last().who, 'unknown')
  }
  await central.status.outOfService('CP-1', 'maintenance', OPERATOR)
  assert.equal(await outcome(central.authentication.bearer(token)), 'CP_OUT_OF_SERVICE')
})

test('tokens: those of a deleted id do not work once it is registered again', async t => {
  const central = await openSecurity(t)
  const { token } = await loggedIn(central, 'CP-1')
  await central.chargePoints.remove('CP-1', OPERATOR)
  await central.register('CP-1')
  assert.equal(await outcome(central.authentication.bearer(token)), 'AUTHENTICATION_FAILED')
  assert.equal(central.trail().at(-1), 'AUTH_FAIL TOKEN_VERSION_MISMATCH')
})
