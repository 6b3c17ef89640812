import assert from 'node:assert/strict'
import test from 'node:test'
import { type ChangeClass, createFailurePolicy } from '../../../src/security/failure-policy.ts'
import { refusal } from './security-under-test.ts'

const CLASSES: ChangeClass[] = ['keys', 'status', 'admin']

test('failure policy: only strict classes ask the journal, and are refused when it cannot be relied on', async () => {
  for (const strict of CLASSES) {
    let asked = 0
    const policy = createFailurePolicy([strict], async () => {
      asked++
      return false
    })
    for (const open of CLASSES.filter(kind => kind !== strict)) await policy.admit(open)
    assert.equal(asked, 0)
    const { code, retryAfterSeconds } = await refusal(policy.admit(strict))
    assert.equal(code, 'AUDIT_UNAVAILABLE')
    assert.ok((retryAfterSeconds ?? 0) > 0)
  }
  await createFailurePolicy(CLASSES, async () => true).admit('keys')
})
