/** Entry of a verifier's thread: checks the ranges that it is sent, one after the other (worker-pool.ts). */
import { parentPort, workerData } from 'node:worker_threads'
import { checkBundles } from '../range.ts'
import type { BundleRange } from '../source.ts'
import { openReader, type ReaderSpec } from './readers.ts'
import type { Answer, Question } from './worker-pool.ts'

let reader = openReader(workerData as ReaderSpec)

parentPort!.on('message', ({ number, what }: Question) => {
  try {
    parentPort!.postMessage({ number, ...answer(what) } satisfies Answer)
  } catch (error) {
    const { name, message } = error as Error
    parentPort!.postMessage({ number, failed: { name, message } } satisfies Answer)
  }
})

function answer(what: BundleRange | 'reopen' | 'fingerprint') {
  if (what === 'fingerprint') return { fingerprint: reader.fingerprint }
  if (what !== 'reopen') return { report: checkBundles(reader, what) }
  reader[Symbol.dispose]()
  reader = openReader(workerData as ReaderSpec)
  return { fingerprint: reader.fingerprint }
}
