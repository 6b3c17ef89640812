/** Entry of a verifier's thread: checks the ranges that it is sent, one after the other (worker-pool.ts). */
import { parentPort, workerData } from 'node:worker_threads'
import type { BundleRange } from '../source.ts'
import { type CheckerSpec, openChecker } from './range-checker.ts'
import type { Answer, Question } from './worker-pool.ts'

let opening = openChecker(workerData as CheckerSpec)
opening.catch(() => {}) // whoever asks first hears of it
let turn = Promise.resolve()

parentPort!.on('message', (question: Question) => {
  turn = turn.then(async () => parentPort!.postMessage(await answerOf(question)))
})

async function answerOf({ number, what }: Question): Promise<Answer> {
  try {
    return { number, ...(await answer(what)) }
  } catch (error) {
    const { name, message, code } = error as Error & { readonly code?: unknown }
    return { number, failed: { name, message, ...(typeof code === 'string' && { code }) } }
  }
}

async function answer(what: BundleRange | 'reopen' | 'fingerprint') {
  const checker = await opening
  if (what === 'fingerprint') return { fingerprint: checker.fingerprint }
  if (what !== 'reopen') return { report: await checker.checkRange(what) }
  await checker[Symbol.asyncDispose]()
  opening = openChecker(workerData as CheckerSpec)
  return { fingerprint: (await opening).fingerprint }
}
