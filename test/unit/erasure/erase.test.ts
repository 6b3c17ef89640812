import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
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
import { archiveSegments, readRetention } from '../../../src/archive/archive.ts'
import { readManifest } from '../../../src/archive/folder.ts'
import { manifestName } from '../../../src/archive/format.ts'
import { liftHold, placeHold } from '../../../src/archive/holds.ts'
import { searchArchives } from '../../../src/archive/search.ts'
import { verifyArchives } from '../../../src/archive/verify.ts'
import { cleanFiles, type ErasurePaths, type ErasureRequest, erase, planErasure } from '../../../src/erasure/erase.ts'
import { Refusal } from '../../../src/errors.ts'
import type { AuditEvent } from '../../../src/event/event.ts'
import { commit, ERASED_COLUMNS, formatLeaf } from '../../../src/evidence/leaf.ts'
import { hashLeaf } from '../../../src/evidence/merkle.ts'
import { verifyInclusion } from '../../../src/evidence/merkle-proof.ts'
import { createSqliteEventQueries } from '../../../src/query/sqlite-event-queries.ts'
import { createSqliteSecurityState } from '../../../src/security/sqlite-security-state.ts'
import { checkAll } from '../../../src/service/check-all.ts'
import { dataFolder } from '../../../src/service/data-folder.ts'
import { erasurePaths } from '../../../src/service/erasure.ts'
import { checkStore } from '../../../src/store/check-store.ts'
import { listArchives } from '../../../src/store/retention.ts'
import { createSqliteEventStore } from '../../../src/store/sqlite-event-store.ts'
import { temporaryFolder } from '../../cli/command-line.ts'
import { filesHolding } from '../../harness/byte-scan.ts'
import { auditRows } from '../../harness/rows.ts'
import { createRandom, NEVER, randomEvents, timeAt } from '../query/event-fixture.ts'

const SEGMENT = 2_048
const NAME = 'CP-4711-verse'
const ADDRESS = '203.0.113.77'
const WHO = { kind: 'who', name: NAME } as const
const REQUEST: ErasureRequest = { subject: WHO, reason: 'request 118', actor: 'ada' }

/** Every seventh row holds the name, in one of the places that it can be in. */
function eventsWith(count: number, from = 0): AuditEvent[] {
  const places: Partial<AuditEvent>[] = [
    { who: NAME, ip: ADDRESS },
    { description: `Charge point ${NAME} deleted` },
    { endpoint: `/charge-points/${NAME}/status` },
    { metadata_json: JSON.stringify({ filter: { who: NAME } }) },
    { who: NAME, description: `${'x'.repeat(5_000)} ${NAME}` },
  ]
  return randomEvents(from + count, createRandom(7))
    .slice(from)
    .map((event, n) => {
      const at = from + n
      const place = at % 7 === 3 ? places[((at - 3) / 7) % places.length] : {}
      return { ...event, date_time: timeAt(at), ...place }
    })
}

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

const isHolder = (row: object) => JSON.stringify(row).includes(NAME)

