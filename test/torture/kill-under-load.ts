/** The service killed at random instants under load, again and again on one data folder. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { checkAll } from '../../src/service/check-all.ts'
import { dataFolder } from '../../src/service/data-folder.ts'
import { auditRows, eventually } from '../harness/rows.ts'
import { type ServiceProcess, send, startServiceProcess } from '../harness/service-process.ts'

const CLIENTS = 16
const LOAD_MS_MIN = 20
const LOAD_MS_MAX = 270

export interface KillUnderLoadOptions {
  readonly cycles: number
  /** After every so many kills, everything in the folder is checked as the kill has left it. */
  readonly checkEvery: number
  readonly onCycle?: (done: number) => void
}

/** @throws when an answered login is not one row, or anything else does not agree */
export async function killUnderLoad({
  cycles,
  checkEvery,
  onCycle,
}: KillUnderLoadOptions): Promise<{ answered: number }> {
  const dataDir = mkdtempSync(join(tmpdir(), 'evc-kill-'))
  const folder = dataFolder(dataDir)
  const answered: string[] = []
  const numbers = { serial: 0 }
  let login: Login | undefined
  let service: ServiceProcess | undefined
  try {
    for (let cycle = 1; cycle <= cycles; cycle++) {
      service = await startServiceProcess(dataDir)
      login ??= await register(service)
      await loadAndKill(service, login, answered, numbers)
      if (cycle % checkEvery === 0) assert.deepEqual(checkAll({ folder, answered }).problems, [], `after kill ${cycle}`)
      onCycle?.(cycle)
    }
    service = await startServiceProcess(dataDir)
    const { url } = service
    await eventually(
      () => send(url, 'GET', '/audit/events?limit=1&action=SYSTEM'),
      answer => (answer.body.events as { reason_code: string }[])[0]?.reason_code === 'STARTED',
    )
    assert.ok(answered.length > cycles, `only ${answered.length} logins were answered: no load`)
    compareRows(dataDir, answered, cycles)
    assert.deepEqual(checkAll({ folder, answered }).problems, [], 'beside the running service')
    assert.equal(await service.kill('SIGTERM'), 0)
    assert.deepEqual(checkAll({ folder, answered }).problems, [], 'after a clean stop')
    return { answered: answered.length }
  } finally {
    await service?.kill('SIGKILL')
    rmSync(dataDir, { recursive: true, force: true })
  }
}

interface Login {
  readonly cp_id: string
  readonly credentials: string
}

async function register(service: ServiceProcess): Promise<Login> {
  const { body } = await send(service.url, 'POST', '/charge-points', { cp_id: 'CP-1' })
  return { cp_id: 'CP-1', credentials: String(body.credentials) }
}

async function loadAndKill(
  service: ServiceProcess,
  login: Login,
  answered: string[],
  numbers: { serial: number },
): Promise<void> {
  let running = true
  const clients = Array.from({ length: CLIENTS }, async () => {
    while (running) {
      const requestId = `kill-${numbers.serial++}`
      const answer = await send(service.url, 'POST', '/auth/credentials', login, { 'x-request-id': requestId }).catch(
        () => undefined,
      )
      if (answer === undefined) return // the connection broke: not answered, so nothing was promised
      assert.equal(answer.status, 200)
      answered.push(requestId)
    }
  })
  await sleep(LOAD_MS_MIN + Math.random() * (LOAD_MS_MAX - LOAD_MS_MIN))
  await service.kill('SIGKILL')
  running = false
  await Promise.all(clients)
}

function compareRows(dataDir: string, answered: readonly string[], kills: number): void {
  const rows = auditRows(dataDir)
  const counts = new Map<string | null, number>()
  for (const row of rows) {
    if (row.action === 'AUTH_SUCCESS') counts.set(row.request_id, (counts.get(row.request_id) ?? 0) + 1)
  }
  const lost = answered.filter(id => counts.get(id) !== 1)
  const doubled = [...counts].filter(([, count]) => count !== 1)
  assert.deepEqual([lost, doubled], [[], []])
  assert.ok(
    rows.every((row, index) => row.id === index + 1),
    'ids are gapless',
  )
  assert.equal(rows.filter(row => row.reason_code === 'UNCLEAN_STOP').length, kills)
  assert.equal(rows.filter(row => row.reason_code === 'CP_REGISTERED').length, 1)
}
