/**
 * EVC_STRICT_EVENTS against a journal that cannot be written, and a process that is killed: a change and its event are never
 * one without the other.
 */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { auditRows, eventually } from '../harness/rows.ts'
import { securityDump, securityRows } from '../harness/security-dump.ts'
import { type Answer, send, startServiceProcess } from '../harness/service-process.ts'
import { answerOf, CHANGES, seed } from './every-change.ts'
import { dataFolderOnSmallDisk } from './small-disk.ts'

const STRICT = { EVC_STRICT_EVENTS: 'keys,status,admin' }
/** How long after space has returned everything has to work again. */
const RECOVERY_MS = 5_000

function temporaryFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'evc-strict-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

const outboxOf = (dataDir: string) => securityRows(dataDir, 'SELECT uuid FROM outbox').map(({ uuid }) => uuid)

test('strict: a journal without room refuses every change and leaves the state; logins go on; it heals by itself', async t => {
  const disk = dataFolderOnSmallDisk(t, 'journal', '8m')
  if (disk === undefined) return
  const { dataDir } = disk
  const service = await startServiceProcess(dataDir, STRICT)
  t.after(() => service.kill('SIGKILL'))
  const login = await seed(service.url)
  const before = securityDump(dataDir)
  const outboxBefore = outboxOf(dataDir)

  disk.fill()
  // Nothing was written since: the journal does not know yet. Then it does, from the logins.
  for (const change of CHANGES) {
    assert.deepEqual(await answerOf(service.url, change), [503, 'AUDIT_UNAVAILABLE', true], change[1])
  }
  const logins: Answer[] = []
  for (let i = 0; i < 20; i++) {
    logins.push(await send(service.url, 'POST', '/auth/credentials', login, { 'x-request-id': `full-${i}` }))
  }
  assert.deepEqual(new Set(logins.map(({ status }) => status)), new Set([200]))
  for (const change of CHANGES) {
    assert.deepEqual(await answerOf(service.url, change), [503, 'AUDIT_UNAVAILABLE', true], change[1])
  }
  assert.equal((await send(service.url, 'GET', '/charge-points')).status, 200, 'reads go on')
  assert.equal(securityDump(dataDir), before)
  assert.ok(
    outboxOf(dataDir).every(uuid => outboxBefore.includes(uuid)),
    'no event of a refused change',
  )

  disk.empty()
  const reset = await eventually(
    () => send(service.url, 'POST', '/keys/reset', { cp_id: 'CP-1' }),
    answer => answer.status === 200,
    RECOVERY_MS,
  )
  await eventually(
    () => auditRows(dataDir, `request_id LIKE 'full-%' OR request_id = '${reset.requestId}'`),
    rows => rows.length >= 21,
  )
  const changed = auditRows(dataDir, "action LIKE 'KEY_%' OR action = 'STATUS_CHANGE' OR reason_code LIKE 'CP_%'")
  assert.deepEqual(
    changed.map(({ action, reason_code, who }) => reason_code ?? `${action} ${who}`),
    ['CP_REGISTERED', 'CP_REGISTERED', 'KEY_GENERATE CP-1', 'KEY_RESET CP-1'],
  )
  assert.equal(await service.kill('SIGTERM'), 0)
})

test('open: with the same journal changes go on, and their events are there when it has room again', async t => {
  const disk = dataFolderOnSmallDisk(t, 'journal', '8m')
  if (disk === undefined) return
  const { dataDir } = disk
  const service = await startServiceProcess(dataDir, { EVC_STRICT_EVENTS: 'status' })
  t.after(() => service.kill('SIGKILL'))
  await seed(service.url)
  disk.fill()
  const reset = await send(service.url, 'POST', '/keys/reset', { cp_id: 'CP-1' })
  assert.equal(reset.status, 200)
  const strict = await answerOf(service.url, ['POST', '/status/revoke', { cp_id: 'CP-1', reason: 'test' }])
  assert.deepEqual(strict, [503, 'AUDIT_UNAVAILABLE', true])
  disk.empty()
  await eventually(
    () => auditRows(dataDir, `request_id = '${reset.requestId}'`),
    rows => rows.length === 1,
    RECOVERY_MS,
  )
  assert.equal(await service.kill('SIGTERM'), 0)
})

/** Rotates the keys of many charge points until the service is gone; returns `cp_id version` of what was answered. */
async function rotate(url: string, cpIds: readonly string[]): Promise<string[]> {
  const answered: string[] = []
  const one = async (cpId: string) => {
    for (;;) {
      const { status, body } = await send(url, 'POST', '/keys/reset', { cp_id: cpId })
      assert.equal(status, 200)
      answered.push(`${cpId} ${body.version}`)
    }
  }
  await Promise.all(cpIds.map(cpId => one(cpId).catch(error => assert.match(String(error), /fetch failed|terminated/))))
  return answered
}

const keysIn = (dataDir: string) =>
  securityRows(dataDir, 'SELECT cp_id, version FROM keys').map(({ cp_id, version }) => `${cp_id} ${version}`)

function eventsIn(dataDir: string): string[] {
  const rows = auditRows(dataDir, "action IN ('KEY_GENERATE', 'KEY_RESET')")
  return rows.map(({ who, metadata_json }) => `${who} ${JSON.parse(metadata_json ?? '').version}`)
}

test('strict: killed at any instant of key rotations, each key version has exactly one event, each event its key version', async t => {
  const dataDir = temporaryFolder(t)
  const cpIds = Array.from({ length: 4 }, (_, i) => `CP-${i}`)
  const answered: string[] = []
  for (let cycle = 0; cycle < Number(process.env.EVC_TEST_KILLS ?? 5); cycle++) {
    const service = await startServiceProcess(dataDir, STRICT)
    t.after(() => service.kill('SIGKILL'))
    for (const cp_id of cycle === 0 ? cpIds : []) {
      await send(service.url, 'POST', '/charge-points', { cp_id })
      const { body } = await send(service.url, 'POST', '/keys/generate', { cp_id })
      answered.push(`${cp_id} ${body.version}`)
    }
    const rotating = rotate(service.url, cpIds)
    await sleep(20 + Math.random() * 200)
    await service.kill('SIGKILL')
    answered.push(...(await rotating))
    // Also while the process is dead: what waits in the outbox belongs to a key that is there.
    const keys = new Set(keysIn(dataDir))
    const waiting = securityRows(dataDir, "SELECT event FROM outbox WHERE event LIKE '%KEY_%'")
    for (const { event } of waiting) {
      const { who, metadata_json } = JSON.parse(String(event))
      assert.ok(keys.has(`${who} ${JSON.parse(metadata_json).version}`))
    }
  }
  const last = await startServiceProcess(dataDir, STRICT)
  t.after(() => last.kill('SIGKILL'))
  assert.equal(await last.kill('SIGTERM'), 0)

  const keys = keysIn(dataDir).sort()
  assert.ok(keys.length > cpIds.length, 'keys were rotated')
  assert.deepEqual(eventsIn(dataDir).sort(), keys)
  const known = new Set(keys)
  assert.deepEqual(
    answered.filter(answer => !known.has(answer)),
    [],
    'what was answered is there',
  )
})
