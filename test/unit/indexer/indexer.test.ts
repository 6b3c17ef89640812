import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import test from 'node:test'
import fc from 'fast-check'
import { formatEntry } from '../../../src/event/codec.ts'
import { createIndexer } from '../../../src/indexer/indexer.ts'
import { JournalError, type JournalReader } from '../../../src/journal/journal.ts'
import { LIMITS } from '../../../src/limits.ts'
import { checkStore } from '../../../src/store/check-store.ts'
import { type EventStore, StoreError } from '../../../src/store/event-store.ts'
import { createSqliteEventStore } from '../../../src/store/sqlite-event-store.ts'
import { batchOf, rowsFrom, sampleEvent } from '../../contract/event-store.ts'

const NOW = Date.UTC(2026, 5, 1)

/** Sequence n is at index n - 1; undefined is a record that is missing. */
type Journal = (string | undefined)[]

function readerOf(journal: Journal): (after: number) => JournalReader {
  return after => {
    let last = after
    return {
      read(durableSequence, limit) {
        const records = []
        for (; last < durableSequence && records.length < limit; last++) {
          const text = journal[last]
          if (text !== undefined) records.push({ sequence: last + 1, text })
        }
        return records
      },
      close() {},
    }
  }
}

const recordsFrom = (first: number, count: number): Journal =>
  Array.from({ length: count }, (_, i) => formatEntry(sampleEvent(first + i)))

interface Place {
  readonly path: string
  readonly store: EventStore
  start(journal: Journal, store?: EventStore): ReturnType<typeof createIndexer>
  descriptions(): Promise<(string | undefined)[]>
}

async function inFolder(body: (place: Place) => Promise<void>): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'evc-indexer-'))
  const path = join(directory, 'audit.db')
  const store = createSqliteEventStore({ path })
  try {
    await body({
      path,
      store,
      start: (journal, through = store) =>
        createIndexer({
          journalId: 'a',
          openReader: readerOf(journal),
          openedSequence: journal.length,
          store: through,
          clock: () => NOW,
        }),
      async descriptions() {
        const found = []
        for (let id = 1; id <= (await store.lastId()); id++) found.push((await store.get(id))?.description)
        return found
      },
    })
  } finally {
    await store.close()
    rmSync(directory, { recursive: true })
  }
}

test('indexer: each durable record becomes one row, in order, and what is not durable waits', () =>
  inFolder(async ({ start, descriptions }) => {
    const indexer = start(recordsFrom(0, 5))
    assert.deepEqual(indexer.progress().phase, 'catching-up')
    assert.equal(await indexer.step(3), 3)
    assert.equal(await indexer.step(3), 0)
    assert.deepEqual(await descriptions(), ['event 0', 'event 1', 'event 2'])
    assert.equal(await indexer.step(5), 2)
    assert.deepEqual(indexer.progress(), {
      phase: 'following',
      indexedSequence: 5,
      lastEventId: 5,
      lostRecords: 0,
      behindAfter: undefined,
      lastError: null,
    })
  }))

test('indexer: goes on where the one before it stopped', () =>
  inFolder(async ({ start, descriptions }) => {
    const journal = recordsFrom(0, 5)
    const first = start(journal)
    await first.step(2)
    first.stop()
    assert.equal(await first.step(5), 0, 'a stopped one does nothing')
    const second = start(journal)
    await second.step(5)
    assert.deepEqual(
      await descriptions(),
      [0, 1, 2, 3, 4].map(n => `event ${n}`),
    )
  }))

test('indexer: says where the store is before there is anything to index', () =>
  inFolder(async ({ start, store }) => {
    await store.append(batchOf(0, rowsFrom(0, 7), 'import:x'))
    const indexer = start([])
    assert.equal(indexer.progress().indexedSequence, undefined)
    await indexer.begin()
    const begun = indexer.progress()
    assert.deepEqual([begun.phase, begun.indexedSequence, begun.lastEventId], ['catching-up', 0, 7])
    await indexer.step(0)
    const { phase, indexedSequence, lastEventId } = indexer.progress()
    assert.deepEqual([phase, indexedSequence, lastEventId], ['following', 0, 7])
  }))

