import assert from 'node:assert/strict'
import { createHash, createSecretKey, randomBytes } from 'node:crypto'
import test from 'node:test'
import fc from 'fast-check'
import { unwrapKey, wrapKey } from '../../../src/security/key-wrap.ts'
import { metadataOf, OPERATOR, openSecurity, outcome } from './security-under-test.ts'

const owner = fc.record({ cp_id: fc.string({ minLength: 1, maxLength: 48 }), key_id: fc.uuid(), version: fc.nat() })

test('key wrap: a key opens for its owner only, under its wrapping key only, and only unchanged', () => {
  const wrapping = createSecretKey(randomBytes(32))
  fc.assert(
    fc.property(owner, owner, fc.nat(59), fc.integer({ min: 1, max: 255 }), (mine, other, position, flip) => {
      const key = randomBytes(32)
      const wrapped = wrapKey(wrapping, key, mine)
      assert.equal(wrapped.length, 60)
      assert.deepEqual(Buffer.from(unwrapKey(wrapping, wrapped, mine)), key)
      for (const changed of [{ cp_id: other.cp_id }, { key_id: other.key_id }, { version: other.version }]) {
        const claimed = { ...mine, ...changed }
        if (JSON.stringify(claimed) !== JSON.stringify(mine)) {
          assert.throws(() => unwrapKey(wrapping, wrapped, claimed), /cannot be unwrapped/)
        }
      }
      assert.throws(() => unwrapKey(createSecretKey(randomBytes(32)), wrapped, mine))
      const damaged = Uint8Array.from(wrapped)
      damaged[position] = (damaged[position] as number) ^ flip
      assert.throws(() => unwrapKey(wrapping, damaged, mine))
      assert.throws(() => unwrapKey(wrapping, wrapped.subarray(0, position), mine))
    }),
    { numRuns: 100 },
  )
})

test('key wrap: owners whose parts merely run together are different', () => {
  const wrapping = createSecretKey(randomBytes(32))
  const wrapped = wrapKey(wrapping, randomBytes(32), { cp_id: 'a', key_id: 'bc', version: 1 })
  assert.throws(() => unwrapKey(wrapping, wrapped, { cp_id: 'ab', key_id: 'c', version: 1 }))
})

test('keys: generate, reset and revoke count versions up over the life of the charge point', async t => {
  const central = await openSecurity(t)
  await central.register('CP-1')
  central.clear()
  const first = await central.keys.generate('CP-1', 'commissioning', OPERATOR)
  const { key, algorithm, ...info } = await central.keys.current('CP-1')
  assert.equal(algorithm, 'AES-256-GCM')
  assert.deepEqual(info, first)
  const bytes = Buffer.from(key, 'base64')
  assert.equal(bytes.length, 32)
  assert.equal(first.fingerprint, createHash('sha256').update(bytes).digest('hex').slice(0, 16))
  assert.match(first.key_id, /^[0-9a-f]{8}-[0-9a-f]{4}-7/)

  const second = await central.keys.reset('CP-1', undefined, OPERATOR)
  assert.notEqual((await central.keys.current('CP-1')).key, key)
  assert.deepEqual(await central.keys.revoke('CP-1', 'end of life', OPERATOR), second)
  const third = await central.keys.generate('CP-1', undefined, OPERATOR)
  assert.deepEqual(
    [first, second, third].map(({ version }) => version),
    [1, 2, 3],
  )
  assert.deepEqual(central.trail(), ['KEY_GENERATE', 'KEY_RESET', 'KEY_REVOKE', 'KEY_GENERATE'])
  assert.deepEqual(metadataOf(central.events()[0] as never), {
    version: 1,
    fingerprint: first.fingerprint,
    reason: 'commissioning',
    actor: 'olga',
  })
})

test('keys: every refusal, and no event with it', async t => {
  const central = await openSecurity(t)
  await central.register('CP-1')
  const { generate, reset, revoke, current } = central.keys
  const all = async (cpId: string) => [
    await outcome(generate(cpId, undefined, OPERATOR)),
    await outcome(reset(cpId, undefined, OPERATOR)),
    await outcome(revoke(cpId, undefined, OPERATOR)),
    await outcome(current(cpId)),
  ]
  assert.deepEqual(await all('CP-9'), ['CP_NOT_FOUND', 'CP_NOT_FOUND', 'CP_NOT_FOUND', 'KEY_NOT_FOUND'])
  assert.equal(await outcome(reset('CP-1', undefined, OPERATOR)), 'KEY_NOT_FOUND')
  assert.equal(await outcome(revoke('CP-1', undefined, OPERATOR)), 'KEY_NOT_FOUND')
  await generate('CP-1', undefined, OPERATOR)
  assert.equal(await outcome(generate('CP-1', undefined, OPERATOR)), 'KEY_EXISTS')
  await central.status.outOfService('CP-1', 'maintenance', OPERATOR)
  assert.equal(await outcome(generate('CP-1', undefined, OPERATOR)), 'CP_NOT_ACTIVE')
  assert.equal(await outcome(reset('CP-1', undefined, OPERATOR)), 'ok')
  await central.status.revoke('CP-1', 'stolen', OPERATOR)
  assert.deepEqual(await all('CP-1'), ['CP_NOT_ACTIVE', 'CP_NOT_ACTIVE', 'KEY_NOT_FOUND', 'KEY_NOT_FOUND'])
  assert.deepEqual(
    central.trail().filter(event => event.startsWith('KEY')),
    ['KEY_GENERATE', 'KEY_RESET', 'KEY_REVOKE'],
  )
})

test('keys: the database holds no plaintext key', async t => {
  const central = await openSecurity(t)
  await central.register('CP-1')
  await central.keys.generate('CP-1', undefined, OPERATOR)
  const key = Buffer.from((await central.keys.current('CP-1')).key, 'base64')
  const stored = await central.state.currentKey('CP-1')
  assert.ok(stored)
  assert.equal(Buffer.from(stored.wrapped).includes(key), false)
})

test('keys: a key outlives a restart', async t => {
  const central = await openSecurity(t)
  await central.register('CP-1')
  await central.keys.generate('CP-1', undefined, OPERATOR)
  const before = await central.keys.current('CP-1')
  await central.close()
  const restarted = await openSecurity(t, { path: central.path })
  assert.deepEqual(await restarted.keys.current('CP-1'), before)
})
