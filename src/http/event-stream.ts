/**
 * Followers of the trail over server-sent events.
 *
 * Promise: a follower gets every matching event after its position, in order, once. Each keeps its own position and
 * pulls pages forward when rows were added, so a slow one holds up nobody: it is asked for no more than its socket
 * takes. One that did not say where to begin is told its position at once, and each is while nothing matches, so that it
 * can go on from there although no event gave it an id yet.
 */
import { Refusal } from '../errors.ts'
import type { StoredEvent } from '../event/event.ts'
import { LIMITS } from '../limits.ts'
import type { EventFilter } from '../query/event-queries.ts'
import type { HttpDeps } from './deps.ts'
import type { Follower, FollowerStream, Followers } from './followers.ts'

/** How long a follower waits before it asks a store again that could not answer. */
const RETRY_MS = 1_000
const RECONNECT_MS = 2_000

export interface EventStreams {
  /** @throws {Refusal} OVERLOADED when there are too many followers. */
  open(request: StreamRequest): Promise<FollowerStream>
}

export interface StreamRequest {
  readonly isAllowed: () => Promise<boolean>
  readonly filter: EventFilter
  /** Go on after this id; undefined starts after the newest row of now. */
  readonly after: number | undefined
}

export function createEventStreams(deps: {
  queries: HttpDeps['queries']
  streams: HttpDeps['streams']
  followers: Followers
}): EventStreams {
  const { queries, streams, followers } = deps

  async function* follow(follower: Follower, filter: EventFilter, after: number | undefined, newest: number) {
    // An id beyond the newest is of another trail, or of this one before it was set back: what comes next has smaller ones.
    let position = Math.min(after ?? newest, newest)
    let head = newest
    /** The id that the follower would come back with. */
    let told = after ?? position
    let saidAt = performance.now()
    const say = (text: string) => {
      saidAt = performance.now()
      return text
    }
    const stop = streams.onIndexed(() => follower.wake())
    try {
      // Without data it is no message: a browser keeps the id, and nobody takes it for an event.
      yield say(after === undefined ? `retry: ${RECONNECT_MS}\nid: ${position}\n\n` : `retry: ${RECONNECT_MS}\n\n`)
      while (!follower.isClosed) {
        const silenceMs = performance.now() - saidAt
        if (silenceMs >= LIMITS.streamHeartbeatMs) {
          yield say(told === position ? ALIVE : place(position))
          told = position
          continue
        }
        head = Math.max(head, streams.lastEventId())
        if (head <= position) {
          // What is left of it: a timer that fires a little early would wait for the whole time again.
          await follower.pause(Math.ceil(LIMITS.streamHeartbeatMs - silenceMs))
          continue
        }
        const request = { filter, order: 'asc', limit: LIMITS.streamPageEvents, after: position } as const
        const page = await queries.page(request).catch(waitForStore)
        if (page === undefined) {
          await follower.pause(RETRY_MS)
          continue
        }
        // At the end of the rows everything up to the head that was seen before the question has been looked at.
        position = page.next ?? Math.max(head, page.events.at(-1)?.id ?? 0)
        if (page.events.length > 0) yield say(page.events.map(message).join(''))
        told = page.events.at(-1)?.id ?? told
      }
    } finally {
      stop()
    }
  }

  return {
    async open({ isAllowed, filter, after }) {
      const newest = Math.max(await queries.lastId(), streams.lastEventId())
      return followers.admit(isAllowed, follower => follow(follower, filter, after, newest))
    },
  }
}

/** A comment: it keeps proxies from closing the connection, and tells nothing. */
const ALIVE = ':\n\n'

/** Everything up to it has been looked at. Its id is what a browser sends as `Last-Event-ID` when it comes back. */
function place(position: number): string {
  return `event: position\nid: ${position}\ndata: ${position}\n\n`
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
