/**
 * What of a time range is counted already (store/postgres-counts-schema.ts), and which ids are left to be read: blocks that lie
 * within it, each as large as may be, and around them ranges of rows. No id is in both.
 */
import type { Session } from '../postgres/postgres.ts'
import type { IdRange, PostgresTimes } from './postgres-times.ts'
import { type Conditions, conditionsOf, idRanges, readIds } from './postgres-walk.ts'

export interface Block extends IdRange {
  readonly level: number
}

export interface Cover {
  readonly blocks: readonly Block[]
  readonly rest: readonly IdRange[]
}

export interface CoveredRange {
  /** By blocks up to this level: -1 by none. */
  upTo(level: number): Cover
  /** What rows of the rest have to meet. */
  readonly conditions: Conditions
}

/** A larger one comes before those that it is made of. */
const SELECT_WITHIN = `SELECT level, first_id AS first, last_id AS last FROM event_counts
  WHERE min_time >= $1 AND max_time < $2 AND first_id >= $3 AND last_id <= $4 ORDER BY first_id, level DESC`

/** In one snapshot of the caller's. */
export async function coverRange(
  session: Session,
  times: PostgresTimes,
  range: { readonly start_time: string; readonly end_time: string },
): Promise<CoveredRange> {
  const present = await readIds(session)
  const conditions = conditionsOf(range)
  const ranges = await idRanges(session, times, range, present)
  const within = [...conditions.values, present.first, present.last]
  const { rows } = await session.query<Block & Record<string, unknown>>(SELECT_WITHIN, within, 'counts: within')
  return {
    conditions,
    upTo(level) {
      const blocks = disjoint(rows.filter(block => block.level <= level))
      return { blocks, rest: without(ranges, blocks) }
    },
  }
}

function disjoint(nested: readonly Block[]): Block[] {
  let reached = 0
  return nested.filter(({ first, last }) => {
    if (first <= reached) return false
    reached = last
    return true
  })
}

/** Both ascending. */
function without(ranges: readonly IdRange[], blocks: readonly IdRange[]): IdRange[] {
  const rest: IdRange[] = []
  let next = 0
  for (const { first, last } of ranges) {
    let from = first
    while (next < blocks.length && (blocks[next] as IdRange).last < from) next++
    for (let at = next; at < blocks.length && (blocks[at] as IdRange).first <= last; at++) {
      const block = blocks[at] as IdRange
      if (from < block.first) rest.push({ first: from, last: block.first - 1 })
      from = block.last + 1
    }
    if (from <= last) rest.push({ first: from, last })
  }
  return rest
}
