/**
 * What the log costs, and how soon an event is under a signed checkpoint.
 *
 * Cost: the same journal becomes rows with and without tree, tiles and salts, in turn; the rest of the indexer is the same. Soon: from
 * the answer of the service, in a process of its own, to the first checkpoint over HTTP that covers the event.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { createIndexer } from '../src/indexer/indexer.ts'
import { openJournalReader } from '../src/journal/segment-reader.ts'
import type { LogBuilder } from '../src/log/log-builder.ts'
import { startLogBuilder } from '../src/log/log-host.ts'
import { createSqliteEventStore } from '../src/store/sqlite-event-store.ts'
import { ADMIN_KEY, send, startServiceProcess } from '../test/harness/service-process.ts'
import { createEventGenerator } from './generator.ts'
import { leaveUnindexed } from './restart.ts'
import { benchSignatures } from './signatures.ts'
import type { Size } from './size.ts'
import { type Figure, median, percentile } from './table.ts'

const GENERATED = { seed: 11, chargePoints: 20_000, addresses: 100_000, start: Date.UTC(2026, 0, 1), stepMs: 500 }

export async function benchEvidence(size: Size): Promise<Figure[]> {
  const { withLog, without } = await indexing(size)
  const signed = await untilSigned(size)
  const ratio = median(without.map((ms, n) => ms / (withLog[n] as number)))
  return [
    { name: 'journal to rows, with the log', value: size.logRecords / (median(withLog) / 1000), unit: 'rows/s' },
    { name: 'journal to rows, without it', value: size.logRecords / (median(without) / 1000), unit: 'rows/s' },
    { name: 'the former / the latter, median of paired rounds', value: ratio, unit: 'x', goal: ['>=', 0.85] },
    {
      name: 'answered -> under a signed checkpoint, p99',
      value: percentile(signed, 0.99) / 1000,
      unit: 's',
      goal: ['<=', 2],
    },
    ...benchSignatures(),
  ]
}

async function indexing(size: Size): Promise<{ withLog: number[]; without: number[] }> {
  const folder = mkdtempSync(join(tmpdir(), 'evc-bench-log-'))
  await leaveUnindexed(folder, size.logRecords, createEventGenerator(GENERATED))
  const withLog: number[] = []
  const without: number[] = []
  for (let round = 0; round < size.logRounds; round++) {
    const turns = [() => index(folder, startLogBuilder, size), () => index(folder, withoutLog, size)] as const
    const [first, second] = round % 2 === 0 ? turns : turns.toReversed()
    const [a, b] = [await first!(), await second!()]
    withLog.push(round % 2 === 0 ? a : b)
    without.push(round % 2 === 0 ? b : a)
  }
  rmSync(folder, { recursive: true })
  return { withLog, without }
}

/** @returns milliseconds until all records are rows */
async function index(folder: string, startLog: (root: string) => LogBuilder, size: Size): Promise<number> {
  const directory = mkdtempSync(join(tmpdir(), 'evc-bench-rows-'))
  const store = createSqliteEventStore({ path: join(directory, 'audit.db'), startLog })
  const openReader = (after: number) => openJournalReader({ directory: join(folder, 'journal'), after })
  const indexer = createIndexer({ journalId: 'bench', openReader, store })
  const started = performance.now()
  while ((await indexer.step(size.logRecords)) > 0);
  const ms = performance.now() - started
  indexer.stop()
  await store.close()
  rmSync(directory, { recursive: true })
  return ms
}

/** Takes rows, and makes nothing of them. */
function withoutLog(): LogBuilder {
  let size: number | undefined
  return {
    get size() {
      return size
    },
    resume(state) {
      size = state.edge.size
    },
    add() {
      size = (size ?? 0) + 1
    },
    finish: () => ({
      edge: { size: size ?? 0, hashes: [] },
      root: new Uint8Array(32),
      partialTiles: [],
      syncedSize: size ?? 0,
      salts: new Uint8Array(),
      seeds: [],
      commitments: new Uint8Array(),
    }),
    abandon() {},
    sync: () => size ?? 0,
    close() {},
  }
}

async function untilSigned(size: Size): Promise<Float64Array> {
  const folder = mkdtempSync(join(tmpdir(), 'evc-bench-signed-'))
  const service = await startServiceProcess(folder)
  const waits: number[] = []
  const signedSize = async () => {
    const answer = await fetch(`${service.url}/checkpoint`, { headers: { 'x-admin-key': ADMIN_KEY } })
    return answer.status === 200 ? Number((await answer.text()).split('\n')[1]) : 0
  }
  const one = async () => {
    await sleep(Math.random() * 1_000)
    const { requestId } = await send(service.url, 'GET', '/audit/failures')
    const answered = performance.now()
    let id: number | undefined
    while (id === undefined) {
      const { body } = await send(service.url, 'GET', `/audit/events?request_id=${requestId}&limit=1`)
      id = (body.events as { id: number }[])[0]?.id
    }
    while ((await signedSize()) < id) await sleep(5)
    waits.push(performance.now() - answered)
  }
  for (let i = 0; i < size.signedRounds; i++) await Promise.all(Array.from({ length: 20 }, one))
  await service.kill('SIGTERM')
  rmSync(folder, { recursive: true })
  return Float64Array.from(waits).sort()
}
