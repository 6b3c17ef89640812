import assert from 'node:assert/strict'
import test from 'node:test'
import fc from 'fast-check'
import {
  createVerifierKey,
  formatNote,
  formatVerifierKey,
  type Note,
  parseNote,
  parseSignatureLines,
  parseVerifierKey,
  SIGNATURE_TYPE,
  verifyNote,
} from '../../../src/evidence/note.ts'
import { createSignature, createVerifier } from '../../../src/evidence/signature.ts'
import { createKey } from './keys-under-test.ts'

/** The example of golang.org/x/mod/sumdb/note. */
const GO_KEY = 'PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW'
const GO_NOTE = `If you think cryptography is the answer to your problem,
then you don't know what your problem is.

\u2014 PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=
`

test('note: one that Go signed verifies, and is written again to the letter', () => {
  const key = parseVerifierKey(GO_KEY)
  const note = parseNote(GO_NOTE)
  assert.ok(key && note)
  assert.deepEqual(verifyNote(note, [createVerifier(key)]), { isSigned: true, signatures: [{ key }] })
  assert.equal(formatNote(note), GO_NOTE)
  assert.equal(formatVerifierKey(key), GO_KEY)
  const changed = parseNote(GO_NOTE.replace('think', 'thank'))
  assert.deepEqual(verifyNote(changed!, [createVerifier(key)]), { isSigned: false, reason: 'wrong-signature' })
})

test('verifier keys: every other spelling, another id, type or length is refused', () => {
  const [name = '', id = '', base64 = ''] = GO_KEY.split('+')
  const key = (bytes: Uint8Array) => `${name}+${id}+${Buffer.from(bytes).toString('base64')}`
  for (const text of [
    '',
    name,
    `${name}+${id}`,
    `${name}+${id}+`,
    `+${id}+${base64}`,
    `${name}+${id.toUpperCase()}+${base64}`,
    `${name}+${id.slice(1)}+${base64}`,
    `${name}+c74f20a4+${base64}`,
    `${name}x+${id}+${base64}`,
    `Peter Neumann+${id}+${base64}`,
    `${GO_KEY}\n`,
    ` ${GO_KEY}`,
    `${GO_KEY}=`,
    key(new Uint8Array(33).fill(1)),
    key(Uint8Array.of(2, ...new Uint8Array(32))),
    key(Uint8Array.of(1, ...new Uint8Array(31))),
    key(new Uint8Array(0)),
  ]) {
    assert.equal(parseVerifierKey(text), undefined, text)
  }
  for (const bad of ['', 'a b', 'a+b', 'a\u00a0b', 'a\u0085b', 'a\nb', 'a\x01', 'a'.repeat(256), '\ud800']) {
    assert.throws(() => createVerifierKey(bad, SIGNATURE_TYPE.ed25519, new Uint8Array(32)), RangeError, bad)
  }
  assert.throws(() => createVerifierKey('a', SIGNATURE_TYPE.mlDsa44Cosignature, new Uint8Array(32)), RangeError)
})

test('verifier keys: of each type, what is formatted is parsed again', () => {
  const { mlDsa44Note, ...written } = SIGNATURE_TYPE
  for (const type of Object.values(written)) {
    const { key } = createKey('example.com/log', type)
    assert.deepEqual(parseVerifierKey(formatVerifierKey(key)), key)
  }
  const { key } = createKey('example.com/log', mlDsa44Note)
  assert.equal(parseVerifierKey(formatVerifierKey(key)), undefined, 'it is one of type 0x06')
})

test('note: what is formatted is parsed again, with empty lines and any text in it', () => {
  const line = fc.string({ unit: 'grapheme' }).map(text => text.replaceAll(/[\0-\x1f]/g, ''))
  const signature = fc.record({
    name: fc.stringMatching(/^[a-z0-9./\u00e9-]{1,20}$/),
    keyId: fc.stringMatching(/^[0-9a-f]{8}$/),
    bytes: fc.uint8Array({ minLength: 1, maxLength: 80 }),
  })
  fc.assert(
    fc.property(fc.array(line), fc.array(signature, { minLength: 1, maxLength: 16 }), (lines, signatures) => {
      const note: Note = { text: `${lines.join('\n')}\n`, signatures: signatures.map(it => ({ ...it })) }
      assert.deepEqual(parseNote(formatNote(note)), note)
    }),
  )
})

