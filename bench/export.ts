/** What a heavy read costs a login: p99 of logins while 100,000 events are exported, against p99 without, in turns. */
import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { createSqliteEventStore } from '../src/store/sqlite-event-store.ts'
import { ADMIN_KEY, type ServiceProcess, send, startServiceProcess } from '../test/harness/service-process.ts'
import { createEventGenerator } from './generator.ts'
import type { Size } from './size.ts'
import { type Figure, median, percentile } from './table.ts'

const EVENTS = 100_000
const BATCH = 10_000
const CLIENTS = 4

export async function benchExport(size: Size): Promise<Figure[]> {
  const rounds = await loginsDuringExports(size.exportRounds)
  const of = (figure: (round: Round) => number) => median(rounds.map(figure))
  return [
    { name: 'login p99, nothing else going on', value: of(round => round.quietMs), unit: 'ms' },
    { name: `login p99 while ${EVENTS} events are exported`, value: of(round => round.busyMs), unit: 'ms' },
    {
      name: 'the same, exporting / quiet, median of rounds',
      value: of(round => round.busyMs / round.quietMs),
      unit: 'x',
      goal: ['<=', 2],
    },
  ]
}

export interface Round {
  readonly quietMs: number
  readonly busyMs: number
  readonly exported: number
}

/** Each round: logins during one whole export, then as many logins without one. */
async function loginsDuringExports(rounds: number): Promise<Round[]> {
  const dataDir = mkdtempSync(join(tmpdir(), 'evc-bench-export-'))
  await fill(dataDir)
  const service = await startServiceProcess(dataDir)
  try {
    const { body } = await send(service.url, 'POST', '/charge-points', { cp_id: 'CP-1' })
    const login = { cp_id: 'CP-1', credentials: body.credentials }
    await logins(service, login, count => count < 500)
    const results: Round[] = []
    for (let round = 0; round < rounds; round++) {
      const exporting = { isDone: false }
      const exported = countExported(service).finally(() => {
        exporting.isDone = true
      })
      const busy = await logins(service, login, () => !exporting.isDone)
      const quiet = await logins(service, login, count => count < busy.length)
      results.push({ busyMs: percentile(busy, 0.99), quietMs: percentile(quiet, 0.99), exported: await exported })
    }
    return results
  } finally {
    await service.kill('SIGTERM')
    rmSync(dataDir, { recursive: true })
  }
}

async function fill(dataDir: string): Promise<void> {
  const store = createSqliteEventStore({ path: join(dataDir, 'audit', 'audit.db') })
  const start = Date.UTC(2026, 0, 1)
  const next = createEventGenerator({ seed: 11, chargePoints: 5_000, addresses: 20_000, start, stepMs: 500 })
  for (let written = 0; written < EVENTS; written += BATCH) {
    const rows = Array.from({ length: BATCH }, () => ({ event: next(), onceKey: null }))
    await store.append({ source: 'bench', after: written, through: written + BATCH, rows })
  }
  await store.close()
}

/** Milliseconds of each login, sorted. */
async function logins(service: ServiceProcess, login: object, more: (count: number) => boolean): Promise<number[]> {
  const times: number[] = []
  const client = async () => {
    while (more(times.length)) {
      const start = performance.now()
      const { status } = await send(service.url, 'POST', '/auth/credentials', login, {})
      if (status !== 200) throw new Error(`a login was answered ${status}`)
      times.push(performance.now() - start)
    }
  }
  await Promise.all(Array.from({ length: CLIENTS }, client))
  return times.sort((a, b) => a - b)
}

/** In a process of its own: what reading the export costs the reader is not what it costs the server. */
async function countExported(service: ServiceProcess): Promise<number> {
  const client = join(import.meta.dirname, 'export-client.ts')
  const { stdout } = await promisify(execFile)(process.execPath, [client, service.url, ADMIN_KEY])
  return Number(stdout)
}
