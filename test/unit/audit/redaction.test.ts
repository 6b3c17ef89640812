import assert from 'node:assert/strict'
import test from 'node:test'
import fc from 'fast-check'
import { escapeUnprintable, metadataJson, redactText, safeError, safeText } from '../../../src/audit/redaction.ts'
import { LIMITS } from '../../../src/limits.ts'

const JWT = 'eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJDUC0xIn0.dBjftJeZ4CVPmB92K27uhbUJU1p1r_wW1gFWFOEjXk'
const parsed = (metadata: Record<string, unknown>) => JSON.parse(metadataJson(metadata) ?? 'null')

test('redaction: a value under a forbidden name is replaced at any depth and in any case', () => {
  const metadata = {
    Credentials: 'a1',
    nested: [{ 'X-Admin-KEY': 'a2', deep: { apiToken: ['a3'], user_password: { a4: 'a4' } } }],
    private_part: 1,
    symmetric: true,
    plaintext: null,
    Authorization: 'a5',
    client_secret: 'a6',
  }
  const text = metadataJson(metadata) ?? ''
  for (const canary of ['a1', 'a2', 'a3', 'a4', 'a5', 'a6']) assert.ok(!text.includes(`"${canary}"`), canary)
  assert.equal(text.split('***REDACTED***').length - 1, 9)
})

test('redaction: the safe names of the catalogue keep their values', () => {
  const metadata = { key_id: 'k-1', key_version: 3, token_type: 'Bearer' }
  assert.deepEqual(parsed(metadata), metadata)
})

test('redaction: what looks like a secret is replaced inside any text', () => {
  const pem = '-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----'
  for (const secret of [JWT, pem, 'Bearer abcdef123456', 'password=hunter2', 'api_key: "s3cr3t value"', 'token=abc']) {
    const text = redactText(`before ${secret} after`)
    assert.ok(text.includes('***REDACTED***'), secret)
    assert.ok(
      text.startsWith('before ') && !text.includes('hunter2') && !text.includes('s3cr3t') && !text.includes('MIIE'),
    )
    assert.ok(!text.includes('abcdef123456') && !text.includes('dBjft') && !text.includes('=abc'))
  }
  assert.equal(redactText('postgres://evc:hunter2@db/evc'), 'postgres://evc:***REDACTED***@db/evc')
  assert.equal(
    redactText('CP CP-1 status changed from ACTIVE to REVOKED'),
    'CP CP-1 status changed from ACTIVE to REVOKED',
  )
})

test('redaction: nothing of a secret stays behind, whatever is around it or in it', () => {
  const texts = [
    `evca_${'0'.repeat(58)}CANARY`,
    '{"password":"a\\"CANARY","b":1}',
    "password='a\\'CANARY'",
    '{\\"client_secret\\":\\"two CANARY words\\"}',
    '{\\\\"token\\\\":\\\\"CANARY\\\\"}',
    'reply to /login?secret%3DCANARY',
    'authorization: bearer: CANARYcanary',
    'Cookie: evc-session=CANARY',
    'passphrase = CANARY, pwd=CANARY',
    'postgres://evc:a/CANARY@b/CANARY@db/evc',
  ]
  for (const text of texts) assert.ok(!redactText(text).includes('CANARY'), redactText(text))
  for (const plain of ['see http://gateway:8080/charge-points/a@b', 'basic: yes', 'key figures, token ring']) {
    assert.equal(redactText(plain), plain)
  }
})

test('redaction: a secret that the length limit cuts in two is still replaced', () => {
  const text = safeText(`${'x'.repeat(480)} ${JWT}`, 500)
  assert.ok(!text.includes('eyJ'), text.slice(470))
  assert.ok(text.length <= 500)
})

test('redaction: control, ANSI and bidirectional characters become visible', () => {
  assert.equal(escapeUnprintable('a\r\nb\u001b[31m\u202ec\u0000'), 'a\\u000d\\u000ab\\u001b[31m\\u202ec\\u0000')
})

test('redaction: long strings are cut and marked', () => {
  const { note } = parsed({ note: 'n'.repeat(10_000) })
  assert.equal(note.length, LIMITS.metadataStringCharactersMax)
  assert.ok(note.endsWith('...[cut]'))
})

