import assert from 'node:assert/strict'
import test from 'node:test'
import fc from 'fast-check'
import { Refusal } from '../../../src/errors.ts'
import { parseJson } from '../../../src/http/json-body.ts'

const ruleOf = (body: string | Buffer): string | undefined => {
  try {
    parseJson(Buffer.from(body))
  } catch (error) {
    assert.ok(error instanceof Refusal)
    assert.equal(error.code, 'VALIDATION_FAILED')
    return error.violations?.[0]?.rule
  }
  return undefined
}

test('json body: what is JSON without tricks is read as JSON.parse reads it', () => {
  const value = fc.jsonValue({ depthSize: 'small', maxDepth: 8 })
  fc.assert(
    fc.property(value, sent => {
      const text = JSON.stringify(sent)
      fc.pre(!/"(?:__proto__|constructor|prototype)":/.test(text))
      assert.deepEqual(parseJson(Buffer.from(text)), JSON.parse(text))
    }),
  )
})

test('json body: a name given twice in one object is refused, however it is spelt and wherever it stands', () => {
  for (const body of [
    '{"a":1,"a":1}',
    '{"a":1,"\\u0061":2}',
    '{"x":[{"a":":","b":1,"a":2}]}',
    '{"a":{"b":1},"a":{"c":1}}',
  ]) {
    assert.equal(ruleOf(body), 'duplicate_field', body)
  }
  assert.equal(ruleOf('{"a":{"a":1},"b":[{"a":1},{"a":1}],"c":"a:a:a\\":"}'), undefined)
})

test('json body: nesting is bounded before anything recursive sees it, brackets in strings do not count', () => {
  assert.equal(ruleOf('['.repeat(16) + ']'.repeat(16)), undefined)
  assert.equal(ruleOf('['.repeat(17) + ']'.repeat(17)), 'depth')
  assert.equal(ruleOf('['.repeat(100_000)), 'depth')
  assert.equal(ruleOf('{"a":'.repeat(100_000)), 'depth')
  assert.equal(ruleOf(`{"a":"${'[{'.repeat(100)}\\"${'['.repeat(100)}"}`), undefined)
})

test('json body: names that reach for a prototype are refused and change nothing', () => {
  assert.equal(ruleOf('{"__proto__":{"isAdmin":true}}'), 'forbidden_field')
  assert.equal(ruleOf('{"a":{"\\u005f_proto__":1}}'), 'forbidden_field')
  assert.equal(ruleOf('{"constructor":{"prototype":{"isAdmin":true}}}'), 'forbidden_field')
  assert.equal(({} as { isAdmin?: boolean }).isAdmin, undefined)
})

test('json body: nothing, half of something, and bytes that are not UTF-8 are told apart', () => {
  assert.equal(ruleOf(''), 'required')
  assert.equal(ruleOf('{"a":'), 'json')
  assert.equal(ruleOf('{"a":1}}'), 'json')
  assert.equal(ruleOf("{'a':1}"), 'json')
  assert.equal(ruleOf('\ufeff{}'), 'json')
  assert.equal(ruleOf(Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d])), 'utf8')
})
