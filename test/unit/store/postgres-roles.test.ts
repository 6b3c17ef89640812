/** The runtime role: what an instance that is not the owner of the tables can do, and what it cannot do to the trail. */
import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'
import pg from 'pg'
import { CHECKPOINT_SCHEMA } from '../../../src/checkpoint/postgres-schema.ts'
import { COLUMNS } from '../../../src/event/event.ts'
import { ERASED_SALT } from '../../../src/evidence/leaf.ts'
import { migrate, RUNTIME_ROLE, type Schema } from '../../../src/postgres/migrations.ts'
import { createPostgres } from '../../../src/postgres/postgres.ts'
import { createPostgresEventQueries } from '../../../src/query/postgres-event-queries.ts'
import { prepareSharedAt } from '../../../src/service/shared-database.ts'
import { createPostgresEventStore } from '../../../src/store/postgres-event-store.ts'
import { STORE_SCHEMA } from '../../../src/store/postgres-schema.ts'
import { batchOf, rowsFrom, sampleEvent } from '../../contract/event-store.ts'
import { postgresServer } from '../../harness/postgres.ts'
import { assertCounted } from '../../harness/postgres-counts.ts'
import { assertLogOfRows } from '../../harness/postgres-log.ts'
import { runtimeUrl } from '../../harness/runtime-role.ts'
import { NEVER } from '../query/event-fixture.ts'

const server = postgresServer()

/** A database with tables of its owner's, and the URL of a role that is only a member of the runtime role. */
async function createRoles(): Promise<{ owner: string; runtime: string }> {
  const owner = await server.createDatabase()
  return { owner, runtime: await runtimeUrl(server, owner) }
}

async function migrated(owner: string): Promise<void> {
  const store = createPostgresEventStore({ url: owner })
  await store.lastId()
  await store.close()
}

async function migratedTo(owner: string, stages: readonly Schema[]): Promise<void> {
  const postgres = createPostgres({ url: owner, connectionsMax: 1 })
  for (const stage of stages) await migrate(postgres, stage)
  await postgres.close()
}

test('runtime role: the statements of docs/postgresql.md make a database that instances can share, also as PostgreSQL 14 has it', async () => {
  const text = readFileSync(join(import.meta.dirname, '../../../docs/postgresql.md'), 'utf8')
  const [, roles = ''] = /^## Roles$(.*?)^## /ms.exec(text) ?? []
  const name = `evc_${randomBytes(6).toString('hex')}`
  const [create = '', connect = '', on14 = ''] = [...roles.matchAll(/```sql\n(.*?)```/gs)].map(([, sql = '']) =>
    sql.replaceAll(/\bevc(?=_owner|\b)/g, name).replaceAll("'...'", "'0123456789abcdef'"),
  )
  const base = await server.createDatabase()
  for (const sql of [...create.split(';'), ...connect.split(';')]) {
    await server.run(base, sql).catch(error => assert.match(error.code, /42710|23505/, sql)) // evc_runtime is there, or being made
  }
  const as = (role: string) => {
    const url = new URL(base)
    url.pathname = `/${name}`
    if (role !== '') Object.assign(url, { username: role, password: '0123456789abcdef' })
    return url.href
  }
  await server.run(as(''), 'ALTER SCHEMA public OWNER TO CURRENT_USER; GRANT CREATE ON SCHEMA public TO PUBLIC')
  await server.run(as(''), on14)
  await assert.rejects(prepareSharedAt(as(name)), { code: 'FOREIGN', message: /permission denied for schema public/ })
  await prepareSharedAt(as(`${name}_owner`))
  await prepareSharedAt(as(name))
  await server.dropDatabase(as(''))
})

test('runtime role: appends, makes partitions and asks everything, without owning anything', async () => {
  const { owner, runtime } = await createRoles()
  await migrated(owner)
  await server.run(owner, 'UPDATE event_layout SET partition_ids = 1024')
  const store = createPostgresEventStore({ url: runtime })
  await store.append(batchOf(0, [{ event: sampleEvent(0), onceKey: 'a key' }, ...rowsFrom(1, 2_500)]))
  await store.append(batchOf(2_501, [{ event: sampleEvent(0), onceKey: 'a key' }, ...rowsFrom(2_501, 99)]))
  assert.equal(await store.lastId(), 2_600)
  await assertLogOfRows(owner)
  const queries = createPostgresEventQueries({ url: runtime })
  const range = { start_time: sampleEvent(0).date_time, end_time: sampleEvent(9_999).date_time }
  assert.equal((await queries.page({ filter: range, order: 'desc', limit: 9 }, NEVER)).events.length, 9)
  assert.equal((await queries.summary({ ...range, bucketSeconds: 60 }, NEVER)).total, 2_600)
  assert.ok(await queries.proof({ id: 7, size: 2_600 }, NEVER))
  await queries.close()
  await store.close()
})

