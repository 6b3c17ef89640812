import assert from 'node:assert/strict'
import { createCipheriv, randomBytes } from 'node:crypto'
import test from 'node:test'
import fc from 'fast-check'
import { LIMITS } from '../../../src/limits.ts'
import { parseBase64 } from '../../../src/security/messages.ts'
import { metadataOf, OPERATOR, openSecurity, outcome, refusal, type SecurityUnderTest } from './security-under-test.ts'

function seal(key: Uint8Array, cpId: string, options: { nonce?: Uint8Array; text?: string } = {}): string {
  const nonce = options.nonce ?? randomBytes(12)
  const cipher = createCipheriv('aes-256-gcm', key, nonce)
  cipher.setAAD(Buffer.from(cpId))
  const body = Buffer.concat([cipher.update(options.text ?? 'hello'), cipher.final()])
  return Buffer.concat([nonce, body, cipher.getAuthTag()]).toString('base64')
}

async function withKey(central: SecurityUnderTest, cpId: string): Promise<Uint8Array> {
  await central.register(cpId)
  await central.keys.generate(cpId, undefined, OPERATOR)
  const { key } = await central.keys.current(cpId)
  central.clear()
  return Buffer.from(key, 'base64')
}

test('messages: one that opens is accepted once; sent again it is tampering', async t => {
  const central = await openSecurity(t)
  const key = await withKey(central, 'CP-1')
  const message = seal(key, 'CP-1')
  assert.deepEqual(await central.messages.accept('CP-1', message), { accepted: true, cp_id: 'CP-1', key_version: 1 })
  assert.equal(await outcome(central.messages.accept('CP-1', seal(key, 'CP-1', { text: '' }))), 'ok')
  assert.deepEqual(central.trail(), [])
  assert.equal(await outcome(central.messages.accept('CP-1', message)), 'TAMPERING_DETECTED')
  assert.deepEqual(central.trail(), ['INCIDENT TAMPERING_DETECTED'])
  assert.deepEqual([central.last().who, central.last().status_code], ['CP-1', 400])
  assert.deepEqual(metadataOf(central.last()), { cause: 'repeated_nonce', key_version: 1 })
})

test('messages: the same nonce under another text is a repeat, also when both arrive at once and after a restart', async t => {
  const central = await openSecurity(t)
  const key = await withKey(central, 'CP-1')
  const nonce = randomBytes(12)
  const outcomes = await Promise.all(
    ['a', 'b', 'c'].map(text => outcome(central.messages.accept('CP-1', seal(key, 'CP-1', { nonce, text })))),
  )
  assert.deepEqual(outcomes, ['ok', 'TAMPERING_DETECTED', 'TAMPERING_DETECTED'])
  await central.close()
  const restarted = await openSecurity(t, { path: central.path })
  const again = seal(key, 'CP-1', { nonce, text: 'd' })
  assert.equal(await outcome(restarted.messages.accept('CP-1', again)), 'TAMPERING_DETECTED')
})

test('messages: another key, another charge point, any flipped bit is tampering', async t => {
  const central = await openSecurity(t)
  const key = await withKey(central, 'CP-1')
  await withKey(central, 'CP-2')
  const good = Buffer.from(seal(key, 'CP-1'), 'base64')
  const flipped = good.map((byte, i) => (i === good.length - 1 ? byte ^ 1 : byte))
  const bad = [seal(randomBytes(32), 'CP-1'), seal(key, 'CP-2'), Buffer.from(flipped).toString('base64')]
  for (const message of bad) {
    assert.equal(await outcome(central.messages.accept('CP-1', message)), 'TAMPERING_DETECTED')
    assert.equal(metadataOf(central.last()).cause, 'authentication_tag')
  }
  assert.equal(await outcome(central.messages.accept('CP-2', seal(key, 'CP-2'))), 'TAMPERING_DETECTED')
  assert.equal(await outcome(central.messages.accept('CP-1', good.toString('base64'))), 'ok')
})

test('messages: what is not canonical base64 or too short is invalid, and no incident', async t => {
  const central = await openSecurity(t)
  const key = await withKey(central, 'CP-1')
  const good = seal(key, 'CP-1', { text: 'abc' })
  const rules = [
    ['not base64!', 'base64'],
    [`${good}\n`, 'base64'],
    [` ${good}`, 'base64'],
    [good.replace(/=+$/, ''), 'base64'],
    ['-_-_'.repeat(10), 'base64'],
    ['', 'minLength'],
    [randomBytes(27).toString('base64'), 'minLength'],
    ['A'.repeat(LIMITS.messageCharactersMax + 4), 'maxLength'],
  ] as const
  for (const [payload, rule] of rules) {
    const { code, violations } = await refusal(central.messages.accept('CP-1', payload))
    assert.equal(code, 'VALIDATION_FAILED')
    assert.deepEqual(violations, [{ field: 'payload', rule }])
  }
  assert.deepEqual(central.trail(), [])
})

test('messages: without a key there is nothing to open them with', async t => {
  const central = await openSecurity(t)
  const key = await withKey(central, 'CP-1')
  await central.keys.revoke('CP-1', undefined, OPERATOR)
  assert.equal(await outcome(central.messages.accept('CP-1', seal(key, 'CP-1'))), 'KEY_NOT_FOUND')
})

test('messages: an old key no longer opens after a reset', async t => {
  const central = await openSecurity(t)
  const key = await withKey(central, 'CP-1')
  await central.keys.reset('CP-1', undefined, OPERATOR)
  assert.equal(await outcome(central.messages.accept('CP-1', seal(key, 'CP-1'))), 'TAMPERING_DETECTED')
})

test('messages: base64 has one spelling', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 100 }), bytes => {
      assert.deepEqual(parseBase64(Buffer.from(bytes).toString('base64')), Buffer.from(bytes))
    }),
  )
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom(...'ABz09+/=-_ \n'), maxLength: 12 }), text => {
      const bytes = parseBase64(text)
      if (bytes !== undefined) assert.equal(Buffer.from(bytes).toString('base64'), text)
      const isCanonical = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)?$/.test(
        text,
      )
      assert.equal(bytes !== undefined, isCanonical, JSON.stringify(text))
    }),
    { numRuns: 2000 },
  )
})
