import assert from 'node:assert/strict'
import test from 'node:test'
import { Refusal } from '../../../src/errors.ts'
import { eventFilter } from '../../../src/http/audit-filter.ts'
import { summaryRequest } from '../../../src/http/routes/audit-reports.ts'

const NOW = Date.parse('2025-12-14T12:00:00Z')

const brokenBy = (work: () => unknown) => {
  try {
    work()
  } catch (error) {
    assert.ok(error instanceof Refusal)
    return error.violations?.map(({ field, rule }) => `${field}:${rule}`)
  }
  return undefined
}

test('audit filter: lists, times and addresses in the spelling of the trail', () => {
  const query = {
    who: 'CP-1',
    action: 'AUTH_FAIL,INCIDENT,AUTH_FAIL',
    severity: 'WARN',
    reason_code: 'THROTTLED',
    ip: '::ffff:10.0.0.1',
    start_time: '2025-12-14T01:00:00+01:00',
    end_time: '2025-12-14T00:00:00Z',
  }
  assert.deepEqual(eventFilter(query), {
    who: 'CP-1',
    ip: '10.0.0.1',
    action: ['AUTH_FAIL', 'INCIDENT'],
    severity: ['WARN'],
    reason_code: ['THROTTLED'],
    start_time: '2025-12-14T00:00:00.000Z',
    end_time: '2025-12-14T00:00:00.000Z',
  })
  assert.deepEqual(eventFilter({}), {})
})

test('audit filter: every problem is named, an unknown word is one', () => {
  const query = { action: 'LOGIN', severity: 'warn', reason_code: 'a b', start_time: 'now' }
  assert.deepEqual(
    brokenBy(() => eventFilter(query)),
    ['action:enum', 'severity:enum', 'reason_code:enum', 'start_time:date-time'],
  )
  assert.deepEqual(
    brokenBy(() => eventFilter({ action: 'AUTH_FAIL,' })),
    ['action:enum'],
  )
  const many = Array.from({ length: 21 }, (_, i) => `R${i}`).join(',')
  assert.deepEqual(
    brokenBy(() => eventFilter({ reason_code: many })),
    ['reason_code:maxItems'],
  )
  const backwards = { start_time: '2025-12-14T00:00:01Z', end_time: '2025-12-14T00:00:00Z' }
  assert.deepEqual(
    brokenBy(() => eventFilter(backwards)),
    ['end_time:not_before_start_time'],
  )
})

test('summary: the last day unless told otherwise, in at most 100 buckets', () => {
  assert.deepEqual(summaryRequest({}, NOW), {
    start_time: '2025-12-13T12:00:00.000Z',
    end_time: '2025-12-14T12:00:00.000Z',
    bucketSeconds: 900,
  })
  assert.equal(summaryRequest({ start_time: '2025-12-14T11:00:00Z' }, NOW).bucketSeconds, 60)
  assert.equal(summaryRequest({ end_time: '2025-01-02T00:00:00Z' }, NOW).start_time, '2025-01-01T00:00:00.000Z')
  assert.equal(summaryRequest({ bucket: '1h' }, NOW).bucketSeconds, 3600)
})

test('summary: range and number of buckets are bounded', () => {
  assert.deepEqual(
    brokenBy(() => summaryRequest({ bucket: '1s' }, NOW)),
    ['bucket:too_many'],
  )
  assert.deepEqual(
    brokenBy(() => summaryRequest({ start_time: '2020-01-01T00:00:00Z' }, NOW)),
    ['start_time:range'],
  )
  assert.equal(summaryRequest({ end_time: '0000-01-01T00:00:00Z' }, NOW).start_time, '0000-01-01T00:00:00.000Z')
})
