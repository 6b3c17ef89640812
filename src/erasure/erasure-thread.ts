/** Entry of an erasure's thread: one step (erase.ts), then it ends. */
import { parentPort, workerData } from 'node:worker_threads'
import { Refusal } from '../errors.ts'
import { cleanFiles, erase } from './erase.ts'
import type { ErasureMessage, ErasureThreadData } from './erasure-protocol.ts'

const port = parentPort
if (port === null) throw new Error('this file is the entry of a worker thread')
port.postMessage(await run(workerData as ErasureThreadData))

async function run(data: ErasureThreadData): Promise<ErasureMessage> {
  try {
    if (data.step === 'erase') return { erased: await erase(data.paths, data.request) }
    await cleanFiles(data.paths, data.subject)
    return { erased: undefined }
  } catch (error) {
    if (!(error instanceof Refusal)) throw error
    const { code, message: detail, violations, retryAfterSeconds } = error
    return { refusal: { code, detail, violations, retryAfterSeconds } }
  }
}
