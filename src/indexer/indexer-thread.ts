/**
 * Entry of the indexer's thread: when to step, when to wait, when to checkpoint. What a step does is in indexer.ts.
 *
 * Batches follow the load: under a trickle one every 20 ms at most, so a row is visible soon and no transaction is made
 * for each event; under load one every 100 ms, as a transaction costs more than its rows; when there is a backlog, one
 * after the other and as large as allowed. Whoever waits for a row ends the pause at once.
 */
import { setImmediate, setTimeout } from 'node:timers/promises'
import { parentPort, workerData } from 'node:worker_threads'
import { openJournalReader } from '../journal/segment-reader.ts'
import { startLogBuilder } from '../log/log-host.ts'
import { type Checkpointer, startCheckpointer } from '../store/checkpointer.ts'
import type { EventStore } from '../store/event-store.ts'
import type { StoreLocation } from '../store/location.ts'
import { createSqliteEventStore } from '../store/sqlite-event-store.ts'
import { createIndexer, type IndexerProgress } from './indexer.ts'
import type { IndexerMessage, IndexerThreadData, StopMessage } from './indexer-protocol.ts'

const TRICKLE_INTERVAL_MS = 20
const LOAD_INTERVAL_MS = 100
const LOAD_RECORDS = 20
const BACKLOG_RECORDS = 1_000
const RETRY_MS_MIN = 50
const RETRY_MS_MAX = 1_000
const CHECKPOINT_RECORDS = 50_000
/** Small batches write as many pages as large ones; the copy of few is soon made, and holds up less what goes to the same disk. */
const CHECKPOINT_BATCHES = 32
const CHECKPOINT_INTERVAL_MS = 2_500

const port = parentPort
if (port === null) throw new Error('this file is the entry of a worker thread')
const { journalDirectory, journalId, store: location, openedSequence, ...shared } = workerData as IndexerThreadData
const durable = new BigInt64Array(shared.durable)
const wanted = new BigInt64Array(shared.wanted)
const { store, checkpointer } = await openStore(location)
const indexer = createIndexer({
  journalId,
  openReader: after => openJournalReader({ directory: journalDirectory, after }),
  openedSequence,
  store,
})
/** When to give up draining; undefined until the host says stop. */
let drainUntil: number | undefined
let reported: IndexerProgress | undefined
const stopAsked = Promise.withResolvers<void>()

port.on('message', ({ drainMs }: StopMessage) => {
  drainUntil = performance.now() + drainMs
  stopAsked.resolve()
  Atomics.notify(durable, 0)
  Atomics.notify(wanted, 0)
})
await run()
indexer.stop()
await checkpointer.close()
await store.close()
send({ progress: indexer.progress() })
port.close()

async function openStore(at: StoreLocation): Promise<{ store: EventStore; checkpointer: Checkpointer }> {
  if (at.kind === 'sqlite') {
    return {
      store: createSqliteEventStore({ path: at.path, startLog: startLogBuilder }),
      checkpointer: startCheckpointer(at.path),
    }
  }
  // What PostgreSQL has committed is on disk.
  const checkpointer = { checkpoint: async () => true, close: async () => {} }
  const onCountFailed = (detail: string) => send({ countFailed: detail })
  const { createPostgresEventStore } = await import('../store/postgres-event-store.ts')
  const store = createPostgresEventStore({ url: at.url, startLog: () => startLogBuilder(), onCountFailed })
  return { store, checkpointer }
}

async function run(): Promise<void> {
  const checkpoints = createCheckpoints()
  let retryMs = RETRY_MS_MIN
  await indexer.begin()
  report()
  for (;;) {
    const started = performance.now()
    const asked = Atomics.load(wanted, 0)
    const seen = Atomics.load(durable, 0)
    const records = await indexer.step(Number(seen))
    report()
    checkpoints.count(records)
    const { phase } = indexer.progress()
    if (isDone(phase)) return checkpoints.end()
    await checkpoints.keepUp()
    if (phase === 'waiting-for-store') {
      await waitToRetry(retryMs)
      retryMs = Math.min(retryMs * 2, RETRY_MS_MAX)
      continue
    }
    retryMs = RETRY_MS_MIN
    if (phase === 'following' || phase === 'halted') await waitForChange(seen, checkpoints.dueInMs())
    const intervalMs = records < LOAD_RECORDS ? TRICKLE_INTERVAL_MS : LOAD_INTERVAL_MS
    const early = intervalMs - (performance.now() - started)
    // A batch ends where a segment does: then somebody may still wait for what is left.
    if (phase !== 'catching-up' && records < BACKLOG_RECORDS && early > 0 && drainUntil === undefined) {
      await Atomics.waitAsync(wanted, 0, asked, early).value
    }
    await setImmediate() // lets a message in
  }
}

/** Told to stop, and either everything durable is a row, or it cannot be, or time is up. */
function isDone(phase: IndexerProgress['phase']): boolean {
  if (drainUntil === undefined) return false
  const isDrained =
    phase === 'following' && (indexer.progress().indexedSequence ?? 0) >= Number(Atomics.load(durable, 0))
  return isDrained || phase === 'halted' || performance.now() >= drainUntil
}

async function waitForChange(seen: bigint, ms: number): Promise<void> {
  if (drainUntil !== undefined) return
  await Atomics.waitAsync(durable, 0, seen, ms).value
}

async function waitToRetry(ms: number): Promise<void> {
  if (drainUntil !== undefined) await setTimeout(RETRY_MS_MIN)
  else await Promise.race([setTimeout(ms), stopAsked.promise])
}

/**
 * Until a checkpoint, committed rows survive our process but perhaps not a power loss; the journal must keep its copy.
 * Rows go on being written meanwhile, except under a backlog, when the log would never come to an end.
 */
function createCheckpoints() {
  let records = 1 // those that an earlier process left without one
  let batches = 0
  let last = performance.now()
  let running: Promise<void> | undefined

  async function run(): Promise<void> {
    last = performance.now()
    batches = 0
    const { indexedSequence } = indexer.progress()
    const covered = records
    if (covered === 0 || indexedSequence === undefined) return
    if (!(await checkpointer.checkpoint())) return
    records -= covered
    send({ trim: indexedSequence })
  }

  function begin(): Promise<void> {
    running ??= run().finally(() => {
      running = undefined
    })
    return running
  }

  return {
    count(indexed: number) {
      records += indexed
      if (indexed > 0) batches++
    },
    dueInMs: () =>
      records === 0 ? CHECKPOINT_INTERVAL_MS : Math.max(0, last + CHECKPOINT_INTERVAL_MS - performance.now()),
    async keepUp(): Promise<void> {
      const isLong = performance.now() - last >= CHECKPOINT_INTERVAL_MS
      const isDue = records > 0 && (batches >= CHECKPOINT_BATCHES || isLong)
      if (records >= CHECKPOINT_RECORDS) await begin()
      else if (isDue) void begin()
    },
    async end(): Promise<void> {
      await running
      await begin()
    },
  }
}

function report(): void {
  const progress = indexer.progress()
  const isNews =
    reported?.indexedSequence !== progress.indexedSequence ||
    reported?.lastEventId !== progress.lastEventId ||
    reported?.phase !== progress.phase ||
    reported?.lastError !== progress.lastError
  reported = progress
  if (isNews) send({ progress })
}

function send(message: IndexerMessage): void {
  port?.postMessage(message)
}
