/**
 * The 20 tests of the original audit system, by name (`TestAuditDB.test_schema_creation` is "AuditDB: schema
 * creation"), as assertions on the real parts: journal, indexer, SQLite, detector and a real HTTP server.
 */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import test from 'node:test'
import fastify from 'fastify'
import { auditFastify } from '../src/embed/fastify.ts'
import {
  createAudit,
  createContext,
  currentContext,
  type EmbeddedAudit,
  openAuditDatabase,
  Refusal,
  runInContext,
  type StoredEvent,
} from '../src/embed/index.ts'
import { sharedAudit, temporaryAudit } from './embed/temporary-audit.ts'

const ctx = createContext({
  requestId: 'test-request-123',
  ip: '192.168.1.100',
  endpoint: '/auth/credentials',
  httpMethod: 'POST',
})

async function stored(audit: EmbeddedAudit): Promise<StoredEvent[]> {
  await audit.flush()
  return audit.queryEvents({ order: 'asc' })
}

/** The one event that `record` leaves behind. */
async function recorded(audit: EmbeddedAudit, record: () => void): Promise<StoredEvent> {
  const before = (await stored(audit)).length
  record()
  const events = await stored(audit)
  assert.equal(events.length, before + 1)
  return events.at(-1) as StoredEvent
}

/**
 * For all that does not look at the data folder, one after the other: each sees what it recorded, and guesses are counted by address and
 * charge point.
 */
const trail = sharedAudit()

const metadataOf = (event: StoredEvent | undefined) => JSON.parse(event?.metadata_json ?? 'null')

// AuditDB

test('AuditDB: schema creation', async t => {
  const audit = await temporaryAudit(t)
  await audit.flush()
  using db = new DatabaseSync(join(audit.dataDir, 'audit', 'audit.db'), { readOnly: true })
  const columns = db.prepare("SELECT name, type FROM pragma_table_info('audit_events') ORDER BY cid").all()
  assert.deepEqual(
    columns.map(column => `${column.name} ${column.type}`),
    [
      'id INTEGER',
      'date_time TEXT',
      'who TEXT',
      'ip TEXT',
      'action TEXT',
      'description TEXT',
      'severity TEXT',
      'reason_code TEXT',
      'request_id TEXT',
      'endpoint TEXT',
      'http_method TEXT',
      'status_code INTEGER',
      'metadata_json TEXT',
      'created_at TEXT',
    ],
  )
  const indexes = db
    .prepare(
      `SELECT list.name AS name, info.name AS column FROM pragma_index_list('audit_events') AS list,
       pragma_index_info(list.name) AS info ORDER BY list.name`,
    )
    .all()
  assert.deepEqual(
    indexes.map(index => [index.name, index.column]),
    [
      ['idx_audit_action', 'action'],
      ['idx_audit_date_time', 'date_time'],
      ['idx_audit_ip', 'ip'],
      ['idx_audit_request_id', 'request_id'],
      ['idx_audit_severity', 'severity'],
      ['idx_audit_who', 'who'],
    ],
  )
})

test('AuditDB: insert event', async t => {
  const audit = await temporaryAudit(t)
  const { id, date_time, created_at, ...event } = await recorded(audit, () =>
    audit.authSuccess('CP-001', ctx, { security_status: 'ACTIVE' }),
  )
  assert.equal(id, 1)
  assert.match(date_time, /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$/)
  assert.ok(Date.now() - Date.parse(date_time) < 60_000)
  assert.ok(created_at !== '')
  assert.deepEqual(event, {
    who: 'CP-001',
    ip: '192.168.1.100',
    action: 'AUTH_SUCCESS',
    description: 'CP CP-001 authenticated successfully',
    severity: 'INFO',
    reason_code: null,
    request_id: 'test-request-123',
    endpoint: '/auth/credentials',
    http_method: 'POST',
    status_code: 200,
    metadata_json: '{"security_status":"ACTIVE"}',
  })
})

test('AuditDB: query events filtering', async t => {
  const audit = await temporaryAudit(t)
  audit.authSuccess('CP-001', ctx)
  audit.authFail('CP-002', ctx, audit.REASON.UNKNOWN_CP)
  audit.incident('CP-002', ctx, audit.INCIDENT.TAMPERING_DETECTED)
  await audit.flush()
  using db = openAuditDatabase(join(audit.dataDir, 'audit', 'audit.db'))
  for (const reader of [audit, db]) {
    const ids = async (query: Parameters<typeof reader.queryEvents>[0]) =>
      (await reader.queryEvents(query)).map(event => event.id)
    assert.deepEqual(await ids({}), [3, 2, 1])
    assert.deepEqual(await ids({ who: 'CP-001' }), [1])
    assert.deepEqual(await ids({ action: 'AUTH_FAIL', start_time: '2025-12-14T00:00:00Z', limit: 100 }), [2])
    assert.deepEqual(await ids({ action: 'INCIDENT', severity: 'CRITICAL' }), [3])
    assert.deepEqual(await ids({ action: 'INCIDENT', severity: 'INFO' }), [])
    assert.deepEqual(await ids({ ip: '192.168.1.100', request_id: 'test-request-123', limit: 2 }), [3, 2])
    assert.deepEqual(await ids({ end_time: '2025-12-14T00:00:00Z' }), [])
  }
})

