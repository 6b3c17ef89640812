/**
 * A start of the real service on a grown trail with records that are no rows yet, as a crash leaves them; and its memory,
 * after questions of every kind beside 2,000 logins a second.
 */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { formatEntry } from '../src/event/codec.ts'
import type { AuditEvent } from '../src/event/event.ts'
import { openJournal } from '../src/journal/segment-journal.ts'
import { type ServiceProcess, send, startServiceProcess } from '../test/harness/service-process.ts'
import type { Pace } from './paced-client.ts'
import type { Size } from './size.ts'
import type { Figure } from './table.ts'

const ARRIVALS_PER_SECOND = 5_000
const LOGINS_PER_SECOND = 2_000
const TURN_RECORDS = 10_000

/** Durable records in the journal, and nobody to index them. */
export async function leaveUnindexed(folder: string, records: number, next: () => AuditEvent): Promise<void> {
  const journal = await openJournal({ directory: join(folder, 'journal'), ackTimeoutMs: 60_000 })
  for (let left = records; left > 0; left--) {
    const sequence = journal.append(formatEntry(next()))
    if (left % TURN_RECORDS === 1) await journal.acknowledged(sequence)
  }
  await journal.close()
}

/** In a checkout the first start ever compiles, and leaves what it compiled for the others. */
async function startOnce(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'evc-bench-first-'))
  await (await startServiceProcess(folder)).kill('SIGTERM')
  rmSync(folder, { recursive: true })
}

export async function measureRestart(folder: string, records: number, size: Size): Promise<Figure[]> {
  await startOnce()
  const started = performance.now()
  const service = await startServiceProcess(folder)
  const servingMs = performance.now() - started
  while (!/^evc_index_lag_records 0$/m.test(await (await fetch(`${service.url}/metrics`)).text())) await sleep(20)
  const drainedMs = performance.now() - started
  const loginP99Ms = await serve(service, size.servingSeconds)
  const residentKiB = Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${service.child.pid}/status`, 'utf8'))?.[1])
  await service.kill('SIGTERM')
  return [
    {
      name: `start to serving, with ${records} unindexed records`,
      value: servingMs / 1000,
      unit: 's',
      goal: ['<=', 3],
    },
    {
      name: 'unindexed records to rows, start of the process included, against 5,000/s arriving',
      value: records / (drainedMs / 1000) / ARRIVALS_PER_SECOND,
      unit: 'x',
      goal: ['>=', 3],
    },
    {
      name: 'resident memory of the service, indexing and serving, highest',
      value: residentKiB / 1024,
      unit: 'MB',
      goal: ['<=', 400],
    },
    { name: `login beside that (${LOGINS_PER_SECOND}/s), p99`, value: loginP99Ms, unit: 'ms' },
  ]
}

const QUESTIONS = [
  '/audit/events',
  '/audit/events?who=CP-00017',
  '/audit/events?ip=10.0.0.3&action=AUTH_FAIL',
  '/audit/events?severity=CRITICAL&order=asc',
  '/audit/failures?ip=10.0.0.1',
  '/audit/incidents',
  '/audit/summary?start_time=2026-01-01T00:00:00Z&end_time=2026-12-31T00:00:00Z&bucket=86400',
]
const ROUNDS = 10

/** @returns p99 of the logins, in milliseconds */
async function serve(service: ServiceProcess, seconds: number): Promise<number> {
  const { body } = await send(service.url, 'POST', '/charge-points', { cp_id: 'BENCH-1' })
  const login = JSON.stringify({ cp_id: 'BENCH-1', credentials: body.credentials })
  const client = fork(join(import.meta.dirname, 'paced-client.ts'))
  const logins = { url: service.url, path: '/auth/credentials', bodies: [login], connections: 32 }
  client.send({ ...logins, perSecond: LOGINS_PER_SECOND, seconds } satisfies Pace)
  for (let round = 0; round < ROUNDS; round++) {
    for (const question of QUESTIONS) {
      const { status } = await send(service.url, 'GET', question)
      if (status !== 200) throw new Error(`${question} was answered ${status}`)
    }
  }
  const [paced] = await once(client, 'message')
  if (paced.refused > 0) throw new Error(`${paced.refused} logins were refused`)
  client.disconnect()
  return paced.p99Ms
}
