/** Partitions of a PostgreSQL that leave as archives: the same files as of the embedded database, and nothing that was proven is lost. */
import assert from 'node:assert/strict'
import { existsSync, readdirSync, readFileSync, renameSync } from 'node:fs'
import { join } from 'node:path'
import test, { type TestContext } from 'node:test'
import { gunzipSync } from 'node:zlib'
import pg from 'pg'
import { archiveSegments, planArchive } from '../../../src/archive/archive.ts'
import { liftSharedHold, placeSharedHold } from '../../../src/archive/holds.ts'
import { ARCHIVE_LOCK } from '../../../src/archive/postgres-lock.ts'
import { searchArchives } from '../../../src/archive/search.ts'
import { openTrail, readKnownArchives, viewTrail } from '../../../src/archive/trail.ts'
import { verifyArchives } from '../../../src/archive/verify.ts'
import { mirrorPostgresLog } from '../../../src/checkpoint/mirror.ts'
import { eraseShared } from '../../../src/erasure/postgres-erase.ts'
import { COLUMNS } from '../../../src/event/event.ts'
import { createPostgres } from '../../../src/postgres/postgres.ts'
import { createPostgresEventQueries } from '../../../src/query/postgres-event-queries.ts'
import { prepareSharedAt } from '../../../src/service/shared-database.ts'
import { createPostgresEventStore } from '../../../src/store/postgres-event-store.ts'
import { verifyPath } from '../../../src/verify/index.ts'
import { temporaryFolder } from '../../cli/command-line.ts'
import { sampleEvent } from '../../contract/event-store.ts'
import { postgresServer } from '../../harness/postgres.ts'
import { assertCounted } from '../../harness/postgres-counts.ts'
import { runtimeUrl } from '../../harness/runtime-role.ts'
import { createSignedPostgres } from '../../harness/signed-postgres.ts'
import { NEVER } from '../query/event-fixture.ts'

const server = postgresServer()
const PARTITION = 1_024
/** Of counts; those of the next level are two partitions. */
const BLOCK = 256
const FUTURE = Date.UTC(2036, 0, 1)
const GONE = 'CP-gone'
const at = (id: number) => sampleEvent(id).date_time
const gzipped = (file: string) => gunzipSync(readFileSync(file)).toString()

/** Three partitions and a bit, in batches that end where they like; each 500th event is of somebody who will be erased. */
async function oldTrail(t: TestContext) {
  const log = await createSignedPostgres(server, 1)
  t.after(() => log.close())
  const url = await runtimeUrl(server, log.url)
  await log.append(0) // makes the tables
  await log.run(`UPDATE event_layout SET partition_ids = ${PARTITION}, block_ids = ${BLOCK}`)
  const event = (id: number) => sampleEvent(id, id % 500 === 7 ? { who: GONE } : {})
  for (const count of [700, 700, 1_000, 900]) await log.append(count, { event })
  await assertCounted(log.url, BLOCK)
  const directory = join(temporaryFolder(t), 'archive')
  const store = { kind: 'postgres', url } as const
  /** @param meanwhile done once, after a block was written */
  const archive = (beforeMs = FUTURE, meanwhile?: () => Promise<unknown>) => {
    let isDone = meanwhile === undefined
    const rest = async () => {
      if (isDone) return
      isDone = true
      await meanwhile?.()
    }
    return archiveSegments({ store, directory, beforeMs, actor: 'test', signatureMs: 0, rest })
  }
  const assertPristine = async () => {
    const report = await verifyPath(log.url, { key: log.key() }, { workers: 0 })
    assert.equal(report.verdict, 'PRISTINE', report.sentence)
    return report
  }
  return { log, url, store, directory, archive, assertPristine }
}

const rangesOf = (segments: readonly { firstId: number; lastId: number }[]) =>
  segments.map(({ firstId, lastId }) => [firstId, lastId])

