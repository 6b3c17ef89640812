import assert from 'node:assert/strict'
import test from 'node:test'
import { counted } from '../../src/counted.ts'

test('counted: one is one, and everything else is many', () => {
  assert.deepEqual(
    [0, 1, 2].map(count => counted(count, 'event')),
    ['0 events', '1 event', '2 events'],
  )
  assert.equal(counted(1, 'witness', 'witnesses'), '1 witness')
  assert.equal(counted(3, 'event was erased', 'events were erased'), '3 events were erased')
})
