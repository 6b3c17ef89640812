import assert from 'node:assert/strict'
import { DatabaseSync } from 'node:sqlite'
import test from 'node:test'
import { createSqliteEventQueries } from '../../../src/query/sqlite-event-queries.ts'
import { sampleEvent } from '../../contract/event-store.ts'
import { createEventFixture, NEVER, timeAt } from './event-fixture.ts'

test('queries: a database of something else is unavailable', async () => {
  const queries = createSqliteEventQueries({ path: import.meta.filename })
  assert.throws(() => queries.lastId(undefined, NEVER), { code: 'STORE_UNAVAILABLE' })
  queries.close()
})

test('queries: rows of a frequent name and a rare action are found in every segment, in both orders', async () => {
  await using fixture = createEventFixture()
  const isRare = (n: number) => n % 41 === 0
  await fixture.append(
    Array.from({ length: 5_000 }, (_, n) =>
      sampleEvent(n, { who: n % 3 === 0 ? 'CP-OFTEN' : `CP-${n}`, action: isRare(n) ? 'KEY_REVOKE' : 'AUTH_SUCCESS' }),
    ),
  )
  const filter = { who: 'CP-OFTEN', action: ['KEY_REVOKE' as const] }
  const expected = fixture.rows.filter(({ who, action }) => who === 'CP-OFTEN' && action === 'KEY_REVOKE')
  assert.ok(expected.length > 30)
  for (const order of ['asc', 'desc'] as const) {
    const found = fixture.queries.page({ filter, limit: 100, order }, NEVER).events
    assert.deepEqual(found, order === 'asc' ? expected : expected.toReversed())
  }
})

test('queries: of rows whose times are damaged none is left out, but the question refused', async () => {
  await using fixture = createEventFixture()
  await fixture.append(Array.from({ length: 2_100 }, (_, n) => sampleEvent(n)))
  const db = new DatabaseSync(fixture.path)
  const columns = db.prepare('SELECT columns FROM event_columns WHERE chunk = 0').get()?.columns as Uint8Array
  columns[500] = (columns[500] as number) ^ 16
  db.prepare('UPDATE event_columns SET columns = ? WHERE chunk = 0').run(columns)
  db.close()
  const from = (seconds: number) =>
    fixture.queries.page({ filter: { start_time: timeAt(seconds) }, limit: 3_000, order: 'asc' }, NEVER).events.length
  assert.throws(() => from(1_000), { code: 'STORE_UNAVAILABLE' })
  assert.equal(from(1_500), 600, 'they are not looked at')
})
