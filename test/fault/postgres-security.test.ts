/** The security state while PostgreSQL, or the way to it, fails. Long forms: test/torture. */
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { describe, type TestContext } from 'node:test'
import { rootCertificates } from 'node:tls'
import pino from 'pino'
import { ERRORS, Refusal } from '../../src/errors.ts'
import { LIMITS } from '../../src/limits.ts'
import { createPostgres } from '../../src/postgres/postgres.ts'
import { openCachedState } from '../../src/security/cached-state.ts'
import { createPostgresFeed } from '../../src/security/postgres-feed.ts'
import { openPostgresSecurityState } from '../../src/security/postgres-security-state.ts'
import type { SecurityState } from '../../src/security/security-state.ts'
import { chargePointRecord, eventOf } from '../contract/security-state.ts'
import { CERTIFICATE, KEY } from '../harness/certificate.ts'
import { createNetwork } from '../harness/network.ts'
import { ownPostgresServer } from '../harness/postgres.ts'
import { eventually } from '../http/harness.ts'

const server = ownPostgresServer()
const logger = pino({ level: 'silent' })
const skip = server.canStop ? false : 'the server is not ours to stop'

/** As it is sent; READ COMMITTED does not end so. */
const COMMIT = 'COMMIT\0'

const ADMIN = {
  name: 'alice',
  role: 'admin',
  key_hash: 'aa',
  created_at: '2026-01-02T03:04:05.678Z',
  revoked_at: null,
} as const

interface Options {
  readonly instance?: string
  readonly orphanMs?: number
  readonly trustMs?: number
  readonly now?: () => number
  readonly connectionsMax?: number
}

async function openState(t: TestContext, url: string, options: Options = {}): Promise<SecurityState> {
  const { instance = 'one', orphanMs, trustMs = 60_000, now, connectionsMax } = options
  const postgres = createPostgres({ url, statementMsMax: 1_000, ...(connectionsMax && { connectionsMax }) })
  const state = await openPostgresSecurityState({ postgres, instance, ...(orphanMs !== undefined && { orphanMs }) })
  const feed = createPostgresFeed(postgres)
  const cached = await openCachedState({ state, feed, trustMs, logger, ...(now && { now }) })
  t.after(() => cached.close())
  return cached
}

async function throughNetwork(t: TestContext) {
  const url = await server.createDatabase()
  const network = await createNetwork(url)
  t.after(() => network.close())
  return { url, network }
}

async function codeOf(call: Promise<unknown>): Promise<string> {
  try {
    await call
    return 'ok'
  } catch (error) {
    if (error instanceof Refusal) return error.code
    throw error
  }
}

const put = (state: SecurityState, fields: Parameters<typeof chargePointRecord>[0] = {}) =>
  state.change(async transaction => {
    await transaction.putChargePoint(chargePointRecord(fields))
    await transaction.addToOutbox(randomUUID(), eventOf('changed'))
    return 'done'
  })

test('a commit whose answer was lost is settled: it happened, once, and the caller is told so', async t => {
  const { url, network } = await throughNetwork(t)
  const state = await openState(t, network.url)
  const lost = network.loseNext(COMMIT, 'after')
  const answer = put(state)
  await lost
  assert.equal(await answer, 'done')
  assert.ok(await state.chargePoint('CP-1'))
  const rows = await server.run(url, 'SELECT 1 FROM outbox')
  assert.equal(rows.length, 1)
})

test('a commit that never arrived is settled: nothing happened, and the caller is told so', async t => {
  const { url, network } = await throughNetwork(t)
  const state = await openState(t, network.url)
  const lost = network.loseNext(COMMIT, 'before')
  const answer = codeOf(put(state))
  await lost
  assert.equal(await answer, 'STATE_UNAVAILABLE')
  assert.deepEqual(await server.run(url, 'SELECT 1 FROM charge_points UNION ALL SELECT 1 FROM outbox'), [])
  assert.equal(await put(state), 'done')
})

test('an answer that was lost leaves nobody with the lock', async t => {
  const { network } = await throughNetwork(t)
  const [state, other] = [await openState(t, network.url), await openState(t, network.url, { instance: 'two' })]
  const lost = network.loseNext('charge_points', 'before')
  const answer = codeOf(put(state))
  await lost
  assert.equal(await answer, 'STATE_UNAVAILABLE')
  assert.equal(await put(other), 'done')
})

