import assert from 'node:assert/strict'
import test from 'node:test'
import { migrate, type Schema } from '../../../src/postgres/migrations.ts'
import { connectPostgres, createPostgres, type Postgres } from '../../../src/postgres/postgres.ts'
import { PostgresError } from '../../../src/postgres/postgres-error.ts'
import { postgresServer } from '../../harness/postgres.ts'

const server = postgresServer()
const SCHEMA: Schema = {
  stage: 'parcels',
  migrations: [
    'CREATE TABLE parcels (id bigint PRIMARY KEY, text text NOT NULL)',
    async session => {
      await session.query('INSERT INTO parcels VALUES ($1, $2)', [1, 'first'])
    },
  ],
  grants: ['SELECT ON parcels'],
}
const NEWER: Schema = { ...SCHEMA, migrations: [...SCHEMA.migrations, 'ALTER TABLE parcels ADD COLUMN kg integer'] }

async function withPostgres(body: (postgres: Postgres, url: string) => Promise<void>): Promise<void> {
  const url = await server.createDatabase()
  const postgres = createPostgres({ url, connectionsMax: 3, statementMsMax: 5_000 })
  try {
    await body(postgres, url)
  } finally {
    await postgres.close()
  }
}

test('PostgreSQL: ids come back as numbers, and what is committed is there', () =>
  withPostgres(async postgres => {
    await migrate(postgres, SCHEMA)
    await postgres.transaction(session => session.query("INSERT INTO parcels VALUES (2, 'second')"))
    const { rows } = await postgres.snapshot(session => session.query('SELECT id, text FROM parcels ORDER BY id'))
    assert.deepEqual(rows, [
      { id: 1, text: 'first' },
      { id: 2, text: 'second' },
    ])
  }))

test('PostgreSQL: what is set for people in a database does not reach its sessions', () =>
  withPostgres(async (postgres, url) => {
    const name = new URL(url).pathname.slice(1)
    for (const [setting, value] of Object.entries({
      datestyle: 'German, DMY',
      timezone: 'Europe/Berlin',
      bytea_output: 'escape',
      idle_session_timeout: '1s',
      synchronous_commit: 'off',
    }))
      await server.run(url, `ALTER DATABASE ${name} SET ${setting} = '${value}'`)
    const sql = "SELECT '2026-02-03 04:05:06.789+00'::timestamptz AS time, '\\x00ff'::bytea AS bytes"
    const { rows } = await postgres.use(session => session.query<{ time: Date; bytes: Buffer }>(sql))
    assert.equal(rows[0]?.time?.toISOString(), '2026-02-03T04:05:06.789Z')
    assert.deepEqual([...(rows[0]?.bytes ?? [])], [0, 255])
    const kept = await postgres.use(session =>
      session.query(
        "SELECT current_setting('idle_session_timeout') AS idle, current_setting('synchronous_commit') AS commit",
      ),
    )
    assert.deepEqual(kept.rows, [{ idle: '0', commit: 'on' }])
  }))

test('PostgreSQL: work that rejects leaves nothing, and its session serves on', () =>
  withPostgres(async postgres => {
    await migrate(postgres, SCHEMA)
    for (let n = 0; n < 10; n++) {
      const failing = postgres.transaction(async session => {
        await session.query("INSERT INTO parcels VALUES (3, 'third')")
        throw new RangeError('no')
      })
      await assert.rejects(failing, RangeError)
    }
    const overlooked = postgres.transaction(async session => {
      await session.query("INSERT INTO parcels VALUES (3, 'third')")
      await session.query('SELECT 1 / 0').catch(() => {})
    })
    await assert.rejects(overlooked, /not committed/)
    const { rows } = await postgres.use(session => session.query('SELECT count(*) AS n FROM parcels'))
    assert.deepEqual(rows, [{ n: 1 }])
  }))

test('PostgreSQL: a snapshot cannot write', () =>
  withPostgres(async postgres => {
    await migrate(postgres, SCHEMA)
    await assert.rejects(
      postgres.snapshot(session => session.query('DELETE FROM parcels')),
      {
        code: 'UNAVAILABLE',
        sqlState: '25006',
      },
    )
  }))