test('AuditDB: get recent auth failures', async t => {
  const audit = await temporaryAudit(t)
  const other = createContext({ ip: '192.168.1.200' })
  audit.authFail('CP-001', ctx, audit.REASON.INVALID_CREDENTIALS)
  audit.authFail('CP-001', other, audit.REASON.INVALID_CREDENTIALS)
  audit.authFail('CP-002', ctx, audit.REASON.UNKNOWN_CP)
  audit.authSuccess('CP-001', ctx)
  await audit.flush()
  const ids = async (query: Parameters<typeof audit.recentAuthFailures>[0]) =>
    (await audit.recentAuthFailures(query)).map(event => event.id)
  assert.deepEqual(await ids({ minutes: 10 }), [3, 2, 1])
  assert.deepEqual(await ids({ ip: '192.168.1.100', minutes: 10 }), [3, 1])
  assert.deepEqual(await ids({ cp_id: 'CP-001', minutes: 10 }), [2, 1])
})

// AuditService

test('AuditService: auth success', async () => {
  const { audit } = await trail()
  const event = await recorded(audit, () => audit.authSuccess('CP-001', ctx))
  assert.deepEqual(
    [event.action, event.severity, event.who, event.status_code, event.reason_code],
    ['AUTH_SUCCESS', 'INFO', 'CP-001', 200, null],
  )
})

test('AuditService: auth fail', async () => {
  const { audit } = await trail()
  for (const reason of Object.values(audit.REASON)) {
    const event = await recorded(audit, () => audit.authFail('CP-001', ctx, reason))
    assert.deepEqual(
      [event.action, event.severity, event.who, event.status_code, event.reason_code],
      ['AUTH_FAIL', 'WARN', 'CP-001', 401, reason],
    )
    assert.equal(event.description, `Authentication failed: ${reason}`)
  }
})

test('AuditService: status change', async () => {
  const { audit } = await trail()
  const change = { oldStatus: 'ACTIVE', newStatus: 'REVOKED', reason: 'stolen', actor: 'operator-1' }
  const event = await recorded(audit, () => audit.statusChange('CP-001', ctx, change))
  assert.deepEqual([event.action, event.severity, event.who], ['STATUS_CHANGE', 'WARN', 'CP-001'])
  assert.match(event.description, /from ACTIVE to REVOKED.*stolen/)
  assert.deepEqual(metadataOf(event), {
    old_status: 'ACTIVE',
    new_status: 'REVOKED',
    reason: 'stolen',
    actor: 'operator-1',
  })
  const back = await recorded(audit, () =>
    audit.statusChange('CP-001', ctx, { oldStatus: 'OUT_OF_SERVICE', newStatus: 'ACTIVE' }),
  )
  assert.equal(back.severity, 'INFO')
})

test('AuditService: key operations', async () => {
  const { audit, stored } = await trail()
  audit.keyGenerate('CP-001', ctx, { version: 1, fingerprint: '00ff00ff00ff00ff' })
  audit.keyReset('CP-001', ctx, { version: 2, reason: 'rotation' })
  audit.keyRevoke('CP-001', ctx, { version: 2, reason: 'compromised' })
  const events = await stored()
  assert.deepEqual(
    events.map(event => [event.action, event.severity, metadataOf(event).version]),
    [
      ['KEY_GENERATE', 'INFO', 1],
      ['KEY_RESET', 'WARN', 2],
      ['KEY_REVOKE', 'WARN', 2],
    ],
  )
  assert.match(events[2]?.description as string, /compromised/)
})

test('AuditService: validation error', async () => {
  const { audit } = await trail()
  const violations = Array.from({ length: 7 }, (_, i) => ({ field: `field_${i}`, rule: 'required' }))
  const event = await recorded(audit, () => audit.validationError(undefined, ctx, violations))
  assert.deepEqual(
    [event.action, event.severity, event.who, event.status_code],
    ['VALIDATION_ERROR', 'WARN', 'unknown', 422],
  )
  assert.match(event.description, /field_0:required.*field_4:required \(\+2 more\)$/)
})

