/**
 * The erasure stage, seen from a thread that has requests to answer: each step runs in a thread of its own. Owns those threads;
 * ending one at any moment is a crash as far as erase.ts is concerned, and leaves what is said there.
 */
import { once } from 'node:events'
import type { Worker } from 'node:worker_threads'
import { Refusal } from '../errors.ts'
import type { Subject } from '../store/subject.ts'
import { startThread } from '../threads/thread.ts'
import type { ErasurePaths } from './erase.ts'
import type { ErasureMessage, ErasureThreadData } from './erasure-protocol.ts'
import type { Erased, ErasureRequest } from './request.ts'

export interface ErasureSteps extends AsyncDisposable {
  /** As `erase` and `cleanFiles` of erase.ts. */
  erase(request: ErasureRequest): Promise<Erased>
  clean(subject: Subject | undefined): Promise<void>
}

const THREAD = new URL('./erasure-thread', import.meta.url)

export function createErasureSteps(paths: ErasurePaths): ErasureSteps {
  const workers = new Set<Worker>()

  async function run(workerData: ErasureThreadData): Promise<Erased | undefined> {
    const worker = startThread(THREAD, { workerData, name: 'evc-erasure' })
    workers.add(worker)
    worker.once('exit', () => workers.delete(worker))
    const cut = new AbortController()
    const ended = once(worker, 'exit', { signal: cut.signal }).then(() => {
      throw new Refusal('ERASURE_UNFINISHED')
    })
    const answer = once(worker, 'message', { signal: cut.signal }) // rejects with the thread's error
    try {
      const [message] = (await Promise.race([answer, ended])) as [ErasureMessage]
      if ('erased' in message) return message.erased
      const { code, detail, violations, retryAfterSeconds } = message.refusal
      throw new Refusal(code, detail, {
        ...(violations === undefined ? {} : { violations }),
        ...(retryAfterSeconds === undefined ? {} : { retryAfterSeconds }),
      })
    } finally {
      answer.catch(() => {})
      ended.catch(() => {})
      cut.abort()
    }
  }

  return {
    erase: async request => (await run({ step: 'erase', paths, request })) as Erased,
    clean: async subject => void (await run({ step: 'clean', paths, subject })),
    async [Symbol.asyncDispose]() {
      await Promise.all([...workers].map(worker => worker.terminate()))
    },
  }
}
