import assert from 'node:assert/strict'
import test from 'node:test'
import fc from 'fast-check'
import { ACTIONS, SEVERITIES } from '../../../src/event/catalogue.ts'
import type { StoredEvent } from '../../../src/event/event.ts'
import type { EventFilter, Order } from '../../../src/query/event-queries.ts'
import { createSqliteEventQueries } from '../../../src/query/sqlite-event-queries.ts'
import { sampleEvent } from '../../contract/event-store.ts'
import {
  createEventFixture,
  createRandom,
  IPS,
  matches,
  NEVER,
  naiveWalk,
  REASONS,
  randomEvents,
  timeAt,
  WHO,
} from './event-fixture.ts'

const ROWS = 5_000
const maybe = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined, freq: 2 })
const list = <T>(values: readonly T[]) => fc.uniqueArray(fc.constantFrom(...values), { minLength: 1, maxLength: 4 })
const time = fc.integer({ min: -10, max: 6_000 }).map(timeAt)

const filters: fc.Arbitrary<EventFilter> = fc
  .record({
    who: maybe(fc.constantFrom(...WHO, 'nobody')),
    ip: maybe(fc.constantFrom(...IPS, '192.0.2.1')),
    request_id: fc.option(
      fc.nat(1_100).map(n => `request-${n}`),
      { nil: undefined, freq: 1 },
    ),
    action: maybe(list(ACTIONS)),
    severity: maybe(list(SEVERITIES)),
    reason_code: maybe(list([...REASONS, 'NEVER_SEEN'])),
    start_time: maybe(time),
    end_time: maybe(time),
  })
  .map(filter => Object.fromEntries(Object.entries(filter).filter(([, value]) => value !== undefined)))
const orders = fc.constantFrom<Order>('asc', 'desc')

test('queries: every filter, order, limit and cursor gives what a naive filter over all rows gives', async () => {
  await using fixture = createEventFixture()
  await fixture.append(randomEvents(ROWS, createRandom(1)))
  const cursors = fc.option(fc.integer({ min: 0, max: ROWS + 10 }), { nil: undefined })
  fc.assert(
    fc.property(filters, orders, fc.integer({ min: 1, max: 200 }), cursors, (filter, order, limit, after) => {
      const request = { filter, order, limit, ...(after === undefined ? {} : { after }) }
      const page = fixture.queries.page(request, NEVER)
      const expected = naiveWalk(fixture.rows, filter, order, after)
      assert.deepEqual(page.events, expected.slice(0, limit))
      assert.equal(page.next, expected.length > limit ? expected[limit - 1]?.id : null)
    }),
    { numRuns: 1_000 },
  )
})

test('queries: a walk by cursor sees every row once while rows arrive', async () => {
  await using fixture = createEventFixture()
  const random = createRandom(2)
  await fixture.append(randomEvents(3_000, random))
  const walks = fc.sample(fc.tuple(filters, orders, fc.integer({ min: 1, max: 300 })), { numRuns: 25, seed: 3 })
  for (const [filter, order, limit] of walks) {
    const before = fixture.rows.length
    const seen: StoredEvent[] = []
    let after: number | undefined
    do {
      const page = fixture.queries.page({ filter, order, limit, ...(after === undefined ? {} : { after }) }, NEVER)
      seen.push(...page.events)
      after = page.next ?? undefined
      if (seen.length < 2_000) await fixture.append(randomEvents(5, random))
    } while (after !== undefined)
    const ids = seen.map(event => event.id)
    assert.equal(new Set(ids).size, ids.length, 'no row twice')
    assert.deepEqual(
      ids,
      ids.toSorted((a, b) => (order === 'asc' ? a - b : b - a)),
    )
    const expected = fixture.rows.slice(0, before).filter(event => matches(event, filter))
    const missed = expected.filter(event => !ids.includes(event.id))
    assert.deepEqual(missed, [], 'none of the rows that were there is missed')
  }
})

test('queries: when time runs out a page is short and says where to go on, and going on misses nothing', async () => {
  await using fixture = createEventFixture()
  await fixture.append(randomEvents(3_000, createRandom(4)))
  const walks = fc.sample(fc.tuple(filters, orders), { numRuns: 60, seed: 5 })
  let shortPages = 0
  for (const [filter, order] of walks) {
    const seen: StoredEvent[] = []
    let after: number | undefined
    do {
      const page = fixture.queries.page(
        { filter, order, limit: 500, ...(after === undefined ? {} : { after }) },
        { passed: () => true },
      )
      if (page.next !== null) {
        if (page.events.length < 500) shortPages++
        if (after !== undefined) assert.ok(order === 'asc' ? page.next > after : page.next < after, 'it gets on')
      }
      seen.push(...page.events)
      after = page.next ?? undefined
    } while (after !== undefined)
    assert.deepEqual(seen, naiveWalk(fixture.rows, filter, order))
  }
  assert.ok(shortPages > 60)
})

