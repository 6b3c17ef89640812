import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'
import { createAudit, createContext, INCIDENT, REASON, Refusal, runInContext } from '../../src/embed/index.ts'
import { sharedAudit, temporaryAudit, temporaryFolder } from './temporary-audit.ts'

/** For what is the same whatever was recorded before. */
const trail = sharedAudit()

const code = (expected: string) => (error: unknown) => error instanceof Refusal && error.code === expected

test('createAudit: every method records one event, in order, with the context given or current', async () => {
  const { audit, stored } = await trail()
  const ctx = createContext({ requestId: 'r1', ip: '203.0.113.5', endpoint: '/auth/credentials', httpMethod: 'POST' })
  audit.authSuccess('CP-1', ctx)
  audit.authFail('CP-1', ctx, audit.REASON.UNKNOWN_CP)
  audit.statusChange('CP-1', ctx, { oldStatus: 'ACTIVE', newStatus: 'REVOKED' })
  audit.keyGenerate('CP-1', ctx, { version: 1 })
  audit.keyReset('CP-1', ctx)
  audit.keyRevoke('CP-1', ctx)
  runInContext(ctx, () => {
    audit.validationError('CP-1', undefined, [{ field: 'cp_id', rule: 'required' }])
    audit.error('CP-1', undefined, new RangeError('out of range'))
    audit.incident('CP-1', undefined, audit.INCIDENT.TAMPERING_DETECTED)
    audit.access('auditor', undefined, 'READ')
    audit.system('STARTED')
  })
  const events = await stored()
  assert.deepEqual(
    events.map(event => event.action),
    [
      'AUTH_SUCCESS',
      'AUTH_FAIL',
      'STATUS_CHANGE',
      'KEY_GENERATE',
      'KEY_RESET',
      'KEY_REVOKE',
      'VALIDATION_ERROR',
      'ERROR',
      'INCIDENT',
      'ACCESS',
      'SYSTEM',
    ],
  )
  for (const [i, event] of events.entries()) {
    assert.equal(event.id, (events[0]?.id ?? 0) + i)
    assert.deepEqual([event.request_id, event.ip, event.endpoint], ['r1', '203.0.113.5', '/auth/credentials'])
  }
  assert.equal('deliver' in audit, false)
})

test('createAudit: constants are on the object and exported alike', async () => {
  const { audit } = await trail()
  assert.equal(audit.REASON.INVALID_CREDENTIALS, 'INVALID_CREDENTIALS')
  assert.equal(audit.INCIDENT.BRUTE_FORCE_SUSPECTED, 'BRUTE_FORCE_SUSPECTED')
  assert.equal(audit.REASON, REASON)
  assert.equal(audit.INCIDENT, INCIDENT)
  assert.ok(audit.ACTIONS.includes('AUTH_FAIL'))
  assert.ok(audit.SEVERITIES.includes('CRITICAL'))
})

test('createAudit: queries filter by value, by list, by time, and page on behind an id', async t => {
  const audit = await temporaryAudit(t)
  const at = (ip: string) => createContext({ ip })
  audit.authSuccess('CP-1', at('10.0.0.1'))
  audit.authFail('CP-1', at('10.0.0.1'), 'REVOKED')
  audit.authFail('CP-2', at('2001:db8::1'), 'UNKNOWN_CP')
  audit.incident('CP-2', at('10.0.0.1'), 'TAMPERING_DETECTED')
  await audit.flush()
  const ids = async (query: Parameters<typeof audit.queryEvents>[0]) =>
    (await audit.queryEvents(query)).map(event => event.id)

  assert.deepEqual(await ids({}), [4, 3, 2, 1])
  assert.deepEqual(await ids({ action: 'AUTH_FAIL', start_time: '2025-12-14T00:00:00Z', limit: 100 }), [3, 2])
  assert.deepEqual(await ids({ action: ['AUTH_SUCCESS', 'INCIDENT'] }), [4, 1])
  assert.deepEqual(await ids({ severity: 'CRITICAL' }), [4])
  assert.deepEqual(await ids({ reason_code: ['REVOKED', 'UNKNOWN_CP'], who: 'CP-2' }), [3])
  assert.deepEqual(await ids({ ip: '2001:0DB8:0::1' }), [3])
  assert.deepEqual(await ids({ end_time: '2025-12-14' }), [])
  assert.deepEqual(await ids({ order: 'asc', limit: 2 }), [1, 2])
  assert.deepEqual(await ids({ order: 'asc', limit: 2, after: 2 }), [3, 4])
  assert.deepEqual(await ids({ limit: 3, after: 3, who: undefined }), [2, 1])

  const now = (await audit.queryEvents({ who: 'CP-1', limit: 1 }))[0]?.date_time as string
  const sameInstant = now.replace('Z', '000+00:00')
  assert.ok((await ids({ start_time: sameInstant })).includes(2))
  assert.ok(!(await ids({ end_time: sameInstant })).includes(2))
})

test('createAudit: a query with an unknown filter or value is refused by name', async () => {
  const { audit } = await trail()
  const wrong: Record<string, unknown>[] = [
    { actoin: 'AUTH_FAIL' },
    { action: 'AUTH_FAILED' },
    { action: [] },
    { severity: 3 },
    { who: '' },
    { start_time: 'yesterday' },
    { start_time: '2025-12-14T00:00:00' },
    { end_time: '2025-13-01' },
    { end_time: '2025-02-30' },
    { limit: 0 },
    { limit: 1001 },
    { limit: 1.5 },
    { order: 'random' },
    { after: -1 },
    { toString: 'x' },
  ]
  for (const query of wrong) {
    const field = Object.keys(query)[0] as string
    await assert.rejects(audit.queryEvents(query), (error: unknown) => {
      assert.ok(error instanceof Refusal)
      assert.equal(error.code, 'VALIDATION_FAILED')
      assert.deepEqual(
        error.violations?.map(violation => violation.field),
        [field],
      )
      return true
    })
  }
  await assert.rejects(audit.recentAuthFailures({ minutes: 0 }), code('VALIDATION_FAILED'))
})

