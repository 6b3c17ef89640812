/**
 * The service on a disk that is full: a small tmpfs, filled by a file. Logins and questions go on, nothing crashes, and when
 * the space returns everything is recorded, or declared lost, within 5 s and without a restart.
 */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import test, { type TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { StoredEvent } from '../../src/event/event.ts'
import { auditRows, eventually } from '../harness/rows.ts'
import { type ServiceProcess, send, startServiceProcess } from '../harness/service-process.ts'
import { dataFolderOnSmallDisk } from './small-disk.ts'

const RECOVERY_MS = 5_000
const smallDisk = (t: TestContext) => dataFolderOnSmallDisk(t, '.', '24m')

type Login = { cp_id: string; credentials: string }

async function register({ url }: ServiceProcess): Promise<Login> {
  const { status, body } = await send(url, 'POST', '/charge-points', { cp_id: 'CP-1' })
  assert.equal(status, 201)
  return { cp_id: 'CP-1', credentials: String(body.credentials) }
}

/** Logs in one after the other; the request ids that were answered. */
async function logIn({ url }: ServiceProcess, login: Login, name: string, count: number): Promise<string[]> {
  const answered: string[] = []
  for (let i = 0; i < count; i++) {
    const answer = await send(url, 'POST', '/auth/credentials', login, { 'x-request-id': `${name}-${i}` })
    assert.equal(answer.status, 200)
    answered.push(answer.requestId)
  }
  return answered
}

async function check(service: ServiceProcess, name: string): Promise<{ ok: boolean; detail: string; status: number }> {
  const { status, body } = await send(service.url, 'GET', '/ready')
  const found = (body.checks as { name: string; ok: boolean; detail: string }[]).find(one => one.name === name)
  return { ok: found?.ok ?? false, detail: found?.detail ?? 'no such check', status }
}

const isJournal = (service: ServiceProcess, ok: boolean) =>
  eventually(
    () => check(service, 'journal'),
    journal => journal.ok === ok,
    RECOVERY_MS,
  )

/** How often each of the requests is a row. */
function rowsPerRequest(dataDir: string, requests: readonly string[]): Map<string, number> {
  const counts = new Map(requests.map(id => [id, 0]))
  for (const { request_id } of auditRows(dataDir, "action = 'AUTH_SUCCESS'")) {
    const count = counts.get(request_id ?? '')
    if (count !== undefined) counts.set(request_id as string, count + 1)
  }
  return counts
}

const notOnce = (dataDir: string, requests: readonly string[]) =>
  [...rowsPerRequest(dataDir, requests)].filter(([, count]) => count !== 1)

/** Events that were declared lost, whether they had a number or not. */
function declaredLost(dataDir: string): number {
  const losses = auditRows(dataDir, "reason_code = 'LOSS_DECLARED'")
  return losses.reduce((sum, { metadata_json }: StoredEvent) => sum + JSON.parse(metadata_json ?? '{}').count, 0)
}

function assertIntact(dataDir: string): void {
  for (const path of ['audit/audit.db', 'security/security.db']) {
    const database = new DatabaseSync(join(dataDir, path), { readOnly: true })
    assert.equal(database.prepare('PRAGMA integrity_check').get()?.integrity_check, 'ok', path)
    database.close()
  }
  const ids = auditRows(dataDir).map(row => row.id)
  assert.deepEqual(
    ids,
    ids.map((_, i) => i + 1),
    'ids are gapless',
  )
}

test('service: on a full disk logins and questions go on, and all is recorded within 5 s of space returning', async t => {
  const disk = smallDisk(t)
  if (disk === undefined) return
  const service = await startServiceProcess(disk.dataDir)
  t.after(() => service.kill('SIGKILL'))
  const login = await register(service)
  const answered = await logIn(service, login, 'before', 20)
  await eventually(
    () => notOnce(disk.dataDir, answered).length,
    missing => missing === 0,
  )

  for (const round of [1, 2]) {
    disk.fill()
    answered.push(...(await logIn(service, login, `full-${round}`, 60)))
    const stalled = await isJournal(service, false)
    assert.match(stalled.detail, /stalled: ENOSPC/)
    assert.equal(stalled.status, 503)
    const query = await send(service.url, 'GET', '/audit/events?who=CP-1&limit=5')
    assert.equal(query.status, 200, JSON.stringify(query.body))
    assert.equal((query.body.events as unknown[]).length, 5)

    disk.empty()
    const freed = performance.now()
    await isJournal(service, true)
    await eventually(
      () => notOnce(disk.dataDir, answered).length,
      missing => missing === 0,
      RECOVERY_MS,
    )
    t.diagnostic(
      `round ${round}: recorded and indexed ${Math.round(performance.now() - freed)} ms after space returned`,
    )
  }

  answered.push(...(await logIn(service, login, 'after', 5)))
  assert.equal(await service.kill('SIGTERM'), 0)
  assert.deepEqual(notOnce(disk.dataDir, answered), [])
  assert.equal(declaredLost(disk.dataDir), 0, 'nothing was lost')
  assertIntact(disk.dataDir)
})

for (const [signal, how] of [
  ['SIGKILL', 'killed'],
  ['SIGTERM', 'stopped'],
] as const) {
  test(`service: ${how} and started again on a full disk, logins and questions go on, and all is recorded when there is space`, async t => {
    const disk = smallDisk(t)
    if (disk === undefined) return
    const first = await startServiceProcess(disk.dataDir)
    const login = await register(first)
    const before = await logIn(first, login, 'before', 5)
    await eventually(
      () => notOnce(disk.dataDir, before).length,
      missing => missing === 0,
    )
    await first.kill(signal)
    disk.fill()

    const service = await startServiceProcess(disk.dataDir)
    t.after(() => service.kill('SIGKILL'))
    disk.fill() // whoever fills a disk does not stop
    const answered = await logIn(service, login, 'full', 30)
    const stalled = await isJournal(service, false)
    assert.match(stalled.detail, /stalled: ENOSPC/)
    assert.equal(stalled.status, 503)
    const query = await send(service.url, 'GET', '/audit/events?who=CP-1&limit=5')
    assert.equal(query.status, 200, JSON.stringify(query.body))
    assert.equal((query.body.events as unknown[]).length, 5)
    const change = await send(service.url, 'POST', '/charge-points', { cp_id: 'CP-2' })
    assert.equal(change.status, 503)
    disk.empty()
    await isJournal(service, true)
    await eventually(
      () => notOnce(disk.dataDir, answered).length,
      missing => missing === 0,
      RECOVERY_MS,
    )
    assert.equal(await service.kill('SIGTERM'), 0)
    assert.equal(declaredLost(disk.dataDir), 0)
    assertIntact(disk.dataDir)
  })
}

for (const signal of ['SIGKILL', 'SIGTERM'] as const) {
  test(`service: ended by ${signal} on a full disk, what was answered is a row or declared lost`, async t => {
    const disk = smallDisk(t)
    if (disk === undefined) return
    const service = await startServiceProcess(disk.dataDir)
    t.after(() => service.kill('SIGKILL'))
    const login = await register(service)
    const answered = await logIn(service, login, 'before', 5)
    await eventually(
      () => notOnce(disk.dataDir, answered).length,
      missing => missing === 0,
    )
    disk.fill()
    // More than the reserve holds.
    for (let i = 0; i < 8; i++) {
      const group = Array.from({ length: 100 }, (_, n) => logIn(service, login, `full-${i}-${n}`, 1))
      answered.push(...(await Promise.all(group)).flat())
    }
    await isJournal(service, false)
    await sleep(200)
    await service.kill(signal)
    disk.empty()

    const next = await startServiceProcess(disk.dataDir)
    t.after(() => next.kill('SIGKILL'))
    await eventually(
      () => auditRows(disk.dataDir, "reason_code = 'STARTED'"),
      rows => rows.length === 2,
    )
    await next.kill('SIGTERM')
    const counts = [...rowsPerRequest(disk.dataDir, answered).values()]
    const missing = counts.filter(count => count === 0).length
    assert.ok(counts.every(count => count <= 1))
    assert.ok(missing > 0 && missing < 800, `${missing} are no rows: the reserve keeps the first of them`)
    const lost = declaredLost(disk.dataDir)
    assert.ok(lost >= missing && lost <= missing + 20, `${missing} are no rows, ${lost} were declared`)
    assertIntact(disk.dataDir)
    t.diagnostic(`${answered.length} answered, ${missing} no rows, ${lost} declared lost`)
  })
}
