/**
 * Threads that check ranges of one source, each with a reader of its own. All of them have to see the same rows: where somebody
 * writes meanwhile, readers are opened anew until they do.
 */
import { extname } from 'node:path'
import { Worker } from 'node:worker_threads'
import { PostgresError, type PostgresErrorCode } from '../../postgres/postgres-error.ts'
import type { BundleRange, RangeReport } from '../source.ts'
import { UnreadableSource } from './log-database.ts'
import type { CheckerSpec } from './range-checker.ts'

export interface Question {
  readonly number: number
  readonly what: BundleRange | 'fingerprint' | 'reopen'
}

interface Failed {
  readonly name: string
  readonly message: string
  readonly code?: string
}

export type Answer = { readonly number: number } & (
  | { readonly report: RangeReport }
  | { readonly fingerprint: string }
  | { readonly failed: Failed }
)

export interface WorkerPool extends AsyncDisposable {
  readonly size: number
  checkRange(range: BundleRange): Promise<RangeReport>
  /** What each sees. */
  fingerprints(how: 'fingerprint' | 'reopen'): Promise<string[]>
}

/** Source runs as `.ts`, the published package as `.js`; a worker's file is named at run time. */
const THREAD = new URL(`./verify-thread${extname(import.meta.url)}`, import.meta.url)
/** One more than it works at, so that it does not wait for this thread. */
const ASKED_AHEAD = 2
const HEAP = { maxYoungGenerationSizeMb: 8 } as const

/** Ranges take very different times, so each worker gets the next one when it is nearly done. */
export function startWorkers(spec: CheckerSpec, count: number): WorkerPool {
  const workers = Array.from({ length: count }, () => startWorker(spec))
  const queue: { readonly range: BundleRange; readonly done: PromiseWithResolvers<RangeReport> }[] = []

  function handOut(): void {
    for (const worker of workers) {
      while (worker.waiting() < ASKED_AHEAD) {
        const next = queue.shift()
        if (next === undefined) return
        worker
          .ask(next.range)
          .then(answer => next.done.resolve(reportOf(answer)))
          .catch(next.done.reject)
          .finally(handOut)
      }
    }
  }

  return {
    size: count,
    checkRange(range) {
      const done = Promise.withResolvers<RangeReport>()
      queue.push({ range, done })
      handOut()
      return done.promise
    },
    async fingerprints(how) {
      const answers = await Promise.all(workers.map(worker => worker.ask(how)))
      return answers.map(answer => ('fingerprint' in answer ? answer.fingerprint : ''))
    },
    async [Symbol.asyncDispose]() {
      await Promise.all(workers.map(({ worker }) => worker.terminate()))
    },
  }
}

function reportOf(answer: Answer): RangeReport {
  if ('report' in answer) return answer.report
  throw new UnreadableSource('a worker answered something else')
}

function startWorker(spec: CheckerSpec) {
  const worker = new Worker(THREAD, { workerData: spec, name: 'evc-verify', execArgv: [], resourceLimits: HEAP })
  const waiting = new Map<number, PromiseWithResolvers<Answer>>()
  let asked = 0
  let ended: Error | undefined

  function fail(error: Error): void {
    ended ??= error
    for (const { reject } of waiting.values()) reject(ended)
    waiting.clear()
  }

  worker.on('message', (answer: Answer) => {
    const pending = waiting.get(answer.number)
    waiting.delete(answer.number)
    if ('failed' in answer) pending?.reject(asError(answer.failed))
    else pending?.resolve(answer)
  })
  worker.on('error', error => fail(asError(error as Error)))
  worker.on('exit', () => fail(new UnreadableSource('a worker of the verifier ended')))
  return {
    worker,
    waiting: () => waiting.size,
    ask(what: Question['what']): Promise<Answer> {
      if (ended !== undefined) return Promise.reject(ended)
      const pending = Promise.withResolvers<Answer>()
      waiting.set(++asked, pending)
      worker.postMessage({ number: asked, what } satisfies Question)
      return pending.promise
    },
  }
}

/** Errors lose their class on the way between threads. */
function asError({ name, message, code }: Failed): Error {
  if (name === 'PostgresError') return new PostgresError(code as PostgresErrorCode, message)
  return name === 'UnreadableSource' ? new UnreadableSource(message) : new Error(message)
}
