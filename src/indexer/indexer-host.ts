/**
 * The indexer stage, seen from the main thread: starts the indexer's thread, tells it what is durable, and knows how
 * far it is. See indexer.ts for what it promises.
 *
 * Owns the thread, which is started again (with growing pauses) if it ever dies. Must not do any work per event: telling
 * a durable sequence is two atomic operations on shared memory.
 */
import type { Worker } from 'node:worker_threads'
import type { StoreLocation } from '../store/location.ts'
import { endThread, startThread } from '../threads/thread.ts'
import type { IndexerProgress, Phase } from './indexer.ts'
import type { IndexerMessage, IndexerThreadData, StopMessage } from './indexer-protocol.ts'

export interface IndexerStatus {
  readonly phase: Phase
  readonly indexedSequence: number
  readonly lastEventId: number
  /** Durable records that are no rows yet. */
  readonly lagRecords: number
  /** Journal records that had to be declared lost, since the start. */
  readonly lostRecords: number
  /** Halted, as rows of later records than this one are not of this journal, but of another copy of it. */
  readonly behindAfter: number | undefined
  /** Why it waits, halted or had to be started again; null while all is well. */
  readonly lastError: string | null
}

export interface IndexerHost {
  /** The journal is durable up to this sequence. Costs nothing worth counting. */
  durable(sequence: number): void
  status(): IndexerStatus
  /** True as soon as the store has been reached and all records up to `sequence` are rows; false after the time-out, or when it halts. */
  caughtUp(sequence: number, timeoutMs: number): Promise<boolean>
  /** Indexes what is durable for at most `drainTimeoutMs`, then ends the thread. */
  stop(drainTimeoutMs: number): Promise<void>
}

export interface IndexerOptions {
  readonly journalDirectory: string
  readonly journalId: string
  readonly store: StoreLocation
  /** The last record of the journal before this process appends any; left out, no row is looked at for being newer. */
  readonly openedSequence?: number | undefined
  /** Rows were added, or the store was reached for the first time; about every 20 ms at most. */
  readonly onIndexed: (progress: { lastEventId: number; sequence: number }) => void
  /** The journal may drop its records up to this one. */
  readonly onTrim: (sequence: number) => void
  /** Rows cannot be counted for summaries, which are slower meanwhile. */
  readonly onCountFailed?: (detail: string) => void
  /** It will not go on by itself. */
  readonly onHalted?: (status: IndexerStatus) => void
}

const THREAD = new URL('./indexer-thread', import.meta.url)
const RESTART_MS_MIN = 100
const RESTART_MS_MAX = 5_000
const STOP_MARGIN_MS = 3_000

export function startIndexer(options: IndexerOptions): IndexerHost {
  const durable = new BigInt64Array(new SharedArrayBuffer(8))
  /** The highest sequence that somebody waits for; a change of it ends the thread's pause between batches. */
  const wanted = new BigInt64Array(new SharedArrayBuffer(8))
  const waiters = createWaiters()
  let progress: IndexerProgress = {
    phase: 'catching-up',
    indexedSequence: undefined,
    lastEventId: 0,
    lostRecords: 0,
    behindAfter: undefined,
    lastError: null,
  }
  let restartMs = RESTART_MS_MIN
  let restart: NodeJS.Timeout | undefined
  let stopping: Promise<void> | undefined
  let worker: Worker | undefined = startWorker()

  function startWorker(): Worker {
    const { journalDirectory, journalId, store } = options
    // A thread started again finds rows of its predecessor, which could read no further than that.
    const openedSequence =
      progress.indexedSequence === undefined ? options.openedSequence : Number(Atomics.load(durable, 0))
    const workerData: IndexerThreadData = {
      journalDirectory,
      journalId,
      store,
      openedSequence,
      durable: durable.buffer,
      wanted: wanted.buffer,
    }
    const started = startThread(THREAD, { workerData, name: 'evc-indexer' })
    started.on('message', receive)
    started.on('error', (error: Error) => {
      progress = { ...progress, lastError: `the indexer's thread died: ${error.message}` }
    })
    started.on('exit', () => {
      worker = undefined
      if (stopping !== undefined) return
      restart = setTimeout(() => {
        worker = startWorker()
      }, restartMs)
      restartMs = Math.min(restartMs * 2, RESTART_MS_MAX)
    })
    return started
  }

  function receive(message: IndexerMessage): void {
    if ('trim' in message) options.onTrim(message.trim)
    else if ('countFailed' in message) options.onCountFailed?.(message.countFailed)
    else follow(message.progress)
  }

  function follow(reached: IndexerProgress): void {
    const before = progress
    progress = reached
    if (progress.phase === 'halted' && before.phase !== 'halted') {
      waiters.giveUp()
      options.onHalted?.(status())
    }
    const { indexedSequence: sequence, lastEventId } = progress
    if (sequence === undefined || (sequence === before.indexedSequence && lastEventId === before.lastEventId)) return
    restartMs = RESTART_MS_MIN
    waiters.reached(sequence)
    options.onIndexed({ lastEventId, sequence })
  }

  function status(): IndexerStatus {
    const { indexedSequence = 0, ...rest } = progress
    const lagRecords = Math.max(0, Number(Atomics.load(durable, 0)) - indexedSequence)
    return { ...rest, indexedSequence, lagRecords }
  }

  async function stop(drainMs: number): Promise<void> {
    clearTimeout(restart)
    if (worker !== undefined) await endThread(worker, { drainMs } satisfies StopMessage, drainMs + STOP_MARGIN_MS)
    progress = { ...progress, phase: 'stopped' }
    waiters.giveUp()
  }

  return {
    durable(sequence) {
      Atomics.store(durable, 0, BigInt(sequence))
      Atomics.notify(durable, 0)
    },
    status,
    caughtUp(sequence, timeoutMs) {
      const { indexedSequence } = progress
      if (indexedSequence !== undefined && indexedSequence >= sequence) return Promise.resolve(true)
      if (progress.phase === 'stopped' || progress.phase === 'halted') return Promise.resolve(false)
      if (Number(Atomics.load(wanted, 0)) < sequence) {
        Atomics.store(wanted, 0, BigInt(sequence))
        Atomics.notify(wanted, 0)
      }
      return waiters.wait(sequence, timeoutMs)
    },
    stop(drainTimeoutMs) {
      stopping ??= stop(drainTimeoutMs)
      return stopping
    },
  }
}

/** Those who wait for a sequence to be indexed. */
function createWaiters() {
  interface Waiter {
    readonly sequence: number
    readonly settle: (isReached: boolean) => void
  }
  const waiting = new Set<Waiter>()
  const settle = (which: (waiter: Waiter) => boolean, isReached: boolean) => {
    for (const waiter of waiting) if (which(waiter)) waiter.settle(isReached)
  }
  return {
    reached: (sequence: number) => settle(waiter => waiter.sequence <= sequence, true),
    giveUp: () => settle(() => true, false),
    wait: (sequence: number, timeoutMs: number) =>
      new Promise<boolean>(resolve => {
        const waiter: Waiter = {
          sequence,
          settle(isReached) {
            waiting.delete(waiter)
            clearTimeout(timer)
            resolve(isReached)
          },
        }
        const timer = setTimeout(waiter.settle, timeoutMs, false)
        waiting.add(waiter)
      }),
  }
}
