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
import type { Pace, Paced } from './paced-client.ts'
import type { Size } from './size.ts'
import { type Figure, median } from './table.ts'

export const ADMIN_KEY = 'bench-admin-key-0123456789abcdef0123456789'
const LOGIN_PATH = '/auth/credentials'
const CHARGE_POINTS = 200
/** Saturated: with fewer connections all of them wait for the same group fsync at times, and the server idles. */
export const SATURATING_CONNECTIONS = 128
const FEWER_CONNECTIONS = 64
export const SETTLE_SECONDS = 0.3

/** Whom to log in, and where. */
export interface Door {
  readonly url: string
  readonly logins: readonly { readonly cp_id: string; readonly credentials: string }[]
}

interface Server extends Door {
  readonly process: ChildProcess
  readonly directory: string
}

export async function benchLogin(size: Size): Promise<Figure[]> {
  const server = await startServer()
  await load(server, SATURATING_CONNECTIONS, 3)
  const saturated = await compare(server, size, SATURATING_CONNECTIONS)
  const fewer = await compare(server, size, FEWER_CONNECTIONS)
  const halfRate = Math.round(median(fewer.map(round => round.unaudited.rate)) / 2)
  const half = await compareAtRate(server, size, halfRate)
  await stopServer(server)
  return [
    ...figures(saturated, SATURATING_CONNECTIONS),
    ...figures(fewer, FEWER_CONNECTIONS),
    ...halfLoadFigures(half, halfRate),
  ]
}

type Round = { readonly audited: Load; readonly unaudited: Load }
type PacedRound = { readonly audited: Paced; readonly unaudited: Paced }

function figures(rounds: readonly Round[], connections: number): Figure[] {
  const of = (figure: (round: Round) => number) => median(rounds.map(figure))
  const name = (what: string) => `login, ${connections} connections: ${what}`
  return [
    { name: name('audited'), value: of(round => round.audited.rate), unit: 'requests/s' },
    {
      name: name('audited / unaudited, median of paired rounds'),
      value: of(round => round.audited.rate / round.unaudited.rate),
      unit: 'x',
      goal: ['>=', 0.9],
    },
    {
      name: name('main-thread CPU added per request, median of paired rounds'),
      value: of(round => round.audited.main - round.unaudited.main),
      unit: 'us',
      goal: ['<=', 4],
    },
    {
      name: name('CPU of all threads added per request, indexing included'),
      value: of(round => round.audited.all - round.unaudited.all),
      unit: 'us',
    },
  ]
}

function halfLoadFigures(rounds: readonly PacedRound[], rate: number): Figure[] {
  const name = (what: string) => `login at half load (${rate}/s): ${what}`
  const of = (figure: (round: PacedRound) => number) => median(rounds.map(figure))
  return [
    { name: name('p99 unaudited'), value: of(round => round.unaudited.p99Ms), unit: 'ms' },
    { name: name('p99 audited'), value: of(round => round.audited.p99Ms), unit: 'ms' },
    {
      name: name('p99 added, median of paired rounds'),
      value: of(round => round.audited.p99Ms - round.unaudited.p99Ms),
      unit: 'ms',
      goal: ['<=', 0.3],
    },
  ]
}

async function compare(server: Server, size: Size, connections: number): Promise<Round[]> {
  return paired(size, async auditing => {
    await ask(server, auditing)
    await load(server, connections, SETTLE_SECONDS)
    return load(server, connections, size.loginRoundSeconds)
  })
}

async function compareAtRate(server: Server, size: Size, perSecond: number): Promise<PacedRound[]> {
  const pacer = startPacer(perSecond)
  const rounds = await paired(size, async auditing => {
    await ask(server, auditing)
    await pacer.run(server, SETTLE_SECONDS)
    return pacer.run(server, size.loginRoundSeconds)
  })
  pacer.stop()
  return rounds
}

/** Logs in at a steady rate, from a process of its own. */
export function startPacer(perSecond: number) {
  const client = fork(join(import.meta.dirname, 'paced-client.ts'))
  return {
    async run({ url, logins }: Door, seconds: number): Promise<Paced> {
      const bodies = logins.map(login => JSON.stringify(login))
      client.send({ url, path: LOGIN_PATH, bodies, connections: FEWER_CONNECTIONS, perSecond, seconds } satisfies Pace)
      const [paced] = await once(client, 'message')
      if (paced.refused > 0) throw new Error(`${paced.refused} refusals at half load`)
      return paced
    },
    stop: () => client.disconnect(),
  }
}

/** Both sides in each round, each first in turn. */
async function paired<T>(size: Size, measure: (auditing: 'on' | 'off') => Promise<T>) {
  const rounds: { audited: T; unaudited: T }[] = []
  for (let round = 0; round < size.loginRounds; round++) {
    const auditedFirst = round % 2 === 0
    const first = await measure(auditedFirst ? 'on' : 'off')
    const second = await measure(auditedFirst ? 'off' : 'on')
    rounds.push(auditedFirst ? { audited: first, unaudited: second } : { audited: second, unaudited: first })
  }
  return rounds
}

interface Load {
  readonly rate: number
  /** Microseconds of CPU per request: the main thread's, and that of all threads. */
  readonly main: number
  readonly all: number
}

async function load(server: Server, connections: number, seconds: number): Promise<Load> {
  const before = await ask(server, 'cpu')
  const { requests, rate } = await saturate(server, connections, seconds)
  const after = await ask(server, 'cpu')
  return { rate, main: (after.main - before.main) / requests, all: (after.all - before.all) / requests }
}

export async function saturate({ url, logins }: Door, connections: number, seconds: number) {
  const result = await autocannon({
    url,
    connections,
    duration: seconds,
    requests: logins.map(login => ({
      method: 'POST',
      path: LOGIN_PATH,
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(login),
    })),
  })
  if (result.non2xx > 0 || result.errors > 0)
    throw new Error(`${result.non2xx} refusals, ${result.errors} errors under load`)
  return { requests: result.requests.total, rate: result.requests.total / result.duration }
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
  return { process: child, directory, url, logins: await registerChargePoints(url) }
}

export async function registerChargePoints(url: string): Promise<Door['logins']> {
  const logins: { cp_id: string; credentials: string }[] = []
  for (let i = 0; i < CHARGE_POINTS; i++) {
    const answer = await fetch(`${url}/charge-points`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-admin-key': ADMIN_KEY },
      body: JSON.stringify({ cp_id: `CP-${i}` }),
    })
    const { cp_id, credentials } = (await answer.json()) as { cp_id: string; credentials: string }
    logins.push({ cp_id, credentials })
  }
  return logins
}

async function stopServer(server: Server): Promise<void> {
  server.process.send('stop')
  await once(server.process, 'exit')
  rmSync(server.directory, { recursive: true })
}