test('indexer: a record that is no event does not stop the log, and the trail says which it was', () =>
  inFolder(async ({ start, store, descriptions }) => {
    const [good = ''] = recordsFrom(0, 1)
    const odd = (change: (fields: unknown[]) => void) => {
      const fields = JSON.parse(good)
      change(fields)
      return JSON.stringify(fields)
    }
    const unreadable = [
      'not json',
      '{}',
      odd(fields => {
        fields[0] = 2
      }),
      odd(fields => fields.push('more')),
      odd(fields => {
        fields[3] = null
      }),
      odd(fields => {
        fields[4] = { an: 'object' }
      }),
      odd(fields => {
        fields[12] = 1.5
      }),
      odd(fields => {
        fields[1] = 7
      }),
      odd(fields => {
        fields[2] = 'yesterday'
      }),
    ]
    const indexer = start([good, ...unreadable, good])
    assert.equal(await indexer.step(11), 11)
    const { phase, lostRecords } = indexer.progress()
    assert.deepEqual([phase, lostRecords], ['following', unreadable.length])
    const found = await descriptions()
    assert.deepEqual([found[0], found.at(-1), found.length], ['event 0', 'event 0', 11])
    assert.equal(found[1], 'Journal record 2 is lost: the record is not JSON')
    const { action, severity, reason_code, who, date_time, metadata_json } = (await store.get(2)) ?? assert.fail()
    assert.deepEqual([action, severity, reason_code, who], ['SYSTEM', 'CRITICAL', 'LOSS_DECLARED', 'system'])
    assert.equal(date_time, new Date(NOW).toISOString())
    assert.deepEqual(JSON.parse(metadata_json ?? ''), { journal: 'a', first_sequence: 2, last_sequence: 2, count: 1 })
  }))

test('indexer: an action that this version does not know is kept as it is', () =>
  inFolder(async ({ start, store }) => {
    const text = formatEntry({ ...sampleEvent(0), action: 'FROM_A_NEWER_VERSION' as 'ERROR' })
    await start([text]).step(1)
    assert.equal((await store.get(1))?.action, 'FROM_A_NEWER_VERSION')
  }))

test('indexer: sequence numbers that the journal does not have any more are declared lost', () =>
  inFolder(async ({ start, descriptions }) => {
    const [a, b, c] = recordsFrom(0, 3)
    const indexer = start([undefined, undefined, a, b, undefined, c])
    await indexer.step(6)
    assert.deepEqual(await descriptions(), [
      'Journal records 1 to 2 are lost: missing from the journal',
      'event 0',
      'event 1',
      'Journal record 5 is lost: missing from the journal',
      'event 2',
    ])
    assert.equal(indexer.progress().lostRecords, 3)
  }))

test('indexer: an event that was delivered twice from the outbox is one row', () =>
  inFolder(async ({ start, descriptions }) => {
    const delivered = formatEntry(sampleEvent(0), '0198c0de-0000-7000-8000-000000000001')
    const indexer = start([delivered, ...recordsFrom(1, 1), delivered, ...recordsFrom(2, 1)])
    await indexer.step(2)
    await indexer.step(4)
    assert.deepEqual(await descriptions(), ['event 0', 'event 1', 'event 2'])
    assert.equal(indexer.progress().indexedSequence, 4)
  }))

test('indexer: two of one journal take turns without doubling anything', () =>
  inFolder(async ({ start, descriptions }) => {
    const journal = recordsFrom(0, 30)
    const indexers = [start(journal), start(journal)] as const
    for (let durable = 1, i = 0; durable <= 30; durable += 2, i++) {
      const indexer = indexers[i % 2] ?? assert.fail()
      while (indexer.progress().indexedSequence !== durable) await indexer.step(durable)
    }
    await indexers[0].step(30)
    await indexers[0].step(30)
    await indexers[0].step(30)
    assert.deepEqual(
      await descriptions(),
      Array.from({ length: 30 }, (_, n) => `event ${n}`),
    )
  }))

