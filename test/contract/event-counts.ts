/** The suite that every implementation of the questions is held to: sums. */
import assert from 'node:assert/strict'
import test from 'node:test'
import type { AuditEvent, StoredEvent } from '../../src/event/event.ts'
import { LIMITS } from '../../src/limits.ts'
import type { Summary, SummaryRequest } from '../../src/query/event-queries.ts'
import {
  createRandom,
  matches,
  NEVER,
  type QueriedStore,
  randomEvents,
  START,
  timeAt,
} from '../unit/query/event-fixture.ts'
import { sampleEvent } from './event-store.ts'

function tally<T>(values: readonly T[], nameOf: (value: T) => string | null): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const value of values) {
    const name = nameOf(value)
    if (name !== null) counts[name] = (counts[name] ?? 0) + 1
  }
  return counts
}

/** Names of equal count in the order in which the whole log first has them. */
function topTen(
  log: readonly StoredEvent[],
  events: readonly StoredEvent[],
  nameOf: (event: StoredEvent) => string,
  by: 'count' | 'failures' = 'count',
) {
  const firstSeen = new Map<string, number>()
  for (const event of log.toReversed()) firstSeen.set(nameOf(event), event.id)
  const seen = (name: string) => firstSeen.get(name) as number
  const failures = tally(
    events.filter(event => event.action === 'AUTH_FAIL'),
    nameOf,
  )
  return Object.entries(tally(events, nameOf))
    .map(([name, count]) => ({ name, count, failures: failures[name] ?? 0 }))
    .filter(found => found[by] > 0)
    .sort((a, b) => b[by] - a[by] || seen(a.name) - seen(b.name))
    .slice(0, 10)
}

const OF_CHARGE_POINTS = 'AUTH_SUCCESS AUTH_FAIL STATUS_CHANGE KEY_GENERATE KEY_RESET KEY_REVOKE SECURITY_EVENT'.split(
  ' ',
)

/** @param present the rows of the log that have not left */
export function naiveSummary(
  rows: readonly StoredEvent[],
  { start_time, end_time, bucketSeconds }: SummaryRequest,
  present = rows,
): Summary {
  const events = present.filter(event => matches(event, { start_time, end_time }))
  const bucketOf = (event: StoredEvent) => {
    const ms = bucketSeconds * 1000
    return new Date(Math.floor(Date.parse(event.date_time) / ms) * ms).toISOString()
  }
  const named = events.filter(event => OF_CHARGE_POINTS.includes(event.action) && event.who !== 'unknown')
  const buckets = Map.groupBy(events, bucketOf)
  return {
    start_time,
    end_time,
    total: events.length,
    by_action: tally(events, event => event.action),
    by_severity: tally(events, event => event.severity),
    by_reason: tally(events, event => event.reason_code),
    top_charge_points: topTen(rows, named, event => event.who).map(({ name, ...rest }) => ({ cp_id: name, ...rest })),
    top_addresses: topTen(
      rows,
      events.filter(event => event.ip !== '-'),
      event => event.ip,
    ).map(({ name, ...rest }) => ({
      ip: name,
      ...rest,
    })),
    top_failing_charge_points: topTen(rows, named, event => event.who, 'failures').map(({ name, ...rest }) => ({
      cp_id: name,
      ...rest,
    })),
    top_failing_addresses: topTen(
      rows,
      events.filter(event => event.ip !== '-'),
      event => event.ip,
      'failures',
    ).map(({ name, ...rest }) => ({ ip: name, ...rest })),
    bucket_seconds: bucketSeconds,
    series: [...buckets]
      .map(([start, within]) => ({ start, total: within.length, by_severity: tally(within, event => event.severity) }))
      .sort((a, b) => Date.parse(a.start) - Date.parse(b.start)),
  }
}

/** Many names of equal count, and a clock that goes forward, stands still, and now and then is decades off. */
export function jumpyEvents(count: number, random: () => number): AuditEvent[] {
  const year = 366 * 86_400
  let seconds = 0
  return randomEvents(count, random).map((event, n) => {
    if (n % 5_000 > 4_000) seconds += random() * 2_000
    else if (random() < 0.7) seconds += random() * 30
    const jump = n % 5_000 < 2_500 && random() < 0.002 ? (random() - 0.5) * 150 * year : 0
    const who = n % 3 === 0 ? event.who : `CP-${Math.floor(random() ** 2 * 300)}`
    const ip = n % 4 === 0 ? event.ip : `10.1.0.${Math.floor(random() ** 3 * 250)}`
    return { ...event, who, ip, date_time: timeAt(seconds + jump) }
  })
}

const BUCKETS_SECONDS = [1, 60, 61, 300, 3_600, 5_430, 86_400, 90_000, 30 * 86_400, 3_650 * 86_400]

/** Between the times of two events, to the millisecond or one off, of as many buckets as may be. */
export function randomRequest(rows: readonly StoredEvent[], random: () => number): SummaryRequest {
  const pick = <T>(values: readonly T[]): T => values[Math.floor(random() * values.length)] as T
  const time = () => Date.parse(pick(rows).date_time) + pick([-1, 0, 1])
  const bucketSeconds = pick(BUCKETS_SECONDS)
  const [start, end] = [time(), time()].sort((a, b) => a - b) as [number, number]
  const earliest = end - bucketSeconds * 1000 * LIMITS.summaryBucketsMax
  const start_time = new Date(Math.max(start, earliest)).toISOString()
  return { start_time, end_time: new Date(end).toISOString(), bucketSeconds }
}