test('erase: rows in several segments are blank, everything else is as it was, and every proof of before verifies', async t => {
  const { data, folder, paths, queries, append, store } = await trailOf(t, SEGMENT * 2 + 1_100)
  const before = auditRows(data)
  const size = before.length
  const { root } = logHead(folder.auditDatabase)
  const proven = [4, 11, 18, 25, SEGMENT * 2 + 900, size].map(id => {
    const proof = queries.proof({ id, size }, NEVER)
    assert.ok(proof)
    return { id, hashes: proof.hashes, leaf: formatLeaf(proof.event, commit(proof.salt, proof.event)) }
  })
  queries.summary(DAY, NEVER) // so that the reader has the growing chunk in memory

  const done = await erase(paths, REQUEST)
  await cleanFiles(paths, WHO)

  const holders = before.filter(isHolder).map(({ id }) => id)
  assert.ok(holders.length > 700)
  assert.deepEqual(done, { erased: holders.length, eventId: size + 1, archivesMissing: [] })
  assert.deepEqual(filesHolding(data, NAME), [])
  const after = auditRows(data)
  assert.deepEqual(
    after.slice(0, size),
    before.map(row => Object.assign(Object.create(null), row, isHolder(row) ? ERASED_COLUMNS : {})),
  )
  const { action, reason_code, severity, who, ip, metadata_json } = after[size] ?? {}
  assert.deepEqual([action, reason_code, severity, who, ip], ['SYSTEM', 'ERASED', 'WARN', 'system', '-'])
  const ids_sha256 = createHash('sha256').update(holders.join('\n')).digest('hex')
  assert.deepEqual(JSON.parse(metadata_json ?? ''), {
    count: holders.length,
    ids_sha256,
    reason: 'request 118',
    actor: 'ada',
  })
  assert.deepEqual(checkStore(folder.auditDatabase), [])
  assert.deepEqual(
    erasuresOf(folder.auditDatabase),
    holders.map(id => ({ id, tombstone: size + 1 })),
  )

  for (const { id, hashes, leaf } of proven) {
    assert.ok(verifyInclusion(hashLeaf(leaf), id - 1, size, hashes, root), `${id}`)
    const now = queries.proof({ id, size }, NEVER)
    assert.deepEqual(now?.hashes, hashes)
    assert.equal(
      now?.salt.every(byte => byte === 0),
      holders.includes(id),
    )
  }
  assert.equal(queries.event(4, NEVER)?.who, '')
  const { total, top_charge_points, top_addresses } = queries.summary(DAY, NEVER)
  assert.equal(total, size)
  for (const { cp_id } of top_charge_points) assert.ok(cp_id !== '' && cp_id !== NAME)
  for (const { ip: address } of top_addresses) assert.ok(address !== '' && address !== ADDRESS)

  // The writer had the name's number in memory, and the name comes back.
  await append(eventsWith(SEGMENT, 3_000))
  assert.deepEqual(checkStore(folder.auditDatabase), [])
  assert.equal(await store.lastId(), size + 1 + SEGMENT)
  const again = await erase(paths, REQUEST)
  await cleanFiles(paths, WHO)
  assert.equal(again.eventId, size + SEGMENT + 2)
  assert.deepEqual(filesHolding(data, NAME), [])
  assert.deepEqual(checkStore(folder.auditDatabase), [])
})

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

test('erase: an address is erased with what else the rows say, and is no usual one any more', async t => {
  const { data, folder, paths } = await trailOf(t, 2_100)
  const state = createSqliteSecurityState({ path: folder.securityDatabase })
  await state.change(async transaction => {
    await transaction.putChargePoint({
      cp_id: 'CP-1',
      location: null,
      security_status: 'ACTIVE',
      credential_kind: 'generated',
      credential_hash: 'x',
      token_version: 1,
      created_at: timeAt(0),
      updated_at: timeAt(0),
    })
  })
  await state.saveLastSeen([{ cp_id: 'CP-1', last_success: timeAt(0), networks: [ADDRESS, '10.0.0.1'] }], 8)
  await state.close()
  const subject = { kind: 'ip', name: ADDRESS } as const
  const { erased } = await erase(paths, { ...REQUEST, subject })
  await cleanFiles(paths, subject)
  assert.equal(erased, Math.ceil(300 / 5))
  assert.deepEqual(filesHolding(data, ADDRESS), [])
})

test('erase: what nobody holds changes nothing and leaves no tombstone', async t => {
  const { data, paths } = await trailOf(t, 300)
  const before = auditRows(data)
  const nobody = { ...REQUEST, subject: { kind: 'who', name: 'nobody-at-all' } as const }
  assert.deepEqual(await erase(paths, nobody), { erased: 0, eventId: null, archivesMissing: [] })
  assert.deepEqual(auditRows(data), before)
})

test('erase: a legal hold wins, whichever of the rows it keeps, and so does one that names the subject', async t => {
  const { data, paths, folder } = await trailOf(t, 300)
  const before = auditRows(data).length
  await placeHold(folder.auditDatabase, { start_time: timeAt(10), end_time: timeAt(11), reason: 'case 1' }, 'ada')
  await refused(erase(paths, REQUEST), 'LEGAL_HOLD', /Legal hold 1 keeps the events of 2026-01-01T00:00:10/)
  const { rows, refusal } = await planErasure(paths, WHO)
  assert.deepEqual([rows, refusal?.code], [43, 'LEGAL_HOLD'])
  const nobodys = { start_time: '2020-01-01T00:00:00.000Z', end_time: '2020-01-02T00:00:00.000Z' }
  await placeHold(folder.auditDatabase, { ...nobodys, reason: 'case of CP-9' }, 'ada')
  const named = { ...REQUEST, subject: { kind: 'who', name: 'CP-9' } as const }
  await refused(erase(paths, named), 'LEGAL_HOLD', /Legal hold 2/)
  assert.deepEqual(auditRows(data).length, before + 2)
  assert.equal(auditRows(data).filter(isHolder).length, 43)
})