test('runtime role: cannot change or remove what was recorded, nor give itself the right to', async () => {
  const { owner, runtime } = await createRoles()
  await migrated(owner)
  const store = createPostgresEventStore({ url: runtime })
  await store.append(batchOf(0, rowsFrom(0, 300)))
  await store.close()
  const forbidden = [
    "UPDATE audit_events SET who = 'somebody else'",
    'DELETE FROM audit_events WHERE id = 7',
    'TRUNCATE audit_events',
    "UPDATE audit_events_1 SET who = 'somebody else'",
    'DELETE FROM audit_events_1',
    'INSERT INTO audit_events_1 SELECT 999, date_time, who, ip, action, description, severity FROM audit_events LIMIT 1',
    'DROP TABLE audit_events_1',
    'ALTER TABLE audit_events DETACH PARTITION audit_events_1',
    'ALTER TABLE audit_events DISABLE TRIGGER ALL',
    "UPDATE log_tiles SET bytes = ''",
    'DELETE FROM log_tiles',
    "UPDATE log_salts SET salts = ''",
    'DELETE FROM log_salts',
    'DELETE FROM log_head',
    'DELETE FROM once_keys',
    'DELETE FROM positions',
    'UPDATE event_times SET min_time = max_time',
    'UPDATE event_partitions SET last_id = 0',
    'UPDATE event_layout SET block_ids = 1',
    "INSERT INTO event_counts (level, first_id, last_id, min_time, max_time) VALUES (0, 1, 16384, '2026', '2026')",
    'DELETE FROM event_counts',
    'UPDATE evc_schema SET version = 99',
    'INSERT INTO log_erasures VALUES (1, 2)',
    "INSERT INTO rewrites_due VALUES ('audit_events_1')",
    'DELETE FROM rewrites_due',
    'CLUSTER audit_events_1 USING audit_events_1_pkey',
    `GRANT UPDATE ON audit_events TO ${RUNTIME_ROLE}`,
    'CREATE OR REPLACE FUNCTION evc_add_partition() RETURNS void LANGUAGE sql AS $$ SELECT $$',
  ]
  for (const sql of forbidden) {
    // A GRANT of what one may not give is no error, but a warning: nothing is given.
    if (sql.startsWith('GRANT')) await server.run(runtime, sql).catch(() => {})
    else await assert.rejects(server.run(runtime, sql), (error: pg.DatabaseError) => error.code === '42501', sql)
  }
  await assert.rejects(server.run(runtime, 'UPDATE audit_events SET who = $1', ['x']), { code: '42501' })
  assert.equal((await assertLogOfRows(owner)).length, 300)
})

function tombstoneOf(ids: readonly number[]) {
  const ids_sha256 = createHash('sha256').update(ids.join('\n')).digest('hex')
  const metadata_json = JSON.stringify({ count: ids.length, ids_sha256 })
  const event = { action: 'SYSTEM', reason_code: 'ERASED', who: 'system', ip: '-', metadata_json } as const
  return { event: sampleEvent(0, event), onceKey: null }
}

test('runtime role: whoever still sees what was erased cannot have it counted', async t => {
  const { owner, runtime } = await createRoles()
  await migrated(owner)
  await server.run(owner, 'UPDATE event_layout SET block_ids = 64')
  const first = createPostgresEventStore({ url: runtime })
  await first.append(batchOf(0, rowsFrom(0, 100)))
  await first.close()
  await server.run(owner, 'DELETE FROM event_counts')
  const client = new pg.Client({ connectionString: runtime })
  await client.connect()
  t.after(() => client.end())
  await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ')
  await client.query('SELECT who FROM audit_events WHERE id = 5')
  const store = createPostgresEventStore({ url: runtime })
  await store.append(batchOf(100, [tombstoneOf([5])]))
  await store.close()
  await server.run(runtime, 'SELECT evc_erase_events($1, $2)', [[5], 101])
  await assert.rejects(client.query('SELECT evc_count_events()'), { code: '40001' })
  await client.query('ROLLBACK')
  await assertCounted(owner, 64)
})

