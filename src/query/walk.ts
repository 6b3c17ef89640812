/** One pass over the matching rows, in either order, with a place to go on from. */
import type { EventDatabase } from './event-database.ts'
import type { EventFilter, EventPage, Order } from './event-queries.ts'
import { type Deadline, END, OutOfTime } from './id-streams.ts'
import { planWalk } from './planner.ts'

export interface WalkRequest {
  readonly filter: EventFilter
  readonly order: Order
  readonly limit: number
  readonly after?: number | undefined
}

/**
 * At most `limit` matching rows. `next` is null when there are no more, else the id to go on after: the last row's, or
 * when time ran out the last one examined.
 */
export function walkEvents(database: EventDatabase, request: WalkRequest, deadline: Deadline): EventPage {
  const direction = request.order === 'asc' ? 1 : -1
  const lastId = database.lastId()
  const start = direction === 1 ? 1 : -lastId
  const first = request.after === undefined ? start : Math.max(start, request.after * direction + 1)
  const last = direction === 1 ? lastId : -1
  const keys = planWalk(database, request.filter, { direction, first, last }, deadline)
  const ids: number[] = []
  const page = (next: number | null): EventPage => ({ events: database.events(ids), next })
  try {
    for (let key = keys.seek(first); key !== END; key = keys.seek(key + 1)) {
      if (ids.length === request.limit) return page(ids.at(-1) as number)
      ids.push(key * direction)
    }
  } catch (error) {
    if (!(error instanceof OutOfTime)) throw error
    return page((error.key - 1) * direction)
  }
  return page(null)
}