test('what another instance changed is known within a second, also when it was done by hand', async t => {
  const url = await server.createDatabase()
  const [state, other] = [await openState(t, url), await openState(t, url, { instance: 'two' })]
  await put(state)
  await eventually(async () => (await other.chargePoint('CP-1')) !== undefined, 1_000)
  await server.run(url, "UPDATE charge_points SET security_status = 'REVOKED'")
  await eventually(async () => (await other.chargePoint('CP-1'))?.security_status === 'REVOKED', 1_000)
  for (const table of ['charge_points', 'admins', 'usual_addresses']) {
    await assert.rejects(server.run(url, `TRUNCATE ${table} CASCADE`), /use DELETE/)
  }
  await server.run(url, 'DELETE FROM charge_points')
  await eventually(async () => (await other.chargePoint('CP-1')) === undefined, 1_000)
})

test('who asks for a refresh sees what was committed before, without waiting for the poll', async t => {
  const url = await server.createDatabase()
  const [state, other] = [await openState(t, url), await openState(t, url, { instance: 'two' })]
  for (let i = 0; i < 20; i++) {
    await put(state, { cp_id: `CP-${i}` })
    await other.refresh()
    assert.ok(await other.chargePoint(`CP-${i}`))
  }
})

test('an instance whose place in the feed is gone, or is another one, reads everything anew', async t => {
  const url = await server.createDatabase()
  const [state, other] = [await openState(t, url), await openState(t, url, { instance: 'two' })]
  await put(state)
  await other.refresh()
  // As a failover that lost the last commits would: the same numbers, another history.
  await server.run(
    url,
    `BEGIN; ALTER TABLE charge_points DISABLE TRIGGER USER; DELETE FROM charge_points;
     ALTER TABLE charge_points ENABLE TRIGGER USER; UPDATE security_changes SET mark = gen_random_uuid(); COMMIT`,
  )
  await eventually(async () => (await other.chargePoint('CP-1')) === undefined, 5_000)
  await put(state)
  await other.refresh()
  await server.run(url, 'DELETE FROM security_changes')
  await put(state, { cp_id: 'CP-2' })
  await eventually(async () => (await other.chargePoint('CP-2')) !== undefined, 5_000)
})

test('logins are answered from the copy while the server is stopped, changes are refused, and both work again', {
  skip,
}, async t => {
  const url = await server.createDatabase()
  const state = await openState(t, url)
  await put(state)
  for (const how of ['fast', 'immediate'] as const) {
    await server.halt(how)
    assert.ok(await state.chargePoint('CP-1'))
    assert.equal(await codeOf(put(state, { location: how })), 'STATE_UNAVAILABLE')
    await eventually(() => state.lastWriteError() !== null)
    const startedAt = performance.now()
    await state.refresh()
    assert.ok(performance.now() - startedAt < 100, 'whoever is refused waits for no server that is known to be away')
    await server.resume()
    await eventually(async () => (await codeOf(put(state, { location: how }))) === 'ok')
    assert.equal((await state.chargePoint('CP-1'))?.location, how)
  }
})

test('past its time the copy counts no more: nothing that was revoked elsewhere is accepted for longer', async t => {
  const { url, network } = await throughNetwork(t)
  let ahead = 0
  const now = () => performance.now() + ahead
  const cutOff = await openState(t, network.url, { trustMs: 60_000, now })
  const other = await openState(t, url, { instance: 'two' })
  await put(other)
  await eventually(async () => (await cutOff.chargePoint('CP-1')) !== undefined)
  network.cut()
  await put(other, { security_status: 'REVOKED' })
  assert.equal((await cutOff.chargePoint('CP-1'))?.security_status, 'ACTIVE', 'that is the price, and it has a bound')
  ahead = 61_000
  assert.equal(await codeOf(cutOff.chargePoint('CP-1')), 'STATE_UNAVAILABLE')
  assert.equal(await codeOf(cutOff.adminByKeyHash('aa')), 'STATE_UNAVAILABLE')
  assert.equal(await codeOf(cutOff.admins()), 'STATE_UNAVAILABLE')
  network.mend()
  await eventually(async () => (await codeOf(cutOff.chargePoint('CP-1'))) === 'ok')
  assert.equal((await cutOff.chargePoint('CP-1'))?.security_status, 'REVOKED')
})

test('a server that can only be read, as a standby that is not promoted yet, is no reason to refuse logins', {
  skip,
}, async t => {
  const url = await server.createDatabase()
  const state = await openState(t, url)
  await put(state)
  const [at] = await server.run<{ folder: string }>(url, "SELECT current_setting('data_directory') AS folder")
  await server.run(url, `COPY (SELECT '') TO '${at?.folder}/standby.signal'`)
  await server.halt('fast')
  await server.resume()
  await eventually(async () => (await codeOf(state.status('CP-1'))) === 'ok')
  assert.ok(await state.chargePoint('CP-1'))
  assert.equal(await codeOf(put(state, { location: 'elsewhere' })), 'STATE_UNAVAILABLE')
  assert.ok(state.lastWriteError() !== null)
  await server.run(url, 'SELECT pg_promote()')
  await eventually(async () => (await codeOf(put(state))) === 'ok')
  assert.equal(state.lastWriteError(), null)
})

