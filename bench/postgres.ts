/**
 * The shared store: how fast journals become rows in PostgreSQL, with indexes, tree and tiles, against a bare COPY of the same rows
 * into the same table with its indexes, both on the server of this run; and what questions cost then.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { migrate } from '../src/postgres/migrations.ts'
import { createPostgres } from '../src/postgres/postgres.ts'
import { createPostgresEventStore } from '../src/store/postgres-event-store.ts'
import { COPY_ROWS, formatLines, prepareRow } from '../src/store/postgres-rows.ts'
import { STORE_SCHEMA } from '../src/store/postgres-schema.ts'
import { startPostgres } from '../test/harness/postgres.ts'
import { createEventGenerator } from './generator.ts'
import { openTrail } from './open-trail.ts'
import { measureQueries } from './queries.ts'
import { leaveUnindexed } from './restart.ts'
import type { Size } from './size.ts'
import { type Figure, percentile } from './table.ts'

const GENERATED = { seed: 7, chargePoints: 20_000, addresses: 100_000, start: Date.UTC(2026, 0, 1), stepMs: 500 }
const BATCH = 10_000
const TRANCHE = 500_000
const INSTANCES = 4
const QUERY_MS = 15
const DAY_MS = 100
const ALL_TIME_MS = 1_000

export async function benchPostgres(size: Size): Promise<Figure[]> {
  await using undo = new AsyncDisposableStack()
  const server = startPostgres()
  undo.defer(() => server.stop())
  const tranche = Math.min(TRANCHE, size.postgresEvents)
  const bare = await bareCopyRate(await server.createDatabase(), tranche)
  const url = await server.createDatabase()
  const rates = await fill(url, size.postgresEvents, tranche)
  const first = rates[0] as number
  const [{ bytes } = { bytes: 0 }] = await server.run<{ bytes: number }>(
    url,
    'SELECT pg_database_size(current_database())::float8 AS bytes',
  )
  const asked = await askPostgres(url, size)
  const shared = await sharedRate(await server.createDatabase(), size.postgresSharedEvents)
  return [
    { name: 'PostgreSQL: journal to rows, indexes and tree', value: first, unit: 'rows/s', goal: ['>=', 35_000] },
    { name: 'PostgreSQL: bare COPY into the same table', value: bare, unit: 'rows/s' },
    { name: 'PostgreSQL: journal to rows / bare COPY', value: first / bare, unit: 'x', goal: ['>=', 0.6] },
    { name: 'PostgreSQL: the last of the rows / the first', value: (rates.at(-1) as number) / first, unit: 'x' },
    { name: `PostgreSQL: ${INSTANCES} instances together`, value: shared, unit: 'rows/s', goal: ['>=', 35_000] },
    { name: 'PostgreSQL: disk per event', value: bytes / size.postgresEvents, unit: 'bytes' },
    ...asked,
  ]
}

/** Only the time that the server takes: the lines are ready. */
async function bareCopyRate(url: string, rows: number): Promise<number> {
  const postgres = createPostgres({ url, connectionsMax: 1 })
  await migrate(postgres, STORE_SCHEMA)
  const next = createEventGenerator(GENERATED)
  let spentMs = 0
  for (let id = 1; id <= rows; id += BATCH) {
    const now = new Date().toISOString()
    const batch = Array.from({ length: BATCH }, () => prepareRow({ event: next(), onceKey: null }, now))
    const lines = formatLines(batch, id)
    const before = performance.now()
    await postgres.transaction(async session => {
      if (id === 1 || Math.floor((id + BATCH) / TRANCHE) > Math.floor(id / TRANCHE)) {
        await session.query('SELECT evc_add_partition()')
      }
      await session.copy(COPY_ROWS, lines)
    })
    spentMs += performance.now() - before
  }
  await postgres.close()
  return rows / (spentMs / 1000)
}

/** @returns the rate of each tranche: records lie in a journal, and the indexer drains it with nothing beside it. */
export async function fill(
  url: string,
  events: number,
  tranche: number,
  next = createEventGenerator(GENERATED),
): Promise<number[]> {
  const store = createPostgresEventStore({ url })
  let rows = await store.lastId()
  await store.close()
  for (let n = 0; n < rows; n++) next()
  const folder = mkdtempSync(join(tmpdir(), 'evc-bench-postgres-'))
  const rates: number[] = []
  for (; rows < events; rows += tranche) {
    await leaveUnindexed(folder, tranche, next)
    const started = performance.now()
    const trail = await openTrail(folder, { kind: 'postgres', url })
    await trail.caughtUp()
    rates.push(tranche / ((performance.now() - started) / 1000))
    await trail.close()
  }
  rmSync(folder, { recursive: true })
  return rates
}

async function askPostgres(url: string, size: Size): Promise<Figure[]> {
  const folder = mkdtempSync(join(tmpdir(), 'evc-bench-postgres-'))
  const { reader, close } = await openTrail(folder, { kind: 'postgres', url })
  const events = await reader.lastId()
  const { start, stepMs } = GENERATED
  const p99s = await measureQueries(reader, { events, start, stepMs }, size.queryRepeats)
  const [slowest = 'none', worst = 0] = [...p99s].sort(([, a], [, b]) => b - a)[0] ?? []
  for (const [name, ms] of p99s) console.log(`  ${name}: ${ms.toFixed(2)} ms`)
  const proofs: number[] = []
  for (let i = 0; i < size.queryRepeats; i++) {
    const before = performance.now()
    await reader.proof({ id: 1 + ((i * 7_919_317) % events), size: events })
    proofs.push(performance.now() - before)
  }
  const summaries: Figure[] = []
  const time = (ms: number) => new Date(ms).toISOString()
  const end = start + events * stepMs + 1
  for (const [name, since, bucketSeconds, goalMs] of [
    ['the last day', end - 86_400_000, 3_600, DAY_MS],
    ['all time', start, 86_400, ALL_TIME_MS],
  ] as const) {
    const before = performance.now()
    const answer = reader.summary({ start_time: time(since), end_time: time(end), bucketSeconds })
    const isDone = await answer.then(() => true).catch(() => false)
    const value = isDone ? performance.now() - before : Number.NaN
    summaries.push({ name: `PostgreSQL: summary of ${name}, at ${events}`, value, unit: 'ms', goal: ['<=', goalMs] })
  }
  await close()
  rmSync(folder, { recursive: true })
  return [
    {
      name: `PostgreSQL: slowest question at ${events} (${slowest}), p99`,
      value: worst,
      unit: 'ms',
      goal: ['<=', QUERY_MS],
    },
    {
      name: `PostgreSQL: inclusion proof, p99`,
      value: percentile(Float64Array.from(proofs).sort(), 0.99),
      unit: 'ms',
    },
    ...summaries,
  ]
}

/** Each instance has its own journal, and all append to one log. */
async function sharedRate(url: string, events: number): Promise<number> {
  const folders = Array.from({ length: INSTANCES }, () => mkdtempSync(join(tmpdir(), 'evc-bench-postgres-')))
  for (const [n, folder] of folders.entries()) {
    await leaveUnindexed(folder, events, createEventGenerator({ ...GENERATED, seed: n }))
  }
  const started = performance.now()
  const trails = await Promise.all(folders.map(folder => openTrail(folder, { kind: 'postgres', url })))
  await Promise.all(trails.map(trail => trail.caughtUp()))
  const seconds = (performance.now() - started) / 1000
  await Promise.all(trails.map(trail => trail.close()))
  for (const folder of folders) rmSync(folder, { recursive: true })
  return (INSTANCES * events) / seconds
}
