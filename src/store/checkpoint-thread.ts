/** Entry of a checkpointer's thread: answers each `checkpoint` with whether it was done (see checkpointer.ts). */
import { readlinkSync } from 'node:fs'
import { setPriority } from 'node:os'
import { parentPort, workerData } from 'node:worker_threads'
import { StoreError } from './event-store.ts'
import { createSqliteEventStore } from './sqlite-event-store.ts'

/** Nice: behind all others, and yet so soon that a writer which waits for the log's new beginning does not wait long. */
const PRIORITY = 10

const port = parentPort
if (port === null) throw new Error('this file is the entry of a worker thread')
letOthersFirst()
const store = createSqliteEventStore({ path: (workerData as { storePath: string }).storePath })

port.on('message', async (message: 'checkpoint' | 'close') => {
  if (message === 'checkpoint') port.postMessage(await checkpoint())
  else {
    await store.close()
    port.close()
  }
})

async function checkpoint(): Promise<boolean> {
  try {
    await store.checkpoint()
    return true
  } catch (error) {
    if (error instanceof StoreError) return false // at the next occasion
    throw error
  }
}

/**
 * Nobody waits for a copy, and it keeps a core busy for milliseconds in which a question would wait. A priority of a thread's own
 * is known to Linux alone, which names the thread here.
 */
function letOthersFirst(): void {
  try {
    const thread = readlinkSync('/proc/thread-self').split('/').at(-1)
    setPriority(Number(thread), PRIORITY)
  } catch {
    // elsewhere, or where that is forbidden, it takes its turn as the others do
  }
}
