/**
 * Counts over a time range, from the columns of its chunks (store/chunk.ts): no row is read, and a million events take
 * some tens of milliseconds.
 *
 * Charge points are counted from the actions whose `who` is one by definition of the event table. Names of equal count
 * are listed in the order in which the log first had them.
 */
import { Refusal } from '../errors.ts'
import type { Action } from '../event/catalogue.ts'
import { LIMITS } from '../limits.ts'
import { CHUNK_IDS } from '../store/chunk-sets.ts'
import type { ChunkTimes, TimeRange } from './chunk-reader.ts'
import type { EventDatabase } from './event-database.ts'
import type { Summary, SummaryRequest } from './event-queries.ts'
import type { Deadline } from './id-streams.ts'
import { parseTime } from './planner.ts'
import { createTally } from './tally.ts'
import { createVocabulary, type KnownKind, type Vocabulary } from './vocabulary.ts'

const CHARGE_POINT_ACTIONS: ReadonlySet<string> = new Set<Action>([
  'AUTH_SUCCESS',
  'AUTH_FAIL',
  'STATUS_CHANGE',
  'KEY_GENERATE',
  'KEY_RESET',
  'KEY_REVOKE',
  'SECURITY_EVENT',
])

/** @throws {Refusal} QUERY_TIMEOUT: part of a sum would be a wrong sum. */
export function summarize(database: EventDatabase, request: SummaryRequest, deadline: Deadline): Summary {
  const range = {
    startMs: parseTime(request.start_time, 'start_time'),
    endMs: parseTime(request.end_time, 'end_time'),
  }
  const vocabulary = createVocabulary(database)
  const counts = createCounts(vocabulary, range, request.bucketSeconds * 1000)
  for (const times of database.chunksOfTime(range, 1, 0)) {
    if (deadline.passed()) throw new Refusal('QUERY_TIMEOUT')
    counts.add(times, columnsOf(database, vocabulary, times))
  }
  return counts.result(range, request.bucketSeconds)
}

interface Columns {
  readonly count: number
  readonly who: Uint32Array
  readonly ip: Uint32Array
  readonly kinds: Uint16Array
  readonly times: ArrayLike<number>
  /** What the times are relative to. */
  readonly baseMs: number
}

/** @throws {Refusal} STORE_UNAVAILABLE: a sum without them would be a wrong sum. */
function columnsOf(database: EventDatabase, vocabulary: Vocabulary, { chunk, minMs }: ChunkTimes): Columns {
  const growing = database.growing()
  if (chunk !== growing.chunk) {
    const columns = database.columns(chunk)
    if (columns === undefined) {
      throw new Refusal('STORE_UNAVAILABLE', `Event ${chunk * CHUNK_IDS + 1} and those after it cannot be counted.`)
    }
    return { ...columns, count: CHUNK_IDS, baseMs: minMs }
  }
  return {
    count: growing.count,
    who: Uint32Array.from(growing.who, vocabulary.nameNumber),
    ip: Uint32Array.from(growing.ip, vocabulary.nameNumber),
    kinds: Uint16Array.from(growing.kinds, vocabulary.kindNumber),
    times: growing.times,
    baseMs: 0,
  }
}

function createCounts(vocabulary: Vocabulary, range: TimeRange, bucketMs: number) {
  const buckets = createBuckets(vocabulary, range, bucketMs)
  const chargePoints = createTally(vocabulary.namesMax)
  const addresses = createTally(vocabulary.namesMax)
  const isFailure = vocabulary.kindFlags(kind => kind.action === 'AUTH_FAIL')
  const isOfChargePoint = vocabulary.kindFlags(kind => CHARGE_POINT_ACTIONS.has(kind.action))
  const unknown = vocabulary.nameNumber('unknown')
  const nowhere = vocabulary.nameNumber('-')

  return {
    add({ minMs, maxMs }: ChunkTimes, { count, who, ip, kinds, times, baseMs }: Columns): void {
      const isWithin = minMs >= range.startMs && maxMs < range.endMs
      const bucket = isWithin ? buckets.of(minMs, maxMs) : undefined
      for (let n = 0; n < count; n++) {
        const kind = kinds[n] as number
        if (bucket === undefined) {
          const ms = baseMs + (times[n] as number)
          if (!isWithin && (ms < range.startMs || ms >= range.endMs)) continue
          buckets.add(ms, kind)
        } else {
          bucket[kind] = (bucket[kind] as number) + 1
        }
        const failures = isFailure[kind] as number
        const name = who[n] as number
        const address = ip[n] as number
        if (isOfChargePoint[kind] === 1 && name !== unknown) chargePoints.add(name, failures)
        if (address !== nowhere) addresses.add(address, failures)
      }
    },
    result({ startMs, endMs }: TimeRange, bucketSeconds: number): Summary {
      const kindCounts = buckets.total()
      const by = (nameOf: (kind: KnownKind) => string | null) => vocabulary.sumKinds(kindCounts, nameOf)
      return {
        start_time: new Date(startMs).toISOString(),
        end_time: new Date(endMs).toISOString(),
        total: kindCounts.reduce((sum, count) => sum + count, 0),
        by_action: by(kind => kind.action),
        by_severity: by(kind => kind.severity),
        by_reason: by(kind => kind.reason),
        top_charge_points: chargePoints.top().map(({ name, ...rest }) => ({ cp_id: vocabulary.name(name), ...rest })),
        top_addresses: addresses.top().map(({ name, ...rest }) => ({ ip: vocabulary.name(name), ...rest })),
        bucket_seconds: bucketSeconds,
        series: buckets.series(),
      }
    },
  }
}

/** Buckets are aligned to multiples of their length since the epoch, so that two requests agree on their edges. */
function createBuckets(vocabulary: Vocabulary, { startMs, endMs }: TimeRange, bucketMs: number) {
  if (!(bucketMs > 0) || (endMs - startMs) / bucketMs > LIMITS.summaryBucketsMax) {
    throw new Refusal('VALIDATION_FAILED', 'too many buckets', { violations: [{ field: 'bucket', rule: 'too_small' }] })
  }
  const buckets = new Map<number, Float64Array>()
  let current: Float64Array = new Float64Array(0)
  let fromMs = Number.POSITIVE_INFINITY

  /** Neighbours in the log are mostly of one bucket. */
  function at(ms: number): Float64Array {
    if (ms >= fromMs && ms < fromMs + bucketMs) return current
    fromMs = Math.floor(ms / bucketMs) * bucketMs
    current = buckets.get(fromMs) ?? new Float64Array(vocabulary.kindsMax)
    buckets.set(fromMs, current)
    return current
  }

  return {
    /** The one bucket that both times fall into, if they do. */
    of: (minMs: number, maxMs: number) =>
      Math.floor(minMs / bucketMs) === Math.floor(maxMs / bucketMs) ? at(minMs) : undefined,
    add(ms: number, kind: number): void {
      const bucket = at(ms)
      bucket[kind] = (bucket[kind] as number) + 1
    },
    total(): Float64Array {
      const sum = new Float64Array(vocabulary.kindsMax)
      for (const counts of buckets.values())
        counts.forEach((count, kind) => {
          sum[kind] = (sum[kind] as number) + count
        })
      return sum
    },
    series: () =>
      [...buckets]
        .sort(([a], [b]) => a - b)
        .map(([ms, counts]) => ({
          start: new Date(ms).toISOString(),
          total: counts.reduce((sum, count) => sum + count, 0),
          by_severity: vocabulary.sumKinds(counts, kind => kind.severity),
        })),
  }
}
