import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'
import { formatEntry } from '../../../src/event/codec.ts'
import { type IndexerHost, type IndexerOptions, startIndexer } from '../../../src/indexer/indexer-host.ts'
import { openJournal } from '../../../src/journal/segment-journal.ts'
import { createSqliteEventStore } from '../../../src/store/sqlite-event-store.ts'
import { sampleEvent } from '../../contract/event-store.ts'

const PATIENCE_MS = 20_000

interface Pipe {
  readonly directory: string
  readonly storePath: string
  /** Starts an indexer that is told what is durable. */
  start(options?: Partial<IndexerOptions>): IndexerHost
  /** Appends events and resolves once they are durable, with the last sequence. */
  record(first: number, count: number): Promise<number>
  descriptions(): Promise<(string | undefined)[]>
}

async function inFolder(body: (pipe: Pipe) => Promise<void>, prepare = (_storePath: string) => {}): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'evc-host-'))
  const journalDirectory = join(directory, 'journal')
  const storePath = join(directory, 'audit', 'audit.db')
  prepare(storePath)
  const hosts: IndexerHost[] = []
  const tell = (sequence: number) => {
    for (const host of hosts) host.durable(sequence)
  }
  const journal = await openJournal({ directory: journalDirectory, ackTimeoutMs: 10_000, onDurable: tell })
  try {
    await body({
      directory,
      storePath,
      start(options = {}) {
        const callbacks = { onIndexed: () => {}, onTrim: () => {} }
        const host = startIndexer({
          journalDirectory,
          journalId: journal.id,
          store: { kind: 'sqlite', path: storePath },
          ...callbacks,
          ...options,
        })
        host.durable(journal.status().durableSequence)
        hosts.push(host)
        return host
      },
      async record(first, count) {
        let sequence = 0
        for (let n = first; n < first + count; n++) sequence = journal.append(formatEntry(sampleEvent(n)))
        await journal.acknowledged(sequence)
        return sequence
      },
      async descriptions() {
        const store = createSqliteEventStore({ path: storePath })
        const found = []
        for (let id = 1; id <= (await store.lastId()); id++) found.push((await store.get(id))?.description)
        await store.close()
        return found
      },
    })
  } finally {
    for (const host of hosts) await host.stop(0)
    await journal.close()
    rmSync(directory, { recursive: true })
  }
}

const eventsTo = (count: number) => Array.from({ length: count }, (_, n) => `event ${n}`)

test('indexer host: what becomes durable becomes rows, and the host knows how far', () =>
  inFolder(async ({ start, record, descriptions }) => {
    const told: { lastEventId: number; sequence: number }[] = []
    const host = start({ onIndexed: progress => told.push(progress) })
    assert.equal(await host.caughtUp(await record(0, 100), PATIENCE_MS), true)
    assert.equal(await host.caughtUp(await record(100, 50), PATIENCE_MS), true)
    const { phase, indexedSequence, lastEventId, lagRecords, lastError } = host.status()
    assert.deepEqual([phase, indexedSequence, lastEventId, lagRecords, lastError], ['following', 150, 150, 0, null])
    assert.deepEqual(told.at(-1), { lastEventId: 150, sequence: 150 })
    assert.deepEqual(await descriptions(), eventsTo(150))
  }))

test('indexer host: caught up with nothing means that the store was reached', () =>
  inFolder(async ({ start, descriptions }) => {
    const host = start()
    assert.equal(await host.caughtUp(0, PATIENCE_MS), true)
    assert.deepEqual(await descriptions(), [])
  }))

test('indexer host: not caught up in time is false, and it lags', () =>
  inFolder(async ({ start }) => {
    const host = start()
    assert.equal(await host.caughtUp(7, 1), false)
    await host.caughtUp(0, PATIENCE_MS)
    const waiting = host.caughtUp(7, PATIENCE_MS)
    await host.stop(0)
    assert.equal(await waiting, false)
    host.durable(7)
    assert.equal(host.status().lagRecords, 7)
    assert.equal(host.status().phase, 'stopped')
  }))

test('indexer host: stopping drains what is durable', () =>
  inFolder(async ({ start, record, descriptions }) => {
    await record(0, 15_000)
    const host = start()
    await host.stop(PATIENCE_MS)
    assert.equal(host.status().indexedSequence, 15_000)
    assert.equal((await descriptions()).length, 15_000)
  }))

test('indexer host: the journal may be trimmed to what was checkpointed, at the latest when it stops', () =>
  inFolder(async ({ start, record }) => {
    const trims: number[] = []
    const host = start({ onTrim: sequence => trims.push(sequence) })
    await host.caughtUp(await record(0, 10), PATIENCE_MS)
    await host.stop(PATIENCE_MS)
    assert.equal(trims.at(-1), 10)
    assert.deepEqual(
      trims,
      trims.toSorted((a, b) => a - b),
    )
  }))

test('indexer host: a store that cannot be opened is waited for', () =>
  inFolder(
    async ({ start, record, storePath, descriptions }) => {
      const host = start()
      const sequence = await record(0, 5)
      await until(() => host.status().phase === 'waiting-for-store')
      assert.match(host.status().lastError ?? '', /UNAVAILABLE/)
      rmSync(join(storePath, '..'))
      assert.equal(await host.caughtUp(sequence, PATIENCE_MS), true)
      assert.deepEqual([host.status().phase, host.status().lastError], ['following', null])
      assert.deepEqual(await descriptions(), eventsTo(5))
    },
    storePath => writeFileSync(join(storePath, '..'), 'a file where the folder should be'),
  ))

test('indexer host: a foreign database halts it, with the reason', () =>
  inFolder(
    async ({ start, record }) => {
      const host = start()
      await record(0, 5)
      await until(() => host.status().phase === 'halted')
      assert.match(host.status().lastError ?? '', /FOREIGN/)
      assert.equal(host.status().lagRecords, 5)
    },
    storePath => {
      mkdirSync(join(storePath, '..'))
      writeFileSync(storePath, 'no database '.repeat(100))
    },
  ))

test('indexer host: a thread that dies is started again, and goes on', () =>
  inFolder(async ({ start, record, descriptions, directory }) => {
    const journalDirectory = join(directory, 'not-there-yet')
    const host = start({ journalDirectory })
    const sequence = await record(0, 3)
    await until(() => /died/.test(host.status().lastError ?? ''))
    assert.deepEqual(await descriptions(), [], 'and nothing was made up meanwhile')
    symlinkSync(join(directory, 'journal'), journalDirectory)
    assert.equal(await host.caughtUp(sequence, PATIENCE_MS), true)
    assert.equal(host.status().lastError, null)
    assert.deepEqual(await descriptions(), eventsTo(3))
  }))

async function until(isSo: () => boolean): Promise<void> {
  for (const end = performance.now() + PATIENCE_MS; !isSo(); ) {
    assert.ok(performance.now() < end, 'in time')
    await new Promise(resolve => setTimeout(resolve, 5))
  }
}
