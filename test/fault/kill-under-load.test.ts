/**
 * The service is killed with SIGKILL at random instants under load, again and again on one data folder. Afterwards
 * every login that was answered is one row: none lost, none doubled.
 */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { auditRows, eventually } from '../harness/rows.ts'
import { type ServiceProcess, send, startServiceProcess } from '../harness/service-process.ts'

const CYCLES = Number(process.env.KILL_CYCLES ?? 50)
const CLIENTS = 16

test(`service: ${CYCLES} times killed under load, no answered event is lost and none is doubled`, async t => {
  const dataDir = mkdtempSync(join(tmpdir(), 'evc-kill-'))
  t.after(() => rmSync(dataDir, { recursive: true, force: true }))
  const answered: string[] = []
  let login: { cp_id: string; credentials: string } | undefined
  let serial = 0

  for (let cycle = 0; cycle < CYCLES; cycle++) {
    const service = await startServiceProcess(dataDir)
    login ??= await register(service)
    const current = login
    let running = true
    const clients = Array.from({ length: CLIENTS }, async () => {
      while (running) {
        const requestId = `kill-${serial++}`
        const answer = await send(service.url, 'POST', '/auth/credentials', current, {
          'x-request-id': requestId,
        }).catch(() => undefined)
        if (answer === undefined) return // the connection broke: not answered, so nothing was promised
        assert.equal(answer.status, 200)
        answered.push(requestId)
      }
    })
    await sleep(20 + Math.random() * 250)
    await service.kill('SIGKILL')
    running = false
    await Promise.all(clients)
  }

  const last = await startServiceProcess(dataDir)
  t.after(() => last.kill('SIGKILL'))
  await eventually(
    () => send(last.url, 'GET', '/audit/events?limit=1&action=SYSTEM'),
    answer => (answer.body.events as { reason_code: string }[])[0]?.reason_code === 'STARTED',
  )
  const counts = new Map<string | null, number>()
  const rows = auditRows(dataDir)
  for (const row of rows) {
    if (row.action === 'AUTH_SUCCESS') counts.set(row.request_id, (counts.get(row.request_id) ?? 0) + 1)
  }
  assert.ok(answered.length > CYCLES, `only ${answered.length} logins were answered: no load`)
  assert.deepEqual(
    answered.filter(id => counts.get(id) !== 1),
    [],
  )
  assert.deepEqual(
    [...counts].filter(([, count]) => count !== 1),
    [],
  )
  assert.deepEqual(
    rows.map(row => row.id),
    rows.map((_, i) => i + 1),
    'ids are gapless',
  )
  assert.equal(rows.filter(row => row.reason_code === 'UNCLEAN_STOP').length, CYCLES)
  assert.equal(rows.filter(row => row.reason_code === 'CP_REGISTERED').length, 1)
  assert.equal(await last.kill('SIGTERM'), 0)
  t.diagnostic(`${answered.length} answered logins over ${CYCLES} kills`)
})

async function register(service: ServiceProcess): Promise<{ cp_id: string; credentials: string }> {
  const { body } = await send(service.url, 'POST', '/charge-points', { cp_id: 'CP-1' })
  return { cp_id: 'CP-1', credentials: String(body.credentials) }
}
