/**
 * From a time range to the ids that may lie in it, by the first and last time of every 1,024 ids.
 *
 * Owns, in memory, the times of all complete chunks (16 bytes each: they never change); of a question that names a time only the
 * new ones are read. What is not complete yet may hold any time.
 */
import type { Session } from '../postgres/postgres.ts'
import { CHUNK_IDS, firstIdOf } from '../store/chunk-sets.ts'
import type { TimeRange } from './chunk-reader.ts'

export interface IdRange {
  readonly first: number
  readonly last: number
}

export interface PostgresTimes {
  /** Ranges of ids, ascending, outside of which no event is of the time range. */
  idsOf(session: Session, range: TimeRange, within: IdRange): Promise<IdRange[]>
}

/** Ranges with less than this between them are walked as one: a row that does not match costs less than a statement. */
const GAP_CHUNKS = 8
const SELECT = 'SELECT chunk, min_time, max_time FROM event_times WHERE chunk >= $1 ORDER BY chunk'

export function createPostgresTimes(): PostgresTimes {
  const minMs: number[] = []
  const maxMs: number[] = []

  async function refresh(session: Session, lastId: number): Promise<void> {
    const complete = Math.floor(lastId / CHUNK_IDS)
    if (minMs.length >= complete) return
    const { rows } = await session.query<{ chunk: number; min_time: string; max_time: string }>(SELECT, [minMs.length])
    for (const { chunk, min_time, max_time } of rows) {
      minMs[chunk] = Date.parse(min_time)
      maxMs[chunk] = Date.parse(max_time)
    }
  }

  /** A chunk without times, not complete or gone, may be of any time. */
  function mayHold(chunk: number, { startMs, endMs }: TimeRange): boolean {
    return !((maxMs[chunk] ?? Number.NaN) < startMs) && !((minMs[chunk] ?? Number.NaN) >= endMs)
  }

  return {
    async idsOf(session, range, { first, last }) {
      await refresh(session, last)
      const ranges: { first: number; last: number }[] = []
      for (let chunk = Math.floor((first - 1) / CHUNK_IDS); firstIdOf(chunk) <= last; chunk++) {
        if (!mayHold(chunk, range)) continue
        const ids = { first: Math.max(first, firstIdOf(chunk)), last: Math.min(last, firstIdOf(chunk + 1) - 1) }
        const before = ranges.at(-1)
        if (before !== undefined && ids.first - before.last <= GAP_CHUNKS * CHUNK_IDS) before.last = ids.last
        else ranges.push(ids)
      }
      return ranges
    },
  }
}
