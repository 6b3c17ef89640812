import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import pg from 'pg'
import { liftSharedHold, placeSharedHold } from '../../src/archive/holds.ts'
import { eraseShared, planErasureShared } from '../../src/erasure/postgres-erase.ts'
import { RUNTIME_ROLE } from '../../src/postgres/migrations.ts'
import { createPostgres } from '../../src/postgres/postgres.ts'
import { createPostgresEventQueries } from '../../src/query/postgres-event-queries.ts'
import { openPostgresSecurityState } from '../../src/security/postgres-security-state.ts'
import { createPostgresEventStore } from '../../src/store/postgres-event-store.ts'
import { postgresServer } from '../harness/postgres.ts'
import { assertLogOfRows, relationsHolding } from '../harness/postgres-log.ts'
import { erasureContract } from './erasure.ts'

const server = postgresServer()

const SEGMENT = 1_024
const READERS_MS = 500

/** As the role that has no more rights than an instance needs. */
erasureContract('erasure on PostgreSQL', {
  segment: SEGMENT,
  async create(t) {
    const owner = await server.createDatabase()
    const url = await runtimeUrl(owner)
    await (await openPostgresSecurityState({ postgres: createPostgres({ url: owner }), instance: '' })).close()
    const first = createPostgresEventStore({ url: owner })
    await first.lastId()
    await first.close()
    await server.run(owner, `UPDATE event_layout SET partition_ids = ${SEGMENT}`)
    const postgres = createPostgres({ url })
    const store = createPostgresEventStore({ url })
    const state = await openPostgresSecurityState({ postgres: createPostgres({ url }), instance: 'one' })
    const queries = createPostgresEventQueries({ url })
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
      },
      rows: () => assertLogOfRows(owner),
      async root() {
        const [head] = await server.run<{ root: Buffer }>(owner, 'SELECT root FROM log_head')
        return new Uint8Array(head?.root ?? assert.fail())
      },
      erase: request => eraseShared({ postgres, store }, request, READERS_MS),
      plan: subject => planErasureShared(postgres, subject),
      placeHold: hold => placeSharedHold(url, hold, 'ada'),
      liftHold: id => liftSharedHold(url, id, 'ada'),
      holding: text => relationsHolding(owner, text),
      erasures: () => server.run(owner, 'SELECT id::int, tombstone::int FROM log_erasures ORDER BY id'),
      async check() {
        await assertLogOfRows(owner)
        assert.deepEqual(await server.run(owner, 'SELECT * FROM rewrites_due'), [])
      },
      async startReading() {
        const reader = new pg.Client({ connectionString: owner })
        await reader.connect()
        await reader.query('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1 FROM event_layout')
        return () => reader.end()
      },
    }
  },
})

async function runtimeUrl(owner: string): Promise<string> {
  const name = `evc_app_${randomBytes(6).toString('hex')}`
  const password = randomBytes(12).toString('hex')
  await server.run(
    owner,
    `DO $$ BEGIN CREATE ROLE ${RUNTIME_ROLE} NOLOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
     REVOKE CREATE ON SCHEMA public FROM PUBLIC; CREATE ROLE ${name} LOGIN PASSWORD '${password}' IN ROLE ${RUNTIME_ROLE}`,
  )
  const url = new URL(owner)
  url.username = name
  url.password = password
  return url.href
}
