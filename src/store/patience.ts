/** Waiting for the write lock, which a running indexer holds for a moment at a time. */
import { setTimeout } from 'node:timers/promises'
import { Refusal } from '../errors.ts'
import { sqliteCode } from './connection.ts'
import { StoreError } from './event-store.ts'

const UNAVAILABLE_MS_MAX = 30_000
/** Of what cannot be written at all, as on a read-only disk; for a moment a file may be like that, too. */
const UNWRITABLE_MS_MAX = 2_000
const SQLITE_READONLY = 8
const SQLITE_CANTOPEN = 14
const RETRY_MS = 100

/** Tries again for half a minute. @throws {Refusal} STORE_UNAVAILABLE */
export async function patiently<T>(work: () => Promise<T>): Promise<T> {
  for (const started = performance.now(); ; ) {
    try {
      return await work()
    } catch (error) {
      if (!(error instanceof StoreError)) throw error
      const msMax = isUnwritable(error) ? UNWRITABLE_MS_MAX : UNAVAILABLE_MS_MAX
      if (error.code === 'FOREIGN' || performance.now() - started > msMax) {
        throw new Refusal('STORE_UNAVAILABLE', error.message, { cause: error })
      }
      await setTimeout(RETRY_MS)
    }
  }
}

function isUnwritable({ cause }: StoreError): boolean {
  const code = sqliteCode(cause)
  return code === SQLITE_READONLY || code === SQLITE_CANTOPEN
}
