/** Keys that sign together: announced, followed, left out, mixed up. */
import assert from 'node:assert/strict'
import test from 'node:test'
import { formatCheckpoint } from '../../../src/evidence/checkpoint.ts'
import {
  formatKeyChain,
  handOver,
  type KeyChain,
  keysOfSize,
  openByChain,
  openHandOver,
  parseKeyChain,
  startKeyChain,
} from '../../../src/evidence/key-chain.ts'
import { EMPTY_ROOT } from '../../../src/evidence/merkle.ts'
import { formatNote, type NoteSignature, parseNote, SIGNATURE_TYPE } from '../../../src/evidence/note.ts'
import { createSignature, createVerifier, noteKeyOf } from '../../../src/evidence/signature.ts'
import { createKey, type KeyUnderTest } from './keys-under-test.ts'

const ORIGIN = 'log.example/ev-central'
const TIME = 1_780_000_000

const single = () => [createKey(ORIGIN)] as const
const pair = () => [createKey(ORIGIN), createKey(ORIGIN, SIGNATURE_TYPE.mlDsa44Cosignature)] as const

function sign(size: number, ...keys: readonly KeyUnderTest[]): string {
  const text = formatCheckpoint({ origin: ORIGIN, size, root: EMPTY_ROOT, extensions: [] })
  const signatures = keys.map(({ key, sign: signMessage }) => createSignature(key, text, signMessage, TIME))
  return formatNote({ text, signatures })
}

function outcomeOf(note: string, chain: KeyChain): string {
  const opened = openByChain(note, chain)
  return opened.isTrusted ? opened.signatures.map(({ key }) => key.type).join() : opened.reason
}

function withSignatures(note: string, change: (signatures: readonly NoteSignature[]) => readonly NoteSignature[]) {
  const { text, signatures } = parseNote(note) ?? assert.fail()
  return formatNote({ text, signatures: change(signatures) })
}

const BOTH = `${SIGNATURE_TYPE.ed25519},${SIGNATURE_TYPE.mlDsa44Cosignature}`

/** One key up to 10, two up to 20, one again. */
function announced() {
  const [a, b, c] = [single(), pair(), single()]
  const on = handOver(startKeyChain(a[0].key), 10, a, b)
  return { a, b, c, on, chain: handOver(on, 20, b, c) }
}

test('key chain: what an announced ML-DSA-44 key has to sign, it has to sign together with the Ed25519 key', () => {
  const { a, b, c, chain } = announced()
  assert.equal(outcomeOf(sign(10, ...a), chain), '1')
  assert.equal(outcomeOf(sign(11, ...b), chain), BOTH)
  assert.equal(outcomeOf(sign(20, b[1], b[0]), chain), '6,1', 'in any order')
  assert.equal(outcomeOf(sign(21, ...c), chain), '1')
  for (const key of b) assert.equal(outcomeOf(sign(11, key), chain), 'missing-signature')
  for (const [size, keys] of [
    [11, a],
    [11, c],
    [10, b],
    [21, b],
  ] as const) {
    assert.equal(outcomeOf(sign(size, ...keys), chain), 'unknown-keys', `${size}`)
  }
})

test('key chain: a second signature that is wrong, of another tree, key or time, or in the place of another, is refused', () => {
  const { b, chain } = announced()
  const note = sign(11, ...b)
  const [first, second] = parseNote(note)!.signatures as [NoteSignature, NoteSignature]
  const elsewhere = parseNote(sign(12, ...b))!.signatures[1]!
  const stranger = parseNote(sign(11, pair()[1]))!.signatures[0]!
  const flip = (at: number) => ({ ...second, bytes: second.bytes.with(at, second.bytes[at]! ^ 1) })
  const replace = (other: NoteSignature) =>
    outcomeOf(
      withSignatures(note, () => [first, other]),
      chain,
    )
  assert.equal(replace(second), BOTH)
  for (const at of [0, 7, 8, 40, 2_427]) assert.equal(replace(flip(at)), 'wrong-signature', `byte ${at}`)
  assert.equal(replace({ ...second, bytes: elsewhere.bytes }), 'wrong-signature', 'of another tree')
  assert.equal(replace({ ...second, bytes: stranger.bytes }), 'wrong-signature', 'of another key under this id')
  assert.equal(replace({ ...second, bytes: first.bytes }), 'wrong-signature', 'of the other type')
  assert.equal(replace({ ...second, bytes: second.bytes.subarray(8) }), 'wrong-signature', 'without its time')
  assert.equal(replace(stranger), 'missing-signature', 'of an unknown key')
  assert.equal(replace({ ...second, name: 'log.example/other' }), 'missing-signature')
  assert.equal(replace(first), 'missing-signature', 'the first one twice')
})

