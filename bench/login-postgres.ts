/**
 * What a login costs where instances share a PostgreSQL: `POST /auth/credentials` at half load, on the service over its embedded
 * SQLite and on one over a PostgreSQL on the same machine, in alternating rounds, so that a noisy neighbour hits both alike.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { startPostgres } from '../test/harness/postgres.ts'
import { startServiceProcess } from '../test/harness/service-process.ts'
import {
  ADMIN_KEY,
  type Door,
  registerChargePoints,
  SATURATING_CONNECTIONS,
  SETTLE_SECONDS,
  saturate,
  startPacer,
} from './login.ts'
import type { Size } from './size.ts'
import { type Figure, median } from './table.ts'

const WARM_SECONDS = 3
const STORES = ['sqlite', 'postgres'] as const
type Store = (typeof STORES)[number]
type Both<T> = Record<Store, T>

export async function benchLoginPostgres(size: Size): Promise<Figure[]> {
  await using undo = new AsyncDisposableStack()
  const server = startPostgres()
  undo.defer(() => server.stop())
  const doors: Both<Door> = {
    sqlite: await openDoor(undo, {}),
    postgres: await openDoor(undo, { EVC_DATABASE_URL: await server.createDatabase() }),
  }
  await alternating(1, store => saturate(doors[store], SATURATING_CONNECTIONS, WARM_SECONDS))
  const saturated = await alternating(Math.min(3, size.loginRounds), async store => {
    const { rate } = await saturate(doors[store], SATURATING_CONNECTIONS, size.loginRoundSeconds)
    return rate
  })
  const rateOf = (store: Store) => median(saturated.map(round => round[store]))
  const half = Math.round(Math.min(...STORES.map(rateOf)) / 2)
  const pacer = startPacer(half)
  const paced = await alternating(size.loginRounds, async store => {
    await pacer.run(doors[store], SETTLE_SECONDS)
    return pacer.run(doors[store], size.loginRoundSeconds)
  })
  pacer.stop()
  const p99 = (store: Store) => median(paced.map(round => round[store].p99Ms))
  const atHalf = (what: string) => `login at half load (${half}/s): ${what}`
  return [
    { name: 'login, 128 connections: on SQLite', value: rateOf('sqlite'), unit: 'requests/s' },
    { name: 'login, 128 connections: on PostgreSQL', value: rateOf('postgres'), unit: 'requests/s' },
    { name: atHalf('p99 on SQLite'), value: p99('sqlite'), unit: 'ms' },
    { name: atHalf('p99 on PostgreSQL'), value: p99('postgres'), unit: 'ms' },
    {
      name: atHalf('p99 on PostgreSQL / on SQLite, median of paired rounds'),
      value: median(paced.map(({ sqlite, postgres }) => postgres.p99Ms / sqlite.p99Ms)),
      unit: 'x',
      goal: ['<=', 1.5],
    },
  ]
}

async function openDoor(undo: AsyncDisposableStack, environment: Record<string, string>): Promise<Door> {
  const folder = mkdtempSync(join(tmpdir(), 'evc-bench-login-'))
  undo.defer(() => rmSync(folder, { recursive: true }))
  const service = await startServiceProcess(folder, { ...environment, EVC_ADMIN_KEY: ADMIN_KEY })
  undo.defer(async () => {
    await service.kill('SIGTERM')
  })
  return { url: service.url, logins: await registerChargePoints(service.url) }
}

/** Both in each round, each first in turn. */
async function alternating<T>(rounds: number, measure: (store: Store) => Promise<T>): Promise<Both<T>[]> {
  const measured: Both<T>[] = []
  for (let round = 0; round < rounds; round++) {
    const both: Partial<Both<T>> = {}
    for (const store of round % 2 === 0 ? STORES : STORES.toReversed()) both[store] = await measure(store)
    measured.push(both as Both<T>)
  }
  return measured
}
