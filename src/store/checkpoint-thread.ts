/** Entry of a checkpointer's thread: answers each `checkpoint` with whether it was done (see checkpointer.ts). */
import { parentPort, workerData } from 'node:worker_threads'
import { letOthersFirst } from '../threads/priority.ts'
import { StoreError } from './event-store.ts'
import { createSqliteEventStore } from './sqlite-event-store.ts'

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
