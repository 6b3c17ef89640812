/**
 * Checkpoints of an event store from a thread of their own: copying the log and its fsync take tens of milliseconds, in
 * which the thread that writes rows would keep everybody waiting who waits for one.
 *
 * Owns the thread, begun anew at the next checkpoint if it died. Must not write rows.
 */
import { once } from 'node:events'
import type { Worker } from 'node:worker_threads'
import { endThread, startThread } from '../threads/thread.ts'

export interface Checkpointer {
  /** False when it could not be done now. Never rejects; one at a time. */
  checkpoint(): Promise<boolean>
  close(): Promise<void>
}

const THREAD = new URL('./checkpoint-thread', import.meta.url)
/** It makes no garbage. */
const HEAP = { maxYoungGenerationSizeMb: 2 } as const

export function startCheckpointer(storePath: string): Checkpointer {
  let worker: Worker | undefined

  function startWorker(): Worker {
    const started = startThread(THREAD, { workerData: { storePath }, name: 'evc-checkpointer', resourceLimits: HEAP })
    started.on('exit', () => {
      worker = undefined
    })
    return started
  }

  return {
    async checkpoint() {
      worker ??= startWorker()
      const asked = worker
      const ended = new AbortController()
      try {
        const answer = once(asked, 'message', { signal: ended.signal })
        const exit = once(asked, 'exit', { signal: ended.signal }).then(() => [false])
        asked.postMessage('checkpoint')
        const [isDone] = await Promise.race([answer, exit])
        return isDone === true
      } catch {
        return false
      } finally {
        ended.abort()
      }
    },
    async close() {
      if (worker !== undefined) await endThread(worker, 'close')
    },
  }
}
