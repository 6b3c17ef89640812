import assert from 'node:assert/strict'
import test, { type TestContext } from 'node:test'
import pino from 'pino'
import { migrate } from '../../src/postgres/migrations.ts'
import { createPostgres } from '../../src/postgres/postgres.ts'
import { openCachedState } from '../../src/security/cached-state.ts'
import { createPostgresFeed } from '../../src/security/postgres-feed.ts'
import { SECURITY_SCHEMA } from '../../src/security/postgres-schema.ts'
import { openPostgresSecurityState } from '../../src/security/postgres-security-state.ts'
import type { SecurityState } from '../../src/security/security-state.ts'
import { postgresServer } from '../harness/postgres.ts'
import { runtimeUrl } from '../harness/runtime-role.ts'
import { securityStateContract } from './security-state.ts'

const server = postgresServer()
const logger = pino({ level: 'silent' })

/** With the rights of an instance, on tables that their owner made. */
async function create(t: TestContext, open: (url: string) => Promise<SecurityState>) {
  const owner = await server.createDatabase()
  const url = await runtimeUrl(server, owner)
  await (await openPlain(owner)).close()
  const opened: SecurityState[] = []
  t.after(() => Promise.all(opened.map(state => state.close())))
  const reopen = async () => {
    const state = await open(url)
    opened.push(state)
    return state
  }
  return { state: await reopen(), reopen }
}

async function openPlain(url: string): Promise<SecurityState> {
  return openPostgresSecurityState({ postgres: createPostgres({ url }), instance: 'one' })
}

async function openCached(url: string): Promise<SecurityState> {
  const postgres = createPostgres({ url })
  const state = await openPostgresSecurityState({ postgres, instance: 'one' })
  return openCachedState({ state, feed: createPostgresFeed(postgres), trustMs: 60_000, logger })
}

securityStateContract('PostgreSQL security state', t => create(t, openPlain))
securityStateContract('PostgreSQL security state behind a copy', t => create(t, openCached))

test('PostgreSQL security state: a database of an earlier version is brought to this one, with what is in it', async () => {
  const url = await server.createDatabase()
  const postgres = createPostgres({ url })
  await migrate(postgres, { ...SECURITY_SCHEMA, migrations: SECURITY_SCHEMA.migrations.slice(0, 1), grants: [] })
  await postgres.close()
  await server.run(url, "INSERT INTO admins VALUES ('alice', 'admin', 'aa', '2026-01-02T03:04:05.678Z', NULL)")
  const state = await openPlain(url)
  try {
    assert.equal((await state.admins())[0]?.name, 'alice')
    assert.equal(await state.session('nobody'), undefined)
  } finally {
    await state.close()
  }
})
