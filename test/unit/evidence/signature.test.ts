import assert from 'node:assert/strict'
import test from 'node:test'
import { formatCheckpoint } from '../../../src/evidence/checkpoint.ts'
import { EMPTY_ROOT } from '../../../src/evidence/merkle.ts'
import { SIGNATURE_TYPE, type SignatureType, verifyNote } from '../../../src/evidence/note.ts'
import { createSignature, createVerifier } from '../../../src/evidence/signature.ts'
import { createKey } from './keys-under-test.ts'

const { ed25519, ed25519Cosignature, mlDsa44Cosignature } = SIGNATURE_TYPE
const ORIGIN = 'example.com/behind-the-sofa'
const TEXT = formatCheckpoint({ origin: ORIGIN, size: 20_852_163, root: EMPTY_ROOT, extensions: [] })
const TIME = 1_679_315_147

/** What a key was asked to sign. */
function messageOf(type: SignatureType) {
  const { key } = createKey('witness.example/w1', type)
  const asked: Uint8Array[] = []
  const sign = (message: Uint8Array) => {
    asked.push(message)
    return Uint8Array.of(9)
  }
  const { bytes } = createSignature(key, TEXT, sign, TIME)
  return { message: Buffer.concat(asked), bytes: Buffer.from(bytes) }
}

test('signatures: the messages are those of the specifications', () => {
  assert.equal(messageOf(ed25519).message.toString(), TEXT)
  assert.equal(messageOf(ed25519Cosignature).message.toString(), `cosignature/v1\ntime 1679315147\n${TEXT}`)
  const expected = [
    Buffer.from('subtree/v1\n\0'),
    Buffer.from('\x12witness.example/w1'),
    Buffer.from('00000000641850cb', 'hex'),
    Buffer.from(`\x1b${ORIGIN}`),
    Buffer.from('0000000000000000', 'hex'),
    Buffer.from('00000000013e2dc3', 'hex'),
    EMPTY_ROOT,
  ]
  assert.equal(messageOf(mlDsa44Cosignature).message.toString('hex'), Buffer.concat(expected).toString('hex'))
})

test('signatures: a cosignature begins with its time, a plain one has none', () => {
  assert.equal(messageOf(ed25519).bytes.toString('hex'), '09')
  assert.equal(messageOf(ed25519Cosignature).bytes.toString('hex'), '00000000641850cb09')
})

test('signatures: of each type, one made verifies, and not for another text, time or key', () => {
  for (const type of [ed25519, ed25519Cosignature, mlDsa44Cosignature]) {
    const { key, verifier, sign } = createKey('witness.example/w1', type)
    const { bytes } = createSignature(key, TEXT, sign, TIME)
    assert.deepEqual(verifier.verify(TEXT, bytes), type === ed25519 ? { key } : { key, time: TIME })
    assert.equal(verifier.verify(TEXT.replace('20852163', '20852164'), bytes), undefined)
    assert.equal(createKey('witness.example/w1', type).verifier.verify(TEXT, bytes), undefined)
    for (const at of [0, 7, 8, 40, bytes.length - 1]) {
      const changed = Uint8Array.from(bytes)
      changed[at]! ^= 1
      assert.equal(verifier.verify(TEXT, changed), undefined, `type ${type}, byte ${at}`)
    }
    for (const length of [0, 1, 7, 8, 9, 63, bytes.length - 1]) {
      assert.equal(verifier.verify(TEXT, bytes.subarray(0, length)), undefined, `type ${type}, cut at ${length}`)
    }
  }
})

test('signatures: an ML-DSA-44 cosignature binds the name of the cosigner, and not the extension lines', () => {
  const witness = createKey('witness.example/w1', mlDsa44Cosignature)
  const { bytes } = createSignature(witness.key, TEXT, witness.sign, TIME)
  assert.equal(createVerifier({ ...witness.key, name: 'witness.example/w2' }).verify(TEXT, bytes), undefined)
  assert.ok(witness.verifier.verify(`${TEXT}an extension\n`, bytes))
  assert.equal(witness.verifier.verify('no checkpoint\n', bytes), undefined)
  assert.throws(() => createSignature(witness.key, 'no checkpoint\n', witness.sign), RangeError)
  assert.throws(() => createSignature(witness.key, TEXT, witness.sign, 0.5), RangeError)
})

test('signatures: one key as two types is two keys, and a signature of one is none of the other', () => {
  const log = createKey('example.com/log')
  const signature = createSignature(log.key, TEXT, log.sign)
  const cosigner = createKey('example.com/log', ed25519Cosignature)
  assert.notEqual(log.key.id, cosigner.key.id)
  const note = { text: TEXT, signatures: [signature] }
  assert.deepEqual(verifyNote(note, [cosigner.verifier]), { isSigned: false, reason: 'unknown-keys' })
})
