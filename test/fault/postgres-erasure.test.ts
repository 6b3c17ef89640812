/** Erasure of a trail in PostgreSQL, killed at random instants, or with a commit that nobody answered: it happened once, or not at all. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { eraseShared } from '../../src/erasure/postgres-erase.ts'
import { createPostgres } from '../../src/postgres/postgres.ts'
import { prepareSharedAt } from '../../src/service/shared-database.ts'
import { StoreError } from '../../src/store/event-store.ts'
import { createPostgresEventStore, type PostgresEventStore } from '../../src/store/postgres-event-store.ts'
import { eventsWith, isHolder, NAME, NOTHING, REQUEST } from '../contract/erasure.ts'
import { ownPostgresServer } from '../harness/postgres.ts'
import { assertLogOfRows, relationsHolding } from '../harness/postgres-log.ts'
import { eventually, startTestCentral } from '../http/harness.ts'
import { createRandom } from '../unit/query/event-fixture.ts'

const server = ownPostgresServer()
const EVENTS = 2_000
const HELD = eventsWith(EVENTS).filter(isHolder).length
const KILLS = 4
/** Nothing has left here. */
const archives = join(tmpdir(), 'no-archives')

async function writtenTrail(t: TestContext): Promise<{ url: string; store: PostgresEventStore }> {
  const url = await server.createDatabase()
  await prepareSharedAt(url)
  const store = createPostgresEventStore({ url })
  t.after(() => store.close())
  const rows = eventsWith(EVENTS).map(event => ({ event, onceKey: null }))
  await store.append({ source: 'test', after: 0, through: rows.length, rows })
  return { url, store }
}

/** Rows are all there or all blank, with the tombstone that says so. @returns whether they are blank */
async function assertWhole(url: string): Promise<boolean> {
  const rows = await assertLogOfRows(url)
  const tombstones = rows.filter(({ reason_code }) => reason_code === 'ERASED')
  const counts = tombstones.map(({ metadata_json }) => JSON.parse(metadata_json ?? '').count)
  const isErased = tombstones.length > 0
  assert.deepEqual(counts, isErased ? [HELD] : [])
  assert.equal(rows.filter(isHolder).length, isErased ? 0 : HELD)
  assert.equal(rows.filter(({ who, description }) => who === '' && description === '').length, isErased ? HELD : 0)
  return isErased
}

const hasTombstone = async (url: string) =>
  (await server.run(url, "SELECT FROM audit_events WHERE reason_code = 'ERASED'")).length > 0

/** @returns whether it ended before it was killed */
async function killedAfter(url: string, until: () => Promise<unknown>): Promise<boolean> {
  const child = spawn(process.execPath, [join(import.meta.dirname, 'postgres-erasure-child.ts'), url], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const exit = once(child, 'exit')
  await Promise.race([once(child.stdout, 'data'), exit])
  await Promise.race([until(), exit])
  child.kill('SIGKILL')
  return (await exit)[0] === 0
}

/** The server notices that a client is gone when it has done what that had asked for. */
const sessionsEnded = (url: string) =>
  eventually(async () => {
    const left = "SELECT FROM pg_stat_activity WHERE application_name = 'ev-central erasure'"
    return (await server.run(url, left)).length === 0
  })

test('postgres erasure: killed at random instants it happened or did not, and done again it leaves nothing', async t => {
  const random = createRandom(4711)
  const { url } = await writtenTrail(t)
  let between = 0
  for (let n = 0, isDone = false; !isDone; n++) {
    // Every other one just after the rows are erased, which a random instant seldom meets.
    const until = n % 2 === 0 ? () => sleep(random() * 300) : () => eventually(() => hasTombstone(url), 60_000, 1)
    isDone = await killedAfter(url, n < KILLS ? until : () => sleep(60_000, undefined, { ref: false }))
    await sessionsEnded(url)
    const isErased = await assertWhole(url)
    if (isErased && (await relationsHolding(url, NAME)).length > 0) between++
    assert.ok(isErased || !isDone)
  }
  t.diagnostic(`${between} kills between the rows and the end`)
  assert.deepEqual(await relationsHolding(url, NAME), [])
  assert.ok(await assertWhole(url))
})

test('postgres erasure: one that was cut short is finished by the instance that starts next', async t => {
  const { url, store } = await writtenTrail(t)
  // Ends where a killed one would: with the commit.
  const failing = createPostgres({ url, connectionsMax: 1 })
  const cut = {
    record: async (work: Parameters<typeof store.record>[0]) => {
      await store.record(work)
      void failing.close() // ends when the sessions in use have
    },
  }
  await assert.rejects(eraseShared({ postgres: failing, store: cut, archives }, REQUEST), {
    code: 'ERASURE_UNFINISHED',
  })
  assert.ok(await assertWhole(url))
  assert.notDeepEqual(await relationsHolding(url, NAME), [])
  const central = await startTestCentral({ EVC_DATABASE_URL: url })
  t.after(() => central.close())
  assert.deepEqual(await relationsHolding(url, NAME), [])
  const rows = await server.run(url, 'SELECT FROM rewrites_due')
  assert.equal(rows.length, 0)
})

test('postgres erasure: the server crashes behind the commit; asked again, it is finished', async t => {
  if (!server.canStop) return t.skip('the server is not ours')
  const { url, store } = await writtenTrail(t)
  const postgres = createPostgres({ url })
  t.after(() => postgres.close())
  const crashing = {
    async record(work: Parameters<typeof store.record>[0]) {
      await store.record(work)
      await server.halt('immediate')
    },
  }
  await assert.rejects(eraseShared({ postgres, store: crashing, archives }, REQUEST), { code: 'ERASURE_UNFINISHED' })
  await server.resume()
  assert.ok(await assertWhole(url))
  assert.deepEqual(await eraseShared({ postgres, store, archives }, REQUEST), NOTHING)
  assert.deepEqual(await relationsHolding(url, NAME), [])
})

test('postgres erasure: a commit that nobody answered is found out about, and told of once', async t => {
  const { url, store } = await writtenTrail(t)
  const postgres = createPostgres({ url })
  t.after(() => postgres.close())
  let attempts = 0
  const lossy = {
    async record(work: Parameters<typeof store.record>[0]) {
      await store.record(work)
      if (++attempts === 1) throw new StoreError('UNAVAILABLE', 'the connection was lost in the commit')
    },
  }
  const done = await eraseShared({ postgres, store: lossy, archives }, REQUEST)
  assert.deepEqual(done, { ...NOTHING, erased: HELD, eventId: EVENTS + 1 })
  assert.equal(attempts, 2)
  assert.ok(await assertWhole(url))
  assert.deepEqual(await relationsHolding(url, NAME), [])
})
