/**
 * Checkpoints of an event store from a thread of their own: copying the log and its fsync take tens of milliseconds, in
 * which the thread that writes rows would keep everybody waiting who waits for one.
 *
 * Owns the thread, begun anew at the next checkpoint if it died. Must not write rows.
 */
import { once } from 'node:events'
import { extname } from 'node:path'
import { Worker } from 'node:worker_threads'

export interface Checkpointer {
  /** False when it could not be done now. Never rejects; one at a time. */
  checkpoint(): Promise<boolean>
  close(): Promise<void>
}

/** Source runs as `.ts`, the published package as `.js`; a worker's file is named at run time. */
const THREAD = new URL(`./checkpoint-thread${extname(import.meta.url)}`, import.meta.url)
/** It makes no garbage. */
const HEAP = { maxYoungGenerationSizeMb: 2 } as const

export function startCheckpointer(storePath: string): Checkpointer {
  let worker: Worker | undefined

  function startWorker(): Worker {
    const started = new Worker(THREAD, {
      workerData: { storePath },
      name: 'evc-checkpointer',
      execArgv: [],
      resourceLimits: HEAP,
    })
    started.on('error', () => {}) // an 'exit' follows
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
      if (worker === undefined) return
      const exit = once(worker, 'exit')
      worker.postMessage('close')
      await exit.catch(() => {})
    },
  }
}
