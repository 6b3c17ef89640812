import assert from 'node:assert/strict'
import test from 'node:test'
import type { StoredEvent } from '../../../src/event/event.ts'
import type { Summary, SummaryRequest } from '../../../src/query/event-queries.ts'
import { sampleEvent } from '../../contract/event-store.ts'
import { createEventFixture, createRandom, matches, NEVER, randomEvents, START, timeAt } from './event-fixture.ts'

function tally<T>(values: readonly T[], nameOf: (value: T) => string | null): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const value of values) {
    const name = nameOf(value)
    if (name !== null) counts[name] = (counts[name] ?? 0) + 1
  }
  return counts
}

/** Names of equal count in the order in which the whole log first has them. */
function topTen(log: readonly StoredEvent[], events: readonly StoredEvent[], nameOf: (event: StoredEvent) => string) {
  const firstSeen = new Map<string, number>()
  for (const event of log.toReversed()) firstSeen.set(nameOf(event), event.id)
  const seen = (name: string) => firstSeen.get(name) as number
  const failures = tally(
    events.filter(event => event.action === 'AUTH_FAIL'),
    nameOf,
  )
  return Object.entries(tally(events, nameOf))
    .sort(([a, m], [b, n]) => n - m || seen(a) - seen(b))
    .slice(0, 10)
    .map(([name, count]) => ({ name, count, failures: failures[name] ?? 0 }))
}

const OF_CHARGE_POINTS = 'AUTH_SUCCESS AUTH_FAIL STATUS_CHANGE KEY_GENERATE KEY_RESET KEY_REVOKE SECURITY_EVENT'.split(
  ' ',
)

function naiveSummary(rows: readonly StoredEvent[], { start_time, end_time, bucketSeconds }: SummaryRequest): Summary {
  const events = rows.filter(event => matches(event, { start_time, end_time }))
  const bucketOf = (event: StoredEvent) => {
    const ms = bucketSeconds * 1000
    return new Date(Math.floor(Date.parse(event.date_time) / ms) * ms).toISOString()
  }
  const named = events.filter(event => OF_CHARGE_POINTS.includes(event.action) && event.who !== 'unknown')
  const starts = [...new Set(events.map(bucketOf))].sort()
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
    bucket_seconds: bucketSeconds,
    series: starts.map(start => {
      const within = events.filter(event => bucketOf(event) === start)
      return { start, total: within.length, by_severity: tally(within, event => event.severity) }
    }),
  }
}

test('summary: equals a naive count over the rows of the range', async () => {
  await using fixture = createEventFixture()
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
    assert.deepEqual(fixture.queries.summary(request, NEVER), naiveSummary(fixture.rows, request))
  }
})

test('summary: buckets have the same edges whatever the range', async () => {
  await using fixture = createEventFixture()
  await fixture.append([sampleEvent(3_599), sampleEvent(3_600), sampleEvent(3_601)])
  const request = { start_time: timeAt(100), end_time: timeAt(9_000), bucketSeconds: 3_600 }
  const { series } = fixture.queries.summary(request, NEVER)
  assert.deepEqual(
    series.map(({ start, total }) => [start, total]),
    [
      [timeAt(0), 1],
      [timeAt(3_600), 2],
    ],
  )
})

test('summary: running out of time is a refusal, not a smaller sum', async () => {
  await using fixture = createEventFixture()
  await fixture.append([sampleEvent(1)])
  const request = { start_time: timeAt(0), end_time: timeAt(10), bucketSeconds: 60 }
  assert.throws(() => fixture.queries.summary(request, { passed: () => true }), { code: 'QUERY_TIMEOUT' })
})

test('summary: more buckets than the limit are refused', async () => {
  await using fixture = createEventFixture()
  await fixture.append([sampleEvent(1)])
  const end_time = new Date(START + 86_400_000).toISOString()
  for (const bucketSeconds of [1, 0, Number.NaN]) {
    const request = { start_time: timeAt(0), end_time, bucketSeconds }
    assert.throws(() => fixture.queries.summary(request, NEVER), { code: 'VALIDATION_FAILED' })
  }
})
