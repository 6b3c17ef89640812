import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createSqliteEventStore } from '../../src/store/sqlite-event-store.ts'
import { eventStoreContract } from './event-store.ts'

eventStoreContract('SQLite event store', () => {
  const directory = mkdtempSync(join(tmpdir(), 'evc-store-'))
  return {
    create: (database, clock) =>
      createSqliteEventStore({
        path: join(directory, database, 'audit.db'),
        ...(clock === undefined ? {} : { clock }),
      }),
    cleanUp: () => rmSync(directory, { recursive: true }),
  }
})
