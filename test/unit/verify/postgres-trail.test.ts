/** A trail in PostgreSQL that nobody changed, and how it is read. What is wrong with one: test/torture/postgres-mutations.ts. */
import assert from 'node:assert/strict'
import test, { type TestContext } from 'node:test'
import { hashRowText } from '../../../src/verify/row-text.ts'
import { openPieceChecker } from '../../../src/verify/sources/postgres-piece.ts'
import { openSnapshot } from '../../../src/verify/sources/postgres-snapshot.ts'
import { openPostgresTrail, TABLES } from '../../../src/verify/sources/postgres-trail.ts'
import { createTextMaker, parseTuples, ROW_COLUMNS, ROW_FIELDS } from '../../../src/verify/sources/postgres-tuples.ts'
import { kindOf, verifyPath } from '../../../src/verify/sources/verify-path.ts'
import { verify } from '../../../src/verify/verify.ts'
import { sampleEvent } from '../../contract/event-store.ts'
import { postgresServer } from '../../harness/postgres.ts'
import { eventually } from '../../harness/rows.ts'
import { createSignedPostgres, ORIGIN, type SignedPostgres } from '../../harness/signed-postgres.ts'

const server = postgresServer()

async function signedLog(t: TestContext, instances = 2): Promise<SignedPostgres> {
  const log = await createSignedPostgres(server, instances)
  t.after(() => log.close())
  return log
}

const judge = (log: SignedPostgres, { workers = 0, url = log.url } = {}) =>
  verifyPath(url, { key: log.key() }, { workers })

test('postgres trail: pristine at the sizes at which something begins, whichever instance wrote and signed', async t => {
  const log = await signedLog(t)
  let size = 0
  for (const [n, wanted] of [1, 2, 255, 256, 257, 511, 512, 1_023, 1_024, 1_025, 4_096, 4_097].entries()) {
    await log.append(wanted - size, { instance: n % 2 })
    await log.sign(Math.floor(n / 2) % 2)
    size = wanted
    const report = await judge(log)
    assert.equal(report.verdict, 'PRISTINE', report.sentence)
    assert.deepEqual([report.size, report.signed_size, report.origin], [size, size, ORIGIN])
  }
  assert.equal((await judge(log)).checkpoints, 12)
})

test('postgres trail: text of every kind is verified without reading values', async t => {
  const log = await signedLog(t)
  const texts = [
    '"\\/\b\f\n\r\t',
    '\u0001\u001f\u007f\u0080',
    '\u2028\u2029 \\u0000',
    '\u{1f50c} e\u0301 ￿',
    '{"a":[1]}',
    '',
  ]
  const event = (n: number) =>
    sampleEvent(n, {
      who: texts[n % 6]!,
      description: texts[(n + 1) % 6]!,
      metadata_json: texts[(n + 2) % 6]!,
      ...(n % 3 === 0 && { reason_code: null, endpoint: null, status_code: null, request_id: null }),
    })
  await log.append(600, { event })
  await log.sign()
  const report = await judge(log)
  assert.equal(report.verdict, 'PRISTINE', report.sentence)

  await using snapshot = await openSnapshot(log.url)
  const rows = parseTuples(
    await snapshot.copy(`SELECT ${ROW_COLUMNS} FROM audit_events WHERE id <= 512 ORDER BY id`),
    ROW_FIELDS,
  )
  const column = async (sql: string) => (await snapshot.rows(sql))[0]?.bytes as Uint8Array
  const bundle = {
    width: 256,
    salts: await column('SELECT substring(salts FROM 4097 FOR 4096) AS bytes FROM log_salts'),
    entries: await column('SELECT bytes FROM log_tiles WHERE level = -1 AND tile = 1'),
  }
  const tile = await column('SELECT bytes FROM log_tiles WHERE level = 0 AND tile = 1')
  const makeText = createTextMaker()
  const hashes = hashRowText(makeText(rows, 256, 256) ?? assert.fail('no text'), bundle)
  assert.deepEqual(hashes && Buffer.from(hashes), Buffer.from(tile))
  const [salt] = bundle.salts
  const otherSalts = Buffer.from(bundle.salts).fill(salt! ^ 1, 0, 1)
  assert.equal(hashRowText(makeText(rows, 256, 256)!, { ...bundle, salts: otherSalts }), undefined)
})

