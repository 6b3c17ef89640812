/**
 * The trail as it grows to ten million events: how fast the journal becomes rows, and what questions, counting, disk, memory
 * and a restart cost then; and what the same rows cost in the table of the reference implementation.
 *
 * Records are put into the journal a tranche at a time, and the indexer then drains it with nothing beside it, as the
 * reference table is filled. Questions are asked while 5,000 events a second arrive, at 100,000 events and at the full size.
 */
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { AuditEvent } from '../src/event/event.ts'
import { createEventGenerator } from './generator.ts'
import { naiveRate } from './naive-table.ts'
import { type OpenTrail, openTrail } from './open-trail.ts'
import { measureQueries, type Trail } from './queries.ts'
import { leaveUnindexed, measureRestart } from './restart.ts'
import type { Size } from './size.ts'
import { type Figure, percentile } from './table.ts'

const SMALL_EVENTS = 100_000
const GENERATED = { seed: 7, chargePoints: 20_000, addresses: 100_000, start: Date.UTC(2026, 0, 1), stepMs: 500 }
const ARRIVALS_PER_SECOND = 5_000
const ARRIVAL_MS = 10
const RESTART_RECORDS = 100_000

export async function benchTrail(size: Size): Promise<Figure[]> {
  const folder = mkdtempSync(join(tmpdir(), 'evc-bench-trail-'))
  const next = createEventGenerator(GENERATED)
  await drain(folder, SMALL_EVENTS, next)
  const smallAnswers = await whileOpen(folder, trail => ask(trail, SMALL_EVENTS, size, next))
  const tranches: Tranche[] = []
  for (let rows = SMALL_EVENTS; rows < size.events; rows += size.trancheEvents) {
    tranches.push(await drain(folder, size.trancheEvents, next))
  }
  let largestLog = 0
  const watch = setInterval(() => (largestLog = Math.max(largestLog, writeAheadLogBytes(folder))), ARRIVAL_MS * 10)
  const largeAnswers = await whileOpen(folder, trail => ask(trail, size.events, size, next))
  clearInterval(watch)
  const visible = await whileOpen(folder, trail => measureVisible(trail, size, next))
  const counting = await whileOpen(folder, trail => measureCounting(trail, size))
  const proofs = await whileOpen(folder, trail => measureProofs(trail, size))
  const { bytes, events } = await whileOpen(folder, async trail => ({
    bytes: bytesIn(folder),
    events: await trail.reader.lastId(),
  }))
  await leaveUnindexed(folder, RESTART_RECORDS, next)
  const restart = await measureRestart(folder, RESTART_RECORDS, size)
  rmSync(folder, { recursive: true })
  const naive = await naiveRate(createEventGenerator(GENERATED), size.events)
  return [
    ...indexingFigures(tranches, size, naive),
    ...answerFigures(smallAnswers, largeAnswers, size.events),
    { name: 'durable -> visible in a query, p99', value: percentile(visible, 0.99), unit: 'ms', goal: ['<=', 250] },
    ...counting,
    {
      name: `inclusion proof of an event at ${size.events}, p99`,
      value: percentile(proofs, 0.99),
      unit: 'ms',
      goal: ['<=', 3],
    },
    { name: 'disk per event, everything included', value: bytes / events, unit: 'bytes', goal: ['<=', 450] },
    { name: 'write-ahead log while questions are asked, largest', value: largestLog / 2 ** 20, unit: 'MiB' },
    ...restart,
  ]
}

function writeAheadLogBytes(folder: string): number {
  return statSync(join(folder, 'audit', 'audit.db-wal'), { throwIfNoEntry: false })?.size ?? 0
}

async function whileOpen<T>(folder: string, work: (trail: OpenTrail) => Promise<T>): Promise<T> {
  const trail = await openTrail(folder)
  try {
    await trail.caughtUp()
    return await work(trail)
  } finally {
    await trail.close()
  }
}

interface Tranche {
  readonly rows: number
  readonly ms: number
}

/** From the opening, with all records in the journal, until all of them are rows. */
async function drain(folder: string, rows: number, next: () => AuditEvent): Promise<Tranche> {
  await leaveUnindexed(folder, rows, next)
  const started = performance.now()
  let ms = 0
  await whileOpen(folder, async () => {
    ms = performance.now() - started
  })
  return { rows, ms }
}

function rateOf(tranches: readonly Tranche[]): number {
  const sum = (of: (tranche: Tranche) => number) => tranches.reduce((total, tranche) => total + of(tranche), 0)
  return sum(({ rows }) => rows) / (sum(({ ms }) => ms) / 1000)
}

/** Calls back 5,000 times a second, evenly, until stopped. */
async function whileArriving<T>(trail: OpenTrail, next: () => AuditEvent, work: () => Promise<T>): Promise<T> {
  const started = performance.now()
  let arrived = 0
  const timer = setInterval(() => {
    const due = ((performance.now() - started) / 1000) * ARRIVALS_PER_SECOND
    for (; arrived < due; arrived++) trail.append(next())
  }, ARRIVAL_MS)
  try {
    return await work()
  } finally {
    clearInterval(timer)
    await trail.caughtUp()
  }
}

