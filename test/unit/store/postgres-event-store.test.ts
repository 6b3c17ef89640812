/** What is particular to the PostgreSQL store: what it cannot hold, its log as rows of tables, and how it meets trouble. */
import assert from 'node:assert/strict'
import test from 'node:test'
import { COLUMNS } from '../../../src/event/event.ts'
import { startLogBuilder } from '../../../src/log/log-host.ts'
import { createPostgresEventStore } from '../../../src/store/postgres-event-store.ts'
import { batchOf, rowsFrom, sampleEvent } from '../../contract/event-store.ts'
import { ownPostgresServer } from '../../harness/postgres.ts'
import { assertLogOfRows } from '../../harness/postgres-log.ts'

const server = ownPostgresServer()

test('PostgreSQL store: what it cannot hold is spelled so that it can, in row and leaf alike', async () => {
  const url = await server.createDatabase()
  const store = createPostgresEventStore({ url })
  const long = Array.from({ length: 5_000 }, (_, n) => String.fromCodePoint(0x4e00 + ((n * 7_919) % 20_000))).join('')
  await store.append(
    batchOf(0, [
      { event: sampleEvent(0, { description: 'a\u0000b', who: long, metadata_json: long }), onceKey: null },
      { event: sampleEvent(1, { who: '\ud800 alone' }), onceKey: null },
    ]),
  )
  const first = (await store.get(1)) ?? assert.fail()
  assert.equal(first.description, 'a\\u0000b')
  assert.equal(first.who, `${long.slice(0, 799)}…`)
  assert.equal(first.metadata_json, long, 'what is not indexed is not cut')
  assert.equal((await store.get(2))?.who, '\ufffd alone')
  await assertLogOfRows(url)
  await store.close()
})

for (const [name, startLog] of [
  ['in the same thread', undefined],
  ['in a thread of its own', () => startLogBuilder()],
] as const) {
  test(`PostgreSQL store: the log built ${name} is that of the rows, at every size`, async () => {
    const url = await server.createDatabase()
    const store = createPostgresEventStore({ url, ...(startLog && { startLog }) })
    let after = 0
    for (const count of [1, 1, 254, 1, 255, 1, 1_000, 70, 200]) {
      await store.append(batchOf(after, rowsFrom(after, count)))
      after += count
      await assertLogOfRows(url)
    }
    await store.close()
  })
}

test('PostgreSQL store: writers that take turns go on from each other, across the ends of bundles', async () => {
  const url = await server.createDatabase()
  const stores = [createPostgresEventStore({ url }), createPostgresEventStore({ url })]
  const after = [0, 0]
  for (const [turn, count] of [100, 156, 1, 300, 211, 40, 2_000, 5].entries()) {
    const which = turn % 2
    await stores[which]?.append(batchOf(after[which] ?? 0, rowsFrom(turn * 10_000, count), `journal:${which}`))
    after[which] = (after[which] ?? 0) + count
  }
  await assertLogOfRows(url)
  for (const store of stores) await store.close()
})

test('PostgreSQL store: a batch that is rolled back leaves no trace in the log that goes on', async () => {
  const url = await server.createDatabase()
  const store = createPostgresEventStore({ url })
  await store.append(batchOf(0, rowsFrom(0, 300)))
  const broken = { event: { ...sampleEvent(1), who: null as unknown as string }, onceKey: null }
  await assert.rejects(store.append(batchOf(300, [...rowsFrom(300, 400), broken])))
  await store.append(batchOf(300, rowsFrom(300, 500)))
  await assertLogOfRows(url)
  await store.close()
})

