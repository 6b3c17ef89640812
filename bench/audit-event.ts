/** One event through the audit service, journal append included; and how long the durable acknowledgement takes. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import { pino } from 'pino'
import { createAuditService } from '../src/audit/audit-service.ts'
import { createDetector } from '../src/audit/detector.ts'
import { createContext } from '../src/context/context.ts'
import { openJournal } from '../src/journal/segment-journal.ts'
import { type Figure, median, percentile } from './table.ts'

/** What the reference implementation is said to reach on a 2-core virtual machine; not measured here. */
const REFERENCE_EVENTS_PER_SECOND = 970
const EVENTS = 200_000
const TURN_EVENTS = 64
const ROUNDS = 5
/** As the service records a login. */
const METADATA = Object.freeze({ security_status: 'ACTIVE', method: 'credentials' })

export async function benchAuditEvent(): Promise<Figure[]> {
  const directory = mkdtempSync(join(tmpdir(), 'evc-bench-journal-'))
  const journal = await openJournal({ directory, ackTimeoutMs: 10_000, onDurable: () => {} })
  const audit = createAuditService({
    journal,
    detector: createDetector({ threshold: 5, windowMs: 600_000 }),
    logger: pino({ level: 'silent' }),
    windowSeconds: 600,
  })
  const rates: number[] = []
  for (let round = 0; round < ROUNDS; round++) rates.push(await throughput(audit))
  const waits = await acknowledgements(audit)
  const cpu = await mainThreadCpu(audit)
  await journal.close()
  rmSync(directory, { recursive: true })
  const rate = median(rates)
  return [
    {
      name: 'audit service with journal append, durable at the end',
      value: rate,
      unit: 'events/s',
      goal: ['>=', 100_000],
    },
    {
      name: 'the same against the reference implementation (970 events/s)',
      value: rate / REFERENCE_EVENTS_PER_SECOND,
      unit: 'x',
      goal: ['>=', 100],
    },
    {
      name: 'main-thread CPU per event, context to acknowledgement, 64 producers',
      value: cpu,
      unit: 'us',
      goal: ['<=', 6],
    },
    { name: 'durable acknowledgement, 64 producers, p50', value: percentile(waits, 0.5), unit: 'ms' },
    { name: 'durable acknowledgement, 64 producers, p99', value: percentile(waits, 0.99), unit: 'ms' },
  ]
}

async function throughput(audit: ReturnType<typeof createAuditService>): Promise<number> {
  const start = performance.now()
  let context = createContext({ ip: '192.0.2.1', endpoint: '/auth/credentials', httpMethod: 'POST' })
  for (let i = 0; i < EVENTS; i++) {
    audit.authSuccess(`CP-${i % 1000}`, context, METADATA)
    if (i % TURN_EVENTS === TURN_EVENTS - 1) {
      await turn() // as a server does: some events per turn of the event loop
      context = createContext({ ip: '192.0.2.1', endpoint: '/auth/credentials', httpMethod: 'POST' })
    }
  }
  audit.authSuccess('CP-last', context)
  await audit.settled(context)
  return EVENTS / ((performance.now() - start) / 1000)
}

async function acknowledgements(audit: ReturnType<typeof createAuditService>): Promise<Float64Array> {
  const waits: number[] = []
  await Promise.all(
    Array.from({ length: 64 }, async (_, producer) => {
      for (let i = 0; i < 200; i++) {
        const context = createContext()
        const start = performance.now()
        audit.authSuccess(`CP-${producer}`, context)
        await audit.settled(context)
        waits.push(performance.now() - start)
      }
    }),
  )
  return Float64Array.from(waits).sort()
}

/** CPU time of this thread for everything a request adds: context, event, journal append, awaiting the group fsync. */
async function mainThreadCpu(audit: ReturnType<typeof createAuditService>): Promise<number> {
  const rounds: number[] = []
  for (let round = 0; round < ROUNDS; round++) {
    const before = process.threadCpuUsage()
    await Promise.all(
      Array.from({ length: 64 }, async (_, producer) => {
        for (let i = 0; i < 500; i++) {
          const context = createContext({ ip: '192.0.2.1', endpoint: '/auth/credentials', httpMethod: 'POST' })
          audit.authSuccess(`CP-${producer}`, context, METADATA)
          await audit.settled(context)
        }
      }),
    )
    const spent = process.threadCpuUsage(before)
    rounds.push((spent.user + spent.system) / (64 * 500))
  }
  return median(rounds)
}
