import type { EventStore } from '../../src/store/event-store.ts'
import { createPostgresEventStore } from '../../src/store/postgres-event-store.ts'
import { postgresServer } from '../harness/postgres.ts'
import { eventStoreContract } from './event-store.ts'

const server = postgresServer()

eventStoreContract(
  'PostgreSQL event store',
  () => {
    const urls = new Map<string, Promise<string>>()
    const stores: EventStore[] = []
    return {
      async create(database, clock) {
        const url = urls.get(database) ?? server.createDatabase()
        urls.set(database, url)
        const store = createPostgresEventStore({ url: await url, ...(clock === undefined ? {} : { clock }) })
        stores.push(store)
        return store
      },
      async cleanUp() {
        await Promise.all(stores.map(store => store.close()))
      },
    }
  },
  { holdsAnyText: false },
)
