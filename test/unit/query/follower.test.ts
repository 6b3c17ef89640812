import assert from 'node:assert/strict'
import test from 'node:test'
import type { EventFilter, EventQueries } from '../../../src/query/event-queries.ts'
import { createFollower } from '../../../src/query/follower.ts'
import { createEventFixture, createRandom, NEVER, naiveWalk, randomEvents } from './event-fixture.ts'

const FILTERS: EventFilter[] = [
  {},
  { action: ['AUTH_FAIL'] },
  { who: 'CP-rare', severity: ['CRITICAL'] },
  { who: 'nobody' },
]

test('follower: sees every matching event once and in order, from its position on, while rows arrive', async () => {
  for (const filter of FILTERS) {
    await using fixture = createEventFixture()
    const random = createRandom(10)
    await fixture.append(randomEvents(700, random))
    const queries: Pick<EventQueries, 'page'> = { page: async request => fixture.queries.page(request, NEVER) }
    const follower = createFollower({ queries, filter, after: 123 })
    const seen = []
    for (let round = 0; round < 30; round++) {
      const head = fixture.rows.length
      for (let events = await follower.next(head); events.length > 0; events = await follower.next(head)) {
        seen.push(...events)
        if (round % 3 === 0) await fixture.append(randomEvents(3, random))
      }
      assert.ok(follower.position >= head)
      await fixture.append(randomEvents(20, random))
    }
    assert.deepEqual(seen, naiveWalk(fixture.rows, filter, 'asc', 123).slice(0, seen.length))
    const unseen = naiveWalk(fixture.rows, filter, 'asc', follower.position)
    assert.equal(seen.length + unseen.length, naiveWalk(fixture.rows, filter, 'asc', 123).length)
  }
})

test('follower: asks nothing while the head has not moved, and does not read again what did not match', async () => {
  await using fixture = createEventFixture()
  await fixture.append(randomEvents(50, createRandom(11)))
  const asked: (number | undefined)[] = []
  const queries: Pick<EventQueries, 'page'> = {
    page: async request => {
      asked.push(request.after)
      return fixture.queries.page(request, NEVER)
    },
  }
  const follower = createFollower({ queries, filter: { who: 'nobody' }, after: 0 })
  assert.deepEqual(await follower.next(50), [])
  assert.deepEqual(await follower.next(50), [])
  assert.deepEqual(asked, [0])
  await fixture.append(randomEvents(5, createRandom(12)))
  assert.deepEqual(await follower.next(55), [])
  assert.deepEqual(asked, [0, 50])
})

test('follower: a refusal leaves the position where it was', async () => {
  await using fixture = createEventFixture()
  const queries: Pick<EventQueries, 'page'> = { page: async request => fixture.queries.page(request, NEVER) }
  const follower = createFollower({ queries, filter: {}, after: 0 })
  await assert.rejects(follower.next(3), { code: 'STORE_UNAVAILABLE' })
  await fixture.append(randomEvents(3, createRandom(13)))
  assert.deepEqual(await follower.next(3), fixture.rows)
})