test('indexer: of two copies of one journal, in use at once, one halts before records of the other are taken for its own', () =>
  inFolder(async ({ start, descriptions }) => {
    const [mine, copied] = [recordsFrom(0, 3), recordsFrom(0, 3)]
    const [first, second] = [start(mine), start(copied)]
    for (const indexer of [first, second]) await indexer.step(3)
    mine.push(...recordsFrom(10, 2))
    copied.push(...recordsFrom(20, 2))
    for (const indexer of [first, second, second]) await indexer.step(5)
    assert.deepEqual(await descriptions(), ['event 0', 'event 1', 'event 2', 'event 10', 'event 11'])
    const { phase, behindAfter, indexedSequence, lastError } = second.progress()
    assert.deepEqual([phase, behindAfter, indexedSequence], ['halted', 3, 3])
    assert.equal(lastError, 'BEHIND: records 4 to 5 in the database are of another copy of the journal')
  }))

test('indexer: waits with the batch in hand while the store is locked, and goes on afterwards', () =>
  inFolder(async ({ start, path, descriptions }) => {
    const indexer = start(recordsFrom(0, 2))
    await indexer.step(1)
    const other = new DatabaseSync(path)
    other.exec('BEGIN IMMEDIATE')
    assert.equal(await indexer.step(2), 0)
    const { phase, lastError, indexedSequence } = indexer.progress()
    assert.equal(phase, 'waiting-for-store')
    assert.match(lastError ?? '', /UNAVAILABLE.*locked/)
    assert.equal(indexedSequence, 1)
    other.exec('ROLLBACK')
    other.close()
    assert.equal(await indexer.step(2), 1)
    assert.deepEqual([indexer.progress().phase, indexer.progress().lastError], ['following', null])
    assert.deepEqual(await descriptions(), ['event 0', 'event 1'])
  }))

test('indexer: halts on a database of something else and on a journal that cannot be read back', () =>
  inFolder(async ({ path, start, store }) => {
    writeFileSync(path, 'no database at all '.repeat(100))
    const foreign = start(recordsFrom(0, 1))
    await foreign.step(1)
    assert.equal(foreign.progress().phase, 'halted')
    assert.match(foreign.progress().lastError ?? '', /FOREIGN/)
    rmSync(path)
    assert.equal(await foreign.step(1), 0, 'until an operator has looked')
    const openReader = (): JournalReader => ({
      read() {
        throw new JournalError('CORRUPT', 'record 1 cannot be read back')
      },
      close() {},
    })
    const corrupt = createIndexer({ journalId: 'a', openReader, store })
    await corrupt.step(1)
    assert.equal(corrupt.progress().phase, 'halted')
    assert.equal(corrupt.progress().lastError, 'CORRUPT: record 1 cannot be read back')
  }))

test('indexer: a batch is bounded by its records and by its size', () =>
  inFolder(async ({ start }) => {
    const many = start(recordsFrom(0, LIMITS.batchRecordsMax + 5))
    assert.equal(await many.step(LIMITS.batchRecordsMax + 5), LIMITS.batchRecordsMax)
    assert.equal(many.progress().phase, 'catching-up')
    assert.equal(await many.step(LIMITS.batchRecordsMax + 5), 5)
    const large = formatEntry(sampleEvent(0, { metadata_json: 'x'.repeat(60_000) }))
    const heavy = createIndexer({
      journalId: 'b',
      openReader: readerOf(Array<string>(2_500).fill(large)),
      store: {
        ...stubPosition,
        append: async ({ rows }) => ({ lastId: 0, written: [...rows].length, room: undefined }),
      },
    })
    assert.equal(await heavy.step(2_500), 2_000, 'with its second reading it is over 64 MiB')
  }))