test('archive on PostgreSQL: the oldest partitions leave in order, proven, on record, and everybody goes on', async t => {
  const { log, url, store, directory, archive, assertPristine } = await oldTrail(t)
  const tombstone = await log.erase([5, 1_030, 3_100])
  const rows = await log.run(`SELECT ${COLUMNS.join(', ')} FROM audit_events ORDER BY id`)
  const lines = rows.map(row => JSON.stringify({ ...row, id: Number(row.id), status_code: numberOf(row.status_code) }))
  assert.deepEqual(rangesOf((await archive()).unsigned).length, 3, 'no checkpoint, no proof')
  await log.sign()
  const hold = await placeSharedHold(url, { start_time: at(1_500), end_time: at(1_501), reason: 'case' }, 'test')
  const plan = await planArchive(store, FUTURE)
  assert.deepEqual(rangesOf(plan.leaving), [[1, PARTITION]])
  assert.deepEqual(
    plan.held.map(({ segment, holds }) => [segment.firstId, holds.map(({ id }) => id)]),
    [PARTITION + 1, PARTITION * 2 + 1].map(first => [first, [hold.id]]),
    'what is held keeps those behind it',
  )
  assert.deepEqual(rangesOf((await planArchive(store, Date.parse(at(PARTITION * 2)))).leaving), [[1, PARTITION]])
  await log.run('UPDATE event_layout SET keep_days = 36500')
  assert.deepEqual((await planArchive(store, FUTURE)).leaving, [], 'the owner keeps them')
  await log.run('UPDATE event_layout SET keep_days = 0')
  const [first = assert.fail(), ...others] = (await archive()).archived
  assert.deepEqual([first.number, first.first_id, first.last_id, others.length], [1, 1, PARTITION, 0])
  assert.deepEqual(gzipped(first.file).trimEnd().split('\n').slice(1), lines.slice(0, PARTITION))
  assert.equal((await assertPristine()).archived, PARTITION)

  await liftSharedHold(url, hold.id, 'test')
  {
    await using _other = await openTrail(store)
    await assert.rejects(archive(), { code: 'ARCHIVE_RUNNING' })
  }
  const late = await archive(FUTURE, () =>
    placeSharedHold(url, { start_time: at(2_000), end_time: at(2_001), reason: 'now' }, 'test'),
  )
  assert.deepEqual([late.archived, readdirSync(directory).length], [[], 3], 'held while it was written: nothing of it')
  await liftSharedHold(url, hold.id + 1, 'test')
  const endLock = `SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_database d ON d.oid = database
    WHERE locktype = 'advisory' AND objid = $1 AND datname = current_database()`
  await assert.rejects(
    archive(FUTURE, () => log.run(endLock, [ARCHIVE_LOCK])),
    { code: 'ARCHIVE_RUNNING' },
    'the lock is lost, and with it the right to drop',
  )
  assert.equal((await archive()).archived.length, 2)
  const known = await readKnownArchives(store)
  assert.deepEqual((await verifyArchives(directory, known)).problems, [])
  const [left, ...more] = await log.run(
    'SELECT (SELECT min(id)::int FROM audit_events) AS first, (SELECT min(first_id)::int FROM log_salts) AS salts, min(table_name) AS name FROM event_partitions',
  )
  assert.deepEqual([left, more], [{ first: 3_073, salts: 3_073, name: 'audit_events_4' }, []])
  const recorded = await log.run("SELECT metadata_json FROM audit_events WHERE reason_code = 'ARCHIVED' ORDER BY id")
  assert.deepEqual(
    recorded.map(({ metadata_json }) => JSON.parse(String(metadata_json)).manifest_sha256),
    known.map(({ manifest_sha256 }) => manifest_sha256),
  )
  {
    await using view = await viewTrail(store)
    assert.deepEqual(await view.gaps(), [])
  }

  const queries = createPostgresEventQueries({ url })
  t.after(() => queries.close())
  const page = await queries.page({ filter: {}, order: 'asc', limit: 2, after: 7 }, NEVER)
  assert.deepEqual(
    page.events.map(({ id }) => id),
    [3_073, 3_074],
    'a cursor goes on behind what has left',
  )
  const last = await queries.page({ filter: {}, order: 'desc', limit: 2, after: 3_074 }, NEVER)
  assert.deepEqual([last.events.map(({ id }) => id), last.next], [[3_073], null])
  assert.equal(await queries.event(7, NEVER), undefined)
  assert.equal(await queries.proof({ id: 7, size: 3_000 }, NEVER), undefined)
  assert.equal((await queries.consistency({ from: 7, to: 3_000 }, NEVER)).length > 0, true, 'tiles stay')
  const summary = await queries.summary({ start_time: at(0), end_time: at(3_300), bucketSeconds: 3_600 }, NEVER)
  assert.equal(summary.total, 3_300 - 3_073)
  await assertCounted(log.url, BLOCK)

  await log.append(1_500)
  await log.sign()
  const report = await assertPristine()
  assert.deepEqual([report.archived, report.erased], [PARTITION * 3, 1], 'erased, and a row')
  assert.ok(report.notes.some(note => note.includes(`erased by event ${tombstone}`)))
  const mirror = join(directory, '..', 'mirror')
  await mirrorPostgresLog({ url, to: mirror })
  for (const tiles of [undefined, mirror]) {
    const alone = await verifyPath(directory, { key: log.key() }, { tiles, workers: 0 })
    assert.equal(alone.verdict, 'PRISTINE', alone.sentence)
  }
  using search = searchArchives(directory, known)
  const found = await search.page({ filter: { who: GONE }, order: 'desc', limit: 3 })
  assert.deepEqual(
    found.events.map(({ id }) => id),
    [3_007, 2_507, 2_007],
  )
})

const numberOf = (value: unknown) => (value === null ? null : Number(value))

