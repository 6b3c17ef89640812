import assert from 'node:assert/strict'
import test from 'node:test'
import { createPostgresEventQueries } from '../../src/query/postgres-event-queries.ts'
import { createPostgresEventStore } from '../../src/store/postgres-event-store.ts'
import { postgresServer } from '../harness/postgres.ts'
import { assertCounted } from '../harness/postgres-counts.ts'
import { createRandom, NEVER, type QueriedStore, queriedRows, START } from '../unit/query/event-fixture.ts'
import { eventCountsContract, jumpyEvents, naiveSummary, randomRequest } from './event-counts.ts'
import { eventEpisodesContract } from './event-episodes.ts'
import { eventPagesContract } from './event-pages.ts'
import { logQuestionsContract } from './log-questions.ts'

const server = postgresServer()
/** Each takes a database, and a database takes a while. */
const TRAILS = 8
/** Small, so that a page takes several. */
const WINDOWS = { ids: 512, factor: 2, idsMax: 2_048 }
/** Small, so that a trail has several levels of them. */
const BLOCK_IDS = 64

async function create(): Promise<QueriedStore & { readonly url: string }> {
  const url = await server.createDatabase()
  const store = createPostgresEventStore({ url, clock: () => START })
  const queries = createPostgresEventQueries({ url, windows: WINDOWS })
  return {
    url,
    queries,
    ...queriedRows(store),
    async [Symbol.asyncDispose]() {
      await queries.close()
      await store.close()
    },
  }
}

eventPagesContract('PostgreSQL queries', create)
eventCountsContract('PostgreSQL queries', create)
eventEpisodesContract('PostgreSQL queries', create, TRAILS)
logQuestionsContract('PostgreSQL queries', create)

test('PostgreSQL queries: a summary is the same from rows, from blocks of counts, and when some of them are gone', async () => {
  await using fixture = await create()
  await fixture.store.lastId()
  await server.run(fixture.url, `UPDATE event_layout SET block_ids = ${BLOCK_IDS}`)
  const random = createRandom(34)
  await fixture.append(jumpyEvents(5_000, random))
  const equalNaive = async (times: number) => {
    for (let n = 0; n < times; n++) {
      const request = randomRequest(fixture.rows, random)
      const message = JSON.stringify(request)
      assert.deepEqual(await fixture.queries.summary(request, NEVER), naiveSummary(fixture.rows, request), message)
    }
  }
  await assertCounted(fixture.url, BLOCK_IDS)
  assert.notDeepEqual(await server.run(fixture.url, "SELECT 1 FROM pg_stats WHERE tablename = 'audit_events_1'"), [])
  await equalNaive(40)
  // Rows that nothing but a count tells of: the blocks are what is added up, also of the largest level.
  const all = {
    start_time: '1900-01-01T00:00:00.000Z',
    end_time: '2100-01-01T00:00:00.000Z',
    bucketSeconds: 3_650 * 86_400,
  }
  await server.run(fixture.url, 'UPDATE event_counts SET kind_count[1] = kind_count[1] + 1000000 WHERE level = 2')
  assert.equal((await fixture.queries.summary(all, NEVER)).total, 1_005_000)
  await server.run(fixture.url, 'DELETE FROM event_counts WHERE level = 2 OR first_id % 5 = 0')
  await equalNaive(20)
  await server.run(fixture.url, 'DELETE FROM event_counts WHERE level > 0')
  await server.run(fixture.url, 'UPDATE event_counts SET names = 4000001 WHERE level = 0 AND first_id = 513')
  while ((await server.run<{ made: boolean }>(fixture.url, 'SELECT evc_count_events() AS made'))[0]?.made);
  const larger = await server.run<{ id: number }>(
    fixture.url,
    'SELECT first_id::int AS id FROM event_counts WHERE level > 0 ORDER BY level, first_id',
  )
  assert.deepEqual(
    larger.map(({ id }) => id),
    [1, 1_025, 1_537, 2_049, 2_561, 3_073, 3_585, 4_097],
    'blocks with too many names, and those above, are not made',
  )
  await equalNaive(5)
  await server.run(fixture.url, 'DELETE FROM event_counts')
  await equalNaive(5)
  await assertCounted(fixture.url, BLOCK_IDS)
})
