/** The suite that every implementation of the questions is held to: pages, single events and failures. */
import assert from 'node:assert/strict'
import test from 'node:test'
import fc from 'fast-check'
import { ACTIONS, SEVERITIES } from '../../src/event/catalogue.ts'
import type { StoredEvent } from '../../src/event/event.ts'
import type { EventFilter, Order } from '../../src/query/event-queries.ts'
import {
  createRandom,
  IPS,
  matches,
  NEVER,
  naiveWalk,
  type QueriedStore,
  REASONS,
  randomEvents,
  timeAt,
  WHO,
} from '../unit/query/event-fixture.ts'
import { sampleEvent } from './event-store.ts'

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

const HOUR_S = 3_600
const TEN_YEARS_S = 315_360_000

/** @param create an empty database, with segments or windows of some 1,024 ids, so that walks cross from one to the next */
export function eventPagesContract(name: string, create: () => Promise<QueriedStore>): void {
  const contract = (title: string, body: (fixture: QueriedStore) => Promise<void>) =>
    test(`${name}: ${title}`, async () => {
      await using fixture = await create()
      await body(fixture)
    })

  contract('every filter, order, limit and cursor gives what a naive filter over all rows gives', async fixture => {
    await fixture.append(randomEvents(ROWS, createRandom(1)))
    const cursors = fc.option(fc.integer({ min: 0, max: ROWS + 10 }), { nil: undefined })
    await fc.assert(
      fc.asyncProperty(
        filters,
        orders,
        fc.integer({ min: 1, max: 200 }),
        cursors,
        async (filter, order, limit, after) => {
          const request = { filter, order, limit, ...(after === undefined ? {} : { after }) }
          const page = await fixture.queries.page(request, NEVER)
          const expected = naiveWalk(fixture.rows, filter, order, after)
          assert.deepEqual(page.events, expected.slice(0, limit))
          assert.equal(page.next, expected.length > limit ? expected[limit - 1]?.id : null)
        },
      ),
      { numRuns: 500 },
    )
  })

  contract('a walk by cursor sees every row once while rows arrive', async fixture => {
    const random = createRandom(2)
    await fixture.append(randomEvents(3_000, random))
    const walks = fc.sample(fc.tuple(filters, orders, fc.integer({ min: 1, max: 300 })), { numRuns: 25, seed: 3 })
    for (const [filter, order, limit] of walks) {
      const before = fixture.rows.length
      const seen: StoredEvent[] = []
      let after: number | undefined
      do {
        const page = await fixture.queries.page(
          { filter, order, limit, ...(after === undefined ? {} : { after }) },
          NEVER,
        )
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

  contract('when time runs out a page is short and says where to go on, and going on misses nothing', async fixture => {
    await fixture.append(randomEvents(3_000, createRandom(4)))
    const walks = fc.sample(fc.tuple(filters, orders), { numRuns: 60, seed: 5 })
    let shortPages = 0
    for (const [filter, order] of walks) {
      const seen: StoredEvent[] = []
      let after: number | undefined
      do {
        const page = await fixture.queries.page(
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

  contract('times may be given in any spelling of the same instant', async fixture => {
    await fixture.append([0, 1, 2].map(n => sampleEvent(n)))
    const ids = async (filter: EventFilter) =>
      (await fixture.queries.page({ filter, order: 'asc', limit: 10 }, NEVER)).events.map(event => event.id)
    assert.deepEqual(await ids({ start_time: '2026-01-01T00:00:01Z' }), [2, 3])
    assert.deepEqual(await ids({ end_time: '2026-01-01T00:00:01Z' }), [1])
    assert.deepEqual(await ids({ start_time: '2026-01-01T01:00:01+01:00', end_time: '2026-01-01T00:00:02.000Z' }), [2])
    await assert.rejects(ids({ start_time: 'yesterday' }), { name: 'Refusal', code: 'VALIDATION_FAILED' })
  })

  contract('a range that begins or ends exactly at the edge of a chunk of the time map is exact', async fixture => {
    await fixture.append(Array.from({ length: 3_000 }, (_, n) => sampleEvent(n)))
    for (const edge of [1_023, 1_024, 1_025, 2_047, 2_048]) {
      for (const filter of [{ start_time: timeAt(edge) }, { end_time: timeAt(edge) }]) {
        const { events } = await fixture.queries.page({ filter, order: 'asc', limit: 3_000 }, NEVER)
        assert.deepEqual(events, naiveWalk(fixture.rows, filter, 'asc'))
      }
    }
  })

  contract('one event by its id, and the last id', async fixture => {
    await fixture.append([0, 1, 2].map(n => sampleEvent(n)))
    assert.deepEqual(await fixture.queries.event(2, NEVER), fixture.rows[1])
    for (const id of [0, 4, -1, 1.5]) assert.equal(await fixture.queries.event(id, NEVER), undefined)
    assert.equal(await fixture.queries.lastId(undefined, NEVER), 3)
  })

  contract('failures are the newest AUTH_FAIL events of the address and of the charge point', async fixture => {
    await fixture.append(randomEvents(4_000, createRandom(6)))
    for (const about of [{}, { ip: '10.0.0.1' }, { who: 'CP-2' }, { ip: '10.0.0.2', who: 'CP-1' }]) {
      const failures = await fixture.queries.failures({ ...about, since: timeAt(200), limit: 40 }, NEVER)
      const expected = naiveWalk(fixture.rows, { ...about, action: ['AUTH_FAIL'], start_time: timeAt(200) }, 'desc')
      assert.deepEqual(failures, expected.slice(0, 40))
      assert.ok(failures.length > 0)
    }
    const late = { passed: () => true }
    await assert.rejects(async () => fixture.queries.failures({ since: timeAt(0), limit: 1_000 }, late), {
      code: 'QUERY_TIMEOUT',
    })
  })

  contract('a database that is not there yet is unavailable, and can be read once it is', async fixture => {
    const ask = async () => fixture.queries.page({ filter: {}, order: 'desc', limit: 1 }, NEVER)
    await assert.rejects(ask, { name: 'Refusal', code: 'STORE_UNAVAILABLE' })
    await fixture.append([sampleEvent(0)])
    assert.equal((await ask()).events.length, 1)
  })

  contract('an empty store has empty answers', async fixture => {
    await fixture.append([])
    for (const order of ['asc', 'desc'] as const) {
      for (const filter of [{}, { who: 'x' }, { action: ['ERROR'] as const }, { start_time: timeAt(0) }]) {
        assert.deepEqual(await fixture.queries.page({ filter, order, limit: 5 }, NEVER), { events: [], next: null })
      }
    }
    assert.equal(await fixture.queries.lastId(undefined, NEVER), 0)
  })

  contract(
    'times that jump by an hour and by ten years change neither the order nor what a range finds',
    async fixture => {
      const offsets = [0, -HOUR_S, TEN_YEARS_S, 0]
      const events = randomEvents(5_000, createRandom(7)).map((event, n) => {
        const second = 10 * HOUR_S + n
        return { ...event, date_time: timeAt(second + (offsets[Math.floor(n / 1_250)] as number)) }
      })
      await fixture.append(events)
      const edges = [0, 8, 9, 10, 10.2, 10.5, 11, 12, 87_600, 87_610, 87_610.5, 90_000].map(hours =>
        timeAt(hours * HOUR_S),
      )
      for (const start_time of edges) {
        for (const end_time of edges) {
          for (const order of ['asc', 'desc'] as const) {
            const filter = { start_time, end_time, severity: ['WARN' as const, 'INFO' as const] }
            const expected = naiveWalk(fixture.rows, filter, order)
            const { events: found } = await fixture.queries.page({ filter, order, limit: 1_000 }, NEVER)
            assert.deepEqual(found, expected.slice(0, 1_000), `${start_time} to ${end_time}, ${order}`)
          }
        }
      }
    },
  )
}