test('PostgreSQL store: rows go on in the next partition, and each has the documented indexes', async () => {
  const url = await server.createDatabase()
  const store = createPostgresEventStore({ url })
  await store.lastId()
  await server.run(url, 'UPDATE event_layout SET partition_ids = 1024')
  await store.append(batchOf(0, rowsFrom(0, 1_000)))
  await store.append(batchOf(1_000, rowsFrom(1_000, 2_500)))
  const partitions = await server.run(url, 'SELECT first_id, last_id FROM event_partitions ORDER BY number')
  assert.deepEqual(
    partitions.map(({ first_id, last_id }) => [Number(first_id), Number(last_id)]),
    [
      [1, 1_024],
      [1_025, 2_048],
      [2_049, 3_072],
      [3_073, 4_096],
    ],
  )
  const indexes = await server.run(url, "SELECT indexname FROM pg_indexes WHERE tablename = 'audit_events' ORDER BY 1")
  assert.deepEqual(
    indexes.map(({ indexname }) => indexname),
    [
      'audit_events_pkey',
      'event_reasons',
      'idx_audit_action',
      'idx_audit_date_time',
      'idx_audit_ip',
      'idx_audit_request_id',
      'idx_audit_severity',
      'idx_audit_who',
    ],
  )
  const columns = await server.run(
    url,
    "SELECT column_name FROM information_schema.columns WHERE table_name = 'audit_events' ORDER BY ordinal_position",
  )
  assert.deepEqual(
    columns.map(({ column_name }) => column_name),
    [...COLUMNS],
  )
  await assertLogOfRows(url)
  await store.close()
})

test('PostgreSQL store: a head that somebody set back is refused, not written over', async () => {
  const url = await server.createDatabase()
  const store = createPostgresEventStore({ url })
  await store.append(batchOf(0, rowsFrom(0, 300)))
  await server.run(url, 'UPDATE log_head SET size = 299')
  await assert.rejects(store.append(batchOf(300, rowsFrom(300, 1))), { name: 'StoreError', code: 'FOREIGN' })
  await store.close()
})

test('PostgreSQL store: a database of something else, or of a newer version, is foreign', async () => {
  const url = await server.createDatabase()
  const store = createPostgresEventStore({ url })
  await server.run(url, 'CREATE TABLE audit_events (id int)')
  await assert.rejects(store.append(batchOf(0, rowsFrom(0, 1))), { code: 'FOREIGN' })
  await server.run(url, 'DROP TABLE audit_events')
  await store.append(batchOf(0, rowsFrom(0, 1)))
  await store.close()
  await server.run(url, 'UPDATE evc_schema SET version = 99')
  const later = createPostgresEventStore({ url })
  await assert.rejects(later.lastId(), { code: 'FOREIGN', message: /newer than this program's/ })
  await later.close()
})

test('PostgreSQL store: sessions that are terminated while it appends lose and double nothing', async () => {
  const url = await server.createDatabase()
  const store = createPostgresEventStore({ url })
  await store.lastId()
  const name = new URL(url).pathname.slice(1)
  const terminate = `SELECT pg_terminate_backend(pid), pg_sleep(0.05) FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid()`
  let isDone = false
  let terminations = 0
  const terminator = (async () => {
    while (!isDone) terminations += (await server.run(url, terminate, [name])).length // each after a moment of peace
  })()
  const total = 20_000
  for (let at = 0; at < total; ) {
    const count = Math.min(700, total - at)
    await store
      .append(batchOf(at, rowsFrom(at, count)))
      .catch(error => assert.match(error.code, /UNAVAILABLE|POSITION_MOVED/))
    at = await untilAvailable(() => store.position('journal:a'))
  }
  isDone = true
  await terminator
  assert.ok(terminations > 5)
  const rows = await assertLogOfRows(url)
  assert.deepEqual(
    rows.map(row => row.description),
    Array.from({ length: total }, (_, n) => `event ${n}`),
  )
  await store.close()
})

async function untilAvailable<T>(ask: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await ask()
    } catch (error) {
      assert.equal((error as { code?: string }).code, 'UNAVAILABLE')
    }
  }
}

test('PostgreSQL store: a server that stops and starts again costs errors meanwhile, and nothing else', {
  skip: !server.canStop,
}, async () => {
  const url = await server.createDatabase()
  const store = createPostgresEventStore({ url })
  await store.append(batchOf(0, rowsFrom(0, 100)))
  for (const how of ['fast', 'immediate'] as const) {
    await server.halt(how)
    await assert.rejects(store.append(batchOf(100, rowsFrom(100, 1))), { code: 'UNAVAILABLE' })
    await server.resume()
    assert.equal(await untilAvailable(() => store.position('journal:a')), 100)
  }
  await store.append(batchOf(100, rowsFrom(100, 100)))
  assert.equal((await assertLogOfRows(url)).length, 200)
  await store.close()
})
