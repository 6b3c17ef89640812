/**
 * Two instances on one PostgreSQL under load, while the server is restarted and crashes, its sessions are ended, and instances are
 * killed. Short form: test/fault/instances.test.ts; `npm run torture -- instances` does it at length.
 */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { StoredEvent } from '../../src/event/event.ts'
import { createNetwork } from '../harness/network.ts'
import type { PostgresServer } from '../harness/postgres.ts'
import { assertLogOfRows } from '../harness/postgres-log.ts'
import { eventually } from '../harness/rows.ts'
import { type ServiceProcess, send, startServiceProcess } from '../harness/service-process.ts'

export interface PostgresFaults {
  /** Of the server: stopped in order and by a crash, in turn. */
  readonly restarts: number
  /** Of sessions, one at a time. */
  readonly terminations: number
  /** Of instances, each started again on its folder. */
  readonly kills: number
  /** How long the server is stopped once more, and how long the second instance cannot reach it. */
  readonly stopMs?: number
  readonly cutMs?: number
  /** Where a database is on the synchronous standby that is promoted in the end, when the server crashed for good. */
  readonly failOverTo?: (url: string) => string
  /** Between two requests of a client. */
  readonly pauseMs?: number
  readonly onCycle?: (done: number) => void
}

export interface PostgresFaultsSeen {
  readonly answered: number
  readonly changed: number
  readonly refused: number
  readonly uncertain: number
  readonly slowestLoginMs: number
}

const CLIENTS = 6
const PAUSE_MS = 5
const END_ONE_SESSION = `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
  WHERE datname = current_database() AND pid <> pg_backend_pid() ORDER BY random() LIMIT 1`

/** @throws when an answered login or change is not one row, a refused one left anything, or the log is not that of the rows */
export async function runPostgresFaults(server: PostgresServer, faults: PostgresFaults): Promise<PostgresFaultsSeen> {
  const url = await server.createDatabase()
  const folders = [0, 1].map(() => mkdtempSync(join(tmpdir(), 'evc-instance-')))
  let at = url
  const networks = [await createNetwork(url), await createNetwork(url)]
  const startInstance = (i: number) =>
    startServiceProcess(folders[i] as string, { EVC_DATABASE_URL: networks[i]?.url ?? '', EVC_LOG_LEVEL: 'fatal' })
  const instances = [await startInstance(0), await startInstance(1)]
  try {
    const load = await startLoad(instances, faults.pauseMs ?? PAUSE_MS)
    let done = 0
    for (let i = 0; i < faults.restarts; i++) {
      await server.halt(i % 2 === 0 ? 'fast' : 'immediate')
      await sleep(100 + Math.random() * 500)
      await server.resume()
      await sleep(300 + Math.random() * 700)
      faults.onCycle?.(++done)
    }
    for (let i = 0; i < faults.terminations; i++) {
      await server.run(url, END_ONE_SESSION)
      await sleep(Math.random() * 60)
      faults.onCycle?.(++done)
    }
    for (let i = 0; i < faults.kills; i++) {
      const which = i % instances.length
      await sleep(Math.random() * 500)
      await instances[which]?.kill('SIGKILL')
      instances[which] = await startInstance(which)
      faults.onCycle?.(++done)
    }
    if (faults.stopMs !== undefined) {
      await server.halt('fast')
      await sleep(faults.stopMs)
      await server.resume()
    }
    if (faults.cutMs !== undefined) {
      networks[1]?.cut()
      await sleep(faults.cutMs)
      networks[1]?.mend()
    }
    if (faults.failOverTo !== undefined) {
      await sleep(1_000)
      await server.halt('immediate')
      at = faults.failOverTo(url)
      await server.run(at, 'SELECT pg_promote()')
      for (const network of networks) network.redirect(at)
      await sleep(2_000)
    }
    const seen = await load.stop()
    await allAreRows(server, at, seen.answered)
    // What the killed ones left there, the others take over.
    await eventually(
      () => server.run(at, 'SELECT 1 FROM outbox'),
      rows => rows.length === 0,
    )
    for (const instance of instances) assert.equal(await instance.kill('SIGTERM'), 0, instance.output())
    await compare(server, at, seen)
    const { answered, changed, refused, uncertain } = seen
    return {
      slowestLoginMs: Math.round(seen.slowestLoginMs),
      answered: answered.length,
      changed: changed.length,
      refused: refused.length,
      uncertain: uncertain.length,
    }
  } finally {
    for (const instance of instances) await instance.kill('SIGKILL')
    for (const network of networks) await network.close()
    for (const folder of folders) rmSync(folder, { recursive: true, force: true })
  }
}

