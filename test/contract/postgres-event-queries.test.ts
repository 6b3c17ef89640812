import { createPostgresEventQueries } from '../../src/query/postgres-event-queries.ts'
import { createPostgresEventStore } from '../../src/store/postgres-event-store.ts'
import { postgresServer } from '../harness/postgres.ts'
import { type QueriedStore, queriedRows, START } from '../unit/query/event-fixture.ts'
import { eventCountsContract } from './event-counts.ts'
import { eventEpisodesContract } from './event-episodes.ts'
import { eventPagesContract } from './event-pages.ts'
import { logQuestionsContract } from './log-questions.ts'

const server = postgresServer()
/** Each takes a database, and a database takes a while. */
const TRAILS = 15
/** Small, so that a page takes several. */
const WINDOWS = { ids: 512, factor: 2, idsMax: 2_048 }

async function create(): Promise<QueriedStore> {
  const url = await server.createDatabase()
  const store = createPostgresEventStore({ url, clock: () => START })
  const queries = createPostgresEventQueries({ url, windows: WINDOWS })
  return {
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