test('indexer: a backlog that fills the growing table is one batch, up to where the table ends', () =>
  inFolder(async ({ path }) => {
    const segmentIds = 20 * 1_024
    const store = createSqliteEventStore({ path, segmentIds })
    const journal = recordsFrom(0, 3 * segmentIds + 7)
    const indexer = createIndexer({ journalId: 'a', openReader: readerOf(journal), store, clock: () => NOW })
    const steps = []
    for (let i = 0; i < 6; i++) steps.push(await indexer.step(journal.length))
    const first = LIMITS.batchRecordsMax
    assert.deepEqual(steps, [first, segmentIds - first, segmentIds, segmentIds, 7, 0])
    assert.deepEqual(checkStore(path), [])
    await store.close()
  }))

test('indexer: a long backlog is one batch although the table has more room; a short one is many', () =>
  inFolder(async ({ path }) => {
    const store = createSqliteEventStore({ path })
    const journal = recordsFrom(0, 83_000)
    const indexer = createIndexer({ journalId: 'a', openReader: readerOf(journal), store, clock: () => NOW })
    const first = LIMITS.batchRecordsMax
    const steps = [await indexer.step(70_000), await indexer.step(70_000), await indexer.step(83_000)]
    steps.push(await indexer.step(83_000), await indexer.step(83_000))
    assert.deepEqual(steps, [first, 60_000, first, 3_000, 0])
    assert.deepEqual(checkStore(path), [])
    await store.close()
  }))

test('indexer: a record in the middle of a batch that cannot be read back ends the batch, then halts', () =>
  inFolder(async ({ store, descriptions }) => {
    const journal = recordsFrom(0, 1_500)
    const openReader = (after: number): JournalReader => {
      const reader = readerOf(journal)(after)
      return {
        read(through, limit) {
          const records = reader.read(Math.min(through, 1_000), limit)
          if (records.length > 0) return records
          throw new JournalError('CORRUPT', 'record 1001 cannot be read back')
        },
        close() {},
      }
    }
    const indexer = createIndexer({ journalId: 'a', openReader, store })
    assert.equal(await indexer.step(1_500), 1_000)
    assert.equal(await indexer.step(1_500), 0)
    assert.equal(indexer.progress().phase, 'halted')
    assert.equal((await descriptions()).length, 1_000)
  }))

/** Only for looking at the size of a batch: nothing is stored. */
const stubPosition: EventStore = {
  position: async () => 0,
  lastId: async () => 0,
  append: async () => ({ lastId: 0, written: 0, room: undefined }),
  get: async () => undefined,
  checkpoint: async () => {},
  close: async () => {},
}

test('indexer: whatever fails, restarts or arrives in between, every record is one row in its place', async () => {
  const action = fc.oneof(
    fc.record({ kind: fc.constant('arrive' as const), count: fc.integer({ min: 1, max: 5 }) }),
    fc.record({ kind: fc.constantFrom('step', 'restart', 'fail before', 'fail after', 'fail reading') }),
  )
  await fc.assert(
    fc.asyncProperty(fc.array(action, { maxLength: 40 }), actions =>
      inFolder(async ({ start, store, descriptions }) => {
        const journal: Journal = []
        let fault: string | undefined
        const failing: EventStore = {
          ...store,
          async position(source) {
            if (take('fail reading')) throw new StoreError('UNAVAILABLE', 'before reading')
            return store.position(source)
          },
          async append(batch) {
            if (take('fail before')) throw new StoreError('UNAVAILABLE', 'before writing')
            const appended = await store.append(batch)
            if (take('fail after')) throw new StoreError('UNAVAILABLE', 'after it was committed')
            return appended
          },
        }
        const take = (kind: string) => {
          if (fault !== kind) return false
          fault = undefined
          return true
        }
        let indexer = start(journal, failing)
        for (const next of actions) {
          if (next.kind === 'arrive') journal.push(...recordsFrom(journal.length, next.count))
          else if (next.kind === 'restart') indexer = start(journal, failing)
          else if (next.kind === 'step') await indexer.step(journal.length)
          else fault = next.kind
        }
        fault = undefined
        for (let i = 0; i < 4; i++) await indexer.step(journal.length)
        assert.deepEqual(
          await descriptions(),
          Array.from(journal, (_, n) => `event ${n}`),
        )
        assert.equal(indexer.progress().phase, 'following')
      }),
    ),
    { numRuns: 60 },
  )
})
