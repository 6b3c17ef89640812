import assert from 'node:assert/strict'
import test from 'node:test'
import fc from 'fast-check'
import { formatCheckpoint } from '../../../src/evidence/checkpoint.ts'
import { commit, ERASED_COLUMNS, type EventRow, formatLeaf } from '../../../src/evidence/leaf.ts'
import { inclusionProof } from '../../../src/evidence/merkle-proof.ts'
import { formatNote } from '../../../src/evidence/note.ts'
import {
  compareRows,
  formatDisclosure,
  formatProof,
  parseDisclosure,
  parseProof,
  verifyProof,
} from '../../../src/evidence/proof.ts'
import { createSignature } from '../../../src/evidence/signature.ts'
import { createKey } from './keys-under-test.ts'
import { createLog, hashesOf } from './log-under-test.ts'
import { rowOf } from './row-under-test.ts'

const ORIGIN = 'example.com/log'
const KEY = createKey(ORIGIN)
const TRUSTED = { origin: ORIGIN, log: [KEY.verifier] }

const saltOf = (id: number) => new Uint8Array(16).fill(id)
const entryOf = (id: number) => formatLeaf(rowOf(id), commit(saltOf(id), rowOf(id)))
const log = createLog(Array.from({ length: 300 }, (_, i) => entryOf(i + 1)))
const TEXT = formatCheckpoint({ origin: ORIGIN, size: 300, root: log.tree.root(), extensions: [] })
const CHECKPOINT = formatNote({ text: TEXT, signatures: [createSignature(KEY.key, TEXT, KEY.sign)] })

const disclosureOf = (id: number) => formatDisclosure({ salt: saltOf(id), row: rowOf(id) })
const hashesFor = (id: number) => inclusionProof(id - 1, 300, hashesOf(log))
const proofOf = (id: number, extra = disclosureOf(id)) =>
  formatProof({ index: id - 1, hashes: hashesFor(id), checkpoint: CHECKPOINT, extra })
const withoutExtra = (id: number) => formatProof({ index: id - 1, hashes: hashesFor(id), checkpoint: CHECKPOINT })

function fault(text: string, trusted = TRUSTED) {
  const verdict = verifyProof(text, trusted)
  return verdict.isProven ? 'proven' : verdict.reason
}

test('proof: alone, it says which row is in the log, and no other row is', () => {
  for (const id of [1, 2, 256, 257, 300]) {
    const verdict = verifyProof(proofOf(id), TRUSTED)
    assert.ok(verdict.isProven, `${id}`)
    assert.deepEqual(verdict.row, rowOf(id))
    assert.equal(verdict.checkpoint.size, 300)
  }
  for (const column of Object.keys(rowOf(7)) as (keyof EventRow)[]) {
    const other = typeof rowOf(7)[column] === 'number' ? 8 : 'x'
    const changed = formatDisclosure({ salt: saltOf(7), row: { ...rowOf(7), [column]: other } })
    assert.equal(fault(proofOf(7, changed)), column === 'id' ? 'other-row' : 'not-included', column)
  }
})

test('proof: one given before an erasure proves the row still, and the row that is left is confirmed', () => {
  const verdict = verifyProof(proofOf(7), TRUSTED)
  assert.ok(verdict.isProven)
  assert.deepEqual(verdict.row, rowOf(7))
  const erased = { ...rowOf(7), ...ERASED_COLUMNS }
  assert.equal(compareRows(verdict.row, rowOf(7)), 'same')
  assert.equal(compareRows(verdict.row, erased), 'erased')
  assert.equal(compareRows(verdict.row, { ...erased, severity: 'INFO' }), 'other')
  for (const column of Object.keys(rowOf(7)) as (keyof EventRow)[]) {
    const other = typeof rowOf(7)[column] === 'number' ? 8 : 'x'
    assert.equal(compareRows(verdict.row, { ...rowOf(7), [column]: other }), 'other', column)
  }
})

test('proof: without disclosure, of another salt, version or log it proves no row', () => {
  assert.equal(fault(withoutExtra(7)), 'not-disclosed')
  assert.equal(fault(proofOf(7, disclosureOf(8))), 'other-row')
  const otherSalt = formatDisclosure({ salt: saltOf(8), row: rowOf(7) })
  assert.equal(fault(proofOf(7, otherSalt)), 'not-included')
  assert.equal(fault(proofOf(7, Buffer.from('{"v":2}'))), 'unknown-version')
  assert.equal(fault(proofOf(7, Buffer.from('{}'))), 'malformed')
  assert.equal(fault(proofOf(7).replace('index 6', 'index 7')), 'other-row')
  assert.equal(fault(proofOf(7), { origin: ORIGIN, log: [createKey(ORIGIN).verifier] }), 'unknown-keys')
  assert.equal(fault(proofOf(7), { origin: 'other', log: [KEY.verifier] }), 'other-origin')
  assert.equal(fault(proofOf(7).replace('\n300\n', '\n301\n')), 'wrong-signature')
  assert.equal(fault(''), 'malformed')
})

