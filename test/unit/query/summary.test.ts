import assert from 'node:assert/strict'
import { DatabaseSync } from 'node:sqlite'
import test from 'node:test'
import type { AuditEvent, StoredEvent } from '../../../src/event/event.ts'
import { LIMITS } from '../../../src/limits.ts'
import type { Summary, SummaryRequest } from '../../../src/query/event-queries.ts'
import { dropSegment, listSegments } from '../../../src/store/segments.ts'
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
function naiveSummary(
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

/** Many names of equal count, and a clock that goes forward, stands still, and now and then is decades off. */
function jumpyEvents(count: number, random: () => number): AuditEvent[] {
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
function randomRequest(rows: readonly StoredEvent[], random: () => number): SummaryRequest {
  const pick = <T>(values: readonly T[]): T => values[Math.floor(random() * values.length)] as T
  const time = () => Date.parse(pick(rows).date_time) + pick([-1, 0, 1])
  const bucketSeconds = pick(BUCKETS_SECONDS)
  const [start, end] = [time(), time()].sort((a, b) => a - b) as [number, number]
  const earliest = end - bucketSeconds * 1000 * LIMITS.summaryBucketsMax
  const start_time = new Date(Math.max(start, earliest)).toISOString()
  return { start_time, end_time: new Date(end).toISOString(), bucketSeconds }
}

test('summary: whatever the log, its range and its buckets, full segments that are counted make no difference', async () => {
  for (const [seed, segmentIds] of [
    [21, 1_024],
    [22, 3_072],
  ] as const) {
    await using fixture = createEventFixture(segmentIds)
    const random = createRandom(seed)
    await fixture.append(jumpyEvents(14_000, random))
    const { rows, queries, path } = fixture
    const requests = Array.from({ length: 40 }, () => randomRequest(rows, random))
    for (const request of requests) {
      assert.deepEqual(queries.summary(request, NEVER), naiveSummary(rows, request), JSON.stringify(request))
    }
    const db = new DatabaseSync(path)
    const gone = listSegments(db)[1] ?? assert.fail()
    dropSegment(db, gone)
    db.close()
    const present = rows.filter(({ id }) => id < gone.firstId || id > (gone.lastId ?? 0))
    for (const request of requests.slice(0, 10)) {
      assert.deepEqual(queries.summary(request, NEVER), naiveSummary(rows, request, present), JSON.stringify(request))
    }
  }
})

test('summary: full segments within the range are not read again, unless buckets divide a minute', async () => {
  await using fixture = createEventFixture()
  await fixture.append(Array.from({ length: 2_100 }, (_, n) => sampleEvent(n)))
  const db = new DatabaseSync(fixture.path)
  db.exec('DELETE FROM event_columns')
  db.close()
  const asked = (from: number, until: number, bucketSeconds: number) =>
    fixture.queries.summary({ start_time: timeAt(from), end_time: timeAt(until), bucketSeconds }, NEVER)
  assert.equal(asked(0, 3_000, 60).total, 2_100)
  assert.equal(asked(1_024, 2_048, 120).total, 1_024)
  const readAgain = [
    [1, 3_000, 60],
    [1_024, 2_047, 60],
    [0, 3_000, 90],
  ] as const
  for (const [from, until, bucketSeconds] of readAgain) {
    assert.throws(() => asked(from, until, bucketSeconds), { code: 'STORE_UNAVAILABLE' })
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