test('rows that a dead instance left in the outbox are delivered by another, in order and by one of them', async t => {
  const url = await server.createDatabase()
  const dead = await openState(t, url, { instance: 'dead' })
  for (let i = 0; i < 5; i++) await put(dead, { cp_id: `CP-${i}` })
  const uuids = (await dead.outbox(0, 10)).map(({ uuid }) => uuid)
  const [a, b] = [
    await openState(t, url, { instance: 'a', orphanMs: 60_000 }),
    await openState(t, url, { instance: 'b', orphanMs: 0 }),
  ]
  assert.deepEqual(await a.outbox(0, 10), [], 'it may still be alive')
  const adopted = await b.outbox(0, 10)
  assert.deepEqual(
    adopted.map(({ uuid }) => uuid),
    uuids,
  )
  assert.deepEqual(await dead.outbox(0, 10), [])
  assert.deepEqual(await a.outbox(0, 10), [])
  await b.deleteOutbox(adopted.at(-1)?.id ?? 0)
  assert.deepEqual(await server.run(url, 'SELECT 1 FROM outbox'), [])
})

test('rows of the command line are adopted at once, and it adopts none', async t => {
  const url = await server.createDatabase()
  const command = await openState(t, url, { instance: '' })
  const instance = await openState(t, url, { instance: 'a' })
  await put(command)
  await put(instance, { cp_id: 'CP-2' })
  assert.equal((await command.outbox(0, 10)).length, 1)
  await instance.deleteOutbox((await instance.outbox(0, 10)).at(-1)?.id ?? 0)
  assert.equal((await instance.outbox(0, 10)).length, 1)
  assert.deepEqual(await command.outbox(0, 10), [])
})

test('sessions that are ended again and again lose nothing and double nothing', async t => {
  const url = await server.createDatabase()
  const states = [await openState(t, url, { instance: 'a' }), await openState(t, url, { instance: 'b' })]
  await put(states[0] as SecurityState, { token_version: 0 })
  let isOver = false
  const ending = (async () => {
    for (; !isOver; await new Promise(resolve => setTimeout(resolve, 20)))
      await server.run(
        url,
        'SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()',
      )
  })()
  let counted = 0
  const increment = async (state: SecurityState) => {
    const code = await codeOf(
      state.change(async transaction => {
        const record = await transaction.chargePoint('CP-1')
        assert.ok(record)
        await transaction.putChargePoint({ ...record, token_version: record.token_version + 1 })
        await transaction.addToOutbox(randomUUID(), eventOf('counted'))
      }),
    )
    assert.ok(code === 'ok' || code === 'STATE_UNAVAILABLE', code)
    if (code === 'ok') counted++
  }
  for (let i = 0; i < 30; i++) await Promise.all(states.map(increment))
  isOver = true
  await ending
  const [row] = await server.run<{ token_version: string }>(url, 'SELECT token_version FROM charge_points')
  assert.equal(Number(row?.token_version), counted)
  const outbox = await server.run(url, 'SELECT uuid FROM outbox')
  assert.equal(outbox.length, counted + 1)
})

