/**
 * Followers of the trail over server-sent events.
 *
 * Promise: a follower gets every matching event after its position, in order, once. Each keeps its own position and
 * pulls pages forward when rows were added, so a slow one holds up nobody: it is asked for no more than its socket
 * takes. Owns the list of followers; ends those whose admin was revoked.
 */
import { Readable } from 'node:stream'
import { Refusal } from '../errors.ts'
import type { StoredEvent } from '../event/event.ts'
import { LIMITS } from '../limits.ts'
import type { EventFilter } from '../query/event-queries.ts'
import type { HttpDeps } from './deps.ts'
import type { HttpMetrics } from './metrics.ts'

/** How long a follower waits before it asks a store again that could not answer. */
const RETRY_MS = 1_000
const RECONNECT_MS = 2_000

export interface EventStreams {
  /** @throws {Refusal} OVERLOADED when there are too many followers. */
  open(request: StreamRequest): Promise<EventStream>
  closeAll(): void
}

export interface StreamRequest {
  readonly adminName: string
  readonly filter: EventFilter
  /** Go on after this id; undefined starts after the newest row of now. */
  readonly after: number | undefined
}

export interface EventStream {
  readonly body: Readable
  /** To be called when the client is gone. Safe to call twice. */
  close(): void
}

interface Follower {
  readonly adminName: string
  isClosed: boolean
  wake: () => void
  readonly body: () => Readable
}

export function createEventStreams(deps: {
  queries: HttpDeps['queries']
  streams: HttpDeps['streams']
  admins: HttpDeps['security']['admins']
  metrics: HttpMetrics
}): EventStreams {
  const { queries, streams } = deps
  const followers = new Set<Follower>()
  let recheck: NodeJS.Timeout | undefined

  function add(follower: Follower): void {
    followers.add(follower)
    deps.metrics.streamClients(followers.size)
    recheck ??= setInterval(endRevoked, LIMITS.streamRecheckMs).unref()
  }

  function end(follower: Follower): void {
    if (!followers.delete(follower)) return
    follower.isClosed = true
    follower.wake()
    deps.metrics.streamClients(followers.size)
    if (followers.size === 0) {
      clearInterval(recheck)
      recheck = undefined
    }
  }

  /** Ends a stream from our side, also one whose client does not read. */
  function cutOff(follower: Follower): void {
    end(follower)
    if (follower.body().readableLength > 0) follower.body().destroy()
  }

  /** Looks at all admins rather than asking to authorize each, as a refusal would be an incident. */
  async function endRevoked(): Promise<void> {
    const admins = await deps.admins.list().catch(() => []) // who cannot be checked is not allowed
    const allowed = new Set(admins.filter(admin => admin.revoked_at === null).map(admin => admin.name))
    for (const follower of followers) if (!allowed.has(follower.adminName)) cutOff(follower)
  }

  /** Waits for rows, at most so long. True if time ran out. */
  function pause(follower: Follower, ms: number): Promise<boolean> {
    return new Promise(resolve => {
      if (follower.isClosed) return resolve(false)
      const timer = setTimeout(() => resolve(true), ms)
      follower.wake = () => {
        clearTimeout(timer)
        resolve(false)
      }
    })
  }

  async function* follow(follower: Follower, filter: EventFilter, after: number, newest: number) {
    let position = after
    let head = newest
    const stop = streams.onIndexed(() => follower.wake())
    try {
      yield `retry: ${RECONNECT_MS}\n: following after ${position}\n\n`
      while (!follower.isClosed) {
        head = Math.max(head, streams.lastEventId())
        if (head <= position) {
          if (await pause(follower, LIMITS.streamHeartbeatMs)) yield ': still here\n\n'
          continue
        }
        const request = { filter, order: 'asc', limit: LIMITS.streamPageEvents, after: position } as const
        const page = await queries.page(request).catch(waitForStore)
        if (page === undefined) {
          await pause(follower, RETRY_MS)
          continue
        }
        // At the end of the rows everything up to the head that was seen before the question has been looked at.
        position = page.next ?? Math.max(head, page.events.at(-1)?.id ?? 0)
        if (page.events.length > 0) yield page.events.map(message).join('')
      }
    } finally {
      stop()
      end(follower)
    }
  }

  return {
    async open({ adminName, filter, after }) {
      if (followers.size >= LIMITS.streamClientsMax) {
        throw new Refusal('OVERLOADED', 'There are too many followers.', { retryAfterSeconds: 5 })
      }
      const follower: Follower = { adminName, isClosed: false, wake: () => {}, body: () => body }
      add(follower)
      let body = Readable.from([])
      try {
        const newest = Math.max(await queries.lastId(), streams.lastEventId())
        body = Readable.from(follow(follower, filter, after ?? newest, newest), { objectMode: false })
        return { body, close: () => end(follower) }
      } catch (error) {
        end(follower)
        throw error
      }
    },
    closeAll() {
      for (const follower of [...followers]) cutOff(follower)
    },
  }
}

function message(event: StoredEvent): string {
  return `id: ${event.id}\ndata: ${JSON.stringify(event)}\n\n`
}

/** A store that cannot answer now is asked again; anything else ends the stream. */
function waitForStore(error: unknown): undefined {
  if (error instanceof Refusal && (error.code === 'STORE_UNAVAILABLE' || error.code === 'QUERY_TIMEOUT'))
    return undefined
  throw error
}
