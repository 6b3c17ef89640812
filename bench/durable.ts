/** Durable records a second: 64 producers that each wait for their record, against one that writes and fsyncs each. */
import { closeSync, fdatasyncSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { formatEntry } from '../src/event/codec.ts'
import { openJournal } from '../src/journal/segment-journal.ts'
import { createEventGenerator } from './generator.ts'
import type { Size } from './size.ts'
import { type Figure, median } from './table.ts'

const PRODUCERS = 64
const ROUND_MS = 500

export async function benchDurable(size: Size): Promise<Figure[]> {
  const directory = mkdtempSync(join(tmpdir(), 'evc-bench-durable-'))
  const journal = await openJournal({ directory: join(directory, 'journal'), ackTimeoutMs: 10_000 })
  const next = createEventGenerator({ seed: 7, chargePoints: 20_000, addresses: 100_000, start: 0, stepMs: 500 })
  const records = Array.from({ length: 1_000 }, () => formatEntry(next()))
  const rounds: { grouped: number; serial: number }[] = []
  for (let round = 0; round < size.loginRounds; round++) {
    const serial = serially(join(directory, 'serial'), records)
    const grouped = await together(journal, records)
    rounds.push({ grouped, serial })
  }
  await journal.close()
  rmSync(directory, { recursive: true })
  return [
    {
      name: `durable records acknowledged, ${PRODUCERS} producers`,
      value: median(rounds.map(({ grouped }) => grouped)),
      unit: 'events/s',
      goal: ['>=', 50_000],
    },
    { name: 'one write and fsync a record', value: median(rounds.map(({ serial }) => serial)), unit: 'events/s' },
    {
      name: 'the former / the latter, median of rounds',
      value: median(rounds.map(({ grouped, serial }) => grouped / serial)),
      unit: 'x',
      goal: ['>=', 12],
    },
  ]
}

async function together(journal: Awaited<ReturnType<typeof openJournal>>, records: string[]): Promise<number> {
  const started = performance.now()
  let count = 0
  const produce = async (producer: number) => {
    for (let i = producer; performance.now() - started < ROUND_MS; i++) {
      await journal.acknowledged(journal.append(records[i % records.length] as string))
      count++
    }
  }
  await Promise.all(Array.from({ length: PRODUCERS }, (_, producer) => produce(producer)))
  return count / ((performance.now() - started) / 1000)
}

function serially(path: string, records: string[]): number {
  const fd = openSync(path, 'a')
  const started = performance.now()
  let count = 0
  while (performance.now() - started < ROUND_MS) {
    writeSync(fd, records[count++ % records.length] as string)
    fdatasyncSync(fd)
  }
  closeSync(fd)
  return count / ((performance.now() - started) / 1000)
}