test('AuditService: error', async () => {
  const { audit } = await trail()
  class ValueError extends Error {
    override readonly name = 'ValueError'
  }
  const error = new ValueError(`something broke ${'at length '.repeat(100)}`)
  const event = await recorded(audit, () => audit.error(undefined, ctx, error))
  assert.deepEqual(
    [event.action, event.severity, event.who, event.status_code, event.reason_code],
    ['ERROR', 'ERROR', 'system', 500, 'ValueError'],
  )
  assert.match(event.description, /^System error: ValueError - something broke/)
  assert.ok(event.description.length <= 'System error: ValueError - '.length + 200)
  assert.doesNotMatch(JSON.stringify(event), /seed\.test|node:internal| {4}at /) // no stack
})

test('AuditService: incident', async () => {
  const { audit } = await trail()
  for (const kind of Object.values(audit.INCIDENT)) {
    const event = await recorded(audit, () =>
      audit.incident('CP-001', ctx, kind, { description: 'look at this', metadata: { cause: 'test' } }),
    )
    assert.deepEqual(
      [event.action, event.severity, event.reason_code, event.description, event.metadata_json],
      ['INCIDENT', 'CRITICAL', kind, 'look at this', '{"cause":"test"}'],
    )
  }
})

test('AuditService: metadata sanitization', async () => {
  const { audit } = await trail()
  const forbidden = ['credentials', 'token', 'password', 'secret', 'key', 'private', 'symmetric', 'plaintext']
  const secrets = Object.fromEntries(forbidden.map(name => [name, 'canary-4711']))
  const event = await recorded(audit, () =>
    audit.authSuccess('CP-001', ctx, { ...secrets, nested: { list: [{ Api_Key: 'canary-4711' }] }, location: 'Lyon' }),
  )
  const metadata = metadataOf(event)
  for (const name of forbidden) assert.equal(metadata[name], '***REDACTED***')
  assert.equal(metadata.nested.list[0].Api_Key, '***REDACTED***')
  assert.equal(metadata.location, 'Lyon')
  assert.doesNotMatch(JSON.stringify(event), /canary/)
})

// BruteForceDetection

test('BruteForceDetection: brute force detection threshold', async () => {
  const { audit } = await trail()
  const from = createContext({ ip: '192.168.1.101' })
  for (let failures = 1; failures <= 5; failures++) {
    audit.authFail('CP-101', from, audit.REASON.INVALID_CREDENTIALS)
    assert.equal(audit.detectBruteForce('CP-101', from), failures >= 5)
  }
  assert.equal(audit.detectBruteForce('CP-102', createContext({ ip: '192.168.1.200' })), false)
})

test('BruteForceDetection: detect and report brute force', async () => {
  const { audit, stored } = await trail()
  const from = createContext({ ip: '192.168.1.102' })
  const suspected: boolean[] = []
  for (let failures = 1; failures <= 10; failures++) {
    audit.authFail('CP-103', from, audit.REASON.INVALID_CREDENTIALS)
    suspected.push(audit.detectAndReportBruteForce('CP-103', from))
  }
  assert.deepEqual(suspected, [false, false, false, false, true, true, true, true, true, true])
  // One incident when the threshold is reached and one when it has doubled; the original wrote one per failure.
  const incidents = (await stored()).filter(({ action }) => action === 'INCIDENT')
  assert.deepEqual(
    incidents.map(event => [event.severity, event.reason_code, metadataOf(event).failure_count]),
    [
      ['CRITICAL', audit.INCIDENT.BRUTE_FORCE_SUSPECTED, 5],
      ['CRITICAL', audit.INCIDENT.BRUTE_FORCE_SUSPECTED, 10],
    ],
  )
  const { ip, cp_id, time_window_seconds } = metadataOf(incidents[0])
  assert.deepEqual([ip, cp_id, time_window_seconds], ['192.168.1.102', 'CP-103', 600])
})

test('BruteForceDetection: brute force per cp detection', async () => {
  const { audit, stored } = await trail()
  for (let i = 1; i <= 5; i++) {
    const from = createContext({ ip: `10.0.0.${i}` })
    audit.authFail('CP-104', from, audit.REASON.INVALID_CREDENTIALS)
    assert.equal(audit.detectAndReportBruteForce('CP-104', from), i === 5)
  }
  const incidents = (await stored()).filter(({ action }) => action === 'INCIDENT')
  assert.deepEqual(
    incidents.map(event => [event.who, metadataOf(event).scope, metadataOf(event).failure_count]),
    [['CP-104', 'cp_id', 5]],
  )
})

