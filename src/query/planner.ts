/**
 * From a filter to the ids that match it: which index or set is walked for each condition, and in which order.
 *
 * We choose and not SQLite's planner, whose choice without statistics may cost seconds. Chunk sets are combined first: reason_code,
 * action, severity (a list of values as their union), then the time range (time map). Each of ip, who and request_id is one step over
 * what the others leave; the last is asked first, as it is the most selective. All are exact, so no row is read that does not match.
 */
import type { Facet } from '../store/chunk-sets.ts'
import type { TimeRange } from './chunk-reader.ts'
import { type ChunkStream, chunkIntersection, chunkUnion, keysOfChunks, storedChunks } from './chunk-streams.ts'
import type { EventDatabase } from './event-database.ts'
import type { EventFilter } from './event-queries.ts'
import {
  batchedStream,
  type Deadline,
  type Direction,
  END,
  intersection,
  type KeyStream,
  probedIntersection,
  rangeStream,
} from './id-streams.ts'
import { KEY_COLUMNS, type KeyColumn } from './segment-reader.ts'
import { timeRange } from './times.ts'

const FACETS_BY_SELECTIVITY = ['reason_code', 'action', 'severity'] as const satisfies readonly Facet[]

/** The keys of all rows that match, within `first` to `last`, in walking order. */
export function planWalk(
  database: EventDatabase,
  filter: EventFilter,
  walk: { direction: Direction; first: number; last: number },
  deadline: Deadline,
): KeyStream {
  const { direction, first, last } = walk
  const present = presentKeys(database, direction, rangeStream(first, last))
  const chunks = keysOfConditions(database, filter, direction, deadline)
  let keys = chunks === undefined ? present : intersection([chunks, present], deadline)
  for (const column of KEY_COLUMNS.toReversed()) {
    const value = filter[column]
    if (value === undefined) continue
    const among = (candidates: readonly number[]) => database.keysAmong(column, value, direction, candidates)
    keys = probedIntersection(keysOfValue(database, column, value, direction), keys, among, deadline)
  }
  return keys
}

/** What has left is stepped over at once, however much it is. */
function presentKeys(database: EventDatabase, direction: Direction, range: KeyStream): KeyStream {
  return {
    seek(key) {
      const at = range.seek(key)
      const id = at === END ? undefined : database.presentId(at * direction, direction)
      return id === undefined ? END : range.seek(id * direction)
    },
  }
}

function keysOfValue(database: EventDatabase, column: KeyColumn, value: string, direction: Direction): KeyStream {
  return batchedStream((key, count) => database.keysOf(column, value, direction, key, count))
}

/** Undefined when the filter has no condition that is answered by chunks. */
function keysOfConditions(
  database: EventDatabase,
  filter: EventFilter,
  direction: Direction,
  deadline: Deadline,
): KeyStream | undefined {
  const chunks = chunkConditions(database, filter, direction)
  return chunks.length === 0 ? undefined : keysOfChunks(chunkIntersection(chunks, direction, deadline), direction)
}

function chunkConditions(database: EventDatabase, filter: EventFilter, direction: Direction): ChunkStream[] {
  const chunks: ChunkStream[] = []
  for (const facet of FACETS_BY_SELECTIVITY) {
    const values: readonly string[] | undefined = filter[facet]
    if (values === undefined) continue
    chunks.push(chunkUnion(values.map(value => chunksOfValue(database, facet, value, direction))))
  }
  const range = timeRange(filter)
  if (range !== undefined) chunks.push(chunksOfTime(database, range, direction))
  return chunks
}

function chunksOfValue(database: EventDatabase, facet: Facet, value: string, direction: Direction): ChunkStream {
  return storedChunks((ordinal, count) => database.facetParts(facet, value, direction, ordinal, count))
}

/** Whole chunks need no look at their rows; those at the edges of the range (two, if time only goes forward) do. */
function chunksOfTime(database: EventDatabase, range: TimeRange, direction: Direction): ChunkStream {
  return storedChunks((ordinal, count) =>
    database
      .chunksOfTime(range, direction, ordinal)
      .take(count)
      .map(({ chunk, minMs, maxMs }) => {
        const isWithin = minMs >= range.startMs && maxMs < range.endMs
        return {
          ordinal: chunk * direction,
          members: () => (isWithin ? undefined : database.membersOfTime(range, chunk)),
        }
      })
      .toArray(),
  )
}
