/** The event database cannot be written for a while: requests go on, and every event appears afterwards, once. */
import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import test, { type TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { auditRows, eventually } from '../harness/rows.ts'
import { send, startServiceProcess } from '../harness/service-process.ts'

function temporaryFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'evc-store-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

test('service: the database locked by another process for 10 s delays no request and loses no event', async t => {
  const dataDir = temporaryFolder(t)
  const service = await startServiceProcess(dataDir)
  t.after(() => service.kill('SIGKILL'))
  const { body: registered } = await send(service.url, 'POST', '/charge-points', { cp_id: 'CP-1' })
  const login = { cp_id: 'CP-1', credentials: registered.credentials }
  await eventually(
    () => auditRows(dataDir),
    rows => rows.length >= 2,
  )

  const other = new DatabaseSync(join(dataDir, 'audit', 'audit.db'), { timeout: 5_000 })
  other.exec('BEGIN IMMEDIATE')
  const sent: string[] = []
  let slowestMs = 0
  const until = Date.now() + 10_000
  while (Date.now() < until) {
    const start = performance.now()
    const answer = await send(service.url, 'POST', '/auth/credentials', login, {
      'x-request-id': `locked-${sent.length}`,
    })
    slowestMs = Math.max(slowestMs, performance.now() - start)
    assert.equal(answer.status, 200)
    sent.push(answer.requestId)
    await sleep(20)
  }
  const key = await send(service.url, 'POST', '/keys/generate', { cp_id: 'CP-1' })
  assert.equal(key.status, 200, 'changes of state go on too')
  other.exec('ROLLBACK')
  other.close()

  assert.ok(slowestMs < 2_000, `the slowest login took ${slowestMs} ms`)
  const rows = await eventually(
    () => auditRows(dataDir, "request_id LIKE 'locked-%'"),
    found => found.length >= sent.length,
  )
  assert.deepEqual(
    rows.map(row => row.request_id),
    sent,
  )
  await eventually(
    () => auditRows(dataDir, "action = 'KEY_GENERATE'"),
    found => found.length === 1,
  )
  assert.equal(await service.kill('SIGTERM'), 0)
})

test('service: a database folder that cannot be used is waited for; requests go on and readiness says so', async t => {
  const dataDir = temporaryFolder(t)
  mkdirSync(dataDir, { recursive: true })
  writeFileSync(join(dataDir, 'audit'), 'a file where the folder should be')
  const service = await startServiceProcess(dataDir)
  t.after(() => service.kill('SIGKILL'))
  const { status, body: registered } = await send(service.url, 'POST', '/charge-points', { cp_id: 'CP-1' })
  assert.equal(status, 201)
  const login = await send(service.url, 'POST', '/auth/credentials', {
    cp_id: 'CP-1',
    credentials: registered.credentials,
  })
  assert.equal(login.status, 200)
  const ready = await send(service.url, 'GET', '/ready')
  assert.equal(ready.status, 503)
  assert.match(JSON.stringify(ready.body), /store/)
  const query = await send(service.url, 'GET', '/audit/events')
  assert.deepEqual([query.status, query.body.code], [503, 'STORE_UNAVAILABLE'])

  rmSync(join(dataDir, 'audit'))
  const rows = await eventually(
    () => auditRows(dataDir, `request_id = '${login.requestId}'`),
    found => found.length > 0,
  )
  assert.deepEqual(
    rows.map(row => row.action),
    ['AUTH_SUCCESS'],
  )
  await eventually(
    () => send(service.url, 'GET', '/ready'),
    answer => answer.status === 200,
  )
  await eventually(
    () => send(service.url, 'GET', '/audit/events'),
    answer => answer.status === 200,
  )
  assert.equal(await service.kill('SIGTERM'), 0)
})