// RequestContext

test('RequestContext: context creation', () => {
  assert.deepEqual(ctx, {
    requestId: 'test-request-123',
    ip: '192.168.1.100',
    endpoint: '/auth/credentials',
    httpMethod: 'POST',
  })
  const empty = createContext()
  assert.match(empty.requestId, /^[0-9a-f-]{36}$/)
  assert.deepEqual([empty.ip, empty.endpoint, empty.httpMethod], ['-', null, null])
  assert.equal(currentContext(), undefined)
  assert.equal(runInContext(ctx, currentContext), ctx)
})

test('RequestContext: context immutability', () => {
  assert.throws(() => Object.assign(ctx, { ip: '6.6.6.6' }), TypeError)
  assert.throws(() => Object.assign(ctx, { role: 'admin' }), TypeError)
  assert.equal(ctx.ip, '192.168.1.100')
})

// AuditServiceSingleton

// The original kept one service per process, found through a global. Here parts are built and handed on, and what must be
// single is the writer of a data folder: a second one is refused, in this process as in any other.
test('AuditServiceSingleton: singleton instance', async t => {
  const audit = await temporaryAudit(t)
  const second = () => createAudit({ dataDir: audit.dataDir })
  await assert.rejects(second, (error: unknown) => error instanceof Refusal && error.code === 'DATA_FOLDER_IN_USE')
  audit.authSuccess('CP-001', ctx) // the first goes on undisturbed
  assert.equal((await stored(audit)).length, 1)
  await audit.close()
  await using next = await second()
  assert.equal((await stored(next)).length, 1)
})

// AuditIntegration

test('AuditIntegration: full auth flow with audit', async t => {
  const { audit, stored } = await trail()
  const app = fastify()
  t.after(() => app.close())
  app.register(auditFastify, { audit })
  app.post<{ Body: { cp_id: string; credentials: string } }>('/auth/credentials', async ({ body }, reply) => {
    if (body.credentials === 'the right one') {
      audit.authSuccess(body.cp_id, currentContext())
      return { success: true }
    }
    audit.authFail(body.cp_id, currentContext(), audit.REASON.INVALID_CREDENTIALS)
    audit.detectAndReportBruteForce(body.cp_id, currentContext())
    return reply.code(401).send({ success: false })
  })
  const url = await app.listen({ host: '127.0.0.1', port: 0 })
  const login = (credentials: string, requestId: string) =>
    fetch(`${url}/auth/credentials`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-request-id': requestId },
      body: JSON.stringify({ cp_id: 'CP-105', credentials }),
    })
  assert.equal((await login('the right one', 'r0')).status, 200)
  for (let i = 1; i <= 5; i++) assert.equal((await login(`guess ${i}`, `r${i}`)).status, 401)
  const events = await stored()
  assert.deepEqual(
    events.map(event => [event.action, event.request_id]),
    [
      ['AUTH_SUCCESS', 'r0'],
      ['AUTH_FAIL', 'r1'],
      ['AUTH_FAIL', 'r2'],
      ['AUTH_FAIL', 'r3'],
      ['AUTH_FAIL', 'r4'],
      ['AUTH_FAIL', 'r5'],
      ['INCIDENT', 'r5'],
    ],
  )
  for (const event of events) {
    assert.deepEqual(
      [event.who, event.ip, event.endpoint, event.http_method],
      ['CP-105', '127.0.0.1', '/auth/credentials', 'POST'],
    )
  }
  assert.doesNotMatch(JSON.stringify(events), /guess|the right one/)
})

test('AuditIntegration: audit with status changes', async () => {
  const { audit } = await trail()
  const steps = ['ACTIVE', 'OUT_OF_SERVICE', 'ACTIVE', 'REVOKED'] as const
  for (const [i, newStatus] of steps.slice(1).entries()) {
    audit.statusChange('CP-106', ctx, { oldStatus: steps[i] as string, newStatus })
  }
  audit.authFail('CP-106', ctx, audit.REASON.REVOKED, { statusCode: 403 })
  await audit.flush()
  const events = await audit.queryEvents({ who: 'CP-106', order: 'asc' })
  assert.deepEqual(
    events.map(event => [event.action, event.severity, metadataOf(event)?.new_status ?? event.reason_code]),
    [
      ['STATUS_CHANGE', 'WARN', 'OUT_OF_SERVICE'],
      ['STATUS_CHANGE', 'INFO', 'ACTIVE'],
      ['STATUS_CHANGE', 'WARN', 'REVOKED'],
      ['AUTH_FAIL', 'WARN', 'REVOKED'],
    ],
  )
  assert.equal(events.at(-1)?.status_code, 403)
})
