import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { DatabaseSync } from 'node:sqlite'
import test from 'node:test'
import canonicalize from 'canonicalize'
import fc from 'fast-check'
import type { StoredEvent } from '../../../src/event/event.ts'
import {
  commit,
  ERASED_SALT,
  type EventRow,
  formatLeaf,
  formatPrivate,
  isErasedSalt,
  parseLeaf,
} from '../../../src/evidence/leaf.ts'
import { rowOf } from './row-under-test.ts'

const ROW: StoredEvent = { ...rowOf(7), description: 'wrong "secret"', metadata_json: '{"attempt":1}' }
const SALT = Uint8Array.from({ length: 16 }, (_, i) => i)

/** Any UTF-16 text, with lone surrogates, control characters and quotes in it. */
const unit = fc.oneof(
  fc.integer({ min: 0, max: 0xffff }),
  fc.integer({ min: 0xd800, max: 0xdfff }),
  fc.integer({ min: 0, max: 0x7f }),
)
const text = fc.array(unit, { maxLength: 40 }).map(units => String.fromCharCode(...units))
const optional = fc.option(text)
const anyRow: fc.Arbitrary<EventRow> = fc.record({
  id: fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
  date_time: text,
  who: text,
  ip: text,
  action: text,
  description: text,
  severity: text,
  reason_code: optional,
  request_id: optional,
  endpoint: optional,
  http_method: optional,
  status_code: fc.option(fc.maxSafeInteger()),
  metadata_json: optional,
  created_at: text,
})
const anySalt = fc.uint8Array({ minLength: 16, maxLength: 16 })

/** The same by a maintained package, for text as the database returns it. */
function reference(row: EventRow, salt: Uint8Array) {
  const clean = Object.fromEntries(
    Object.entries(row).map(([name, value]) => [name, typeof value === 'string' ? value.toWellFormed() : value]),
  )
  const { who, ip, description, request_id, endpoint, http_method, metadata_json, ...open } = clean
  const hidden = canonicalize({ who, ip, description, request_id, endpoint, http_method, metadata_json })
  const commitment = createHash('sha256').update(salt).update(hidden!).digest()
  return { hidden, commitment, leaf: canonicalize({ ...open, v: 1, commitment: commitment.toString('base64') }) }
}

test('leaf: any row gives the canonical JSON of RFC 8785 and the commitment of the definition', () => {
  fc.assert(
    fc.property(anyRow, anySalt, (row, salt) => {
      const expected = reference(row, salt)
      assert.equal(formatPrivate(row), expected.hidden)
      const commitment = commit(salt, row)
      assert.deepEqual(commitment, Uint8Array.from(expected.commitment))
      assert.equal(new TextDecoder().decode(formatLeaf(row, commitment)), expected.leaf)
    }),
    { numRuns: 2000 },
  )
})

test('leaf: what is formatted is parsed again', () => {
  fc.assert(
    fc.property(anyRow, row => {
      const commitment = commit(SALT, row)
      const entry = formatLeaf(row, commitment)
      const parsed = parseLeaf(entry)
      assert.ok(parsed.kind === 'leaf')
      assert.deepEqual(parsed.leaf.commitment, commitment)
      assert.deepEqual(formatLeaf(parsed.leaf, commitment), entry)
    }),
  )
})

test('leaf: a text of any length is committed to as a whole', () => {
  for (const length of [5_000, 5_450, 5_460, 60_000]) {
    const row = { ...ROW, metadata_json: '\u20ac'.repeat(length) }
    assert.deepEqual(commit(SALT, row), Uint8Array.from(reference(row, SALT).commitment), `${length}`)
  }
  assert.deepEqual(commit(SALT, ROW), Uint8Array.from(reference(ROW, SALT).commitment), 'nothing of a longer one stays')
})

test('leaf: leaves stay as they are while many more are made, also large ones', () => {
  const made = Array.from({ length: 2_000 }, (_, i) => {
    const row = { ...ROW, id: i + 1, reason_code: 'x'.repeat(i % 50 === 0 ? 30_000 : i) }
    const entry = formatLeaf(row, commit(SALT, row))
    return { entry, copy: Uint8Array.from(entry), row }
  })
  for (const { entry, copy, row } of made) {
    assert.deepEqual(entry, copy)
    assert.equal(new TextDecoder().decode(entry), reference(row, SALT).leaf)
  }
})