test('proof: any character changed, and it proves nothing or is not read', () => {
  const text = proofOf(7)
  fc.assert(
    fc.property(fc.nat(text.length - 1), fc.constantFrom('A', '0', '\n', ' ', '='), (at, character) => {
      fc.pre(text[at] !== character)
      assert.notEqual(fault(text.slice(0, at) + character + text.slice(at + 1)), 'proven')
      assert.notEqual(fault(text.slice(0, at)), 'proven')
    }),
    { numRuns: 300 },
  )
})

test('proof: what is formatted is parsed again, and every other form is refused', () => {
  for (const text of [proofOf(7), withoutExtra(7)]) assert.equal(formatProof(parseProof(text)!), text)
  const hashLine = Buffer.from(hashesFor(7)[0]!).toString('base64')
  for (const [from, to] of [
    ['tlog-proof@v1', 'tlog-proof@v2'],
    ['c2sp.org', ' c2sp.org'],
    ['extra ', 'extra  '],
    ['extra ', 'Extra '],
    [/extra .*/, 'extra '],
    [/(extra .*\n)/, '$1$1'],
    [/(extra .*\n)(index .*\n)/, '$2$1'],
    ['index 6', 'index 06'],
    ['index 6', 'index  6'],
    ['index 6', 'index -1'],
    ['index 6', 'index 6 '],
    ['index 6\n', ''],
    [hashLine, hashLine.slice(0, -1)],
    [hashLine, `${hashLine} `],
    [hashLine, 'AAAA'],
    [hashLine, Array.from({ length: 64 }, () => hashLine).join('\n')],
    ['\n\n', '\n'],
    ['\n\n', '\n\n\n'],
    [/\n/g, '\r\n'],
    [/\n$/, ''],
    [ORIGIN, ''],
  ] as const) {
    const other = proofOf(7).replace(from, to)
    assert.notEqual(other, proofOf(7), `${from}`)
    assert.equal(parseProof(other), undefined, `${from} -> ${to}`)
  }
  const proof = { index: 6, hashes: hashesFor(7), checkpoint: CHECKPOINT }
  assert.throws(() => formatProof({ ...proof, index: -1 }), RangeError)
  assert.throws(() => formatProof({ ...proof, checkpoint: TEXT }), RangeError)
  assert.throws(() => formatProof({ ...proof, hashes: [new Uint8Array(31)] }), RangeError)
  assert.throws(() => formatProof({ ...proof, extra: new Uint8Array(0) }), RangeError)
})

test('disclosure: what is formatted is parsed again, and every other spelling is malformed', () => {
  const good = Buffer.from(disclosureOf(7)).toString()
  const read = (json: string) => parseDisclosure(Buffer.from(json))
  const disclosure = read(good)
  assert.ok(typeof disclosure === 'object')
  assert.equal(Buffer.from(formatDisclosure(disclosure)).toString(), good)
  for (const [from, to] of [
    ['{"private"', '{ "private"'],
    ['"v":1', '"v":1.0'],
    ['"v":1', '"v":0'],
    ['"v":1', '"v":"1"'],
    ['"v":1', '"v":1,"w":1'],
    [',"v":1', ''],
    ['"who":"CP-7"', '"who":null'],
    ['"who":"CP-7"', '"who":7'],
    ['"id":7', '"id":0'],
    ['"id":7', '"id":7.0'],
    ['"status_code":401', '"status_code":"401"'],
    ['"severity":"WARN"', '"severity":null'],
    [/"public":\{.*?\},/, ''],
    [/("private":\{.*?\}),("public":\{.*?\})/, '$2,$1'],
    ['"who":"CP-7"', '"who":"CP-\\u0037"'],
    ['"who":"CP-7"', '"who":"CP-7","x":1'],
    [/"private":\{.*?\}/, '"private":null'],
    [/"private":\{.*?\}/, '"private":"x"'],
    [/"salt":"../, '"salt":"'],
    ['=="', '"'],
  ] as const) {
    const other = good.replace(from, to)
    assert.notEqual(other, good, `${from}`)
    assert.equal(read(other), 'malformed', `${from} -> ${to}`)
  }
  assert.equal(read('{"v":2}'), 'unknown-version')
  assert.equal(read('nothing'), 'malformed')
  assert.throws(() => formatDisclosure({ salt: new Uint8Array(15), row: rowOf(1) }), RangeError)
})