test('key chain: an announcement that is cut out takes the Ed25519 key along', () => {
  const { a, b, c, chain } = announced()
  const cut = startKeyChain(a[0].key)
  assert.equal(outcomeOf(sign(11, b[0]), cut), 'unknown-keys')
  const lines = formatKeyChain(chain).split('\n')
  assert.equal(parseKeyChain(lines.toSpliced(1, 1).join('\n')), undefined, 'the one in the middle')
  // By keys that were never handed over to, whoever has the first one.
  assert.throws(() => handOver(handOver(cut, 10, a, c), 20, b, single()), RangeError)
  assert.throws(() => handOver(announced().on, 20, [b[0]], single()), RangeError)
})

test('key chain: what hands over by two keys needs the signatures of all four, and is read again to the letter', () => {
  const [a, b] = [pair(), pair()]
  const chain = handOver(startKeyChain(a[0].key), 0, a, b)
  const { note } = chain.handOvers[0]!
  assert.deepEqual(parseKeyChain(formatKeyChain(chain)), chain)
  assert.deepEqual(keysOfSize(chain, 1), { ed25519: b[0].key, mlDsa44: b[1].key })
  for (let n = 0; n < 4; n++) {
    assert.equal(openHandOver(withSignatures(note, all => all.toSpliced(n, 1))), undefined, `without ${n}`)
    const wrong = withSignatures(note, all =>
      all.map((it, i) => (i === n ? { ...it, bytes: it.bytes.with(9, 0) } : it)),
    )
    const isSame = wrong === note
    assert.equal(openHandOver(wrong) !== undefined, isSame, `a wrong one at ${n}`)
  }
  const { text } = parseNote(note)!
  const [oldLine = '', nextLine = ''] = text.split('\n').slice(3)
  const [ed25519 = '', mlDsa44 = ''] = nextLine.split(' ')
  for (const other of [
    `${mlDsa44} ${ed25519}`,
    mlDsa44,
    `${ed25519} ${ed25519}`,
    `${nextLine} ${mlDsa44}`,
    `${nextLine} `,
    `${ed25519}  ${mlDsa44}`,
    `${ed25519} `,
    '',
  ]) {
    const changed = text.replace(`${nextLine}\n`, `${other}\n`)
    const signatures = [...a, ...b].map(key => createSignature(noteKeyOf(key.key), changed, key.sign))
    assert.equal(openHandOver(formatNote({ text: changed, signatures })), undefined, other)
  }
  const isBefore = text.replace(oldLine, nextLine)
  const signatures = [...a, ...b].map(key => createSignature(noteKeyOf(key.key), isBefore, key.sign))
  const toItself = formatNote({ text: isBefore, signatures })
  assert.equal(
    parseKeyChain(formatKeyChain({ ...chain, handOvers: [{ ...chain.handOvers[0]!, note: toItself }] })),
    undefined,
  )
})

test('key chain: keys do not come back, and both change together', () => {
  const { a, b, on } = announced()
  assert.throws(() => handOver(on, 20, b, [createKey(ORIGIN), b[1]]), RangeError)
  assert.throws(() => handOver(on, 20, b, [b[0], pair()[1]]), RangeError)
  assert.throws(() => handOver(on, 20, b, a), RangeError)
  assert.throws(() => handOver(on, 9, b, pair()), RangeError, 'a smaller size')
  const elsewhere = [createKey(ORIGIN), createKey('log.example/other', SIGNATURE_TYPE.mlDsa44Cosignature)]
  assert.throws(() => handOver(on, 20, b, elsewhere), RangeError)
})

test('key chain: whoever begins with the Ed25519 key of a pair follows it to the next, and not without its second signature', () => {
  const [b, c] = [pair(), pair()]
  const fromMiddle = startKeyChain(b[0].key)
  assert.equal(outcomeOf(sign(11, ...b), fromMiddle), '1', 'the second key is not known yet')
  const followed = handOver(fromMiddle, 20, b, c)
  assert.deepEqual(parseKeyChain(formatKeyChain(followed)), followed)
  assert.equal(outcomeOf(sign(21, ...c), followed), BOTH)
  assert.equal(outcomeOf(sign(21, c[0]), followed), 'missing-signature')
})

test('key chain: a signature on a hand-over is none on a checkpoint, nor the other way round', () => {
  const [, second] = pair()
  const text = parseNote(sign(11, createKey(ORIGIN)))!.text
  const asNote = createSignature(noteKeyOf(second.key), text, second.sign)
  const asCheckpoint = createSignature(second.key, text, second.sign, TIME)
  assert.notEqual(asNote.keyId, asCheckpoint.keyId)
  const ofNotes = createVerifier(noteKeyOf(second.key))
  assert.ok(ofNotes.verify(text, asNote.bytes))
  assert.ok(second.verifier.verify(text, asCheckpoint.bytes))
  assert.equal(ofNotes.verify(text, asCheckpoint.bytes), undefined)
  assert.equal(ofNotes.verify(text, asCheckpoint.bytes.subarray(8)), undefined)
  for (const time of [0, TIME]) {
    const timed = Buffer.alloc(8)
    timed.writeBigUInt64BE(BigInt(time))
    assert.equal(second.verifier.verify(text, Buffer.concat([timed, asNote.bytes])), undefined)
  }
})
