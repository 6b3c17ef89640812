/** Segments leave the database as files: when, how, what keeps them, and what a crash leaves. */
import assert from 'node:assert/strict'
import { copyFileSync, cpSync, existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import test from 'node:test'
import { gunzipSync } from 'node:zlib'
import { archiveSegments, planArchive } from '../../../src/archive/archive.ts'
import { liftHold, placeHold } from '../../../src/archive/holds.ts'
import { readRetention } from '../../../src/archive/sqlite-trail.ts'
import { verifyArchives } from '../../../src/archive/verify.ts'
import { COLUMNS, type StoredEvent } from '../../../src/event/event.ts'
import type { EventFilter, Order } from '../../../src/query/event-queries.ts'
import { createSqliteEventQueries } from '../../../src/query/sqlite-event-queries.ts'
import { checkStore } from '../../../src/store/check-store.ts'
import { findUnexplainedGaps, listArchives, takeOut } from '../../../src/store/retention.ts'
import { createSqliteEventStore } from '../../../src/store/sqlite-event-store.ts'
import { pathsOf, SEGMENT } from '../../harness/old-trail.ts'
import { auditRows } from '../../harness/rows.ts'
import { NEVER, naiveWalk, timeAt } from '../query/event-fixture.ts'
import { FUTURE, namesOf, oldTrail, rowsIn } from './old-trail.ts'

test('archive: sealed segments leave as files that stock tools read, the trail says so, and the disk gets the space', async t => {
  const { data, rows, run, directory, database } = await oldTrail(t, SEGMENT * 4 + 100)
  const { archived, space = assert.fail() } = await run()
  assert.deepEqual(
    archived.map(({ number, first_id, last_id }) => [number, first_id, last_id]),
    [1, 2, 3, 4].map(n => [n, (n - 1) * SEGMENT + 1, n * SEGMENT]),
  )
  const [first] = archived
  assert.equal(first?.file, join(directory, 'events-000000000001-000000002048.ndjson.gz'))
  const lines = gunzipSync(readFileSync(first?.file ?? ''))
    .toString()
    .trimEnd()
    .split('\n')
  const header = JSON.parse(lines[0] ?? '')
  assert.deepEqual([header.format, header.format_version, header.columns], ['ev-central-archive', 1, [...COLUMNS]])
  assert.deepEqual([header.first_id, header.last_id, header.count], [1, SEGMENT, SEGMENT])
  assert.deepEqual(
    lines.slice(1).map(line => JSON.parse(line)),
    rows.slice(0, SEGMENT),
  )
  const times = rows
    .slice(0, SEGMENT)
    .map(row => row.date_time)
    .sort()
  assert.deepEqual([header.first_time, header.last_time], [times[0], times.at(-1)])

  const left = rowsIn(data)
  assert.deepEqual(left.slice(0, 100), rows.slice(SEGMENT * 4))
  const events = left.slice(100)
  assert.deepEqual(
    events.map(({ id, action, reason_code, who }) => [id, action, reason_code, who]),
    [1, 2, 3, 4].map(n => [SEGMENT * 4 + 100 + n, 'SYSTEM', 'ARCHIVED', 'system']),
  )
  const { archive, first_id, last_id, count, file, sha256, actor } = JSON.parse(events[0]?.metadata_json ?? '')
  assert.deepEqual([archive, first_id, last_id, count, actor], [1, 1, SEGMENT, SEGMENT, 'test'])
  assert.deepEqual([file, sha256], [first?.file, first?.sha256])

  assert.deepEqual(checkStore(database), [])
  assert.deepEqual(readRetention(database, findUnexplainedGaps), [])
  assert.ok(space.bytesAfter < space.bytesBefore / 3, `${space.bytesBefore} to ${space.bytesAfter}`)
  assert.equal(statSync(database).size, space.bytesAfter)
  t.diagnostic(`audit.db: ${space.bytesBefore} bytes, then ${space.bytesAfter}`)
  assert.deepEqual((await run()).archived, [], 'nothing more leaves')
})

test('archive: only segments whose newest event is old enough; the manifests are a chain over runs and over folders', async t => {
  const { data, rows, run, directory, database } = await oldTrail(t, SEGMENT * 4 + 1)
  const newestOf = (segment: number) =>
    Math.max(...rows.slice((segment - 1) * SEGMENT, segment * SEGMENT).map(row => Date.parse(row.date_time)))
  assert.deepEqual((await run(newestOf(1))).archived, [], 'the newest is not older than itself')
  assert.equal(existsSync(directory), false)
  assert.equal((await run(newestOf(1) + 1)).archived.length, 1)
  const elsewhere = join(data, '..', 'elsewhere')
  const second = await archiveSegments({
    ...pathsOf(data),
    directory: elsewhere,
    beforeMs: newestOf(2) + 1,
    actor: 'test',
  })
  assert.deepEqual(
    second.archived.map(({ number }) => number),
    [2],
  )
  assert.equal((await run()).archived.length, 2)
  const known = readRetention(database, listArchives)
  assert.deepEqual(
    known.map(({ number }) => number),
    [1, 2, 3, 4],
  )
  for (const folder of [directory, elsewhere]) {
    assert.deepEqual((await verifyArchives(folder, known)).problems, [])
  }
  assert.match((await verifyArchives(directory, [])).problems.join(), /archive 2 is missing/)
  for (const name of namesOf(elsewhere)) copyFileSync(join(elsewhere, name), join(directory, name))
  const together = await verifyArchives(directory, [])
  assert.deepEqual([together.sound.length, together.problems], [4, []])
})

test('archive: a legal hold keeps the segments it overlaps, until it ends; both are on record', async t => {
  const { data, rows, run, database } = await oldTrail(t, SEGMENT * 3 + 1)
  const held = rows[SEGMENT + 10] as StoredEvent
  const to = new Date(Date.parse(held.date_time) + 1).toISOString()
  const hold = await placeHold(database, { start_time: held.date_time, end_time: to, reason: 'case 4711' }, 'cli:jo')
  const isHeld = (first: number) => {
    const segment = rows
      .slice(first, first + SEGMENT)
      .map(row => row.date_time)
      .sort()
    return (segment[0] ?? '') < to && (segment.at(-1) ?? '') >= held.date_time
  }
  const expected = [0, SEGMENT, SEGMENT * 2].filter(first => !isHeld(first)).map(first => first + 1)
  assert.ok(expected.length < 3)
  const { archived, held: kept } = await run()
  assert.deepEqual(
    archived.map(({ first_id }) => first_id),
    expected,
  )
  assert.deepEqual(
    kept.flatMap(({ holds }) => holds.map(({ id }) => id)),
    Array(3 - expected.length).fill(hold.id),
  )
  assert.deepEqual(rowsIn(data, `id = ${held.id}`), [held])
  await assert.rejects(liftHold(database, 99, 'cli:jo'), { name: 'Refusal', code: 'HOLD_NOT_FOUND' })
  await liftHold(database, hold.id, 'cli:ann')
  assert.equal((await run()).archived.length, 3 - expected.length)
  const events = auditRows(data, "reason_code LIKE 'HOLD_%'")
  assert.deepEqual(
    events.map(({ reason_code }) => reason_code),
    ['HOLD_PLACED', 'HOLD_LIFTED'],
  )
  assert.match(events[0]?.metadata_json ?? '', /"reason":"case 4711","actor":"cli:jo"/)
  assert.match(events[1]?.metadata_json ?? '', /"placed_by":"cli:jo","actor":"cli:ann"/)
})

test('archive: a hold that is placed while a segment is written keeps it, and nothing of it is left behind', async t => {
  const { data, directory, database } = await oldTrail(t, SEGMENT * 2 + 1)
  let isPlaced = false
  const { archived } = await archiveSegments({
    ...pathsOf(data),
    beforeMs: FUTURE,
    actor: 'test',
    async rest() {
      if (isPlaced) return
      isPlaced = true
      await placeHold(database, { start_time: timeAt(0), end_time: '2030-01-01T00:00:00.000Z', reason: 'now' }, 'test')
    },
  })
  assert.deepEqual(archived, [])
  assert.deepEqual(namesOf(directory), [])
  assert.equal((await planArchive(pathsOf(data).store, FUTURE)).held.length, 2)
})

test('archive: a second archiver of the same data folder is refused', async t => {
  const { data, run } = await oldTrail(t, SEGMENT + 1)
  let second: unknown
  await archiveSegments({
    ...pathsOf(data),
    beforeMs: FUTURE,
    actor: 'test',
    async rest() {
      second ??= await run().catch((error: unknown) => error)
    },
  })
  assert.equal((second as { code?: string }).code, 'ARCHIVE_RUNNING')
})

test('archive: rows that are missing in a segment are no archive: it fails, and the segment stays', async t => {
  const { directory, database, run } = await oldTrail(t, SEGMENT * 2 + 1)
  for (const id of [SEGMENT + 1, SEGMENT + 700, SEGMENT * 2]) {
    const copy = `${database}.copy`
    copyFileSync(database, copy)
    const db = new DatabaseSync(database)
    db.exec(`DELETE FROM audit_events_2 WHERE id = ${id}`)
    db.close()
    const expected = { name: 'Refusal', code: 'ARCHIVE_FAILED', message: new RegExp(`Event ${id} is missing`) }
    await assert.rejects(run(), expected)
    assert.deepEqual(
      namesOf(directory).filter(name => name.includes('0002049') && !name.endsWith('.draft')),
      [],
    )
    for (const suffix of ['', '-wal', '-shm']) rmSync(database + suffix, { force: true })
    copyFileSync(copy, database)
    rmSync(directory, { recursive: true })
  }
  assert.equal((await run()).archived.length, 2)
})

// What a crash after each step leaves, put there by hand; the fault suite kills processes at random instants.
test('archive: what a crash leaves is completed by the next run, and written only once', async t => {
  const { data, directory, database, run, rows } = await oldTrail(t, SEGMENT * 2 + 1)
  const before = join(data, '..', 'before')
  cpSync(data, before, { recursive: true })
  await run()
  const finished = new Map(namesOf(directory).map(name => [name, readFileSync(join(directory, name))]))
  const newest = (ending: string) =>
    [...finished.keys()].sort().findLast(name => name.endsWith(ending)) ?? assert.fail()
  const [archive, manifest] = [newest('.ndjson.gz'), newest('.manifest.json')]
  const leftovers: Record<string, (name: string, bytes: Buffer) => [string, Buffer] | undefined> = {
    'a draft': (name, bytes) => (name === archive ? [`${name}.draft`, bytes.subarray(0, 5_000)] : undefined),
    'an archive without manifest': (name, bytes) => (name === archive ? [name, bytes] : undefined),
    'a draft of a manifest': (name, bytes) =>
      name === manifest ? [`${name}.draft`, bytes.subarray(0, 10)] : [name, bytes],
    'finished archives': (name, bytes) => [name, bytes],
  }
  for (const [what, leftover] of Object.entries(leftovers)) {
    rmSync(data, { recursive: true })
    cpSync(before, data, { recursive: true })
    mkdirSync(directory)
    for (const [name, bytes] of finished) {
      const left = leftover(name, bytes)
      if (left !== undefined) writeFileSync(join(directory, ...(left.slice(0, 1) as [string])), left[1])
    }
    assert.equal((await run()).archived.length, 2, what)
    const known = readRetention(database, listArchives)
    const { sound, problems } = await verifyArchives(directory, known)
    assert.deepEqual([sound.length, problems], [2, []], what)
    assert.equal(auditRows(data, "reason_code = 'ARCHIVED'").length, 2, what)
    if (what === 'finished archives') {
      for (const [name, bytes] of finished) assert.ok(readFileSync(join(directory, name)).equals(bytes), name)
    }
  }
  assert.deepEqual(rowsIn(data, `id = ${SEGMENT * 2 + 1}`), rows.slice(-1))
})

test('archive: a finished archive of other events, or of another chain, is refused and stays as it is', async t => {
  const { data, directory, database, run } = await oldTrail(t, SEGMENT * 2 + 1)
  const before = join(data, '..', 'before')
  cpSync(database, before)
  await run()
  const restore = (sql: string) => {
    for (const suffix of ['', '-wal', '-shm']) rmSync(database + suffix, { force: true })
    cpSync(before, database)
    const db = new DatabaseSync(database)
    db.exec(sql)
    db.close()
  }
  const archives = namesOf(directory).map(name => readFileSync(join(directory, name)))
  const refused = { name: 'Refusal', code: 'ARCHIVE_INVALID' }
  restore("UPDATE audit_events_1 SET description = 'another' WHERE id = 7")
  await assert.rejects(run(), { ...refused, message: /holds other events than this database/ })
  restore(`INSERT INTO event_archives VALUES (1, 1, 2, '', '', '', '', '${'0'.repeat(64)}', '')`)
  await assert.rejects(run(), { ...refused, message: /does not follow on archive 1/ })
  assert.deepEqual(
    namesOf(directory).map(name => readFileSync(join(directory, name))),
    archives,
  )
})

test('archive: readers of the database step over what left, in both directions, and miss nothing', async t => {
  const { rows, run, database } = await oldTrail(t, SEGMENT * 5 + 300)
  const queries = createSqliteEventQueries({ path: database })
  const pages = (filter: EventFilter, order: Order, limit: number) => {
    const ids: number[] = []
    for (let after: number | undefined; ; ) {
      const { events, next } = queries.page({ filter, order, limit, ...(after === undefined ? {} : { after }) }, NEVER)
      ids.push(...events.map(({ id }) => id))
      if (next === null) return ids
      after = next
    }
  }
  assert.equal(pages({}, 'asc', 1_000).length, rows.length) // prepared on what is about to leave
  await placeHold(
    database,
    {
      start_time: rows[SEGMENT * 2 + 5]?.date_time ?? '',
      end_time: rows[SEGMENT * 2 + 900]?.date_time ?? '',
      reason: 'x',
    },
    'test',
  )
  const { archived } = await run()
  const isGone = (id: number) => archived.some(({ first_id, last_id }) => id >= first_id && id <= last_id)
  const db = new DatabaseSync(database, { readOnly: true })
  const stored = db
    .prepare('SELECT * FROM audit_events ORDER BY id')
    .all()
    .map(row => ({ ...row }) as unknown as StoredEvent)
  db.close()
  assert.ok(archived.length >= 2 && archived.length < 5, `${archived.length}`)
  assert.deepEqual(
    stored.filter(({ reason_code }) => !['ARCHIVED', 'HOLD_PLACED'].includes(reason_code ?? '')),
    rows.filter(({ id }) => !isGone(id)),
  )
  const filters: EventFilter[] = [
    {},
    { who: 'CP-1' },
    { action: ['AUTH_FAIL'] },
    { end_time: timeAt(6_000) },
    { request_id: 'request-7' },
  ]
  for (const filter of filters) {
    for (const order of ['asc', 'desc'] as const) {
      const expected = naiveWalk(stored, filter, order).map(({ id }) => id)
      assert.deepEqual(pages(filter, order, 97), expected, `${JSON.stringify(filter)} ${order}`)
    }
  }
  const gone = archived[0]?.first_id ?? 0
  assert.equal(queries.event(gone, NEVER), undefined)
  const after = queries.page({ filter: {}, order: 'asc', limit: 3, after: gone }, NEVER)
  assert.deepEqual(
    after.events.map(({ id }) => id),
    stored
      .filter(({ id }) => id > gone)
      .slice(0, 3)
      .map(({ id }) => id),
  )
  const range = { start_time: timeAt(0), end_time: '2030-01-01T00:00:00.000Z', bucketSeconds: 86_400 * 30 }
  assert.equal(queries.summary(range, NEVER).total, stored.length)
  queries.close()
})

test('archive: after much has left, a page without filter takes no step for each id that is gone', async t => {
  const { run, database } = await oldTrail(t, SEGMENT * 6 + 10)
  await run()
  const queries = createSqliteEventQueries({ path: database })
  let looks = 0
  const deadline = { passed: () => ++looks > 10 } // asked every 32 steps
  for (const order of ['asc', 'desc'] as const) {
    const { events, next } = queries.page({ filter: {}, order, limit: 100 }, deadline)
    assert.deepEqual([events.length, next], [16, null], order)
  }
  queries.close()
})

test('gaps: ids that no archive on record explains are found', async t => {
  const { database, run } = await oldTrail(t, SEGMENT * 3 + 1)
  await run()
  const store = createSqliteEventStore({ path: database })
  await store.record(db => {
    db.exec('DELETE FROM event_archives WHERE number = 2')
    return undefined
  })
  await store.close()
  assert.deepEqual(readRetention(database, findUnexplainedGaps), [], 'undefined: nothing was done')
  const db = new DatabaseSync(database)
  db.exec('DELETE FROM event_archives WHERE number = 2')
  db.close()
  assert.match(readRetention(database, findUnexplainedGaps).join(), /the events 2049 to 4096 are in no segment/)
})

test('archive: what was committed although it seemed to fail is told from what is held', async t => {
  const { data, database } = await oldTrail(t, SEGMENT + 1)
  const { leaving } = await planArchive(pathsOf(data).store, FUTURE)
  const segment = leaving[0] ?? assert.fail()
  const times = { first_time: segment.firstTime, last_time: segment.lastTime, archived_at: segment.lastTime }
  const archive = { number: 1, first_id: 1, last_id: SEGMENT, ...times, file: '', sha256: '', manifest_sha256: '' }
  const db = new DatabaseSync(database)
  assert.equal(takeOut(db, segment, archive), 'left')
  assert.equal(takeOut(db, segment, archive), 'gone')
  db.close()
})