test('leaf: text is hashed as SQLite stores it: a lone surrogate as U+FFFD, a NUL as it is', () => {
  const db = new DatabaseSync(':memory:')
  db.exec('CREATE TABLE t (who TEXT)')
  for (const who of ['a\ud800b', '\udc00', '\ud83d', 'a\\ud800', 'nul\0nul', '\u{1f600}', '\uffff']) {
    db.exec('DELETE FROM t')
    db.prepare('INSERT INTO t VALUES (?)').run(who)
    const stored = String(db.prepare('SELECT who FROM t').get()?.who)
    assert.deepEqual(commit(SALT, { ...ROW, who }), commit(SALT, { ...ROW, who: stored }))
  }
  db.close()
})

test('leaf: another value in any of the 14 columns, or another salt, is another leaf', () => {
  const entryOf = (row: EventRow, salt = SALT) => new TextDecoder().decode(formatLeaf(row, commit(salt, row)))
  const seen = new Set([entryOf(ROW), entryOf(ROW, ERASED_SALT)])
  for (const column of Object.keys(ROW) as (keyof StoredEvent)[]) {
    const other = typeof ROW[column] === 'number' ? 8 : 'x'
    seen.add(entryOf({ ...ROW, [column]: other }))
  }
  assert.equal(seen.size, 16)
  assert.notDeepEqual(commit(SALT, { ...ROW, request_id: '' }), commit(SALT, { ...ROW, request_id: null }))
  assert.throws(() => commit(SALT.subarray(1), ROW), RangeError)
  assert.ok(isErasedSalt(new Uint8Array(16)) && !isErasedSalt(SALT))
})

test('leaf: every other spelling is malformed', () => {
  const good = new TextDecoder().decode(formatLeaf(ROW, commit(SALT, ROW)))
  const kind = (json: string) => parseLeaf(new TextEncoder().encode(json)).kind
  assert.equal(kind(good), 'leaf')
  for (const [from, to] of [
    ['{"action"', '{ "action"'],
    ['"id":7', '"id":7.0'],
    ['"id":7', '"id":07'],
    ['"id":7', '"id":70e-1'],
    ['"id":7', '"id":-7'],
    ['"id":7', '"id":0'],
    ['"id":7', '"id":"7"'],
    ['"id":7', '"id":null'],
    ['"id":7', '"id":9007199254740993'],
    ['"id":7', '"id":7,"id":7'],
    ['"id":7,', ''],
    ['"status_code":401', '"status_code":401.5'],
    ['"status_code":401', '"status_code":"401"'],
    ['"status_code":401', '"status_code":-0'],
    ['"severity":"WARN"', '"severity":null'],
    ['"severity":"WARN"', '"severity":"W\\u0041RN"'],
    ['"v":1', '"v":1,"z":1'],
    ['"v":1', '"v":1.0'],
    ['"v":1', '"v":"1"'],
    ['"v":1', '"v":null'],
    ['"v":1', '"v":0'],
    ['"v":1', '"v":-1'],
    [',"v":1', ''],
    ['=",', '",'],
    ['"commitment":"', '"commitment":"AAAA'],
    ['WARN', '\\ud800'],
    ['}', '}\n'],
    ['}', ''],
    ['{', '\ufeff{'],
    ['{', '[{'],
  ] as const) {
    assert.notEqual(good.replace(from, to), good, from)
    assert.equal(kind(good.replace(from, to)), 'malformed', `${from} -> ${to}`)
  }
  for (const json of ['', 'null', '1', '[]', '{}', '"{}"']) assert.equal(kind(json), 'malformed', json)
  assert.equal(parseLeaf(Uint8Array.of(0x7b, 0xff, 0x7d)).kind, 'malformed', 'not UTF-8')
})

test('leaf: a version not known is said to be that, whatever else is in it', () => {
  const parsed = parseLeaf(new TextEncoder().encode('{"anything":[1,2],"v":2}'))
  assert.deepEqual(parsed, { kind: 'unknown-version', version: 2 })
})
