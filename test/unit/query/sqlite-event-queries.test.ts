import assert from 'node:assert/strict'
import test from 'node:test'
import { createSqliteEventQueries } from '../../../src/query/sqlite-event-queries.ts'
import { NEVER } from './event-fixture.ts'

test('queries: a database of something else is unavailable', async () => {
  const queries = createSqliteEventQueries({ path: import.meta.filename })
  assert.throws(() => queries.lastId(undefined, NEVER), { code: 'STORE_UNAVAILABLE' })
  queries.close()
})
