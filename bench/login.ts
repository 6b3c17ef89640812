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
/** Saturated: with fewer connections all of them wait for the same group fsync at times, and the server idles. */
const SATURATING_CONNECTIONS = 128
const FEWER_CONNECTIONS = 64
const ROUNDS = 15
const ROUND_SECONDS = 1.5
const SETTLE_SECONDS = 0.3

interface Server {
  readonly process: ChildProcess
  readonly directory: string
  readonly url: string
  readonly logins: { cp_id: string; credentials: string }[]
}

export async function benchLogin(): Promise<Figure[]> {
  const server = await startServer()
  await load(server, SATURATING_CONNECTIONS, 3)
  const saturated = await compare(server, SATURATING_CONNECTIONS)
  const fewer = await compare(server, FEWER_CONNECTIONS)
  await stopServer(server)
  return [...figures(saturated, SATURATING_CONNECTIONS), ...figures(fewer, FEWER_CONNECTIONS)]
}

interface Round {
  readonly audited: Load
  readonly unaudited: Load
}

function figures(rounds: readonly Round[], connections: number): Figure[] {
  const of = (figure: (round: Round) => number) => median(rounds.map(figure))
  const name = (what: string) => `login, ${connections} connections: ${what}`
  return [
    { name: name('audited'), value: of(round => round.audited.rate), unit: 'requests/s' },
    {
      name: name('audited / unaudited, median of paired rounds'),
      value: of(round => round.audited.rate / round.unaudited.rate),
      unit: 'x',
      goal: ['>=', 0.85],
    },
    {
      name: name('main-thread CPU added per request, median of paired rounds'),
      value: of(round => round.audited.main - round.unaudited.main),
      unit: 'us',
      goal: ['<=', 6],
    },
    {
      name: name('CPU of all threads added per request, indexing included'),
      value: of(round => round.audited.all - round.unaudited.all),
      unit: 'us',
    },
  ]
}

async function compare(server: Server, connections: number): Promise<Round[]> {
  const rounds: Round[] = []
  for (let round = 0; round < ROUNDS; round++) {
    const auditedFirst = round % 2 === 0
    const first = await measure(server, connections, auditedFirst ? 'on' : 'off')
    const second = await measure(server, connections, auditedFirst ? 'off' : 'on')
    rounds.push(auditedFirst ? { audited: first, unaudited: second } : { audited: second, unaudited: first })
  }
  return rounds
}

async function measure(server: Server, connections: number, auditing: 'on' | 'off'): Promise<Load> {
  await ask(server, auditing)
  await load(server, connections, SETTLE_SECONDS)
  return load(server, connections, ROUND_SECONDS)
}

interface Load {
  readonly rate: number
  /** Microseconds of CPU per request: the main thread's, and that of all threads. */
  readonly main: number
  readonly all: number
}

async function load(server: Server, connections: number, seconds: number): Promise<Load> {
  const before = await ask(server, 'cpu')
  const result = await autocannon({
    url: server.url,
    connections,
    duration: seconds,
    requests: server.logins.map(login => ({
      method: 'POST',
      path: '/auth/credentials',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(login),
    })),
  })
  const after = await ask(server, 'cpu')
  if (result.non2xx > 0 || result.errors > 0)
    throw new Error(`${result.non2xx} refusals, ${result.errors} errors under load`)
  const requests = result.requests.total
  return {
    rate: requests / result.duration,
    main: (after.main - before.main) / requests,
    all: (after.all - before.all) / requests,
  }
}

async function ask(server: Server, message: 'on' | 'off' | 'cpu'): Promise<{ main: number; all: number }> {
  server.process.send(message)
  const [answer] = await once(server.process, 'message')
  return answer
}

async function startServer(): Promise<Server> {
  const directory = mkdtempSync(join(tmpdir(), 'evc-bench-login-'))
  const child = fork(join(import.meta.dirname, 'server.ts'), [directory], {
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