test('redaction: cycles, depth, width and odd values are marked and cost a bounded amount', () => {
  const cyclic: Record<string, unknown> = { name: 'x' }
  cyclic.self = cyclic
  assert.deepEqual(parsed(cyclic), { name: 'x', self: '[circular]' })

  let deep: Record<string, unknown> = { end: true }
  for (let i = 0; i < 100_000; i++) deep = { deep }
  assert.ok((metadataJson(deep) ?? '').includes('[too deep]'))

  const wide = Object.fromEntries(Array.from({ length: 100_000 }, (_, i) => [`f${i}`, i]))
  assert.ok((metadataJson(wide) ?? '').length <= LIMITS.metadataJsonCharactersMax)

  const hostile = {
    get trap() {
      throw new Error('no')
    },
    big: 10n,
    nan: Number.NaN,
    when: new Date(0),
    bytes: new Uint8Array(4),
    call: () => 1,
    error: new TypeError('bad'),
    map: new Map([['password', 'p']]),
  }
  assert.deepEqual(parsed(hostile), {
    trap: '[unreadable]',
    big: '10',
    nan: 'NaN',
    when: '1970-01-01T00:00:00.000Z',
    bytes: '[4 bytes]',
    call: '[function]',
    error: { name: 'TypeError', message: 'bad' },
    map: { password: '***REDACTED***' },
  })
})

test('redaction: metadata that cannot change is made into text once, metadata that can is not', () => {
  const constant = Object.freeze({ method: 'token', password: 'p' })
  assert.equal(metadataJson(constant), '{"method":"token","password":"***REDACTED***"}')
  assert.equal(metadataJson(constant), metadataJson({ ...constant }))
  let reads = 0
  const live = Object.freeze({
    get count() {
      reads++
      return String(reads)
    },
  })
  assert.deepEqual([metadataJson(live), metadataJson(live)], ['{"count":"1"}', '{"count":"2"}'])
})

test('redaction: __proto__ in metadata is a field like any other', () => {
  const text = metadataJson(JSON.parse('{"__proto__": {"polluted": 1}}')) ?? ''
  assert.equal(text, '{"__proto__":{"polluted":1}}')
  assert.equal(({} as Record<string, unknown>).polluted, undefined)
})

test('redaction: a safe error has its class, one short line and no run that could be a key', () => {
  const error = new RangeError(`boom\nwith ${'ab12'.repeat(16)} and password=hunter2 at eyJ`)
  const { name, message } = safeError(error)
  assert.equal(name, 'RangeError')
  assert.ok(!message.includes('ab12ab12') && !message.includes('hunter2') && !message.includes('\n'))
  assert.ok(safeError(new Error('x'.repeat(5000))).message.length <= LIMITS.errorMessageCharactersMax)
  assert.equal(safeError('thrown text').message, 'a string was thrown')
})

test('redaction: any metadata gives JSON of bounded size without unprintable characters (property)', () => {
  fc.assert(
    fc.property(
      fc.dictionary(fc.string({ unit: 'binary' }), fc.anything({ withBigInt: true, withDate: true, withMap: true })),
      metadata => {
        const text = metadataJson(metadata) ?? ''
        JSON.parse(text)
        assert.ok(text.length <= LIMITS.metadataJsonCharactersMax)
        assert.ok(text.isWellFormed())
        assert.ok(!/[\u0000-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/.test(text))
      },
    ),
    { numRuns: 500 },
  )
})

test('redaction: a canary under a forbidden name never shows, wherever the name stands (property)', () => {
  const name = fc.constantFrom(
    'credentials',
    'accessToken',
    'PASSWORD',
    'my_secret_1',
    'api-key',
    'privateX',
    'symmetricKey',
  )
  const canary = fc.stringMatching(/^CANARY[a-z0-9]{12}$/)
  fc.assert(
    fc.property(name, canary, fc.array(fc.constantFrom('a', 'list', 'b'), { maxLength: 5 }), (key, secret, path) => {
      const inner: Record<string, unknown> = { [key]: { value: [secret] }, other: 1 }
      const metadata = path.reduce<Record<string, unknown>>(
        (value, step) => ({ [step]: step === 'list' ? [value] : value }),
        inner,
      )
      assert.ok(!(metadataJson(metadata) ?? '').includes(secret))
    }),
    { numRuns: 500 },
  )
})