test('runtime role: erases by the function alone, and only for a tombstone that is in the log', async () => {
  const { owner, runtime } = await createRoles()
  await migrated(owner)
  const store = createPostgresEventStore({ url: runtime })
  await store.append(batchOf(0, rowsFrom(0, 300)))
  await store.append(batchOf(300, rowsFrom(300, 20)))
  const erase = (ids: readonly number[], tombstone: number) =>
    server.run(runtime, 'SELECT evc_erase_events($1, $2)', [ids, tombstone])
  await assert.rejects(erase([5], 300), /event 300 is no tombstone/)
  await assert.rejects(erase([5], 999), /is no tombstone/)
  await store.append(batchOf(320, [tombstoneOf([2, 5, 310])]))
  for (const other of [[5], [2, 5], [2, 5, 310, 311], [2, 2, 5, 310], []]) {
    await assert.rejects(erase(other, 321), /event 321 tells of other rows/, other.join())
  }
  await store.append(batchOf(321, [tombstoneOf([321]), tombstoneOf([324])]))
  await assert.rejects(erase([321], 322), /neither tombstones/)
  await assert.rejects(erase([324], 323), /neither tombstones/)
  await server.run(
    runtime,
    "INSERT INTO legal_holds (start_time, end_time, reason, placed_by, placed_at) VALUES ('2000-01-01T00:00:00.000Z', '2100-01-01T00:00:00.000Z', 'r', 'p', '-')",
  )
  await assert.rejects(erase([2, 5, 310], 321), /a legal hold keeps one of these rows/)
  await server.run(runtime, 'DELETE FROM legal_holds')
  const columns = COLUMNS.filter(name => name !== 'id').join(', ')
  await server.run(
    runtime,
    `INSERT INTO audit_events (id, ${columns}) SELECT 400, ${columns} FROM audit_events WHERE id = 321`,
  )
  await assert.rejects(erase([2, 5, 310], 400), /event 400 is no tombstone/, 'it is a row, and not in the log')
  await server.run(owner, 'DELETE FROM audit_events WHERE id = 400')
  await erase([310, 2, 5], 321)
  await erase([2, 5, 310], 321) // again

  const queries = createPostgresEventQueries({ url: runtime })
  for (const id of [2, 5, 310]) {
    const before = sampleEvent(id - 1)
    const { event, salt } = (await queries.proof({ id, size: 323 }, NEVER)) ?? assert.fail()
    assert.deepEqual(
      [
        event.who,
        event.ip,
        event.description,
        event.request_id,
        event.endpoint,
        event.http_method,
        event.metadata_json,
      ],
      ['', '', '', null, null, null, null],
    )
    assert.deepEqual([event.action, event.date_time, event.status_code], [before.action, before.date_time, 401])
    assert.deepEqual(new Uint8Array(salt), ERASED_SALT)
  }
  assert.notDeepEqual(new Uint8Array((await queries.proof({ id: 3, size: 323 }, NEVER))?.salt ?? []), ERASED_SALT)
  const erasures = await server.run(owner, 'SELECT id::int, tombstone::int FROM log_erasures ORDER BY id')
  assert.deepEqual(
    erasures.map(({ id, tombstone }) => [id, tombstone]),
    [
      [2, 321],
      [5, 321],
      [310, 321],
    ],
  )
  // The log goes on, from a bundle that is not full and has an erased row.
  await store.close()
  const later = createPostgresEventStore({ url: runtime })
  await later.append(batchOf(323, rowsFrom(323, 300)))
  const page = await queries.provenEvents({ filter: {}, after: 300, size: 623, limit: 20 }, NEVER)
  assert.ok(page.events.some(({ event, opening }) => event.id === 310 && 'commitment' in opening))
  await queries.close()
  await later.close()
  await assertLogOfRows(owner)
  for (const { table_name } of await server.run(runtime, 'SELECT table_name FROM rewrites_due')) {
    await server.run(runtime, 'SELECT evc_finish_erasure($1)', [table_name])
  }
  assert.deepEqual(await server.run(owner, 'SELECT * FROM rewrites_due'), [])
  await assertLogOfRows(owner)
})

test('runtime role: made after the tables, it is given its rights when the owner starts again', async () => {
  const { owner, runtime } = await createRoles()
  await migrated(owner)
  await server.run(owner, `REVOKE ALL ON ALL TABLES IN SCHEMA public FROM ${RUNTIME_ROLE}`)
  const store = createPostgresEventStore({ url: runtime })
  await assert.rejects(store.lastId(), { code: 'UNAVAILABLE' })
  await migrated(owner)
  assert.equal(await store.lastId(), 0)
  await store.close()
})

test('runtime role: made after the tables of several stages, it is given its rights in each of them', async () => {
  const { owner, runtime } = await createRoles()
  const stages = [STORE_SCHEMA, CHECKPOINT_SCHEMA]
  await migratedTo(owner, stages)
  await server.run(owner, `REVOKE ALL ON ALL TABLES IN SCHEMA public FROM ${RUNTIME_ROLE}`)
  await migratedTo(owner, stages)
  for (const table of ['log_head', 'log_checkpoints'])
    assert.deepEqual(await server.run(runtime, `SELECT 1 FROM ${table} WHERE false`), [])

  // Of what was signed one an hour stays, in whatever order it is to be forgotten, and whatever is put beside it.
  await server.run(
    owner,
    `INSERT INTO log_checkpoints SELECT size, '', now() - minutes * interval '1 minute'
     FROM (VALUES (10, 170), (20, 140), (30, 105), (40, 90), (50, 20)) AS signed (size, minutes)`,
  )
  await server.run(runtime, "INSERT INTO log_checkpoints (size, note) VALUES (49, ''), (60, '')")
  for (const size of [60, 50, 49, 40, 30, 20, 10])
    await server.run(runtime, "SELECT evc_forget_checkpoint($1, '1000 years')", [size])
  const left = await server.run(owner, 'SELECT size::int FROM log_checkpoints ORDER BY 1')
  assert.deepEqual(
    left.map(({ size }) => size),
    [10, 20, 40, 49, 50, 60],
  )
})

test('runtime role: tables that it would have to make are the owner to make first', async () => {
  const { runtime } = await createRoles()
  const store = createPostgresEventStore({ url: runtime })
  await assert.rejects(store.lastId(), { code: 'FOREIGN', message: /start once with the URL of the owner/ })
  await store.close()
})
