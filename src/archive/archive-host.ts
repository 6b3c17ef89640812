/**
 * Retention of a running service: a thread archives what is old enough, at the start and then once a day.
 *
 * Promise: nothing waits for it, and what goes wrong is logged and tried again at the next time. Ending the thread at any
 * moment is a crash as far as archive.ts is concerned, and leaves what is said there. Of instances that share a trail one does it,
 * and the others find it done. Owns the thread and a timer.
 */
import type { Worker } from 'node:worker_threads'
import type { AuditLogger } from '../audit/audit-service.ts'
import { startThread } from '../threads/thread.ts'
import type { ArchiveMessage, ArchiveThreadData } from './archive-protocol.ts'

const THREAD = new URL('./archive-thread', import.meta.url)
const DAY_MS = 86_400_000
/** It holds one block at a time; without a bound, V8 would let garbage pile up first. */
const HEAP = { maxOldGenerationSizeMb: 96, maxYoungGenerationSizeMb: 8 }

export interface RetentionOptions extends Omit<ArchiveThreadData, 'beforeMs'> {
  /** EVC_RETENTION_DAYS */
  readonly days: number
  readonly logger: Pick<AuditLogger, 'info' | 'warn'>
}

export function startRetention({ days, logger, store, directory }: RetentionOptions): AsyncDisposable {
  let worker: Worker | undefined
  const run = () => {
    if (worker !== undefined) return // a day was not enough
    const workerData: ArchiveThreadData = { store, directory, beforeMs: Date.now() - days * DAY_MS }
    worker = startThread(THREAD, { workerData, name: 'evc-archive', resourceLimits: HEAP })
    worker.on('message', (message: ArchiveMessage) => report(message, logger))
    worker.on('error', (error: Error) =>
      logger.warn({ detail: error.message }, 'archiving failed; tried again in a day'),
    )
    worker.on('exit', () => {
      worker = undefined
    })
  }
  run()
  const timer = setInterval(run, DAY_MS)
  timer.unref()
  return {
    async [Symbol.asyncDispose]() {
      clearInterval(timer)
      await worker?.terminate()
    },
  }
}

function report(message: ArchiveMessage, logger: RetentionOptions['logger']): void {
  if ('detail' in message) {
    if (message.code !== 'ARCHIVE_RUNNING') logger.warn(message, 'archiving failed; tried again in a day')
    else logger.info(message, 'somebody else archives, or erases; tried again in a day')
    return
  }
  if (message.archived > 0) logger.info(message, 'segments were archived')
  else if (message.unsigned > 0)
    logger.warn(message, 'nothing was archived, as no checkpoint covers it; tried again in a day')
}