test('archive on PostgreSQL: whatever was taken out in another way is found, and who reads is waited for', async t => {
  const { log, url, store, archive, assertPristine } = await oldTrail(t)
  await log.sign()
  const reader = new pg.Client({ connectionString: log.url })
  await reader.connect()
  await reader.query('BEGIN; SELECT 1 FROM audit_events LIMIT 1')
  const waiting = archive(Date.parse(at(PARTITION + 1)))
  const blocked = 'SELECT FROM pg_locks WHERE NOT granted AND relation = $1::regclass'
  for (let isBlocked = false; !isBlocked; ) isBlocked = (await log.run(blocked, ['audit_events'])).length > 0
  await reader.end()
  assert.equal((await waiting).archived.length, 1)
  await log.sign()
  await assertPristine()
  const verdictAfter = async (sql: string, undo: string) => {
    await log.run(sql)
    const { verdict, sentence } = await verifyPath(log.url, { key: log.key() }, { workers: 0 })
    await log.run(undo)
    return [verdict, /event \d+|archive \d+/.exec(sentence)?.[0]]
  }
  const [record] = await log.run('SELECT * FROM event_archives')
  const insert = `INSERT INTO event_archives SELECT * FROM json_populate_record(NULL::event_archives, '${JSON.stringify(record)}')`
  assert.deepEqual(await verdictAfter('DELETE FROM event_archives', insert), ['DELETED', 'event 1'])
  const setDigest = (digest: unknown) => `UPDATE event_archives SET manifest_sha256 = '${digest}'`
  const other = await verdictAfter(setDigest('0'.repeat(64)), setDigest(record?.manifest_sha256))
  assert.deepEqual(other, ['DELETED', 'event 1'], 'no event tells of that one')
  const claim = `INSERT INTO event_archives VALUES (2, 1025, 2048, '-', '-', '-', '-', '-', '-')`
  await log.run('CREATE TABLE kept AS SELECT * FROM audit_events WHERE id BETWEEN 1025 AND 2048')
  const gone = await verdictAfter(
    `DELETE FROM audit_events WHERE id BETWEEN 1025 AND 2048; ${claim}`,
    'INSERT INTO audit_events SELECT * FROM kept; DELETE FROM event_archives WHERE number = 2',
  )
  assert.deepEqual(gone, ['EDITED', 'event 1025'], 'its salts are left over')
  await assertPristine()

  // The function looks for itself.
  const event = (await log.run("SELECT max(id)::int AS id FROM audit_events WHERE reason_code = 'ARCHIVED'"))[0]?.id
  const takeOut = (changed: object, by = event) =>
    server.run(url, 'SELECT evc_archive_partition($1, $2)', [JSON.stringify({ ...record, ...changed }), by])
  await assert.rejects(takeOut({}), /not the oldest partition/)
  for (const other of [{ manifest_sha256: '0'.repeat(64) }, { file: '/etc/passwd' }, { last_time: at(1) }])
    await assert.rejects(takeOut(other), /tells of another archive/)
  await assert.rejects(takeOut({}, 1), /tells of no archive/)
  await assert.rejects(server.run(url, 'DELETE FROM event_archives'), { code: '42501' })
  const replace = 'SELECT evc_replace_archive(1, $1, $1, $2)'
  await assert.rejects(server.run(url, replace, ['0'.repeat(64), event]), /does not tell of this manifest/)
  assert.equal((await readKnownArchives(store)).length, 1)
})

test('archive on PostgreSQL: an erasure reaches archives at hand, and names the others', async t => {
  const { log, url, store: location, directory, archive, assertPristine } = await oldTrail(t)
  await prepareSharedAt(log.url)
  await log.sign()
  const { archived } = await archive()
  assert.equal(archived.length, 3)
  const [second = assert.fail()] = archived.slice(1)
  renameSync(second.file, `${second.file}.away`)
  const postgres = createPostgres({ url })
  const store = createPostgresEventStore({ url })
  t.after(() => Promise.all([postgres.close(), store.close()]))
  const erase = () =>
    eraseShared(
      { postgres, store, archives: directory },
      { subject: { kind: 'who', name: GONE }, reason: 'request 118', actor: 'ada' },
    )
  const reached = Array.from({ length: 7 }, (_, n) => n * 500 + 7).filter(id => id <= 1_024 || id > 2_048)
  const erased = await erase()
  assert.deepEqual([erased.erased, erased.archivesMissing], [reached.length, [2]])
  renameSync(`${second.file}.away`, second.file)
  const again = await erase()
  assert.deepEqual([again.erased, again.archivesMissing], [2, []], 'asked again where it is at hand')
  for (const { file } of archived) assert.equal(gzipped(file).includes(GONE), false)
  assert.equal(existsSync(`${second.file}.doomed`), false)
  const known = await readKnownArchives(location)
  assert.deepEqual((await verifyArchives(directory, known)).problems, [])
  await log.sign()
  await assertPristine()
  const alone = await verifyPath(directory, { key: log.key() }, { workers: 0 })
  assert.deepEqual([alone.verdict, alone.erased], ['PRISTINE', 7], alone.sentence)
  assert.equal((await archive()).archived.length, 0)
})
