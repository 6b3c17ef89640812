/** Rows whose times jump back by an hour and forward by ten years: a chunk that spans both, and every range of time over them. */
import assert from 'node:assert/strict'
import test from 'node:test'
import { createEventFixture, createRandom, NEVER, naiveWalk, randomEvents, timeAt } from './event-fixture.ts'

const HOUR_S = 3_600
const TEN_YEARS_S = 315_360_000

test('queries: times that jump by an hour and by ten years change neither the order nor what a range finds', async () => {
  await using fixture = createEventFixture()
  const offsets = [0, -HOUR_S, TEN_YEARS_S, 0]
  const events = randomEvents(5_000, createRandom(7)).map((event, n) => {
    const second = 10 * HOUR_S + n
    return { ...event, date_time: timeAt(second + (offsets[Math.floor(n / 1_250)] as number)) }
  })
  await fixture.append(events)
  const edges = [0, 8, 9, 10, 10.2, 10.5, 11, 12, 87_600, 87_610, 87_610.5, 90_000].map(hours => timeAt(hours * HOUR_S))
  for (const start_time of edges) {
    for (const end_time of edges) {
      for (const order of ['asc', 'desc'] as const) {
        const filter = { start_time, end_time, severity: ['WARN' as const, 'INFO' as const] }
        const expected = naiveWalk(fixture.rows, filter, order)
        const { events: found } = fixture.queries.page({ filter, order, limit: 1_000 }, NEVER)
        assert.deepEqual(found, expected.slice(0, 1_000), `${start_time} to ${end_time}, ${order}`)
      }
    }
  }
})
