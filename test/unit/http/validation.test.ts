import assert from 'node:assert/strict'
import test from 'node:test'
import { Refusal, type Violation } from '../../../src/errors.ts'
import { CP_ID, SAFE_TEXT } from '../../../src/http/fields.ts'
import { closed } from '../../../src/http/schema.ts'
import { schemaValidator } from '../../../src/http/validation.ts'
import { LIMITS } from '../../../src/limits.ts'

const Body = closed(
  { cp_id: { type: 'string', pattern: CP_ID } },
  { reason: { type: 'string', maxLength: 5, pattern: SAFE_TEXT } },
)
const Query = closed({}, { limit: { type: 'integer', minimum: 1 } })

function check(schema: object, httpPart: string, value: unknown): Violation[] | undefined {
  const result = schemaValidator({ schema, method: 'POST', url: '/', httpPart })(value) as { error?: unknown }
  if (result.error === undefined) return undefined
  assert.ok(result.error instanceof Refusal)
  return [...(result.error.violations ?? [])]
}

test('validation: names field and rule, never a value', () => {
  assert.equal(check(Body, 'body', { cp_id: 'CP*-_=:+|@.9', reason: 'h\u{1f600}llo' }), undefined)
  assert.deepEqual(check(Body, 'body', null), [{ field: 'body', rule: 'required' }])
  assert.deepEqual(check(Body, 'body', []), [{ field: 'body', rule: 'type' }])
  assert.deepEqual(check(Body, 'body', {}), [{ field: 'cp_id', rule: 'required' }])
  assert.deepEqual(check(Body, 'body', { cp_id: 7 }), [{ field: 'cp_id', rule: 'type' }])
  assert.deepEqual(check(Body, 'body', { cp_id: 'a b', reason: 'too long' }), [
    { field: 'cp_id', rule: 'pattern' },
    { field: 'reason', rule: 'maxLength' },
  ])
})

test('validation: an unknown field is named if it looks like a misspelt one, else only its place is', () => {
  assert.deepEqual(check(Body, 'body', { cp_id: 'A', reasons: 1 }), [
    { field: 'reasons', rule: 'additionalProperties' },
  ])
  for (const name of ['S3cret', '\u001b[31m', 'a b', 'x'.repeat(50), '<script>', 'a/b', '']) {
    assert.deepEqual(check(Body, 'body', { cp_id: 'A', [name]: 1 }), [{ field: 'body', rule: 'additionalProperties' }])
  }
})

test('validation: work and words are bounded however many fields are wrong', () => {
  const many = Object.fromEntries(Array.from({ length: 10_000 }, (_, i) => [`k${i}`, 1]))
  assert.deepEqual(check(Body, 'body', many), [{ field: 'body', rule: 'maxProperties' }])
  const some = Object.fromEntries(Array.from({ length: 60 }, (_, i) => [`k${i}`, 1]))
  const told = check(Body, 'body', some)
  assert.equal(told?.length, 61, 'each that is unknown, and the one that is missing')
  assert.ok(told.length < LIMITS.violationsMax)
})

test('validation: numbers in a query string have one spelling and are given once', () => {
  assert.equal(check(Query, 'querystring', { limit: '100' }), undefined)
  assert.equal(check(Query, 'querystring', {}), undefined)
  for (const limit of ['1e2', '0x10', ' 5', '+5', '05', '5.0', '', '-1', ['1', '2']]) {
    assert.deepEqual(check(Query, 'querystring', { limit }), [{ field: 'limit', rule: 'type' }], String(limit))
  }
  assert.deepEqual(check(Query, 'querystring', { limit: '0' }), [{ field: 'limit', rule: 'minimum' }])
  assert.deepEqual(check(Query, 'querystring', { l: '1' }), [{ field: 'l', rule: 'additionalProperties' }])
})

test('validation: a body is never coerced', () => {
  const Strict = closed({ n: { type: 'integer' } })
  assert.deepEqual(check(Strict, 'body', { n: '5' }), [{ field: 'n', rule: 'type' }])
})

test('fields: free text refuses every character that could act on a reader', () => {
  const safe = new RegExp(SAFE_TEXT, 'u')
  for (const good of ['', 'Depot Süd, Säule 7', '充電', '\u{1f50c}', 'a\u00a0b']) assert.match(good, safe)
  const codes = [
    ...Array.from({ length: 32 }, (_, i) => i),
    ...Array.from({ length: 33 }, (_, i) => 0x7f + i),
    0x61c,
    0x200e,
    0x200f,
    0x2028,
    0x2029,
    0x202a,
    0x202e,
    0x2066,
    0x2069,
    0xfeff,
    0xd800,
    0xdfff,
  ]
  for (const code of codes) assert.doesNotMatch(`a${String.fromCharCode(code)}b`, safe, code.toString(16))
})
