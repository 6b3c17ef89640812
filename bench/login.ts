/**
 * What the audit trail costs a login: `POST /auth/credentials` at saturation on the same server with and without it,
 * in alternating rounds, so that a noisy neighbour hits both alike.
 */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import autocannon from 'autocannon'
import { type Figure, median } from './table.ts'

const ADMIN_KEY = 'bench-admin-key-0123456789abcdef0123456789'
const CHARGE_POINTS = 200
const CONNECTIONS = 64
const ROUNDS = 5
const ROUND_SECONDS = 4

interface Server {
  readonly process: ChildProcess
  readonly directory: string
  readonly url: string
  readonly logins: { cp_id: string; credentials: string }[]
}

export async function benchLogin(): Promise<Figure[]> {
  const audited = await startServer('audited')
  const unaudited = await startServer('unaudited')
  const ratios: number[] = []
  const added: number[] = []
  const rates: number[] = []
  await load(audited, 2)
  await load(unaudited, 2)
  for (let round = 0; round < ROUNDS; round++) {
    const [first, second] = round % 2 === 0 ? [audited, unaudited] : [unaudited, audited]
    const results = new Map([
      [first, await load(first, ROUND_SECONDS)],
      [second, await load(second, ROUND_SECONDS)],
    ])
    const withAudit = results.get(audited) as Load
    const without = results.get(unaudited) as Load
    ratios.push(withAudit.rate / without.rate)
    added.push(withAudit.cpuPerRequest - without.cpuPerRequest)
    rates.push(withAudit.rate)
  }
  await stopServer(audited)
  await stopServer(unaudited)
  return [
    { name: 'POST /auth/credentials at saturation, audited', value: median(rates), unit: 'requests/s' },
    { name: 'the same, audited / unaudited', value: median(ratios), unit: 'x', goal: ['>=', 0.85] },
    { name: 'main-thread CPU added per request by auditing', value: median(added), unit: 'us', goal: ['<=', 6] },
  ]
}

interface Load {
  readonly rate: number
  readonly cpuPerRequest: number
}

async function load(server: Server, seconds: number): Promise<Load> {
  const before = await cpu(server)
  const result = await autocannon({
    url: server.url,
    connections: CONNECTIONS,
    duration: seconds,
    requests: server.logins.map(login => ({
      method: 'POST',
      path: '/auth/credentials',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(login),
    })),
  })
  const spent = (await cpu(server)) - before
  if (result.non2xx > 0 || result.errors > 0)
    throw new Error(`${result.non2xx} refusals, ${result.errors} errors under load`)
  return { rate: result.requests.average, cpuPerRequest: spent / result.requests.total }
}

async function cpu(server: Server): Promise<number> {
  server.process.send('cpu')
  const [message] = await once(server.process, 'message')
  return message.cpuMicroseconds
}

async function startServer(mode: 'audited' | 'unaudited'): Promise<Server> {
  const directory = mkdtempSync(join(tmpdir(), `evc-bench-${mode}-`))
  const child = fork(join(import.meta.dirname, 'server.ts'), [mode, directory], {
    env: { ...process.env, EVC_ADMIN_KEY: ADMIN_KEY },
  })
  const [{ url }] = await once(child, 'message')
  const logins: Server['logins'] = []
  for (let i = 0; i < CHARGE_POINTS; i++) {
    const answer = await fetch(`${url}/charge-points`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-admin-key': ADMIN_KEY },
      body: JSON.stringify({ cp_id: `CP-${i}` }),
    })
    const { cp_id, credentials } = (await answer.json()) as { cp_id: string; credentials: string }
    logins.push({ cp_id, credentials })
  }
  return { process: child, directory, url, logins }
}

async function stopServer(server: Server): Promise<void> {
  server.process.send('stop')
  await once(server.process, 'exit')
  rmSync(server.directory, { recursive: true })
}