async function ask(trail: OpenTrail, events: number, size: Size, next: () => AuditEvent): Promise<Map<string, number>> {
  const { start, stepMs } = GENERATED
  await begin(trail, next)
  const shape: Trail = { events, start, stepMs }
  return whileArriving(trail, next, () => measureQueries(trail.queries, shape, size.queryRepeats))
}

/** What the service has done before it answers anybody: its first event is a row, the recent failures were read. */
async function begin(trail: OpenTrail, next: () => AuditEvent): Promise<void> {
  trail.append(next())
  await trail.caughtUp()
  await trail.queries.page({ filter: { action: ['AUTH_FAIL', 'INCIDENT'] }, limit: 1_000, order: 'desc' })
}

/** From the acknowledgement, hence the answer, to the first reading that finds the row. */
function measureVisible(trail: OpenTrail, size: Size, next: () => AuditEvent): Promise<Float64Array> {
  return whileArriving(trail, next, async () => {
    const waits: number[] = []
    for (let i = 0; i < size.queryRepeats; i++) {
      const event = next()
      await trail.acknowledged(trail.append(event))
      const answered = performance.now()
      const filter = { request_id: event.request_id as string }
      while ((await trail.reader.page({ filter, limit: 1, order: 'desc' })).events.length === 0) await sleep(1)
      waits.push(performance.now() - answered)
      await sleep(Math.random() * 20)
    }
    return Float64Array.from(waits).sort()
  })
}

/** Of any event, in the tree of all. */
async function measureProofs(trail: OpenTrail, size: Size): Promise<Float64Array> {
  const events = await trail.reader.lastId()
  const times: number[] = []
  for (let i = 0; i < size.queryRepeats * 4; i++) {
    const id = 1 + ((i * 7_919_317) % events)
    const before = performance.now()
    await trail.reader.proof({ id, size: events })
    times.push(performance.now() - before)
  }
  return Float64Array.from(times).sort()
}

async function measureCounting(trail: OpenTrail, size: Size): Promise<Figure[]> {
  const newest = (await trail.reader.page({ filter: {}, limit: 1, order: 'desc' })).events[0]
  const end = Date.parse(newest?.date_time ?? '') + 1
  const time = (ms: number) => new Date(ms).toISOString()
  const slowest = async (start: number, bucketSeconds: number) => {
    let worst = 0
    for (let i = 0; i < size.summaryRepeats; i++) {
      const before = performance.now()
      await trail.queries.summary({ start_time: time(start), end_time: time(end), bucketSeconds })
      worst = Math.max(worst, performance.now() - before)
    }
    return worst
  }
  return [
    {
      name: 'summary of the last day, slowest',
      value: await slowest(end - 86_400_000, 3_600),
      unit: 'ms',
      goal: ['<=', 100],
    },
    {
      name: 'summary of all time, slowest',
      value: await slowest(GENERATED.start, 86_400),
      unit: 'ms',
      goal: ['<=', 1_000],
    },
  ]
}

function indexingFigures(tranches: readonly Tranche[], size: Size, naive: number): Figure[] {
  const rate = rateOf(tranches)
  const change = rateOf(tranches.slice(-1)) / rateOf(tranches.slice(0, 1))
  return [
    { name: `journal to rows, to ${size.events} events`, value: rate, unit: 'rows/s', goal: ['>=', 40_000] },
    { name: `the same, last ${size.trancheEvents} / first`, value: change, unit: 'x', goal: ['>=', 0.8] },
    { name: `reference table, batches of 1,000, to ${size.events} events`, value: naive, unit: 'rows/s' },
    { name: 'journal to rows / reference table', value: rate / naive, unit: 'x', goal: ['>=', 4] },
  ]
}

function answerFigures(small: Map<string, number>, large: Map<string, number>, events: number): Figure[] {
  const worst = (of: Map<string, number>) => Math.max(...of.values())
  const each = [...large].map(([question, value]) => ({
    name: `query at ${events}: ${question}, p99`,
    value,
    unit: 'ms',
  }))
  return [
    ...each,
    {
      name: `worst p99 of a query at ${SMALL_EVENTS} events, 5,000/s arriving`,
      value: worst(small),
      unit: 'ms',
      goal: ['<=', 10],
    },
    {
      name: `worst p99 of a query at ${events} events, 5,000/s arriving`,
      value: worst(large),
      unit: 'ms',
      goal: ['<=', 10],
    },
    { name: 'the same, against that at 100,000', value: worst(large) / worst(small), unit: 'x', goal: ['<=', 3] },
  ]
}

function bytesIn(folder: string): number {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter(entry => entry.isFile())
    .reduce((sum, entry) => sum + statSync(join(entry.parentPath, entry.name)).size, 0)
}