test('PostgreSQL: a known key is a conflict, a missing table foreign, a slow statement unavailable', () =>
  withPostgres(async (postgres, url) => {
    await migrate(postgres, SCHEMA)
    const insert = postgres.use(session => session.query("INSERT INTO parcels VALUES (1, 'again')"))
    await assert.rejects(insert, { name: 'PostgresError', code: 'CONFLICT' })
    await assert.rejects(
      postgres.use(session => session.query('SELECT * FROM letters')),
      { code: 'FOREIGN' },
    )
    await assert.rejects(
      postgres.use(session => session.query('SELECT 1 / 0')),
      error => !(error instanceof PostgresError),
    )
    const hasty = createPostgres({ url, statementMsMax: 50 })
    await assert.rejects(
      hasty.use(session => session.query('SELECT pg_sleep(10)')),
      { code: 'UNAVAILABLE' },
    )
    await hasty.close()
  }))

test('PostgreSQL: a terminated session costs one error, and the next use works', () =>
  withPostgres(async postgres => {
    await migrate(postgres, SCHEMA)
    const terminated = postgres.use(session => session.query('SELECT pg_terminate_backend(pg_backend_pid())'))
    await assert.rejects(terminated, { code: 'UNAVAILABLE' })
    assert.equal((await postgres.use(session => session.query('SELECT 1 AS one'))).rows[0]?.one, 1)
  }))

test('PostgreSQL: more callers than connections take turns', () =>
  withPostgres(async postgres => {
    const answers = Array.from({ length: 20 }, (_, n) =>
      postgres.use(session => session.query('SELECT $1::int AS n, pg_sleep(0.01)', [n])),
    )
    assert.deepEqual(
      (await Promise.all(answers)).map(({ rows }) => rows[0]?.n),
      Array.from({ length: 20 }, (_, n) => n),
    )
  }))

test('PostgreSQL: nobody there is unavailable, and so is a closed pool; no message shows the password', async () => {
  const postgres = createPostgres({ url: 'postgres://somebody:s3cr3t-word@127.0.0.1:1/evc' })
  await assert.rejects(
    postgres.use(session => session.query('SELECT 1')),
    error => error instanceof PostgresError && error.code === 'UNAVAILABLE' && !error.message.includes('s3cr3t-word'),
  )
  await postgres.close()
  await assert.rejects(
    postgres.use(session => session.query('SELECT 1')),
    { code: 'UNAVAILABLE' },
  )
})

test('PostgreSQL: a connection of its own hears notifications', () =>
  withPostgres(async (postgres, url) => {
    const listener = await connectPostgres({ url })
    const heard = Promise.withResolvers<string | undefined>()
    listener.on('notification', ({ payload }) => heard.resolve(payload))
    await listener.query('LISTEN parcels')
    await postgres.use(session => session.query("NOTIFY parcels, 'hello'"))
    assert.equal(await heard.promise, 'hello')
    await listener.end()
  }))

test('migrations: ten instances that start at once migrate once', () =>
  withPostgres(async (_, url) => {
    const instances = Array.from({ length: 10 }, () => createPostgres({ url, connectionsMax: 1 }))
    await Promise.all(instances.map(instance => migrate(instance, NEWER)))
    const { rows } = await (instances[0] as Postgres).use(session =>
      session.query('SELECT stage, version FROM evc_schema'),
    )
    assert.deepEqual(rows, [{ stage: 'parcels', version: 3 }])
    await Promise.all(instances.map(instance => instance.close()))
  }))

test('migrations: an older schema goes on from its version, a newer one is refused and not touched', () =>
  withPostgres(async postgres => {
    await migrate(postgres, SCHEMA)
    await migrate(postgres, NEWER)
    await assert.rejects(migrate(postgres, SCHEMA), {
      code: 'FOREIGN',
      message: "the parcels schema is of version 3, newer than this program's 2",
    })
  }))

test('migrations: a step that fails leaves the version before', () =>
  withPostgres(async postgres => {
    await migrate(postgres, SCHEMA)
    const broken = { ...SCHEMA, migrations: [...SCHEMA.migrations, 'CREATE TABLE boxes (id int)', 'SELECT 1 / 0'] }
    await assert.rejects(migrate(postgres, broken))
    const { rows } = await postgres.use(session => session.query("SELECT to_regclass('boxes') AS found"))
    assert.deepEqual(rows, [{ found: null }])
    await migrate(postgres, NEWER)
  }))

test('migrations: stages have versions of their own', () =>
  withPostgres(async postgres => {
    await migrate(postgres, SCHEMA)
    await migrate(postgres, { stage: 'letters', migrations: ['CREATE TABLE letters (id int)'], grants: [] })
    const { rows } = await postgres.use(session =>
      session.query('SELECT stage, version FROM evc_schema ORDER BY stage'),
    )
    assert.deepEqual(rows, [
      { stage: 'letters', version: 1 },
      { stage: 'parcels', version: 2 },
    ])
  }))
