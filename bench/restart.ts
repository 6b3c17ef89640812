/** A start of the real service on a grown trail with records that are no rows yet, as a crash leaves them. */
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { formatEntry } from '../src/event/codec.ts'
import type { AuditEvent } from '../src/event/event.ts'
import { openJournal } from '../src/journal/segment-journal.ts'
import { startServiceProcess } from '../test/harness/service-process.ts'
import type { Figure } from './table.ts'

const ARRIVALS_PER_SECOND = 5_000
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

export async function measureRestart(folder: string, records: number): Promise<Figure[]> {
  const started = performance.now()
  const service = await startServiceProcess(folder)
  const servingMs = performance.now() - started
  while (!/^evc_index_lag_records 0$/m.test(await (await fetch(`${service.url}/metrics`)).text())) await sleep(20)
  const drainedMs = performance.now() - started
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
  ]
}