/** Most of their time is spent on waiting for what does not answer: all at once. */
describe('what waits', { concurrency: true }, () => {
  test('a commit that cannot be settled in time is uncertain, and says so', async t => {
    const { network } = await throughNetwork(t)
    const state = await openState(t, network.url)
    const lost = network.loseNext(COMMIT, 'after')
    const startedAt = performance.now()
    const answer = codeOf(put(state))
    await lost
    network.cut()
    assert.equal(await answer, 'STATE_UNCERTAIN')
    assert.ok(performance.now() - startedAt >= LIMITS.stateSettleMsMax)
    assert.equal(ERRORS.STATE_UNCERTAIN.status, 503)
    network.mend()
  })

  test('what an instance changed and cannot read since is neither let in nor refused; all others are', async t => {
    const { url, network } = await throughNetwork(t)
    const postgres = createPostgres({ url })
    const plain = await openPostgresSecurityState({ postgres, instance: 'one' })
    const way = createPostgres({ url: network.url, statementMsMax: 500 })
    const state = await openCachedState({ state: plain, feed: createPostgresFeed(way), trustMs: 60_000, logger })
    t.after(async () => {
      await state.close()
      await way.close()
    })
    await put(state)
    await put(state, { cp_id: 'CP-2' })
    await state.change(transaction => transaction.putAdmin(ADMIN))
    network.cut()
    await put(state, { security_status: 'REVOKED' })
    await state.change(transaction => transaction.putAdmin({ ...ADMIN, revoked_at: ADMIN.created_at }))
    assert.equal(await codeOf(state.chargePoint('CP-1')), 'STATE_UNAVAILABLE')
    assert.equal(await codeOf(state.adminByKeyHash(ADMIN.key_hash)), 'STATE_UNAVAILABLE')
    assert.deepEqual(await state.admins(), [])
    assert.ok(await state.chargePoint('CP-2'))
    network.mend()
    await eventually(async () => (await codeOf(state.chargePoint('CP-1'))) === 'ok')
    assert.equal((await state.chargePoint('CP-1'))?.security_status, 'REVOKED')
    assert.notEqual((await state.adminByKeyHash(ADMIN.key_hash))?.revoked_at, null)
  })

  test('with no session to be had changes are refused in time, and logins go on', async t => {
    const url = await server.createDatabase()
    const postgres = createPostgres({ url, connectionsMax: 1, statementMsMax: 20_000 })
    const state = await openPostgresSecurityState({ postgres, instance: 'one' })
    const feed = createPostgres({ url })
    const cached = await openCachedState({ state, feed: createPostgresFeed(feed), trustMs: 60_000, logger })
    t.after(async () => {
      await cached.close()
      await feed.close()
    })
    await put(cached)
    const hold = Promise.withResolvers<void>()
    const held = postgres.use(() => hold.promise)
    assert.ok(await cached.chargePoint('CP-1'))
    assert.equal(await codeOf(put(cached)), 'STATE_UNAVAILABLE')
    hold.resolve()
    await held
    assert.equal(await codeOf(put(cached)), 'ok')
  })
})

test('a server with TLS: sslmode asks of it what it says, and never goes on without', {
  skip: skip || (process.platform === 'win32' && 'the key of its certificate is written by a shell'),
}, async t => {
  const url = await server.createDatabase()
  const folder = mkdtempSync(join(tmpdir(), 'evc-tls-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const [own, other] = [join(folder, 'own.pem'), join(folder, 'other.pem')]
  writeFileSync(own, CERTIFICATE)
  writeFileSync(other, rootCertificates[0] as string)
  const withTls = (query: string, host = '127.0.0.1') => `${url.replace('127.0.0.1', host)}?${query}`
  const encrypted = async (at: string) => {
    const postgres = createPostgres({ url: at, connectionsMax: 1 })
    try {
      const sql = 'SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()'
      return (await postgres.use(session => session.query<{ ssl: boolean }>(sql))).rows[0]?.ssl
    } finally {
      await postgres.close()
    }
  }
  await assert.rejects(encrypted(withTls('sslmode=require')), { code: 'UNAVAILABLE', message: /not support SSL/ })

  for (const [name, pem] of Object.entries({ 'tls.pem': CERTIFICATE, 'tls.key': KEY })) {
    const lines = `unnest(string_to_array('${pem.trimEnd()}', E'\\n'))`
    await server.run(url, `COPY (SELECT ${lines}) TO PROGRAM 'umask 077; cat > ${name}'`) // it has to be the server's own
  }
  for (const [name, value] of Object.entries({ ssl_cert_file: 'tls.pem', ssl_key_file: 'tls.key', ssl: 'on' }))
    await server.run(url, `ALTER SYSTEM SET ${name} = '${value}'`)
  await server.run(url, 'SELECT pg_reload_conf()')
  await eventually(async () => (await encrypted(withTls('sslmode=require')).catch(() => false)) === true)
  assert.equal(await encrypted(url), false)
  for (const query of [`require&sslrootcert=${own}`, `verify-ca&sslrootcert=${own}`, `verify-full&sslrootcert=${own}`])
    assert.equal(await encrypted(withTls(`sslmode=${query}`)), true, query)
  assert.equal(await encrypted(withTls(`sslmode=verify-ca&sslrootcert=${own}`, '127.1')), true)
  const refused = [
    withTls('sslmode=verify-full'),
    withTls(`sslmode=verify-full&sslrootcert=${other}`),
    withTls(`sslmode=verify-ca&sslrootcert=${other}`),
    withTls(`sslmode=require&sslrootcert=${other}`),
    withTls(`sslmode=verify-full&sslrootcert=${own}`, '127.1'), // the same server by a name that its certificate has not
  ]
  for (const at of refused) await assert.rejects(encrypted(at), { code: 'UNAVAILABLE' }, at)
})
