/**
 * Runs scrypt off the event loop, few at a time, the rest waiting in a bounded queue: a flood of logins may fill the
 * queue, never the machine. Owns the queue.
 */
import { scrypt } from 'node:crypto'
import { Refusal } from '../errors.ts'
import { LIMITS } from '../limits.ts'

export interface ScryptCost {
  readonly N: number
  readonly r: number
  readonly p: number
}

export interface ScryptQueue {
  /** @throws {Refusal} OVERLOADED: the queue is full */
  derive(secret: Uint8Array, salt: Uint8Array, bytes: number, cost: ScryptCost): Promise<Uint8Array>
}

const MEMORY_BYTES_MAX = 64 * 1024 * 1024
/** About what a full queue takes to drain at 30 to 70 a second. */
const RETRY_AFTER_SECONDS = 4

export function createScryptQueue(): ScryptQueue {
  const waiting: (() => void)[] = []
  let running = 0

  async function enter(): Promise<void> {
    if (running < LIMITS.scryptConcurrentMax) {
      running++
      return
    }
    if (waiting.length >= LIMITS.scryptWaitingMax) {
      throw new Refusal('OVERLOADED', 'Too many logins are being checked.', { retryAfterSeconds: RETRY_AFTER_SECONDS })
    }
    await new Promise<void>(resolve => waiting.push(resolve))
  }

  function leave(): void {
    const next = waiting.shift()
    if (next === undefined) running--
    else next() // the place passes on, so `running` stays
  }

  return {
    async derive(secret, salt, bytes, cost) {
      await enter()
      try {
        return await new Promise((resolve, reject) => {
          scrypt(secret, salt, bytes, { ...cost, maxmem: MEMORY_BYTES_MAX }, (error, derived) => {
            if (error === null) resolve(derived)
            else reject(error)
          })
        })
      } finally {
        leave()
      }
    },
  }
}
