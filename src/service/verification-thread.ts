/** Entry of the thread in which the trail is verified (verification.ts): says how far it is, then the verdict, and ends. */
import { parentPort, workerData } from 'node:worker_threads'
import { letOthersFirst } from '../threads/priority.ts'
import { verifyPath } from '../verify/index.ts'
import type { VerificationMessage } from './verification.ts'

const PROGRESS_MS = 100
let saidAt = Number.NEGATIVE_INFINITY

letOthersFirst()
const { verdict, sentence, size } = await verifyPath(workerData as string, {}, { workers: 1, onProgress })
say({ verdict, sentence, size })

function onProgress(done: number, total: number): void {
  if (performance.now() - saidAt < PROGRESS_MS) return
  saidAt = performance.now()
  say({ done, total })
}

function say(message: VerificationMessage): void {
  parentPort?.postMessage(message)
}
