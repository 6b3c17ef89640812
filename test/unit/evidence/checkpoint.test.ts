import assert from 'node:assert/strict'
import test from 'node:test'
import fc from 'fast-check'
import { formatCheckpoint, openCheckpoint, parseCheckpoint } from '../../../src/evidence/checkpoint.ts'
import { EMPTY_ROOT } from '../../../src/evidence/merkle.ts'
import { formatNote, SIGNATURE_TYPE } from '../../../src/evidence/note.ts'
import { createSignature } from '../../../src/evidence/signature.ts'
import { createKey, type KeyUnderTest } from './keys-under-test.ts'

const ORIGIN = 'example.com/behind-the-sofa'
/** The example of tlog-checkpoint. */
const TEXT = `${ORIGIN}\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n`

test('checkpoint: the example of the specification, and what is formatted is parsed again', () => {
  const checkpoint = parseCheckpoint(TEXT)
  assert.equal(checkpoint?.size, 20_852_163)
  assert.equal(checkpoint.origin, ORIGIN)
  assert.equal(formatCheckpoint(checkpoint), TEXT)
  const line = fc.stringMatching(/^[ -~\u00e9]{1,30}$/)
  const anyCheckpoint = fc.record({
    origin: line,
    size: fc.maxSafeNat(),
    root: fc.uint8Array({ minLength: 32, maxLength: 32 }),
    extensions: fc.array(line, { maxLength: 16 }),
  })
  fc.assert(fc.property(anyCheckpoint, it => assert.deepEqual(parseCheckpoint(formatCheckpoint(it)), { ...it })))
})

test('checkpoint: every other form is refused', () => {
  const [origin, size, root] = TEXT.split('\n')
  for (const text of [
    '',
    '\n',
    `${origin}\n${size}\n`,
    `${origin}\n${size}\n${root}`,
    `${origin}\n${size}\n${root}\n\n`,
    `${origin}\n${size}\n${root}\nextension\n\n`,
    `\n${size}\n${root}\n`,
    `${origin}\n\n${root}\n`,
    `${origin}\n020852163\n${root}\n`,
    `${origin}\n+1\n${root}\n`,
    `${origin}\n-1\n${root}\n`,
    `${origin}\n1e3\n${root}\n`,
    `${origin}\n1.0\n${root}\n`,
    `${origin}\n0x10\n${root}\n`,
    `${origin}\n 1\n${root}\n`,
    `${origin}\n00\n${root}\n`,
    `${origin}\n9007199254740992\n${root}\n`,
    `${origin}\n18446744073709551615\n${root}\n`,
    `${origin}\n${size}\n${root?.slice(0, -1)}\n`,
    `${origin}\n${size}\n${root?.replace('2I=', '2J=')}\n`,
    `${origin}\n${size}\n${root} \n`,
    `${origin}\n${size}\nAAAA\n`,
    `${origin}\r\n${size}\r\n${root}\r\n`,
    `${origin}\t\n${size}\n${root}\n`,
    `${origin}\n${size}\n${root}\n${'extension\n'.repeat(17)}`,
    `${'o'.repeat(256)}\n${size}\n${root}\n`,
    `\ud800\n${size}\n${root}\n`,
  ]) {
    assert.equal(parseCheckpoint(text), undefined, JSON.stringify(text))
  }
  const checkpoint = { origin: ORIGIN, size: 1, root: EMPTY_ROOT, extensions: [] }
  for (const part of [
    { origin: '' },
    { origin: 'a\nb' },
    { size: -1 },
    { size: 0.5 },
    { size: 2 ** 53 },
    { root: EMPTY_ROOT.subarray(1) },
    { extensions: [''] },
    { extensions: ['a\nb', ''] },
  ]) {
    assert.throws(() => formatCheckpoint({ ...checkpoint, ...part }), RangeError)
  }
})

test('checkpoint: opened only with the signature of the log, whoever else signed', () => {
  const log = createKey(ORIGIN)
  const postQuantum = createKey(ORIGIN, SIGNATURE_TYPE.mlDsa44Cosignature)
  const witness = createKey('witness.example/w1', SIGNATURE_TYPE.ed25519Cosignature)
  const trusted = { origin: ORIGIN, log: [log.verifier, postQuantum.verifier], witnesses: [witness.verifier] }
  const signed = (keys: readonly KeyUnderTest[], text = TEXT) =>
    formatNote({ text, signatures: keys.map(({ key, sign }) => createSignature(key, text, sign, 1000)) })

  const opened = openCheckpoint(signed([log, witness, postQuantum]), trusted)
  assert.ok(opened.isTrusted)
  assert.equal(opened.checkpoint.size, 20_852_163)
  assert.deepEqual(opened.signatures, [{ key: log.key }, { key: postQuantum.key, time: 1000 }])
  assert.deepEqual(opened.cosignatures, [{ key: witness.key, time: 1000 }])
  assert.ok(openCheckpoint(signed([postQuantum]), trusted).isTrusted)
  assert.ok(openCheckpoint(signed([log]), { origin: ORIGIN, log: [log.verifier] }).isTrusted)

  const refused = (text: string) => {
    const verdict = openCheckpoint(text, trusted)
    return verdict.isTrusted ? 'trusted' : verdict.reason
  }
  assert.equal(refused(signed([witness])), 'unknown-keys')
  assert.equal(refused(signed([createKey(ORIGIN)])), 'unknown-keys')
  assert.equal(refused(signed([log], TEXT.replace('sofa', 'table'))), 'other-origin')
  assert.equal(refused(signed([log, witness]).replace('\n20852163\n', '\n20852164\n')), 'wrong-signature')
  assert.equal(refused(signed([log], 'only text\n')), 'malformed')
  assert.equal(refused(TEXT), 'malformed')
})
