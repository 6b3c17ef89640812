import assert from 'node:assert/strict'
import test from 'node:test'
import { pino } from 'pino'
import { createAuditService } from '../../../src/audit/audit-service.ts'
import { createDetector } from '../../../src/audit/detector.ts'
import { createContext, runInContext } from '../../../src/context/context.ts'
import { INCIDENT, REASON, type Reason } from '../../../src/event/catalogue.ts'
import { parseEntry } from '../../../src/event/codec.ts'
import type { AuditEvent, StoredEvent } from '../../../src/event/event.ts'
import { JournalError } from '../../../src/journal/journal.ts'

const context = createContext({
  requestId: 'req-1',
  ip: '192.0.2.7',
  endpoint: '/auth/credentials',
  httpMethod: 'POST',
})

/** The service over a list in place of the disk; `full` makes the journal refuse. */
function setUp() {
  const events: AuditEvent[] = []
  const logged: { level: number; msg: string }[] = []
  const journal = { full: false, waits: [] as number[] }
  const time = { wallMs: Date.now(), monotonicMs: 0 }
  const audit = createAuditService({
    journal: {
      append(text) {
        if (journal.full) throw new JournalError('QUEUE_FULL', 'full')
        return events.push(parseEntry(text).event)
      },
      acknowledged: async sequence => {
        journal.waits.push(sequence)
        return 'durable'
      },
    },
    detector: createDetector({ threshold: 5, windowMs: 600_000 }),
    logger: pino({ level: 'debug' }, { write: line => void logged.push(JSON.parse(line)) }),
    windowSeconds: 600,
    clock: { wallMs: () => time.wallMs, monotonicMs: () => time.monotonicMs },
  })
  return { audit, events, journal, logged, time }
}

