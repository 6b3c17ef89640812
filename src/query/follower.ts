/**
 * Reads the log forward from a position with a filter, for streams and `tail`. Keeps only its position,
 * which moves over rows that do not match too, so a quiet filter does not read the same rows again.
 */

import type { StoredEvent } from '../event/event.ts'
import { LIMITS } from '../limits.ts'
import type { EventFilter, EventQueries } from './event-queries.ts'

export interface Follower {
  /** All events up to this id have been returned or do not match. */
  readonly position: number
  /** The next matching events, oldest first; none when there are none up to `head`, the id of the last row known. */
  next(head: number): Promise<StoredEvent[]>
}

/** One `next` at a time. If it rejects, the position has not moved past anything unreturned: call again. */
export function createFollower(deps: {
  queries: Pick<EventQueries, 'page'>
  filter: EventFilter
  after: number
}): Follower {
  const { queries, filter } = deps
  let position = deps.after
  return {
    get position() {
      return position
    },
    async next(head) {
      while (position < head) {
        const page = await queries.page({ filter, limit: LIMITS.pageEventsDefault, order: 'asc', after: position })
        // At the end: nothing matches up to `head`, as those rows were there before the page was asked for.
        position = page.next ?? Math.max(head, page.events.at(-1)?.id ?? 0)
        if (page.events.length > 0) return page.events
      }
      return []
    },
  }
}
