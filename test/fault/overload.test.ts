/**
 * Many times more requests than the service can answer, from processes of their own: what was accepted is recorded, exactly;
 * the rest is 503 with Retry-After; memory grows by no more than its bound over what the service has under a light load.
 * OVERLOAD_SECONDS=60 is the long form.
 */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import test, { type TestContext } from 'node:test'
import { LIMITS } from '../../src/limits.ts'
import { auditRows, eventually } from '../harness/rows.ts'
import { send, startServiceProcess } from '../harness/service-process.ts'
import type { Flood, FloodLogin } from './flood-client.ts'

const SECONDS = Number(process.env.OVERLOAD_SECONDS ?? 6)
const CLIENTS = 2
const CONNECTIONS = 100
const DEPTH = 50
const CHARGE_POINTS = 50
const RSS_GROWTH_MB_MAX = 64

const FLOOD_CLIENT = join(import.meta.dirname, 'flood-client.ts')

interface Asking {
  readonly name: string
  readonly connections: number
  readonly depth: number
  readonly seconds: number
}

async function flood(t: TestContext, url: string, logins: readonly FloodLogin[], asking: Asking): Promise<Flood> {
  const { name, connections, depth, seconds } = asking
  const child = spawn(
    process.execPath,
    [FLOOD_CLIENT, url, name, String(connections), String(depth), String(seconds)],
    { stdio: ['pipe', 'pipe', 'inherit'] },
  )
  t.after(() => child.kill('SIGKILL'))
  child.stdin.end(JSON.stringify(logins))
  return JSON.parse(await text(child.stdout))
}

/** Watches a process' resident memory; the function it returns stops that and says the highest value, in MB. */
function watchMemory(pid: number | undefined): { now: () => number; peak: () => number } {
  const now = () => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024
  let highest = now()
  const timer = setInterval(() => {
    highest = Math.max(highest, now())
  }, 50)
  return {
    now,
    peak() {
      clearInterval(timer)
      return highest
    },
  }
}

test('overload: what is accepted is a row, the rest 503 with Retry-After, and memory stays within its bound', async t => {
  const dataDir = mkdtempSync(join(tmpdir(), 'evc-overload-'))
  t.after(() => rmSync(dataDir, { recursive: true, force: true }))
  const service = await startServiceProcess(dataDir)
  t.after(() => service.kill('SIGKILL'))
  const logins: FloodLogin[] = []
  for (let i = 0; i < CHARGE_POINTS; i++) {
    const { body } = await send(service.url, 'POST', '/charge-points', { cp_id: `CP-${i}` })
    logins.push({ cp_id: `CP-${i}`, credentials: String(body.credentials) })
  }
  const light = await flood(t, service.url, logins, { name: 'light', connections: 10, depth: 1, seconds: 5 })
  assert.equal(light.answers['503'], undefined, 'nobody is refused')

  const memory = watchMemory(service.child.pid)
  const before = memory.now()
  const floods = await Promise.all(
    Array.from({ length: CLIENTS }, (_, i) =>
      flood(t, service.url, logins, { name: `f${i}`, connections: CONNECTIONS, depth: DEPTH, seconds: SECONDS }),
    ),
  )
  const growth = memory.peak() - before

  assert.ok(CLIENTS * CONNECTIONS * DEPTH >= 10 * LIMITS.requestsInFlightMax)
  const answers: Record<string, number> = {}
  for (const { answers: some } of floods) {
    for (const [status, count] of Object.entries(some)) answers[status] = (answers[status] ?? 0) + count
  }
  t.diagnostic(`${JSON.stringify(answers)}, ${growth.toFixed(0)} MB more`)
  assert.deepEqual(
    Object.keys(answers).filter(status => !['200', '401', '429', '503'].includes(status)),
    [],
  )
  assert.ok((answers['503'] ?? 0) > 0, 'there was an overload')
  for (const { wrongRefusals, unanswered } of floods)
    assert.deepEqual({ wrongRefusals, unanswered }, { wrongRefusals: 0, unanswered: 0 })

  const accepted = floods.flatMap(({ accepted: ids }) => ids)
  const rows = await eventually(
    () => auditRows(dataDir, "action LIKE 'AUTH_%' AND request_id GLOB 'f[0-9]-*'"),
    found => found.length >= accepted.length,
    60_000,
  )
  assert.deepEqual(rows.map(({ request_id }) => String(request_id)).sort(), accepted.sort(), 'row by row, none twice')
  for (const status of [200, 401, 429]) {
    const count = rows.filter(row => row.status_code === status).length
    assert.equal(count, answers[status] ?? 0, `answered ${status}`)
  }
  assert.ok(growth <= RSS_GROWTH_MB_MAX, `the process grew by ${growth.toFixed(0)} MB`)
  const login = await send(service.url, 'POST', '/auth/credentials', logins[0])
  assert.equal(login.status, 200, 'afterwards all is as before')
  assert.equal(await service.kill('SIGTERM'), 0)
})
