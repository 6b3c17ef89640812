import assert from 'node:assert/strict'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'
import pg from 'pg'
import { liftSharedHold, placeSharedHold } from '../../src/archive/holds.ts'
import { eraseShared, planErasureShared } from '../../src/erasure/postgres-erase.ts'
import type { AuditEvent } from '../../src/event/event.ts'
import { createPostgres } from '../../src/postgres/postgres.ts'
import { createPostgresEventQueries } from '../../src/query/postgres-event-queries.ts'
import { openPostgresSecurityState } from '../../src/security/postgres-security-state.ts'
import { prepareSharedAt } from '../../src/service/shared-database.ts'
import { createPostgresEventStore } from '../../src/store/postgres-event-store.ts'
import { postgresServer } from '../harness/postgres.ts'
import { assertCounted } from '../harness/postgres-counts.ts'
import { assertLogOfRows, relationsHolding } from '../harness/postgres-log.ts'
import { runtimeUrl } from '../harness/runtime-role.ts'
import { erasureContract, eventsWith, NOTHING, REQUEST, refused } from './erasure.ts'

const server = postgresServer()

const SEGMENT = 1_024
const BLOCK_IDS = 256
/** How long an erasure waits for those who read: for one that does not end, and for one that is about to. */
const READERS_MS = { reading: 500, ending: 30_000 }
/** Nothing has left here. */
const archives = join(tmpdir(), 'no-archives')

/** As the role that has no more rights than an instance needs. */
erasureContract('erasure on PostgreSQL', {
  segment: SEGMENT,
  async create(t) {
    const { owner, url } = await migrated()
    const postgres = createPostgres({ url })
    const store = createPostgresEventStore({ url })
    const state = await openPostgresSecurityState({ postgres: createPostgres({ url }), instance: 'one' })
    const queries = createPostgresEventQueries({ url })
    let readersMs = READERS_MS.ending
    t.after(async () => {
      await queries.close()
      await state.close()
      await store.close()
      await postgres.close()
    })
    let written = 0
    return {
      queries,
      state,
      async append(events) {
        const rows = events.map(event => ({ event, onceKey: null }))
        await store.append({ source: 'test', after: written, through: written + rows.length, rows })
        written += rows.length
        await assertCounted(owner, BLOCK_IDS)
      },
      rows: () => assertLogOfRows(owner),
      async root() {
        const [head] = await server.run<{ root: Buffer }>(owner, 'SELECT root FROM log_head')
        return new Uint8Array(head?.root ?? assert.fail())
      },
      erase: request => eraseShared({ postgres, store, archives }, request, readersMs),
      plan: subject => planErasureShared({ postgres, archives }, subject),
      placeHold: hold => placeSharedHold(url, hold, 'ada'),
      liftHold: id => liftSharedHold(url, id, 'ada'),
      holding: text => relationsHolding(owner, text),
      erasures: () => server.run(owner, 'SELECT id::int, tombstone::int FROM log_erasures ORDER BY id'),
      async check() {
        await assertLogOfRows(owner)
        await assertCounted(owner, BLOCK_IDS)
        assert.deepEqual(await server.run(owner, 'SELECT * FROM rewrites_due'), [])
      },
      async startReading() {
        const reader = new pg.Client({ connectionString: owner })
        await reader.connect()
        await reader.query('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1 FROM event_layout')
        readersMs = READERS_MS.reading
        return () => {
          readersMs = READERS_MS.ending
          return reader.end()
        }
      },
    }
  },
})

/** Its URL as the owner, and as a role that is only a member of the runtime role. */
async function migrated(): Promise<{ owner: string; url: string }> {
  const owner = await server.createDatabase()
  const url = await runtimeUrl(server, owner)
  await prepareSharedAt(owner)
  await server.run(owner, `UPDATE event_layout SET partition_ids = ${SEGMENT}, block_ids = ${BLOCK_IDS}`)
  return { owner, url }
}

test('erasure on PostgreSQL: the runtime role has no table written anew that is not due, and none that is not named', async () => {
  const { owner, url } = await migrated()
  const store = createPostgresEventStore({ url })
  await store.append({
    source: 'test',
    after: 0,
    through: 1,
    rows: [{ event: eventsWith(1)[0] as AuditEvent, onceKey: null }],
  })
  await store.close()
  const file = () => server.run(owner, "SELECT pg_relation_filepath('audit_events_1') AS path")
  const before = await file()
  await server.run(url, "SELECT evc_finish_erasure('audit_events_1')")
  assert.deepEqual(await file(), before)
  await assert.rejects(server.run(url, "SELECT security_rewrite('audit_events_1')"), { code: '23514' })
  await assert.rejects(server.run(url, "SELECT security_rewrite('security_meta; DROP TABLE admins')"), {
    code: '23514',
  })
  assert.deepEqual(await file(), before)
})

test('erasure on PostgreSQL: one at a time', async t => {
  const { url } = await migrated()
  const postgres = createPostgres({ url })
  const store = createPostgresEventStore({ url })
  t.after(() => Promise.all([postgres.close(), store.close()]))
  const slow = {
    async record(work: Parameters<typeof store.record>[0]) {
      await refused(eraseShared({ postgres, store, archives }, REQUEST), 'ARCHIVE_RUNNING')
      await store.record(work)
    },
  }
  await store.append({
    source: 'test',
    after: 0,
    through: 1,
    rows: [{ event: eventsWith(4)[3] as AuditEvent, onceKey: null }],
  })
  assert.equal((await eraseShared({ postgres, store: slow, archives }, REQUEST)).erased, 1)
  assert.deepEqual(await eraseShared({ postgres, store, archives }, REQUEST), NOTHING)
})
