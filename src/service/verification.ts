/**
 * `verify now`: the verifier over our own data folder or PostgreSQL, in a thread of its own, for whoever asks over HTTP. What it decides is
 * put on record. It believes the key chain that lies there: an auditor who believes nothing here runs `ev-central verify`.
 *
 *   never     nobody asked since the process began
 *   running   one at a time; whoever asks meanwhile gets the same one
 *   done      there is a verdict
 *   failed    there is none: the thread ended
 *
 * Owns the thread and the last outcome. Crash: nothing; it writes nothing but its event.
 */
import { once } from 'node:events'
import type { Worker } from 'node:worker_threads'
import type { Audit } from '../audit/audit.ts'
import { createContext, currentContext } from '../context/context.ts'
import { ACCESS } from '../event/catalogue.ts'
import type { VerificationDoor, VerificationStatus } from '../http/deps.ts'
import { startThread } from '../threads/thread.ts'

export type VerificationMessage =
  | { readonly done: number; readonly total: number }
  | { readonly verdict: string; readonly sentence: string; readonly size: number }

const THREAD = new URL('./verification-thread', import.meta.url)

const NEVER: VerificationStatus = {
  phase: 'never',
  started_at: null,
  started_by: null,
  ended_at: null,
  done: 0,
  total: 0,
  verdict: null,
  sentence: null,
}

export function createVerification(deps: {
  /** Path of the data folder, or URL. */
  readonly trail: string
  readonly audit: Pick<Audit, 'access'>
}): VerificationDoor & AsyncDisposable {
  let status = NEVER
  let worker: Worker | undefined

  function end(change: Partial<VerificationStatus>): void {
    status = { ...status, ...change, ended_at: new Date().toISOString() }
  }

  function run(actor: string): Worker {
    const context = currentContext() ?? createContext()
    const thread = startThread(THREAD, { workerData: deps.trail, name: 'evc-verification', resourceLimits: {} })
    thread.on('message', (message: VerificationMessage) => {
      if ('total' in message) {
        status = { ...status, ...message }
        return
      }
      const { verdict, sentence, size } = message
      end({ phase: 'done', verdict, sentence, done: size, total: size })
      const description = `Audit trail verified: ${verdict}`
      deps.audit.access(actor, context, ACCESS.VERIFY, { description, metadata: { verdict, size } })
    })
    thread.on('exit', () => {
      worker = undefined
      if (status.phase === 'running') end({ phase: 'failed', sentence: 'The verification ended early.' })
    })
    return thread
  }

  return {
    start(actor) {
      if (worker !== undefined) return status
      status = { ...NEVER, phase: 'running', started_at: new Date().toISOString(), started_by: actor }
      worker = run(actor)
      return status
    },
    status: () => status,
    async [Symbol.asyncDispose]() {
      if (worker === undefined) return
      const ended = once(worker, 'exit')
      await worker.terminate()
      await ended.catch(() => {})
    },
  }
}
