/** Every documented query at 100,000 events, through the reader threads as the HTTP door uses them. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { EventFilter } from '../src/query/event-queries.ts'
import { startReader } from '../src/query/reader-host.ts'
import { createSqliteEventStore } from '../src/store/sqlite-event-store.ts'
import { createEventGenerator } from './generator.ts'
import { type Figure, percentile } from './table.ts'

const EVENTS = 100_000
const BATCH = 10_000
const STEP_MS = 500
const START = Date.UTC(2026, 0, 1)
const time = (share: number) => new Date(START + share * EVENTS * STEP_MS).toISOString()

const FILTERS: Record<string, EventFilter> = {
  'no filter': {},
  who: { who: 'CP-00017' },
  'who, rare': { who: 'CP-04000' },
  ip: { ip: '10.0.0.3' },
  action: { action: ['INCIDENT'] },
  'action list': { action: ['KEY_GENERATE', 'KEY_RESET', 'KEY_REVOKE'] },
  severity: { severity: ['CRITICAL'] },
  reason_code: { reason_code: ['TAMPERING_DETECTED'] },
  request_id: { request_id: '0198c0de-0000-7000-8000-00000000c350' },
  'no match': { who: 'nobody' },
  'time range': { start_time: time(0.4), end_time: time(0.5) },
  'action in an old time range': { action: ['AUTH_FAIL'], start_time: time(0.01), end_time: time(0.05) },
  'action since': { action: ['AUTH_FAIL'], start_time: time(0.9) },
  'action and severity': { action: ['INCIDENT'], severity: ['CRITICAL'] },
  'who and action': { who: 'CP-00000', action: ['KEY_REVOKE'] },
  'who and time range': { who: 'CP-00001', start_time: time(0.1), end_time: time(0.2) },
  'ip and action': { ip: '10.0.0.0', action: ['AUTH_FAIL'] },
  'action and reason': { action: ['AUTH_FAIL'], reason_code: ['THROTTLED'] },
}
const REPEATS = 200

export async function benchQueries(): Promise<Figure[]> {
  const directory = mkdtempSync(join(tmpdir(), 'evc-bench-queries-'))
  const path = join(directory, 'audit', 'audit.db')
  const fill = await fillStore(path)
  const queries = startReader({ storePath: path })
  const figures: Figure[] = [
    { name: `rows written with six indexes, batches of ${BATCH}`, value: fill, unit: 'rows/s' },
  ]
  let worst = 0
  const measure = async (name: string, ask: (i: number) => Promise<unknown>, repeats = REPEATS) => {
    await ask(0)
    const times = new Float64Array(repeats)
    for (let i = 0; i < repeats; i++) {
      const start = performance.now()
      await ask(i)
      times[i] = performance.now() - start
    }
    const p99 = percentile(times.sort(), 0.99)
    worst = Math.max(worst, p99)
    figures.push({ name: `query at ${EVENTS} events: ${name}, p99`, value: p99, unit: 'ms', goal: ['<=', 10] })
  }
  for (const [name, filter] of Object.entries(FILTERS)) {
    await measure(name, () => queries.page({ filter, limit: 100, order: 'desc' }))
  }
  await measure('any page by cursor', i =>
    queries.page({ filter: {}, limit: 100, order: 'desc', after: 1 + ((i * 7919) % EVENTS) }),
  )
  await measure('oldest first', i => queries.page({ filter: {}, limit: 100, order: 'asc', after: (i * 7919) % EVENTS }))
  await measure('one event', i => queries.event(1 + ((i * 7919) % EVENTS)))
  await measure('recent failures of an address', () =>
    queries.failures({ ip: '10.0.0.1', since: time(0.99), limit: 100 }),
  )
  await queries.close()
  rmSync(directory, { recursive: true })
  figures.push({ name: `query at ${EVENTS} events: worst p99`, value: worst, unit: 'ms', goal: ['<=', 10] })
  return figures
}

async function fillStore(path: string): Promise<number> {
  const store = createSqliteEventStore({ path })
  const next = createEventGenerator({ seed: 7, chargePoints: 5_000, addresses: 20_000, start: START, stepMs: STEP_MS })
  let spent = 0
  for (let written = 0; written < EVENTS; written += BATCH) {
    const rows = Array.from({ length: BATCH }, () => ({ event: next(), onceKey: null }))
    const start = performance.now()
    await store.append({ source: 'bench', after: written, through: written + BATCH, rows })
    spent += performance.now() - start
  }
  await store.close()
  return EVENTS / (spent / 1000)
}
