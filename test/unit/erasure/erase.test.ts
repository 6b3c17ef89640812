import assert from 'node:assert/strict'
import {
  appendFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import test, { type TestContext } from 'node:test'
import { archiveSegments } from '../../../src/archive/archive.ts'
import { readManifest } from '../../../src/archive/folder.ts'
import { manifestName } from '../../../src/archive/format.ts'
import { liftHold, placeHold } from '../../../src/archive/holds.ts'
import { searchArchives } from '../../../src/archive/search.ts'
import { readRetention } from '../../../src/archive/sqlite-trail.ts'
import { verifyArchives } from '../../../src/archive/verify.ts'
import { cleanFiles, type ErasurePaths, erase, planErasure } from '../../../src/erasure/erase.ts'
import type { AuditEvent } from '../../../src/event/event.ts'
import { ERASED_COLUMNS } from '../../../src/evidence/leaf.ts'
import { createSqliteEventQueries } from '../../../src/query/sqlite-event-queries.ts'
import { checkAll } from '../../../src/service/check-all.ts'
import { dataFolder } from '../../../src/service/data-folder.ts'
import { erasurePaths } from '../../../src/service/erasure.ts'
import { checkStore } from '../../../src/store/check-store.ts'
import { listArchives } from '../../../src/store/retention.ts'
import { createSqliteEventStore } from '../../../src/store/sqlite-event-store.ts'
import { temporaryFolder } from '../../cli/command-line.ts'
import { eventsWith, isHolder, NAME, NOTHING, REQUEST, refused, WHO } from '../../contract/erasure.ts'
import { filesHolding } from '../../harness/byte-scan.ts'
import { auditRows } from '../../harness/rows.ts'
import { timeAt } from '../query/event-fixture.ts'

const SEGMENT = 2_048

async function trailOf(t: TestContext, count: number) {
  const data = join(temporaryFolder(t), 'data')
  const folder = dataFolder(data)
  const paths = erasurePaths(folder)
  mkdirSync(paths.journalDirectory, { recursive: true })
  const store = createSqliteEventStore({ path: folder.auditDatabase, segmentIds: SEGMENT })
  t.after(() => store.close())
  let written = 0
  async function append(events: readonly AuditEvent[]): Promise<void> {
    for (let at = 0; at < events.length; at += 500) {
      const rows = events.slice(at, at + 500).map(event => ({ event, onceKey: null }))
      await store.append({ source: 'test', after: written, through: written + rows.length, rows })
      written += rows.length
    }
  }
  await append(eventsWith(count))
  const queries = createSqliteEventQueries({ path: folder.auditDatabase })
  t.after(() => queries.close())
  return { data, folder, paths, store, append, queries }
}

test('erase: the schema of a rewritten segment is the documented one, and segments go on', async t => {
  const { folder, paths, append } = await trailOf(t, 1_500)
  const schemaOf = (path: string) => {
    using db = new DatabaseSync(path, { readOnly: true })
    return db
      .prepare("SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE name LIKE '%audit%' ORDER BY name")
      .all()
  }
  const before = schemaOf(folder.auditDatabase)
  await erase(paths, REQUEST)
  // The first segment's table is renamed before its pages are rewritten.
  await append(eventsWith(SEGMENT, 1_500))
  await cleanFiles(paths, WHO)
  assert.deepEqual(checkStore(folder.auditDatabase), [])
  assert.equal(auditRows(folder.path).length, 1_501 + SEGMENT)

  const small = await trailOf(t, 1_500)
  await erase(small.paths, REQUEST)
  await cleanFiles(small.paths, WHO)
  assert.deepEqual(schemaOf(small.folder.auditDatabase), before)
})

test('erase: what is left to be overwritten is told by the check, until it is', async t => {
  const { data, folder, paths } = await trailOf(t, 300)
  await erase(paths, REQUEST)
  assert.ok(checkAll({ folder }).notes.some(note => /ask for the erasure again/.test(note)))
  await cleanFiles(paths, WHO)
  assert.deepEqual(filesHolding(data, NAME), [])
  assert.deepEqual(checkAll({ folder }).notes, ['there is no journal'])
})

const archive = ({ auditDatabase: path, archives }: ErasurePaths, directory = archives) =>
  archiveSegments({ store: { kind: 'sqlite', path }, directory, beforeMs: Date.UTC(2036, 0, 1), actor: 'test' })

test('erase: rows in archives are blank too, wherever these were written to; manifests say by which event', async t => {
  const { data, folder, paths, append } = await trailOf(t, SEGMENT + 100)
  const before = auditRows(data)
  const elsewhere = join(data, '..', 'elsewhere')
  await archive(paths, elsewhere)
  await append(eventsWith(SEGMENT * 2, SEGMENT + 100))
  await archive(paths)
  const known = () => readRetention(folder.auditDatabase, listArchives)
  const was = known()
  const { erased, eventId, archivesMissing } = await erase(paths, REQUEST)
  await cleanFiles(paths, WHO)

  assert.deepEqual([erased, archivesMissing], [Math.ceil((SEGMENT * 3 + 100 - 3) / 7), []])
  assert.deepEqual(filesHolding(join(data, '..'), NAME), [])
  assert.deepEqual(
    readdirSync(elsewhere).sort(),
    ['manifest.json', 'ndjson.gz', 'salts'].map(suffix => `events-000000000001-000000002048.${suffix}`),
  )
  for (const directory of [elsewhere, paths.archives]) {
    assert.deepEqual((await verifyArchives(directory, known())).problems, [])
  }
  const { manifest } = readManifest(manifestName(was[0]?.file ?? '')) ?? assert.fail()
  const holders = before.filter(row => row.id <= SEGMENT && isHolder(row)).map(({ id }) => id)
  assert.deepEqual(manifest.erased, [{ event: eventId, ids: holders }])
  assert.deepEqual(manifest.replaces, [was[0]?.manifest_sha256])
  using search = searchArchives(elsewhere, known())
  const { events } = await search.page({ filter: {}, order: 'asc', limit: SEGMENT })
  assert.deepEqual(
    events.map(event => ({ ...event })),
    before.slice(0, SEGMENT).map(row => ({ ...row, ...(isHolder(row) ? ERASED_COLUMNS : {}) })),
  )
  const tombstone = auditRows(data, `id = ${eventId}`)[0]
  const { archives, manifests } = JSON.parse(tombstone?.metadata_json ?? '')
  assert.equal(archives, 3)
  assert.deepEqual(
    manifests,
    Object.fromEntries(known().map(({ number, manifest_sha256 }) => [String(number), manifest_sha256])),
  )
  assert.equal(erasuresOf(folder.auditDatabase).length, erased)
  assert.deepEqual(checkStore(folder.auditDatabase), [])

  const again = await erase(paths, REQUEST)
  await cleanFiles(paths, WHO)
  assert.deepEqual(again, NOTHING)
  await append(eventsWith(SEGMENT, 10_000))
  assert.equal((await archive(paths)).archived.length, 1, 'what follows goes on from the rewritten manifest')
  assert.deepEqual((await verifyArchives(paths.archives, known())).problems, [])
  await erase(paths, REQUEST)
  await cleanFiles(paths, WHO)
  assert.deepEqual(filesHolding(join(data, '..'), NAME), [])
  assert.deepEqual((await verifyArchives(paths.archives, known())).problems, [])
})

test('erase: an archive that is not at hand is named, one that was changed is refused, and a hold keeps archived rows', async t => {
  const { data, folder, paths } = await trailOf(t, SEGMENT + 2)
  await archive(paths)
  const before = readdirSync(paths.archives).map(name => readFileSync(join(paths.archives, name)))
  const away = join(data, '..', 'away')
  renameSync(paths.archives, away)
  assert.deepEqual(await erase(paths, REQUEST), { erased: 0, eventId: null, archivesMissing: [1], journalsBehind: [] })
  renameSync(away, paths.archives)

  const hold = { start_time: timeAt(10), end_time: timeAt(11), reason: 'case 1' }
  await placeHold(folder.auditDatabase, hold, 'ada')
  await refused(erase(paths, REQUEST), 'LEGAL_HOLD', /Legal hold 1/)
  assert.equal((await planErasure(paths, WHO)).refusal?.code, 'LEGAL_HOLD')
  await liftHold(folder.auditDatabase, 1, 'ada')
  const [manifest = ''] = readdirSync(paths.archives).filter(name => name.endsWith('.manifest.json'))
  appendFileSync(join(paths.archives, manifest), '\n')
  await refused(erase(paths, REQUEST), 'ARCHIVE_INVALID', /not the one that is on record/)
  writeFileSync(join(paths.archives, manifest), readFileSync(join(paths.archives, manifest), 'utf8').slice(0, -1))
  assert.deepEqual(
    readdirSync(paths.archives).map(name => readFileSync(join(paths.archives, name))),
    before,
  )
  assert.ok((await erase(paths, REQUEST)).erased > 0)
})

test('erase: an archive that was about to leave goes; one of another history is refused', async t => {
  const { data, folder, paths } = await trailOf(t, SEGMENT + 100)
  cpSync(folder.auditDatabase, `${folder.auditDatabase}.before`)
  cpSync(`${folder.auditDatabase}-wal`, `${folder.auditDatabase}.before-wal`)
  await archive(paths)
  const restore = () => {
    for (const suffix of ['', '-wal']) cpSync(`${folder.auditDatabase}.before${suffix}`, folder.auditDatabase + suffix)
    rmSync(`${folder.auditDatabase}-shm`, { force: true })
  }
  restore()
  const db = new DatabaseSync(folder.auditDatabase)
  db.exec("UPDATE audit_events_1 SET description = 'another' WHERE id = 1")
  db.close()
  await refused(
    erase(paths, REQUEST),
    'ERASURE_BLOCKED',
    /events-000000000001-000000002048\.ndjson\.gz holds the subject/,
  )
  assert.ok(auditRows(data).some(isHolder))
  restore()
  rmSync(`${folder.auditDatabase}.before`)
  rmSync(`${folder.auditDatabase}.before-wal`)
  assert.ok((await erase(paths, REQUEST)).erased > 0)
  await cleanFiles(paths, WHO)
  assert.deepEqual(readdirSync(paths.archives), [])
  assert.deepEqual(filesHolding(data, NAME), [])
})

test('erase: copies of damage that show the subject go, on record, unless a hold may be about them', async t => {
  const { data, folder, paths, append } = await trailOf(t, 100)
  const [copy, other] = ['000000000001.journal.damaged', '000000000002.journal.damaged-2'].map(name =>
    join(paths.journalDirectory, name),
  ) as [string, string]
  writeFileSync(copy, `torn [1,null,"${timeAt(500)}","CP-copied",`)
  writeFileSync(other, `torn [1,null,"${timeAt(600)}","CP-10",`)
  const copied = { ...REQUEST, subject: { kind: 'who', name: 'CP-copied' } as const }
  const hold = { start_time: timeAt(499), end_time: timeAt(501), reason: 'case 1' }
  await placeHold(folder.auditDatabase, hold, 'ada')
  await refused(erase(paths, copied), 'LEGAL_HOLD', /Legal hold 1/)
  assert.ok(existsSync(copy))
  await liftHold(folder.auditDatabase, 1, 'ada')
  const later = { ...hold, start_time: timeAt(501), end_time: timeAt(502) }
  await placeHold(folder.auditDatabase, later, 'ada')

  const { erased, eventId } = await erase(paths, copied)
  assert.equal(erased, 0)
  const { count, damaged_copies } = JSON.parse(auditRows(data, `id = ${eventId}`)[0]?.metadata_json ?? '')
  assert.deepEqual([count, damaged_copies], [0, 1])
  assert.ok(existsSync(copy), 'a kill here leaves it')
  await cleanFiles(paths, undefined) // as the next start does
  assert.deepEqual([existsSync(copy), existsSync(other)], [false, true])
  await append([{ ...(eventsWith(1)[0] as AuditEvent), who: 'CP-new' }])
  assert.equal((await erase(paths, { ...REQUEST, subject: { kind: 'who', name: 'CP-new' } })).erased, 1)
  await cleanFiles(paths, undefined)
  assert.ok(existsSync(other))
})

function erasuresOf(path: string) {
  using db = new DatabaseSync(path, { readOnly: true })
  return db
    .prepare('SELECT * FROM log_erasures ORDER BY id')
    .all()
    .map(row => ({ ...row }))
}
