/**
 * Counts over a time range: of each full segment that lies within it, what was counted once (store/segment-counts.ts); of
 * everything else the columns of its chunks (store/chunk.ts). No row is read.
 *
 * Charge points are counted from the actions whose `who` is one by definition of the event table. Names of equal count
 * are listed in the order in which the log first had them. Erased events are counted, as nobody's.
 */
import type { DatabaseSync } from 'node:sqlite'
import { Refusal } from '../errors.ts'
import { CHARGE_POINT_ACTIONS } from '../event/catalogue.ts'
import { numberKinds } from '../store/chunk.ts'
import { CHUNK_IDS, chunkOf } from '../store/chunk-sets.ts'
import { forEachCount, KINDS, MINUTE_MS, type SegmentCounts } from '../store/segment-counts.ts'
import type { ChunkTimes, TimeRange } from './chunk-reader.ts'
import type { EventDatabase } from './event-database.ts'
import type { Summary, SummaryRequest } from './event-queries.ts'
import type { Deadline } from './id-streams.ts'
import { createTally, type Tallied } from './tally.ts'
import { bucketsOf } from './times.ts'
import { createVocabulary, type KnownKind, type Vocabulary } from './vocabulary.ts'

/** @throws {Refusal} QUERY_TIMEOUT: part of a sum would be a wrong sum. */
export function summarize(database: EventDatabase, request: SummaryRequest, deadline: Deadline): Summary {
  const { bucketMs, ...range } = bucketsOf(request)
  const vocabulary = createVocabulary(database)
  const counts = createCounts(vocabulary, range, bucketMs)
  const counted = new Set<number>()
  // A minute that was counted as one may fall into two buckets of another length.
  const segments = bucketMs % MINUTE_MS === 0 ? segmentsWithin(database.db, range) : []
  for (const segment of segments) {
    if (deadline.passed()) throw new Refusal('QUERY_TIMEOUT')
    counts.addSegment(segment)
    for (let chunk = chunkOf(segment.firstId); chunk <= chunkOf(segment.lastId); chunk++) counted.add(chunk)
  }
  for (const times of database.chunksOfTime(range, 1, 0)) {
    if (counted.has(times.chunk)) continue
    if (deadline.passed()) throw new Refusal('QUERY_TIMEOUT')
    counts.addChunk(times, columnsOf(database, vocabulary, times))
  }
  return counts.result(range, request.bucketSeconds)
}

interface CountedSegment extends SegmentCounts {
  readonly firstId: number
  readonly lastId: number
}

/** Those that hold no event outside of the range. */
function segmentsWithin(db: DatabaseSync, { startMs, endMs }: TimeRange): Iterable<CountedSegment> {
  const select = db.prepare(
    `SELECT first_id AS firstId, last_id AS lastId, min_ms AS minMs, max_ms AS maxMs, minutes, who, ip
     FROM event_counts JOIN event_segments USING (segment) WHERE min_ms >= ? AND max_ms < ?`,
  )
  return select.iterate(startMs, endMs) as Iterable<unknown> as Iterable<CountedSegment>
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
export function columnsOf(database: EventDatabase, vocabulary: Vocabulary, { chunk, minMs }: ChunkTimes): Columns {
  const growing = database.growing()
  if (chunk !== growing.chunk) return { ...database.columns(chunk), count: CHUNK_IDS, baseMs: minMs }
  return {
    count: growing.count,
    who: Uint32Array.from(growing.who, vocabulary.nameNumber),
    ip: Uint32Array.from(growing.ip, vocabulary.nameNumber),
    kinds: numberKinds(growing, vocabulary.kindNumber),
    times: growing.times,
    baseMs: 0,
  }
}

function createCounts(vocabulary: Vocabulary, range: TimeRange, bucketMs: number) {
  const buckets = createBuckets(vocabulary, bucketMs)
  const chargePoints = createTally(vocabulary.namesMax)
  const addresses = createTally(vocabulary.namesMax)
  const isFailure = vocabulary.kindFlags(kind => kind.action === 'AUTH_FAIL')
  const isOfChargePoint = vocabulary.kindFlags(kind => CHARGE_POINT_ACTIONS.has(kind.action))
  const unknown = vocabulary.nameNumber('unknown')
  const nowhere = vocabulary.nameNumber('-')
  const erased = vocabulary.nameNumber('')

  return {
    addSegment({ minMs, minutes, who, ip }: CountedSegment): void {
      const firstMinute = Math.floor(minMs / MINUTE_MS)
      forEachCount(minutes, (key, count) => {
        buckets.add((firstMinute + Math.floor(key / KINDS)) * MINUTE_MS, key % KINDS, count)
      })
      forEachCount(who, (key, count) => {
        const name = Math.floor(key / 2)
        if (name !== unknown && name !== erased) chargePoints.add(name, count, key % 2 === 1 ? count : 0)
      })
      forEachCount(ip, (key, count) => {
        const address = Math.floor(key / 2)
        if (address !== nowhere && address !== erased) addresses.add(address, count, key % 2 === 1 ? count : 0)
      })
    },
    addChunk({ minMs, maxMs }: ChunkTimes, { count, who, ip, kinds, times, baseMs }: Columns): void {
      const isWithin = minMs >= range.startMs && maxMs < range.endMs
      const bucket = isWithin ? buckets.of(minMs, maxMs) : undefined
      for (let n = 0; n < count; n++) {
        const kind = kinds[n] as number
        if (bucket === undefined) {
          const ms = baseMs + (times[n] as number)
          if (!isWithin && (ms < range.startMs || ms >= range.endMs)) continue
          buckets.add(ms, kind, 1)
        } else {
          bucket[kind] = (bucket[kind] as number) + 1
        }
        const failures = isFailure[kind] as number
        const name = who[n] as number
        const address = ip[n] as number
        if (isOfChargePoint[kind] === 1 && name !== unknown && name !== erased) chargePoints.add(name, 1, failures)
        if (address !== nowhere && address !== erased) addresses.add(address, 1, failures)
      }
    },
    result({ startMs, endMs }: TimeRange, bucketSeconds: number): Summary {
      const kindCounts = buckets.total()
      const by = (nameOf: (kind: KnownKind) => string | null) => vocabulary.sumKinds(kindCounts, nameOf)
      const asChargePoint = ({ name, ...rest }: Tallied) => ({ cp_id: vocabulary.name(name), ...rest })
      const asAddress = ({ name, ...rest }: Tallied) => ({ ip: vocabulary.name(name), ...rest })
      return {
        start_time: new Date(startMs).toISOString(),
        end_time: new Date(endMs).toISOString(),
        total: kindCounts.reduce((sum, count) => sum + count, 0),
        by_action: by(kind => kind.action),
        by_severity: by(kind => kind.severity),
        by_reason: by(kind => kind.reason),
        top_charge_points: chargePoints.top().map(asChargePoint),
        top_addresses: addresses.top().map(asAddress),
        top_failing_charge_points: chargePoints.topFailed().map(asChargePoint),
        top_failing_addresses: addresses.topFailed().map(asAddress),
        bucket_seconds: bucketSeconds,
        series: buckets.series(),
      }
    },
  }
}

/** Buckets are aligned to multiples of their length since the epoch, so that two requests agree on their edges. */
function createBuckets(vocabulary: Vocabulary, bucketMs: number) {
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
    add(ms: number, kind: number, count: number): void {
      const bucket = at(ms)
      bucket[kind] = (bucket[kind] as number) + count
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