test('audit service: every method writes the event of the catalogue', () => {
  const { audit, events } = setUp()
  audit.authSuccess('CP-1', context)
  audit.authFail('CP-1', context, REASON.REVOKED, { statusCode: 403 })
  audit.statusChange('CP-1', context, {
    oldStatus: 'ACTIVE',
    newStatus: 'OUT_OF_SERVICE',
    reason: 'maintenance',
    actor: 'ann',
  })
  audit.statusChange('CP-1', context, { oldStatus: 'OUT_OF_SERVICE', newStatus: 'ACTIVE' })
  audit.keyGenerate('CP-1', context, { version: 1, fingerprint: 'f' })
  audit.keyReset('CP-1', context, { version: 2 })
  audit.keyRevoke('CP-1', context, { reason: 'lost' })
  audit.validationError(undefined, context, [{ field: 'cp_id', rule: 'required' }], 422)
  audit.error(undefined, context, new TypeError('bad'))
  audit.incident('unknown', context, INCIDENT.UNAUTHORIZED_ADMIN_ACCESS, { statusCode: 401 })
  audit.access('ann', context, 'EXPORT', { statusCode: 200 })
  audit.system('STARTED')
  assert.deepEqual(
    events.map(event => [event.action, event.severity, event.who, event.reason_code, event.status_code]),
    [
      ['AUTH_SUCCESS', 'INFO', 'CP-1', null, 200],
      ['AUTH_FAIL', 'WARN', 'CP-1', 'REVOKED', 403],
      ['STATUS_CHANGE', 'WARN', 'CP-1', null, 200],
      ['STATUS_CHANGE', 'INFO', 'CP-1', null, 200],
      ['KEY_GENERATE', 'INFO', 'CP-1', null, 200],
      ['KEY_RESET', 'WARN', 'CP-1', null, 200],
      ['KEY_REVOKE', 'WARN', 'CP-1', null, 200],
      ['VALIDATION_ERROR', 'WARN', 'unknown', null, 422],
      ['ERROR', 'ERROR', 'system', 'TypeError', 500],
      ['INCIDENT', 'CRITICAL', 'unknown', 'UNAUTHORIZED_ADMIN_ACCESS', 401],
      ['ACCESS', 'INFO', 'ann', 'EXPORT', 200],
      ['SYSTEM', 'INFO', 'system', 'STARTED', null],
    ],
  )
  for (const event of events.slice(0, 11)) {
    assert.deepEqual(
      [event.ip, event.request_id, event.endpoint, event.http_method],
      ['192.0.2.7', 'req-1', '/auth/credentials', 'POST'],
    )
    assert.match(event.date_time, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
  }
  assert.deepEqual(JSON.parse(events[2]?.metadata_json ?? ''), {
    old_status: 'ACTIVE',
    new_status: 'OUT_OF_SERVICE',
    reason: 'maintenance',
    actor: 'ann',
  })
})

test('audit service: without a context it uses the current one, and outside of any says so', () => {
  const { audit, events } = setUp()
  runInContext(context, () => audit.authSuccess('CP-1'))
  audit.authSuccess('CP-2')
  assert.deepEqual(
    events.map(event => [event.ip, event.request_id]),
    [
      ['192.0.2.7', 'req-1'],
      ['-', null],
    ],
  )
})

test('audit service: five validation rules are named and the rest counted', () => {
  const { audit, events } = setUp()
  audit.validationError(
    'CP-1',
    context,
    Array.from({ length: 9 }, (_, i) => ({ field: `f${i}`, rule: 'type' })),
  )
  assert.equal(
    events[0]?.description,
    'Request validation failed: f0:type, f1:type, f2:type, f3:type, f4:type (+4 more)',
  )
})

test("audit service: a rule about a field with a secret's name keeps its words", () => {
  const { audit, events } = setUp()
  audit.validationError('CP-1', context, [
    { field: 'credentials', rule: 'required' },
    { field: 'password=hunter2', rule: 'type' },
  ])
  assert.equal(events[0]?.description, 'Request validation failed: credentials:required, password=***REDACTED***:type')
})

test('audit service: the fifth failure is reported once, at fatal level too', () => {
  const { audit, events, logged } = setUp()
  const suspected = Array.from({ length: 7 }, () => {
    audit.authFail('CP-1', context, REASON.INVALID_CREDENTIALS)
    return audit.detectAndReportBruteForce('CP-1', context)
  })
  assert.deepEqual(suspected, [false, false, false, false, true, true, true])
  const incidents = events.filter(event => event.action === 'INCIDENT')
  assert.equal(incidents.length, 1)
  assert.deepEqual(JSON.parse(incidents[0]?.metadata_json ?? ''), {
    scope: 'ip',
    ip: '192.0.2.7',
    cp_id: 'CP-1',
    failure_count: 5,
    time_window_seconds: 600,
    distinct_cp_ids: 1,
  })
  assert.deepEqual(
    logged.filter(line => line.level === 60).map(line => line.msg),
    ['brute force attack suspected'],
  )
  assert.equal(audit.failuresInWindow('CP-1'), 7)
})

test('audit service: replayed events restore the windows without reporting again', () => {
  const before = setUp()
  for (let i = 0; i < 7; i++) {
    before.audit.authFail('CP-1', context, REASON.INVALID_CREDENTIALS)
    before.audit.detectAndReportBruteForce('CP-1', context)
  }
  const stored = before.events.map((event, i): StoredEvent => ({ ...event, id: i + 1, created_at: event.date_time }))
  const after = setUp()
  after.audit.replay(stored)
  assert.equal(after.audit.detectBruteForce('CP-1', context), true)
  for (let i = 8; i <= 10; i++) {
    after.audit.authFail('CP-1', context, REASON.INVALID_CREDENTIALS)
    after.audit.detectAndReportBruteForce('CP-1', context)
  }
  const counts = after.events
    .filter(event => event.action === 'INCIDENT')
    .map(event => JSON.parse(event.metadata_json ?? '').failure_count)
  assert.deepEqual(counts, [10])
})

test('audit service: a failure with the right secret counts neither when it happens nor when it is replayed', () => {
  const before = setUp()
  const fail = (audit: typeof before.audit, reason: Reason) => {
    audit.authFail('CP-1', context, reason)
    return audit.detectAndReportBruteForce('CP-1', context)
  }
  for (let i = 0; i < 6; i++) assert.equal(fail(before.audit, i % 2 ? 'REVOKED' : 'OUT_OF_SERVICE'), false)
  const after = setUp()
  after.audit.replay(
    before.events.map((event, i): StoredEvent => ({ ...event, id: i + 1, created_at: event.date_time })),
  )
  assert.equal(after.audit.failuresInWindow('CP-1'), 0)
  for (let i = 1; i <= 5; i++) assert.equal(fail(after.audit, i % 2 ? 'UNKNOWN_CP' : 'THROTTLED'), i === 5)
})

test('audit service: a crash between the fifth failure and its report leaves the report due', () => {
  const before = setUp()
  for (let i = 0; i < 5; i++) before.audit.authFail('CP-1', context, REASON.INVALID_CREDENTIALS)
  const after = setUp()
  after.audit.replay(
    before.events.map((event, i): StoredEvent => ({ ...event, id: i + 1, created_at: event.date_time })),
  )
  after.audit.detectAndReportBruteForce('CP-1', context)
  assert.equal(after.events.filter(event => event.action === 'INCIDENT').length, 1)
})

test('audit service: nothing throws into the caller, whatever the arguments are', () => {
  const { audit, events } = setUp()
  const hostile = {
    get name(): string {
      throw new Error('trap')
    },
  }
  audit.authSuccess(undefined as unknown as string, context, hostile as never)
  audit.authFail(null as unknown as string, context, 7 as never)
  audit.error('x', context, hostile)
  audit.validationError('x', context, null as never)
  audit.authSuccess('CP-1', context)
  assert.deepEqual(
    events.slice(-2).map(event => event.reason_code ?? event.action),
    ['LOSS_DECLARED', 'AUTH_SUCCESS'],
  )
})

test('audit service: events the journal refuses are counted and declared as one loss when there is room again', () => {
  const { audit, events, journal, logged, time } = setUp()
  journal.full = true
  for (let i = 0; i < 3; i++) {
    time.wallMs = Date.UTC(2026, 5, 1, 0, 0, i)
    audit.authSuccess('CP-1', context)
  }
  assert.deepEqual([audit.status().lost, audit.status().undeclaredLosses], [3, 3])
  time.wallMs = Date.UTC(2026, 5, 1, 1)
  journal.full = false
  audit.authSuccess('CP-1', context)
  assert.deepEqual(
    events.map(event => event.reason_code ?? event.action),
    ['LOSS_DECLARED', 'AUTH_SUCCESS'],
  )
  const { count, since, until } = JSON.parse(events[0]?.metadata_json ?? '')
  assert.deepEqual([count, since, until], [3, '2026-06-01T00:00:00.000Z', '2026-06-01T00:00:02.000Z'])
  assert.deepEqual([audit.status().lost, audit.status().undeclaredLosses], [3, 0])
  assert.ok(logged.some(line => line.level === 50) && logged.some(line => line.level === 60))
})

test('audit service: a loss is declared once there is room, although no other event comes', async () => {
  const { audit, events, journal } = setUp()
  journal.full = true
  for (let i = 0; i < 4; i++) audit.authSuccess('CP-1', context)
  const declared = audit.declaration()
  assert.equal(audit.declaration(), declared, 'one spelling, until more is lost')
  assert.equal(JSON.parse(parseEntry(declared ?? '').event.metadata_json ?? '').count, 4)
  journal.full = false
  while (events.length === 0) await new Promise(resolve => setTimeout(resolve, 10))
  assert.equal(events[0]?.reason_code, 'LOSS_DECLARED')
  assert.deepEqual([audit.status().undeclaredLosses, audit.declaration()], [0, undefined])
})

test('audit service: a wall clock that jumps neither opens a window nor closes one', () => {
  for (const jumpMs of [-3_600_000, 315_360_000_000]) {
    const { audit, events, time } = setUp()
    for (let i = 0; i < 5; i++) {
      time.monotonicMs += 1000
      if (i === 3) time.wallMs += jumpMs
      audit.authFail('CP-1', context, REASON.INVALID_CREDENTIALS)
      audit.detectAndReportBruteForce('CP-1', context)
    }
    assert.equal(events.filter(event => event.action === 'INCIDENT').length, 1)
    time.monotonicMs += 599_000
    assert.equal(audit.detectBruteForce('CP-1', context), true)
    time.monotonicMs += 2_000
    assert.equal(audit.detectBruteForce('CP-1', context), false)
  }
})

test('audit service: replayed events of the future count as now, and keep their order', () => {
  const stored: StoredEvent[] = []
  const times = [-700_000, -2_000, 315_360_000_000, -1_000, 3_600_000]
  for (const [i, agoMs] of times.entries()) {
    const { audit, events, time } = setUp()
    audit.authFail('CP-1', context, REASON.INVALID_CREDENTIALS)
    const date_time = new Date(time.wallMs + agoMs).toISOString()
    stored.push({ ...(events[0] as AuditEvent), date_time, id: i + 1, created_at: date_time })
  }
  const { audit, time } = setUp()
  audit.replay(stored)
  assert.equal(audit.failuresInWindow('CP-1'), 4, 'the first is older than the window')
  time.monotonicMs += 600_001
  assert.equal(audit.failuresInWindow('CP-1'), 0, 'none is held for years')
})

test('audit service: settled waits for the last record of its own context only', async () => {
  const { audit, journal } = setUp()
  const other = createContext()
  audit.authSuccess('CP-1', context)
  audit.authSuccess('CP-2', other)
  await audit.settled(context)
  await audit.settled(createContext())
  assert.deepEqual(journal.waits, [1])
})