test('queries: times may be given in any spelling of the same instant', async () => {
  await using fixture = createEventFixture()
  await fixture.append([0, 1, 2].map(n => sampleEvent(n)))
  const ids = (filter: EventFilter) =>
    fixture.queries.page({ filter, order: 'asc', limit: 10 }, NEVER).events.map(event => event.id)
  assert.deepEqual(ids({ start_time: '2026-01-01T00:00:01Z' }), [2, 3])
  assert.deepEqual(ids({ end_time: '2026-01-01T00:00:01Z' }), [1])
  assert.deepEqual(ids({ start_time: '2026-01-01T01:00:01+01:00', end_time: '2026-01-01T00:00:02.000Z' }), [2])
  assert.throws(() => ids({ start_time: 'yesterday' }), { name: 'Refusal', code: 'VALIDATION_FAILED' })
})

test('queries: a range that begins or ends exactly at the edge of a chunk of the time map is exact', async () => {
  await using fixture = createEventFixture()
  await fixture.append(Array.from({ length: 3_000 }, (_, n) => sampleEvent(n)))
  for (const edge of [1_023, 1_024, 1_025, 2_047, 2_048]) {
    for (const filter of [{ start_time: timeAt(edge) }, { end_time: timeAt(edge) }]) {
      const { events } = fixture.queries.page({ filter, order: 'asc', limit: 3_000 }, NEVER)
      assert.deepEqual(events, naiveWalk(fixture.rows, filter, 'asc'))
    }
  }
})

test('queries: one event by its id, and the last id', async () => {
  await using fixture = createEventFixture()
  await fixture.append([0, 1, 2].map(n => sampleEvent(n)))
  assert.deepEqual(fixture.queries.event(2, NEVER), fixture.rows[1])
  for (const id of [0, 4, -1, 1.5]) assert.equal(fixture.queries.event(id, NEVER), undefined)
  assert.equal(fixture.queries.lastId(undefined, NEVER), 3)
})

test('queries: failures are the newest AUTH_FAIL events of the address and of the charge point', async () => {
  await using fixture = createEventFixture()
  await fixture.append(randomEvents(4_000, createRandom(6)))
  for (const about of [{}, { ip: '10.0.0.1' }, { who: 'CP-2' }, { ip: '10.0.0.2', who: 'CP-1' }]) {
    const failures = fixture.queries.failures({ ...about, since: timeAt(200), limit: 40 }, NEVER)
    const expected = naiveWalk(fixture.rows, { ...about, action: ['AUTH_FAIL'], start_time: timeAt(200) }, 'desc')
    assert.deepEqual(failures, expected.slice(0, 40))
    assert.ok(failures.length > 0)
  }
  const late = { passed: () => true }
  assert.throws(() => fixture.queries.failures({ since: timeAt(0), limit: 1_000 }, late), { code: 'QUERY_TIMEOUT' })
})

test('queries: a database that is not there yet is unavailable, and can be read once it is', async () => {
  await using fixture = createEventFixture()
  const ask = () => fixture.queries.page({ filter: {}, order: 'desc', limit: 1 }, NEVER)
  assert.throws(ask, { name: 'Refusal', code: 'STORE_UNAVAILABLE' })
  await fixture.append([sampleEvent(0)])
  assert.equal(ask().events.length, 1)
})

test('queries: a database of something else is unavailable', async () => {
  const queries = createSqliteEventQueries({ path: import.meta.filename })
  assert.throws(() => queries.lastId(undefined, NEVER), { code: 'STORE_UNAVAILABLE' })
  queries.close()
})

test('queries: an empty store has empty answers', async () => {
  await using fixture = createEventFixture()
  await fixture.append([])
  for (const order of ['asc', 'desc'] as const) {
    for (const filter of [{}, { who: 'x' }, { action: ['ERROR'] as const }, { start_time: timeAt(0) }]) {
      assert.deepEqual(fixture.queries.page({ filter, order, limit: 5 }, NEVER), { events: [], next: null })
    }
  }
  assert.equal(fixture.queries.lastId(undefined, NEVER), 0)
})
