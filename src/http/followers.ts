/**
 * Answers that go on until somebody leaves: the list of them all, with their limit, and the check that ends those whose
 * admin was revoked or has signed out.
 */
import { Readable } from 'node:stream'
import { Refusal } from '../errors.ts'
import { LIMITS } from '../limits.ts'
import type { HttpMetrics } from './metrics.ts'

export interface Followers {
  /**
   * @param messages pulled only as fast as the client reads; ends by itself once `isClosed`
   * @throws {Refusal} OVERLOADED when there are too many.
   */
  admit(isAllowed: () => Promise<boolean>, messages: (follower: Follower) => AsyncIterable<string>): FollowerStream
  closeAll(): void
}

export interface Follower {
  readonly isClosed: boolean
  /** Ends the pause it is in. */
  wake(): void
  /** True if time ran out. */
  pause(ms: number): Promise<boolean>
}

export interface FollowerStream {
  readonly body: Readable
  /** To be called when the client is gone. Safe to call twice. */
  close(): void
}

export function createFollowers(metrics: HttpMetrics): Followers {
  const open = new Set<ReturnType<typeof admitted>>()
  let recheck: NodeJS.Timeout | undefined

  function admitted(isAllowed: () => Promise<boolean>, messages: (follower: Follower) => AsyncIterable<string>) {
    let wake = () => {}
    const follower = {
      isClosed: false,
      wake: () => wake(),
      pause(ms: number): Promise<boolean> {
        return new Promise(resolve => {
          if (follower.isClosed) return resolve(false)
          const timer = setTimeout(() => resolve(true), ms)
          wake = () => {
            clearTimeout(timer)
            resolve(false)
          }
        })
      },
    }
    const body = Readable.from(messages(follower), { objectMode: false })
    return { isAllowed, follower, body }
  }

  function end(entry: ReturnType<typeof admitted>): void {
    if (!open.delete(entry)) return
    entry.follower.isClosed = true
    entry.follower.wake()
    metrics.streamClients(open.size)
    if (open.size > 0) return
    clearInterval(recheck)
    recheck = undefined
  }

  /** Ends a stream from our side, also one whose client does not read. */
  function cutOff(entry: ReturnType<typeof admitted>): void {
    end(entry)
    if (entry.body.readableLength > 0) entry.body.destroy()
  }

  async function endRevoked(): Promise<void> {
    for (const entry of [...open]) {
      const isAllowed = await entry.isAllowed().catch(() => false) // who cannot be checked is not allowed
      if (!isAllowed) cutOff(entry)
    }
  }

  return {
    admit(isAllowed, messages) {
      if (open.size >= LIMITS.streamClientsMax) {
        throw new Refusal('OVERLOADED', 'There are too many followers.', { retryAfterSeconds: 5 })
      }
      const entry = admitted(isAllowed, messages)
      open.add(entry)
      metrics.streamClients(open.size)
      recheck ??= setInterval(endRevoked, LIMITS.streamRecheckMs).unref()
      entry.body.once('close', () => end(entry))
      return { body: entry.body, close: () => end(entry) }
    },
    closeAll() {
      for (const entry of [...open]) cutOff(entry)
    },
  }
}