export function eventCountsContract(name: string, create: () => Promise<QueriedStore>): void {
  const contract = (title: string, body: (fixture: QueriedStore) => Promise<void>) =>
    test(`${name}: ${title}`, async () => {
      await using fixture = await create()
      await body(fixture)
    })

  contract('summary: equals a naive count over the rows of the range', async fixture => {
    const random = createRandom(8)
    // Enough chunks for several slices, and enough names that the top ten is a choice.
    const events = randomEvents(12_000, random).map((event, n) =>
      n % 3 === 0 ? { ...event, who: `CP-${Math.floor(random() ** 2 * 300)}`, ip: `10.1.0.${n % 200}` } : event,
    )
    await fixture.append(events)
    const ranges = [
      [0, 20_000, 3_600],
      [1_000, 1_100, 10],
      [2_345, 9_876, 60],
      [5_000, 5_000, 60],
      [90_000, 100_000, 60],
    ] as const
    for (const [from, until, bucketSeconds] of ranges) {
      const request = { start_time: timeAt(from), end_time: timeAt(until), bucketSeconds }
      assert.deepEqual(await fixture.queries.summary(request, NEVER), naiveSummary(fixture.rows, request))
    }
  })

  contract('summary: buckets have the same edges whatever the range', async fixture => {
    await fixture.append([sampleEvent(3_599), sampleEvent(3_600), sampleEvent(3_601)])
    const request = { start_time: timeAt(100), end_time: timeAt(9_000), bucketSeconds: 3_600 }
    const { series } = await fixture.queries.summary(request, NEVER)
    assert.deepEqual(
      series.map(({ start, total }) => [start, total]),
      [
        [timeAt(0), 1],
        [timeAt(3_600), 2],
      ],
    )
  })

  contract('summary: running out of time is a refusal, not a smaller sum', async fixture => {
    await fixture.append([sampleEvent(1)])
    const request = { start_time: timeAt(0), end_time: timeAt(10), bucketSeconds: 60 }
    await assert.rejects(async () => fixture.queries.summary(request, { passed: () => true }), {
      code: 'QUERY_TIMEOUT',
    })
  })

  contract('summary: more buckets than the limit are refused', async fixture => {
    await fixture.append([sampleEvent(1)])
    const end_time = new Date(START + 86_400_000).toISOString()
    for (const bucketSeconds of [1, 0, Number.NaN]) {
      const request = { start_time: timeAt(0), end_time, bucketSeconds }
      await assert.rejects(async () => fixture.queries.summary(request, NEVER), { code: 'VALIDATION_FAILED' })
    }
  })
  contract('summary: whatever the log, its range and its buckets, it equals a naive count', async fixture => {
    const random = createRandom(21)
    await fixture.append(jumpyEvents(6_000, random))
    for (let n = 0; n < 40; n++) {
      const request = randomRequest(fixture.rows, random)
      assert.deepEqual(
        await fixture.queries.summary(request, NEVER),
        naiveSummary(fixture.rows, request),
        JSON.stringify(request),
      )
    }
  })

  contract('steps: each says what a summary of its time says, whether it holds events or not', async fixture => {
    const random = createRandom(31)
    await fixture.append(randomEvents(4_000, random))
    const { queries, rows } = fixture
    const ofAnEvent = (Date.parse(rows[2_000]?.date_time ?? '') - START) / 1000
    for (const [from, until, stepSeconds] of [
      [100.25, 700.25, 60],
      [ofAnEvent - 1_234.567, ofAnEvent, 90],
      [ofAnEvent, ofAnEvent + 150, 60],
      [3_900, 6_100, 100],
      [80_000, 80_060, 1],
      [10, 10, 60],
    ] as const) {
      const expected = []
      for (let start = from; start < until; start += stepSeconds) {
        const range = { start_time: timeAt(start), end_time: timeAt(Math.min(until, start + stepSeconds)) }
        const { by_action, by_reason } = await queries.summary({ ...range, bucketSeconds: 60 }, NEVER)
        expected.push({ by_action, by_reason })
      }
      const request = { start_time: timeAt(from), end_time: timeAt(until), stepSeconds }
      assert.deepEqual(await queries.steps(request, NEVER), expected, JSON.stringify(request))
    }
  })

  contract('steps: more than the limit, or none, are refused; running out of time is no smaller sum', async fixture => {
    await fixture.append(randomEvents(10, createRandom(1)))
    const start_time = timeAt(0)
    for (const stepSeconds of [1, 0, -1, Number.NaN]) {
      const request = { start_time, end_time: timeAt(LIMITS.summaryBucketsMax + 1), stepSeconds }
      await assert.rejects(async () => fixture.queries.steps(request, NEVER), { code: 'VALIDATION_FAILED' })
    }
    const request = { start_time, end_time: timeAt(1_000), stepSeconds: 1 }
    await assert.rejects(async () => fixture.queries.steps(request, { passed: () => true }), { code: 'QUERY_TIMEOUT' })
  })
}
