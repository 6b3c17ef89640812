/**
 * The trail as it grows: events go through the journal and the indexer into rows, to ten million; what questions, counting,
 * memory, disk and a restart cost then, and what the same rows cost in the table of the reference implementation.
 *
 * The indexer is kept behind throughout, so what is measured is how fast it can go; questions are asked while 5,000
 * events a second arrive, at 100,000 events and at the full size alike.
 */
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises'
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
const BEHIND_MAX = 200_000
const ARRIVALS_PER_SECOND = 5_000
const ARRIVAL_MS = 10
const TURN_EVENTS = 256
const RESTART_RECORDS = 100_000

export async function benchTrail(size: Size): Promise<Figure[]> {
  const folder = mkdtempSync(join(tmpdir(), 'evc-bench-trail-'))
  const next = createEventGenerator(GENERATED)
  const memory = watchMemory()
  const trail = await openTrail(folder)
  await growTo(trail, SMALL_EVENTS, next)
  const smallAnswers = await ask(trail, SMALL_EVENTS, size, next)
  const large = await growTo(trail, size.events, next)
  console.log(`  ${size.events} events: ${Math.round(rateOf(large))} rows/s`)
  const largeAnswers = await ask(trail, size.events, size, next)
  const visible = await measureVisible(trail, size, next)
  const counting = await measureCounting(trail, size)
  await trail.close()
  const residentBytes = memory.stop()
  const events = trail.indexedSequence()
  const bytes = bytesIn(folder)
  await leaveUnindexed(folder, RESTART_RECORDS, next)
  const restart = await measureRestart(folder, RESTART_RECORDS)
  rmSync(folder, { recursive: true })
  const naive = await naiveRate(createEventGenerator(GENERATED), size.events)
  return [
    ...indexingFigures(large, size, naive),
    ...answerFigures(smallAnswers, largeAnswers, size.events),
    { name: 'durable -> visible in a query, p99', value: percentile(visible, 0.99), unit: 'ms', goal: ['<=', 250] },
    ...counting,
    { name: 'disk per event, everything included', value: bytes / events, unit: 'bytes', goal: ['<=', 450] },
    {
      name: 'resident memory while indexing and serving, highest',
      value: residentBytes / 1_048_576,
      unit: 'MB',
      goal: ['<=', 400],
    },
    ...restart,
  ]
}

/** When how many rows were there. */
type Progress = { readonly rows: number; readonly atMs: number }[]

async function growTo(trail: OpenTrail, events: number, next: () => AuditEvent): Promise<Progress> {
  const first = trail.indexedSequence()
  const progress: Progress = [{ rows: first, atMs: performance.now() }]
  let sequence = first
  while (sequence < events) {
    for (let i = 0; i < TURN_EVENTS && sequence < events; i++) sequence = trail.append(next())
    await turn()
    while (sequence - trail.indexedSequence() > BEHIND_MAX) await sleep(5)
    const rows = trail.indexedSequence()
    if (rows >= (progress.at(-1)?.rows ?? 0) + 10_000) progress.push({ rows, atMs: performance.now() })
  }
  await trail.caughtUp()
  progress.push({ rows: events, atMs: performance.now() })
  return progress
}

function rateOf(progress: Progress): number {
  const [first, last] = [progress[0], progress.at(-1)]
  if (first === undefined || last === undefined) return Number.NaN
  return (last.rows - first.rows) / ((last.atMs - first.atMs) / 1000)
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

function ask(trail: OpenTrail, events: number, size: Size, next: () => AuditEvent): Promise<Map<string, number>> {
  const { start, stepMs } = GENERATED
  const shape: Trail = { events, start, stepMs }
  return whileArriving(trail, next, () => measureQueries(trail.queries, shape, size.queryRepeats))
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

function indexingFigures(growth: Progress, size: Size, naive: number): Figure[] {
  const [from, to] = [growth[0]?.rows ?? 0, growth.at(-1)?.rows ?? 0]
  const tenth = (to - from) / 10
  const first = rateOf(growth.filter(({ rows }) => rows <= from + tenth))
  const last = rateOf(growth.filter(({ rows }) => rows >= to - tenth))
  return [
    {
      name: `journal to rows, to ${size.events} events`,
      value: rateOf(growth),
      unit: 'rows/s',
      goal: ['>=', 40_000],
    },
    { name: 'the same, last tenth / first tenth', value: last / first, unit: 'x', goal: ['>=', 0.8] },
    { name: `reference table, batches of 1,000, to ${size.events} events`, value: naive, unit: 'rows/s' },
    { name: 'journal to rows / reference table', value: rateOf(growth) / naive, unit: 'x', goal: ['>=', 4] },
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

function watchMemory(): { stop(): number } {
  let highest = 0
  const look = () => {
    highest = Math.max(highest, process.memoryUsage.rss())
  }
  const timer = setInterval(look, 250)
  return {
    stop() {
      clearInterval(timer)
      return highest
    },
  }
}

function bytesIn(folder: string): number {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter(entry => entry.isFile())
    .reduce((sum, entry) => sum + statSync(join(entry.parentPath, entry.name)).size, 0)
}