test('postgres trail: two instances write at once and one after the other signs, with other keys again and again, while it is verified', async t => {
  const log = await signedLog(t, 3)
  await log.append(500)
  await log.sign()
  let grows = true
  const writing = [0, 1].map(async instance => {
    while (grows) await log.append(61, { instance })
  })
  const signing = (async () => {
    for (let n = 0; grows; n++) {
      await log.sign(n % 2)
      if (n % 3 === 1 && n < 12) await log.rotate(2)
    }
  })()
  for (let n = 0; n < 6; n++) {
    const report = await judge(log)
    assert.equal(report.verdict, 'PRISTINE', report.sentence)
  }
  grows = false
  await Promise.all([...writing, signing])
  await log.sign(1)
  const report = await judge(log)
  assert.deepEqual([report.verdict, report.signed_size], ['PRISTINE', report.size], report.sentence)
  const rotated = await log.run("SELECT id FROM audit_events WHERE reason_code = 'LOG_KEY_ROTATED'")
  assert.ok(rotated.length > 0)
})

test('postgres trail: erased rows are on record, and what is not signed yet is said', async t => {
  const log = await signedLog(t)
  await log.append(700)
  await log.sign()
  const tombstone = await log.erase([3, 300, 690])
  await log.append(50, { instance: 1 })
  await log.sign(1)
  await log.append(10)
  const report = await judge(log)
  assert.equal(report.verdict, 'PRISTINE', report.sentence)
  assert.equal(report.erased, 3)
  assert.deepEqual(
    report.notes,
    ['events 752 to 761 are not signed yet', `3 events were erased by event ${tombstone}`].toSorted(
      (a, b) => report.notes.indexOf(a) - report.notes.indexOf(b),
    ),
  )
})

test('postgres trail: threads see the same, name the same first bad event, and say when the server is gone', async t => {
  const log = await signedLog(t)
  for (let n = 0; n < 7; n++) await log.append(9_400, { instance: n % 2 })
  await log.sign()
  const seen: number[] = []
  const report = await verifyPath(log.url, { key: log.key() }, { workers: 2, onProgress: done => seen.push(done) })
  assert.equal(report.verdict, 'PRISTINE', report.sentence)
  assert.ok(seen.length > 2 && seen.at(-1) === 65_800, String(seen))
  await log.run("UPDATE audit_events SET who = 'x' WHERE id IN (33333, 50000)")
  const edited = await judge(log, { workers: 2 })
  assert.deepEqual([edited.verdict, edited.findings[0]?.at], ['EDITED', { id: 33_333 }], edited.sentence)

  await using source = await openPostgresTrail(log.url, { workers: 2 })
  await source.checkRange({ first: 0, end: 1, size: 65_800, sizes: [] })
  const sessions = "FROM pg_stat_activity WHERE application_name = 'ev-central verify' AND datname = current_database()"
  // Each thread has its own, one that is asked for nothing too, when it has come to it.
  await eventually(
    () => log.run(`SELECT pid ${sessions}`),
    found => found.length === 3,
  )
  await log.run(`SELECT pg_terminate_backend(pid) ${sessions}`)
  await assert.rejects(verify(source), { name: 'PostgresError', code: 'UNAVAILABLE' })
})

