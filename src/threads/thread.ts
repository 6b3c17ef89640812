/** Worker threads of ours: how each is started, and asked to end. What becomes of one that died is for its owner to say. */
import { once } from 'node:events'
import { extname } from 'node:path'
import { Worker, type WorkerOptions } from 'node:worker_threads'

/** V8 would let the young generation of each thread grow to several times this before it looks for garbage. */
const HEAP = { maxYoungGenerationSizeMb: 8 } as const

/** @param entry without the ending, which is that of this file: sources run as `.ts`, the published package as `.js` */
export function startThread(entry: URL, options: WorkerOptions & { readonly name: string }): Worker {
  const file = new URL(entry.href + extname(import.meta.url))
  const worker = new Worker(file, { execArgv: [], resourceLimits: HEAP, ...options })
  return worker.on('error', () => {}) // an 'exit' follows
}

/** Asks it to end, and waits until it has; after `msMax`, if that is given, it is made to. */
export async function endThread(worker: Worker, message: unknown, msMax?: number): Promise<void> {
  const exited = once(worker, 'exit')
  worker.postMessage(message)
  const timer = msMax === undefined ? undefined : setTimeout(() => worker.terminate(), msMax)
  await exited.catch(() => {})
  clearTimeout(timer)
}
