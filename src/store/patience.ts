/** Waiting for the write lock, which a running indexer holds for a moment at a time. */
import { setTimeout } from 'node:timers/promises'
import { Refusal } from '../errors.ts'
import { StoreError } from './event-store.ts'

const UNAVAILABLE_MS_MAX = 30_000
const RETRY_MS = 100

/** Tries again for half a minute. @throws {Refusal} STORE_UNAVAILABLE */
export async function patiently<T>(work: () => Promise<T>): Promise<T> {
  for (const until = performance.now() + UNAVAILABLE_MS_MAX; ; ) {
    try {
      return await work()
    } catch (error) {
      if (!(error instanceof StoreError)) throw error
      if (error.code === 'FOREIGN' || performance.now() > until) {
        throw new Refusal('STORE_UNAVAILABLE', error.message, { cause: error })
      }
      await setTimeout(RETRY_MS)
    }
  }
}