test('erase: a subject in use is refused, and words of the tombstone that would name it', async t => {
  const { folder, paths, data } = await trailOf(t, 50)
  const state = createSqliteSecurityState({ path: folder.securityDatabase })
  const times = { created_at: timeAt(0), revoked_at: null }
  await state.change(async transaction => {
    await transaction.putAdmin({ name: 'olga', role: 'operator', key_hash: 'a', ...times })
    await transaction.putAdmin({ name: 'otto', role: 'operator', key_hash: 'b', ...times, revoked_at: timeAt(1) })
    await transaction.putChargePoint({
      cp_id: NAME,
      location: 'house of erna',
      security_status: 'ACTIVE',
      credential_kind: 'generated',
      credential_hash: 'x',
      token_version: 1,
      created_at: timeAt(0),
      updated_at: timeAt(0),
    })
  })
  t.after(() => state.close())
  const of = (name: string, more: Partial<ErasureRequest> = {}) => ({
    ...REQUEST,
    subject: { kind: 'who', name } as const,
    ...more,
  })
  await refused(erase(paths, of('olga')), 'SUBJECT_IN_USE')
  await refused(erase(paths, of(NAME)), 'SUBJECT_IN_USE')
  await refused(erase(paths, of('erna')), 'SUBJECT_IN_USE', /location/)
  await refused(erase(paths, of('ada')), 'VALIDATION_FAILED')
  await refused(erase(paths, of('CP-5', { reason: 'because of CP-5' })), 'VALIDATION_FAILED')
  for (const nobody of ['system', 'unknown', '-']) await refused(erase(paths, of(nobody)), 'VALIDATION_FAILED')

  await erase(paths, of('otto'))
  await cleanFiles(paths, of('otto').subject)
  assert.deepEqual(
    (await state.admins()).map(({ name }) => name),
    ['olga'],
  )
  assert.deepEqual(filesHolding(data, 'otto'), [])
})

test('erase: while somebody reads on and on it is erased and not finished; asked again it is', async t => {
  const { data, folder, paths } = await trailOf(t, 300)
  const reader = new DatabaseSync(folder.auditDatabase, { readOnly: true })
  reader.exec('BEGIN; SELECT id FROM audit_events LIMIT 1')
  const { eventId } = await erase(paths, REQUEST)
  assert.ok(checkAll({ folder }).notes.some(note => /ask for the erasure again/.test(note)))
  await refused(cleanFiles(paths, WHO, 200), 'ERASURE_UNFINISHED')
  assert.ok(filesHolding(data, NAME).length > 0)
  reader.close()
  assert.deepEqual(await erase(paths, REQUEST), { erased: 0, eventId: null, archivesMissing: [] })
  await cleanFiles(paths, WHO)
  assert.deepEqual(filesHolding(data, NAME), [])
  assert.equal(auditRows(data).at(-1)?.id, eventId)
  assert.deepEqual(checkAll({ folder }).notes, ['there is no journal'])
})

const archive = ({ auditDatabase, archives, lockFile }: ErasurePaths, directory = archives) =>
  archiveSegments({ auditDatabase, directory, lockFile, beforeMs: Date.UTC(2036, 0, 1), actor: 'test' })

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
  assert.deepEqual(again, { erased: 0, eventId: null, archivesMissing: [] })
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
  assert.deepEqual(await erase(paths, REQUEST), { erased: 0, eventId: null, archivesMissing: [1] })
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

const DAY = { start_time: timeAt(0), end_time: timeAt(86_400), bucketSeconds: 3_600 }

async function refused(work: Promise<unknown>, code: string, detail = /./): Promise<void> {
  const error = await work.then(
    () => assert.fail(`it was not refused: ${code}`),
    (thrown: unknown) => thrown,
  )
  assert.ok(error instanceof Refusal, String(error))
  assert.equal(error.code, code, error.message)
  assert.match(error.message, detail)
}

function logHead(path: string): { root: Uint8Array } {
  using db = new DatabaseSync(path, { readOnly: true })
  return db.prepare('SELECT root FROM log_head').get() as { root: Uint8Array }
}

function erasuresOf(path: string) {
  using db = new DatabaseSync(path, { readOnly: true })
  return db
    .prepare('SELECT * FROM log_erasures ORDER BY id')
    .all()
    .map(row => ({ ...row }))
}
