/**
 * The query stage: questions about stored events, answered off the request thread.
 *
 * Promise: no question blocks the thread that asks. Two lanes with a thread and connections of their own: `lookup` for what
 * is answered in milliseconds, `scan` for exports and summaries, so that a long one never delays a lookup. A lane
 * holds a bounded number of questions (else OVERLOADED), each for a bounded time (else QUERY_TIMEOUT). A database
 * that cannot be read, or is not there yet, is STORE_UNAVAILABLE until it can. Owns its threads and no other state;
 * must not write to the database, and must not know HTTP.
 */
import type { Worker } from 'node:worker_threads'
import { Refusal } from '../errors.ts'
import { LIMITS } from '../limits.ts'
import type { StoreLocation } from '../store/location.ts'
import { endThread, startThread } from '../threads/thread.ts'
import type { EventQueries } from './event-queries.ts'
import type { AskMessage, ReaderThreadData, Reply } from './reader-protocol.ts'
import type { Answer, Asked, Question } from './timed-event-queries.ts'

const THREAD = new URL('./reader-thread', import.meta.url)
const CLOSE_MS_MAX = 2_000

export function startReader(options: { store: StoreLocation }): EventQueries {
  const lookup = startLane('lookup', options.store)
  const scan = startLane('scan', options.store)
  return {
    page: request => lookup.ask('page', request),
    event: id => lookup.ask('event', id),
    failures: request => lookup.ask('failures', request),
    episodes: request => lookup.ask('episodes', request),
    lastId: () => lookup.ask('lastId', undefined),
    tile: request => lookup.ask('tile', request),
    proof: request => lookup.ask('proof', request),
    consistency: request => lookup.ask('consistency', request),
    exportChunk: request => scan.ask('exportChunk', request),
    summary: request => scan.ask('summary', request),
    steps: request => scan.ask('steps', request),
    provenEvents: request => scan.ask('provenEvents', request),
    count: request => scan.ask('count', request),
    async close() {
      await Promise.all([lookup.close(), scan.close()])
    },
  }
}

interface Waiting {
  readonly resolve: (answer: unknown) => void
  readonly reject: (reason: Error) => void
  readonly timer: NodeJS.Timeout
}

function startLane(name: string, store: StoreLocation) {
  const waiting = new Map<number, Waiting>()
  let asked = 0
  /** Questions sent and not answered, given up on or not: what the thread still has to go through. */
  let queued = 0
  let isClosed = false
  let worker: Worker | undefined = startWorker()

  function startWorker(): Worker {
    const started = startThread(THREAD, {
      workerData: { store } satisfies ReaderThreadData,
      name: `evc-reader-${name}`,
    })
    started.on('message', (reply: Reply) => {
      queued--
      settle(reply)
    })
    started.on('exit', () => {
      worker = undefined // the next question starts another
      queued = 0
      for (const number of [...waiting.keys()]) settle({ number, refusal: { code: 'STORE_UNAVAILABLE' } })
    })
    return started
  }

  function settle(reply: Reply): void {
    const asker = waiting.get(reply.number)
    if (asker === undefined) return // it has given up
    waiting.delete(reply.number)
    clearTimeout(asker.timer)
    if ('answer' in reply) asker.resolve(reply.answer)
    else if ('defect' in reply) asker.reject(new Error(`a query failed: ${reply.defect}`))
    else asker.reject(asRefusal(reply.refusal))
  }

  return {
    ask<Q extends Question>(question: Q, about: Asked<Q>): Promise<Answer<Q>> {
      if (isClosed) return Promise.reject(new Refusal('STORE_UNAVAILABLE'))
      if (queued >= LIMITS.queriesWaitingMax) {
        return Promise.reject(new Refusal('OVERLOADED', undefined, { retryAfterSeconds: 1 }))
      }
      const number = ++asked
      const expiresAt = performance.timeOrigin + performance.now() + LIMITS.queryMsMax
      worker ??= startWorker()
      queued++
      worker.postMessage({ number, question, asked: about, expiresAt } satisfies AskMessage)
      return new Promise((resolve, reject) => {
        const timer = setTimeout(settle, LIMITS.queryMsMax, { number, refusal: { code: 'QUERY_TIMEOUT' } })
        waiting.set(number, { resolve: resolve as Waiting['resolve'], reject, timer })
      })
    },
    /** Questions that are asked already are answered first. */
    async close() {
      isClosed = true
      if (worker !== undefined) await endThread(worker, 'close', CLOSE_MS_MAX)
    },
  }
}

function asRefusal({
  code,
  detail,
  cause,
  retryAfterSeconds,
  violations,
}: Extract<Reply, { refusal: unknown }>['refusal']) {
  return new Refusal(code, detail, {
    ...(cause === undefined ? {} : { cause: new Error(cause) }),
    ...(retryAfterSeconds === undefined ? {} : { retryAfterSeconds }),
    ...(violations === undefined ? {} : { violations }),
  })
}
