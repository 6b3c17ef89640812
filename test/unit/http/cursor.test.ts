import assert from 'node:assert/strict'
import test from 'node:test'
import fc from 'fast-check'
import { formatCursor, parseCursor } from '../../../src/http/cursor.ts'

test('cursor: leads back to its position, with its own filter only', () => {
  fc.assert(
    fc.property(fc.string(), fc.string(), fc.string(), (position, binding, other) => {
      fc.pre(binding !== other && position.isWellFormed())
      const cursor = formatCursor(position, binding)
      assert.match(cursor, /^[A-Za-z0-9_-]+$/)
      assert.equal(parseCursor(cursor, binding), position)
      assert.throws(() => parseCursor(cursor, other), { code: 'VALIDATION_FAILED' })
    }),
  )
})

test('cursor: has one spelling; every other is refused', () => {
  const cursor = formatCursor('d1041', '{}')
  const otherStart = cursor.startsWith('A') ? 'B' : 'A'
  for (const sent of [
    '',
    'A',
    `${cursor}=`,
    `${cursor}A`,
    cursor.slice(0, -1),
    `${otherStart}${cursor.slice(1)}`,
    ` ${cursor}`,
  ]) {
    assert.throws(() => parseCursor(sent, '{}'), { code: 'VALIDATION_FAILED' }, sent)
  }
})
