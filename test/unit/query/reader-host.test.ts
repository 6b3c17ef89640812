import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { readFileSync, renameSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import test from 'node:test'
import { LIMITS } from '../../../src/limits.ts'
import { startReader } from '../../../src/query/reader-host.ts'
import { sampleEvent } from '../../contract/event-store.ts'
import { createEventFixture, createRandom, NEVER, randomEvents, timeAt } from './event-fixture.ts'

test('reader: the threads answer as the synchronous queries do', async () => {
  await using fixture = createEventFixture()
  await fixture.append(randomEvents(2_000, createRandom(9)))
  const reader = startReader({ store: { kind: 'sqlite', path: fixture.path } })
  const { queries } = fixture
  const page = { filter: { action: ['AUTH_FAIL', 'INCIDENT'] as const }, order: 'desc' as const, limit: 50 }
  const summary = { start_time: timeAt(0), end_time: timeAt(9_000), bucketSeconds: 60 }
  const episodes = { quietSeconds: 60, limit: 20 }
  const failures = { since: timeAt(0), limit: 5 }
  assert.deepEqual(await reader.page(page), queries.page(page, NEVER))
  assert.deepEqual(await reader.event(7), fixture.rows[6])
  assert.equal(await reader.event(2_001), undefined)
  assert.equal(await reader.lastId(), 2_000)
  assert.deepEqual(await reader.failures(failures), queries.failures(failures, NEVER))
  assert.deepEqual(await reader.episodes(episodes), queries.episodes(episodes, NEVER))
  assert.deepEqual(await reader.summary(summary), queries.summary(summary, NEVER))
  const chunk = { ...page, format: 'csv' as const }
  assert.deepEqual(await reader.exportChunk(chunk), queries.exportChunk(chunk, NEVER))
  await reader.close()
})

test('reader: a refusal comes back as one, with its code and violations', async () => {
  await using fixture = createEventFixture()
  await fixture.append([sampleEvent(0)])
  const reader = startReader({ store: { kind: 'sqlite', path: fixture.path } })
  await assert.rejects(reader.page({ filter: { start_time: 'never' }, order: 'asc', limit: 1 }), {
    name: 'Refusal',
    code: 'VALIDATION_FAILED',
    violations: [{ field: 'start_time', rule: 'time' }],
  })
  await reader.close()
})

test('reader: no database yet is STORE_UNAVAILABLE, later it is read; so is one that went away and came back', async () => {
  await using fixture = createEventFixture()
  const reader = startReader({ store: { kind: 'sqlite', path: fixture.path } })
  await assert.rejects(reader.lastId(), { name: 'Refusal', code: 'STORE_UNAVAILABLE' })
  await fixture.append([sampleEvent(0)])
  assert.equal(await reader.lastId(), 1)
  await fixture.store.close()
  renameSync(fixture.path, `${fixture.path}.away`)
  await assert.rejects(reader.lastId(), { code: 'STORE_UNAVAILABLE' })
  renameSync(`${fixture.path}.away`, fixture.path)
  assert.equal(await reader.lastId(), 1)
  await reader.close()
})

test('reader: more questions than the limit are refused at once as OVERLOADED, the others are answered', async () => {
  await using fixture = createEventFixture()
  await fixture.append([sampleEvent(0)])
  const reader = startReader({ store: { kind: 'sqlite', path: fixture.path } })
  const asked = Array.from({ length: LIMITS.queriesWaitingMax + 5 }, () => reader.lastId())
  const outcomes = await Promise.allSettled(asked)
  const refused = outcomes.filter(outcome => outcome.status === 'rejected')
  assert.equal(refused.length, 5)
  for (const { reason } of refused) assert.equal(reason.code, 'OVERLOADED')
  assert.equal(await reader.lastId(), 1, 'there is room again')
  await reader.close()
})

test('reader: a question that is not answered within the limit is QUERY_TIMEOUT', async () => {
  await using fixture = createEventFixture()
  await fixture.append([sampleEvent(0)])
  await fixture.store.close()
  const reader = startReader({ store: { kind: 'sqlite', path: fixture.path } })
  const selfish = new DatabaseSync(fixture.path)
  selfish.exec('PRAGMA locking_mode = EXCLUSIVE; BEGIN IMMEDIATE; DELETE FROM positions; COMMIT')
  const outcomes = await Promise.allSettled(Array.from({ length: 40 }, () => reader.lastId()))
  const codes = outcomes.map(outcome => (outcome.status === 'rejected' ? outcome.reason.code : 'answered'))
  assert.equal(codes[0], 'STORE_UNAVAILABLE')
  assert.equal(codes.at(-1), 'QUERY_TIMEOUT')
  selfish.close()
  assert.equal(await reader.lastId(), 1)
  await reader.close()
})

test('reader: a long summary does not delay a lookup', async () => {
  await using fixture = createEventFixture()
  for (let i = 0; i < 4; i++) await fixture.append(randomEvents(10_000, createRandom(i)))
  const reader = startReader({ store: { kind: 'sqlite', path: fixture.path } })
  await Promise.all([
    reader.lastId(),
    reader.summary({ start_time: timeAt(0), end_time: timeAt(1), bucketSeconds: 60 }),
  ])
  const order: string[] = []
  const request = { start_time: timeAt(0), end_time: timeAt(50_000), bucketSeconds: 60 }
  const summaries = [1, 2, 3].map(() => reader.summary(request).then(() => order.push('summary')))
  const lookups = [1, 2, 3].map(n => reader.event(n).then(() => order.push('lookup')))
  await Promise.all([...summaries, ...lookups])
  assert.deepEqual(order.slice(0, 3), ['lookup', 'lookup', 'lookup'])
  await reader.close()
})

test('reader: closing answers what was asked, and refuses what is asked afterwards', async () => {
  await using fixture = createEventFixture()
  await fixture.append([sampleEvent(0)])
  const reader = startReader({ store: { kind: 'sqlite', path: fixture.path } })
  const asked = reader.event(1)
  await Promise.all([reader.close(), reader.close()])
  assert.equal((await asked)?.id, 1)
  await assert.rejects(reader.event(1), { code: 'STORE_UNAVAILABLE' })
})

test('reader: reading leaves the database file as it is', async () => {
  await using fixture = createEventFixture()
  await fixture.append(randomEvents(500, createRandom(1)))
  await fixture.store.checkpoint()
  const digest = () => createHash('sha256').update(readFileSync(fixture.path)).digest('hex')
  const before = digest()
  const reader = startReader({ store: { kind: 'sqlite', path: fixture.path } })
  await reader.page({ filter: {}, order: 'desc', limit: 100 })
  await reader.close()
  assert.equal(digest(), before)
})