test('createAudit: recent failures by address and by charge point', async t => {
  const audit = await temporaryAudit(t)
  audit.authFail('CP-1', createContext({ ip: '10.0.0.1' }), 'UNKNOWN_CP')
  audit.authFail('CP-2', createContext({ ip: '10.0.0.1' }), 'UNKNOWN_CP')
  audit.authFail('CP-2', createContext({ ip: '10.0.0.2' }), 'UNKNOWN_CP')
  audit.authSuccess('CP-2', createContext({ ip: '10.0.0.2' }))
  await audit.flush()
  const ids = async (query: Parameters<typeof audit.recentAuthFailures>[0]) =>
    (await audit.recentAuthFailures(query)).map(event => event.id)
  assert.deepEqual(await ids({}), [3, 2, 1])
  assert.deepEqual(await ids({ ip: '10.0.0.1' }), [2, 1])
  assert.deepEqual(await ids({ cp_id: 'CP-2', minutes: 5 }), [3, 2])
  assert.deepEqual(await ids({ cp_id: 'CP-2', ip: '10.0.0.1' }), [2])
})

test('createAudit: settled tells that the events of a context are on disk', async t => {
  const audit = await temporaryAudit(t, { ackTimeoutMs: 10_000 })
  const ctx = createContext()
  audit.authSuccess('CP-1', ctx)
  assert.equal(audit.status().journal.durableSequence, 0)
  assert.equal(await audit.settled(ctx), 'durable')
  assert.equal(audit.status().journal.durableSequence, 1)
})

test('createAudit: threshold and window are options; what was counted survives a restart', async t => {
  const dataDir = await temporaryFolder(t)
  const ctx = createContext({ ip: '10.0.0.1' })
  {
    await using audit = await createAudit({ dataDir, bruteForceThreshold: 3 })
    audit.authFail('CP-1', ctx, 'INVALID_CREDENTIALS')
    audit.authFail('CP-1', ctx, 'INVALID_CREDENTIALS')
    assert.equal(audit.detectAndReportBruteForce('CP-1', ctx), false)
  }
  await using audit = await createAudit({ dataDir, bruteForceThreshold: 3 })
  audit.authFail('CP-1', ctx, 'INVALID_CREDENTIALS')
  assert.equal(audit.detectAndReportBruteForce('CP-1', ctx), true)
  await audit.flush()
  const [incident, ...others] = await audit.queryEvents({ action: 'INCIDENT' })
  assert.equal(others.length, 0)
  assert.match(incident?.metadata_json as string, /"failure_count":3/)
})

test('createAudit: options that make no sense are refused before the folder is touched', async t => {
  const dataDir = join(await temporaryFolder(t), 'never')
  await assert.rejects(createAudit({ dataDir: '' }), TypeError)
  for (const option of ['ackTimeoutMs', 'bruteForceThreshold', 'bruteForceWindowSeconds']) {
    for (const value of [0, -1, 1.5, Number.NaN]) {
      await assert.rejects(createAudit({ dataDir, [option]: value }), TypeError)
    }
  }
  assert.equal(existsSync(dataDir), false)
})

test('createAudit: closing twice is closing once, and recording afterwards does not throw', async t => {
  const audit = await temporaryAudit(t)
  audit.authSuccess('CP-1')
  await Promise.all([audit.close(), audit.close()])
  assert.equal(audit.status().journal.phase, 'closed')
  audit.authSuccess('CP-1')
  await audit.settled()
  assert.equal(audit.status().lost, 1)
})

test('createAudit: closing waits for what was recorded; the next one finds it and no unclean stop', async t => {
  const dataDir = await temporaryFolder(t)
  const first = await createAudit({ dataDir })
  for (let i = 0; i < 500; i++) first.authSuccess(`CP-${i}`)
  await first.close()
  await using second = await createAudit({ dataDir })
  const events = await second.queryEvents({ limit: 1000, order: 'asc' })
  assert.equal(events.length, 500)
  assert.ok(events.every(event => event.action === 'AUTH_SUCCESS'))
})

test('createAudit: after a process that did not close, its events are there and its end is noted', async t => {
  const dataDir = await temporaryFolder(t)
  const library = new URL('../../src/embed/index.ts', import.meta.url).href
  const script = `
    const { createAudit, createContext } = await import(${JSON.stringify(library)})
    const audit = await createAudit({ dataDir: ${JSON.stringify(dataDir)}, ackTimeoutMs: 60000 })
    const ctx = createContext()
    audit.authSuccess('CP-1', ctx)
    await audit.settled(ctx)
    process.kill(process.pid, 'SIGKILL')`
  const file = join(await temporaryFolder(t), 'killed.mjs')
  writeFileSync(file, script)
  const child = spawnSync(process.execPath, [file])
  assert.equal(child.signal, 'SIGKILL', String(child.stderr))
  await using audit = await createAudit({ dataDir })
  await audit.flush()
  assert.deepEqual(
    (await audit.queryEvents({ order: 'asc' })).map(event => event.reason_code ?? event.action),
    ['AUTH_SUCCESS', 'UNCLEAN_STOP'],
  )
})
