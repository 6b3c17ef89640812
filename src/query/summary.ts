/**
 * Counts over a time range, taken slice of ids by slice of ids, so that no statement runs long and the time limit holds.
 *
 * Charge points are counted from the actions whose `who` is one by definition of the event table. The two top lists
 * are exact up to 100,000 names; beyond that the rarest are forgotten from time to time, so an attacker who invents
 * names can neither fill the memory nor displace a frequent one.
 */
import { Refusal } from '../errors.ts'
import type { Action } from '../event/catalogue.ts'
import { LIMITS } from '../limits.ts'
import { CHUNK_IDS, firstIdOf } from '../store/chunk-sets.ts'
import type { EventDatabase, SummaryRow, TimeRange } from './event-database.ts'
import type { Summary, SummaryRequest } from './event-queries.ts'
import type { Deadline } from './id-streams.ts'
import { canonicalTime } from './planner.ts'

const CHUNKS_PER_SLICE = 8
const NAMES_MAX = 100_000

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
    start: canonicalTime(request.start_time, 'start_time'),
    end: canonicalTime(request.end_time, 'end_time'),
  }
  const counts = createCounts(range, request.bucketSeconds * 1000)
  for (const [first, last] of slices(database, range)) {
    if (deadline.passed()) throw new Refusal('QUERY_TIMEOUT')
    for (const row of database.summaryRows(first, last, range)) counts.add(row)
  }
  return counts.result(request)
}

/** Id ranges of neighbouring chunks that hold rows of the range. */
function* slices(database: EventDatabase, range: TimeRange): Generator<[first: number, last: number]> {
  for (let from = 0; ; ) {
    const chunks = database.chunksOfTime(range, 1, from)
    if (chunks.length === 0) return
    let start = (chunks[0] as { chunk: number }).chunk
    let next = start
    for (const { chunk } of chunks) {
      if (chunk !== next || next - start === CHUNKS_PER_SLICE) {
        yield [firstIdOf(start), firstIdOf(next) - 1]
        start = chunk
      }
      next = chunk + 1
    }
    yield [firstIdOf(start), firstIdOf(next - 1) + CHUNK_IDS - 1]
    from = next
  }
}

interface Named {
  count: number
  failures: number
}

interface Bucket {
  total: number
  readonly bySeverity: Map<string, number>
}

function createCounts(range: TimeRange, bucketMs: number) {
  let total = 0
  const byAction = new Map<string, number>()
  const bySeverity = new Map<string, number>()
  const byReason = new Map<string, number>()
  const chargePoints = new Map<string, Named>()
  const addresses = new Map<string, Named>()
  const buckets = createBuckets(range, bucketMs)

  return {
    add([time, who, ip, action, severity, reason]: SummaryRow): void {
      total++
      increment(byAction, action)
      increment(bySeverity, severity)
      if (reason !== null) increment(byReason, reason)
      const isFailure = action === 'AUTH_FAIL'
      if (CHARGE_POINT_ACTIONS.has(action) && who !== 'unknown') count(chargePoints, who, isFailure)
      if (ip !== '-') count(addresses, ip, isFailure)
      const bucket = buckets.of(time)
      bucket.total++
      increment(bucket.bySeverity, severity)
    },
    result: (request: SummaryRequest): Summary => ({
      start_time: range.start,
      end_time: range.end,
      total,
      by_action: Object.fromEntries(byAction),
      by_severity: Object.fromEntries(bySeverity),
      by_reason: Object.fromEntries(byReason),
      top_charge_points: top(chargePoints).map(([cp_id, named]) => ({ cp_id, ...named })),
      top_addresses: top(addresses).map(([ip, named]) => ({ ip, ...named })),
      bucket_seconds: request.bucketSeconds,
      series: buckets.series(),
    }),
  }
}

/** Buckets are aligned to multiples of their length since the epoch, so that two requests agree on their edges. */
function createBuckets({ start, end }: TimeRange, bucketMs: number) {
  const spanMs = Date.parse(end) - Date.parse(start)
  if (!(bucketMs > 0) || spanMs / bucketMs > LIMITS.summaryBucketsMax) {
    throw new Refusal('VALIDATION_FAILED', 'too many buckets', { violations: [{ field: 'bucket', rule: 'too_small' }] })
  }
  const buckets = new Map<number, Bucket>()
  let current: Bucket | undefined
  let from = ''
  let until = ''
  return {
    /** Neighbours in the log are mostly of one bucket, which two comparisons tell without parsing the time. */
    of(time: string): Bucket {
      if (current !== undefined && time >= from && time < until) return current
      const startMs = Math.floor(Date.parse(time) / bucketMs) * bucketMs
      from = new Date(startMs).toISOString()
      until = new Date(startMs + bucketMs).toISOString()
      current = buckets.get(startMs)
      if (current === undefined) {
        current = { total: 0, bySeverity: new Map() }
        buckets.set(startMs, current)
      }
      return current
    },
    series: () =>
      [...buckets]
        .sort(([a], [b]) => a - b)
        .map(([startMs, { total, bySeverity }]) => ({
          start: new Date(startMs).toISOString(),
          total,
          by_severity: Object.fromEntries(bySeverity),
        })),
  }
}

function increment(counts: Map<string, number>, name: string): void {
  counts.set(name, (counts.get(name) ?? 0) + 1)
}

function count(names: Map<string, Named>, name: string, isFailure: boolean): void {
  let named = names.get(name)
  if (named === undefined) {
    if (names.size >= NAMES_MAX) forgetRarest(names)
    named = { count: 0, failures: 0 }
    names.set(name, named)
  }
  named.count++
  if (isFailure) named.failures++
}

function forgetRarest(names: Map<string, Named>): void {
  for (let few = 1; names.size > NAMES_MAX / 2; few *= 2) {
    for (const [name, { count }] of names) if (count <= few) names.delete(name)
  }
}

/** Most events first; names of equal count in their own order, so that the same question has the same answer. */
function top(names: Map<string, Named>): [string, Named][] {
  return [...names]
    .sort(([a, { count: m }], [b, { count: n }]) => n - m || (a < b ? -1 : 1))
    .slice(0, LIMITS.summaryTopMax)
}
