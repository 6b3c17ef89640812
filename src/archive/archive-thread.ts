/**
 * Entry of the archiver's thread: one run (archive.ts), then it ends. It rests after each block for as long as that took,
 * so that writing and checking take at most half of a processor.
 */
import { setTimeout } from 'node:timers/promises'
import { parentPort, workerData } from 'node:worker_threads'
import { safeError } from '../audit/redaction.ts'
import { Refusal } from '../errors.ts'
import { archiveSegments } from './archive.ts'
import type { ArchiveMessage, ArchiveThreadData } from './archive-protocol.ts'

const port = parentPort
if (port === null) throw new Error('this file is the entry of a worker thread')
port.postMessage(await run(workerData as ArchiveThreadData))

async function run({ store, directory, beforeMs }: ArchiveThreadData): Promise<ArchiveMessage> {
  let rested = performance.now()
  const rest = async () => {
    await setTimeout(performance.now() - rested)
    rested = performance.now()
  }
  try {
    const options = { store, directory, beforeMs, actor: 'system', rest }
    const { archived, held, unsigned, space } = await archiveSegments(options)
    const counts = { archived: archived.length, held: held.length, unsigned: unsigned.length }
    return space === undefined ? counts : { ...counts, bytesBefore: space.bytesBefore, bytesAfter: space.bytesAfter }
  } catch (error) {
    return { code: error instanceof Refusal ? error.code : undefined, detail: safeError(error).message }
  }
}