test('note: every other form is refused', () => {
  const [text = '', line = ''] = GO_NOTE.split('\n\n')
  for (const other of [
    '',
    '\n',
    '\n\n',
    text,
    `${text}\n`,
    `${text}\n\n`,
    `${text}\n${line}`,
    `${text}\n\n${line}`.trimEnd(),
    `${text}\r\n\r\n${line}`,
    `${text}\0\n\n${line}`,
    `${text}\t\n\n${line}`,
    `${text}\ud800\n\n${line}`,
    `${text}\n\n${line}\n`,
    `${text}\n\n ${line}`,
    `${text}\n\n${line.replace('\u2014', '-')}`,
    `${text}\n\n${line.replace('\u2014 ', '\u2014')}`,
    `${text}\n\n${line.replace('\u2014 ', '\u2014  ')}`,
    `${text}\n\n${line.replace(' x08', '  x08')}`,
    `${text}\n\n${line.replace('\u2014 PeterNeumann', '\u2014 Peter\u2003Neumann')}`,
    `${text}\n\n${line.replace('Neumann', '+Neumann')}`,
    `${text}\n\n${line.replace('AM=', 'AM')}`,
    `${text}\n\n${line.replace('AM=', 'AN=')}`,
    `${text}\n\n${line.replace('=', '= ')}`,
    `${text}\n\n\u2014 PeterNeumann x08gow==\n`,
    `${text}\n\n${line}trailing`,
  ]) {
    assert.equal(parseNote(other), undefined, JSON.stringify(other))
  }
})

test('note: at most 64 signatures and 256 Ki characters', () => {
  const signature = { name: 'a', keyId: '00000000', bytes: Uint8Array.of(1) }
  const signatures = (count: number) => Array.from({ length: count }, () => signature)
  assert.equal(parseNote(formatNote({ text: 'x\n', signatures: signatures(64) }))?.signatures.length, 64)
  assert.throws(() => formatNote({ text: 'x\n', signatures: signatures(65) }), RangeError)
  assert.throws(() => formatNote({ text: `${'x'.repeat(256 * 1024)}\n`, signatures: signatures(1) }), RangeError)
  assert.throws(() => formatNote({ text: 'x\n', signatures: [] }), RangeError)
  assert.throws(() => formatNote({ text: 'no newline', signatures: signatures(1) }), RangeError)
  assert.equal(parseSignatureLines(''), undefined)
})

test('note: unknown keys are ignored, also with the name or the id of a known one', () => {
  const known = createKey('example.com/log')
  const stranger = createKey('example.com/log')
  const text = 'text\n'
  const right = createSignature(known.key, text, known.sign)
  const strange = createSignature(stranger.key, text, stranger.sign)
  const verdict = (...signatures: (typeof right)[]) => verifyNote({ text, signatures }, [known.verifier])
  assert.deepEqual(verdict(strange, { ...strange, keyId: right.keyId, name: 'other' }, right), {
    isSigned: true,
    signatures: [{ key: known.key }],
  })
  assert.deepEqual(verdict(strange), { isSigned: false, reason: 'unknown-keys' })
  assert.deepEqual(verdict({ ...strange, keyId: right.keyId }), { isSigned: false, reason: 'wrong-signature' })
})

test('note: one wrong signature of a known key refuses it; a key that signs twice counts once', () => {
  const [one, two] = [createKey('one'), createKey('two')]
  const text = 'text\n'
  const first = createSignature(one.key, text, one.sign)
  const wrong = createSignature(two.key, 'other\n', two.sign)
  const verifiers = [one.verifier, two.verifier]
  assert.deepEqual(verifyNote({ text, signatures: [first, wrong] }, verifiers), {
    isSigned: false,
    reason: 'wrong-signature',
  })
  const verdict = verifyNote({ text, signatures: [first, first] }, verifiers)
  assert.ok(verdict.isSigned && verdict.signatures.length === 1)
})