test('postgres trail: nothing signed, no log, no right to read, row security', async t => {
  const log = await signedLog(t)
  const without = await verifyPath(await server.createDatabase())
  assert.deepEqual([without.verdict, without.exit], ['MALFORMED', 22])
  await log.append(300)
  assert.equal((await verifyPath(log.url)).verdict, 'UNVERIFIABLE')
  await log.sign()

  const auditor = `auditor_${new URL(log.url).pathname.slice(10)}`
  await log.run(`CREATE ROLE ${auditor} LOGIN PASSWORD 'hunter2'`)
  t.after(async () => {
    await log.run(`DROP OWNED BY ${auditor}`)
    await log.run(`DROP ROLE ${auditor}`)
  })
  const url = new URL(log.url)
  url.username = auditor
  url.password = 'hunter2'
  const asAuditor = () => judge(log, { url: url.href })
  await assert.rejects(asAuditor(), /^PostgresError: this role may not read audit_events, .*docs\/postgresql.md/)
  await log.run(`GRANT SELECT ON ${TABLES.join(', ')} TO ${auditor}`)
  assert.equal((await asAuditor()).verdict, 'PRISTINE')

  await log.run('ALTER TABLE audit_events ENABLE ROW LEVEL SECURITY')
  assert.equal((await judge(log)).verdict, 'HIDDEN')
  assert.match((await asAuditor()).sentence, /Row security hides rows of audit_events/)
  url.password = 'hunter3'
  await assert.rejects(asAuditor(), (error: Error) => !/hunter/.test(`${error.message} ${error.stack}`))
  assert.equal(kindOf('postgresql://a@b/c'), 'PostgreSQL')
})

test('postgres trail: read piece by piece, each by itself, a change of a row, a salt, an entry or a tile is named', async t => {
  const log = await signedLog(t)
  await log.append(5_000)
  const pieces = await openPieceChecker(log.url)
  t.after(() => pieces[Symbol.asyncDispose]())
  const firstChanged = async () => {
    let bundle: number | undefined = 0
    let looks = 0
    while (bundle !== undefined) {
      const { changed, next } = await pieces.check(bundle)
      if (changed !== undefined) return changed.id
      looks++
      bundle = next
    }
    assert.equal(looks, 2, '20 bundles are two pieces')
    return undefined
  }
  assert.equal(await firstChanged(), undefined)
  const flip = (column: string, at: number) => `${column} = set_byte(${column}, ${at}, get_byte(${column}, ${at}) # 1)`
  const changes: [what: string, id: number, change: string, back: string][] = [
    [
      'a row',
      300,
      `UPDATE audit_events SET who = who || '!' WHERE id = 300`,
      `UPDATE audit_events SET who = rtrim(who, '!')`,
    ],
    [
      'a public column',
      4_700,
      `UPDATE audit_events SET action = action || '!' WHERE id = 4700`,
      `UPDATE audit_events SET action = rtrim(action, '!')`,
    ],
    [
      'the last row',
      5_000,
      `UPDATE audit_events SET ip = ip || '!' WHERE id = 5000`,
      `UPDATE audit_events SET ip = rtrim(ip, '!')`,
    ],
    [
      'a salt',
      262,
      `UPDATE log_salts SET ${flip('salts', 261 * 16)}`,
      `UPDATE log_salts SET ${flip('salts', 261 * 16)}`,
    ],
    [
      'an entry',
      257,
      `UPDATE log_tiles SET ${flip('bytes', 9)} WHERE level = -1 AND tile = 1`,
      `UPDATE log_tiles SET ${flip('bytes', 9)} WHERE level = -1 AND tile = 1`,
    ],
    [
      'a tile',
      516,
      `UPDATE log_tiles SET ${flip('bytes', 3 * 32)} WHERE level = 0 AND tile = 2`,
      `UPDATE log_tiles SET ${flip('bytes', 3 * 32)} WHERE level = 0 AND tile = 2`,
    ],
    [
      'the tile above',
      1_025,
      `UPDATE log_edge SET ${flip('hashes', 4 * 32)} WHERE level = 1`,
      `UPDATE log_edge SET ${flip('hashes', 4 * 32)} WHERE level = 1`,
    ],
    [
      'a bundle that is gone',
      769,
      'UPDATE log_tiles SET tile = 99 WHERE level = -1 AND tile = 3',
      'UPDATE log_tiles SET tile = 3 WHERE tile = 99',
    ],
    [
      'a row that is gone',
      100,
      'UPDATE audit_events SET id = 6000 WHERE id = 100',
      'UPDATE audit_events SET id = 100 WHERE id = 6000',
    ],
  ]
  for (const [what, id, change, back] of changes) {
    await log.run(change)
    assert.equal(await firstChanged(), id, what)
    await log.run(back)
  }
  await log.append(100)
  await log.erase([5, 4_999])
  assert.equal(await firstChanged(), undefined, 'what was erased is not changed')
})