interface Seen {
  /** Request ids of logins. */
  readonly answered: string[]
  /** Charge points. */
  readonly changed: string[]
  readonly refused: string[]
  /** And those whose answer was lost with the instance. */
  readonly uncertain: string[]
  slowestLoginMs: number
}

async function startLoad(instances: readonly ServiceProcess[], pauseMs: number) {
  const seen: Seen = { answered: [], changed: [], refused: [], uncertain: [], slowestLoginMs: 0 }
  const urlOf = (i: number) => (instances[i % instances.length] as ServiceProcess).url
  const login = { cp_id: 'CP-1', credentials: '' }
  const { body } = await send(urlOf(0), 'POST', '/charge-points', { cp_id: login.cp_id })
  login.credentials = String(body.credentials)
  // One that an instance has not heard of when the server goes away is refused there until it is back.
  for (const { url } of instances) assert.equal((await send(url, 'POST', '/auth/credentials', login, {})).status, 200)
  let serial = 0
  let isOver = false

  async function logIn(client: number): Promise<void> {
    for (; !isOver; await sleep(pauseMs)) {
      const requestId = `fault-${serial++}`
      const headers = { 'x-request-id': requestId }
      const startedAt = performance.now()
      const answer = await send(urlOf(client + serial), 'POST', '/auth/credentials', login, headers).catch(
        () => undefined,
      )
      if (answer === undefined) continue // killed: not answered, so nothing was promised
      assert.equal(answer.status, 200, JSON.stringify(answer.body))
      seen.answered.push(requestId)
      seen.slowestLoginMs = Math.max(seen.slowestLoginMs, performance.now() - startedAt)
    }
  }

  async function change(): Promise<void> {
    for (; !isOver; await sleep(pauseMs)) {
      const cpId = `NEW-${serial++}`
      const answer = await send(urlOf(serial), 'POST', '/charge-points', { cp_id: cpId }).catch(() => undefined)
      if (answer?.status === 201) seen.changed.push(cpId)
      else if (answer?.body.code === 'STATE_UNAVAILABLE') seen.refused.push(cpId)
      else {
        assert.ok(answer === undefined || answer.body.code === 'STATE_UNCERTAIN', JSON.stringify(answer?.body))
        seen.uncertain.push(cpId)
      }
    }
  }

  const clients = [change(), ...Array.from({ length: CLIENTS }, (_, client) => logIn(client))]
  for (const client of clients) client.catch(() => {}) // told by `stop`
  return {
    async stop(): Promise<Seen> {
      isOver = true
      await Promise.all(clients)
      return seen
    },
  }
}

async function allAreRows(server: PostgresServer, url: string, answered: readonly string[]): Promise<void> {
  await eventually(
    () =>
      server.run<{ n: string }>(
        url,
        "SELECT count(*) AS n FROM audit_events WHERE action = 'AUTH_SUCCESS' AND request_id = ANY($1)",
        [answered],
      ),
    rows => Number(rows[0]?.n) >= answered.length,
  )
}

async function compare(server: PostgresServer, url: string, seen: Seen): Promise<void> {
  const rows = await assertLogOfRows(url)
  const logins = countsOf(rows.filter(row => row.action === 'AUTH_SUCCESS').map(row => row.request_id ?? ''))
  assert.deepEqual(
    seen.answered.filter(id => logins.get(id) !== 1),
    [],
    'every login that was answered is one row',
  )
  assert.deepEqual(
    [...logins].filter(([, count]) => count !== 1),
    [],
    'and none is two',
  )
  const registered = countsOf(rows.filter(isRegistration).map(registeredIn))
  const found = await server.run<{ cp_id: string }>(url, 'SELECT cp_id FROM charge_points')
  const there = new Set(found.map(row => row.cp_id))
  assert.deepEqual(
    seen.changed.filter(id => !there.has(id)),
    [],
    'every change that was answered is there',
  )
  assert.deepEqual(
    seen.refused.filter(id => there.has(id)),
    [],
    'none that was refused is',
  )
  assert.deepEqual([...registered.keys()].sort(), [...there].sort(), 'and each has its event')
  assert.ok(
    [...registered.values()].every(count => count === 1),
    'once',
  )
}

const isRegistration = (row: StoredEvent) => row.reason_code === 'CP_REGISTERED'
const registeredIn = (row: StoredEvent): string => JSON.parse(row.metadata_json ?? '{}').cp_id

function countsOf(names: readonly string[]): Map<string, number> {
  const counts = new Map<string, number>()
  for (const name of names) counts.set(name, (counts.get(name) ?? 0) + 1)
  return counts
}
