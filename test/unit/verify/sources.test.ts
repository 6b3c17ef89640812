/** The sources for Node: data folders, mirrors and archives, as the store writes them. What is wrong: test/torture/log-mutations.ts. */
import assert from 'node:assert/strict'
import { cpSync, existsSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type TestContext } from 'node:test'
import { EXIT } from '../../../src/cli/outcome.ts'
import { joinBytes } from '../../../src/evidence/encoding.ts'
import { hashLeaf } from '../../../src/evidence/merkle.ts'
import { parseBundle } from '../../../src/evidence/tile.ts'
import { readBundleSalts } from '../../../src/store/log-store.ts'
import { hashRowText, isSame } from '../../../src/verify/row-text.ts'
import { openLogDatabase } from '../../../src/verify/sources/log-database.ts'
import { openPackFiles } from '../../../src/verify/sources/pack-files.ts'
import { kindOf, verifyPath } from '../../../src/verify/sources/verify-path.ts'
import { VERDICTS } from '../../../src/verify/verdict.ts'
import { sampleEvent } from '../../contract/event-store.ts'
import { createSignedLog, type SignedLog, withDatabase, writeMirror } from '../../harness/signed-log.ts'
import { makeGround, removeGround } from '../../torture/log-grounds.ts'

function temporaryLog(t: TestContext, segmentIds?: number): SignedLog {
  const log = createSignedLog(undefined, segmentIds)
  t.after(() => {
    log.remove()
    rmSync(`${log.path}-mirror`, { recursive: true, force: true })
  })
  return log
}

const judge = (log: SignedLog, path = log.path, workers = 0) => verifyPath(path, { key: log.key }, { workers })

test('verdicts: every one but PRISTINE has an exit code of its own, none of another command', () => {
  const exits = Object.values(VERDICTS).map(({ exit }) => exit)
  assert.equal(new Set(exits).size, exits.length)
  assert.deepEqual(
    exits.filter(exit => Object.values<number>(EXIT).includes(exit)),
    [EXIT.ok],
  )
})

test('bytes are the same only if there are as many, wherever in memory they begin', () => {
  for (const [at, from] of [
    [0, 0],
    [0, 4],
    [0, 1],
    [3, 3],
  ] as const) {
    const part = (start: number, length: number) =>
      Uint8Array.from({ length: start + length }, (_, n) => (n - start) & 3).subarray(start)
    for (const length of [0, 1, 31, 32]) {
      assert.ok(isSame(part(at, length), part(from, length)), `${length} at ${at} and ${from}`)
      assert.ok(!isSame(part(at, length + 8), part(from, length)), `${length + 8} and ${length} at ${at} and ${from}`)
      assert.ok(!isSame(part(at, length), part(from, length + 8)), `${length} and ${length + 8} at ${at} and ${from}`)
    }
    for (let n = 0; n < 32; n++) {
      const other = part(from, 32)
      other[n]! ^= 1
      assert.ok(!isSame(part(at, 32), other), `byte ${n} at ${at} and ${from}`)
    }
  }
})

test('data folder: text of every kind is verified without reading values', async t => {
  const log = temporaryLog(t)
  const texts = [
    '"\\/\b\f\n\r\t',
    '\u0000\u0001\u001f\u007f\u0080',
    '\u2028\u2029\ud800 \udc00',
    '\u{1f50c} e\u0301',
    '{"a":[1]}',
    '',
  ]
  await log.append(512, n =>
    sampleEvent(n, { who: texts[n % 6]!, description: texts[(n + 1) % 6]!, metadata_json: texts[(n + 2) % 6]! }),
  )
  log.sign()
  assert.equal((await judge(log)).verdict, 'PRISTINE')
  using database = openLogDatabase(log.database)
  using packs = openPackFiles(log.root)
  const { salts, text } = database.rows(1, 256) ?? assert.fail('no rows')
  const { bytes: entries } = packs.readBundle(1) ?? assert.fail('no entries')
  const bundle = { width: 256, salts, entries }
  const hashes = parseBundle(entries, 256)?.map(hashLeaf) ?? assert.fail('no bundle')
  assert.deepEqual(hashRowText(text() ?? assert.fail('no text'), bundle), joinBytes(...hashes))
  assert.equal(hashRowText(text()!, { ...bundle, salts: salts.with(17, salts[17]! ^ 1) }), undefined)
})

test('data folder: text that became JSONB of the same spelling is EDITED, wherever in its bundle the row stands', async t => {
  const log = temporaryLog(t)
  await log.append(300)
  log.sign()
  const write = (value: string, id: number) =>
    withDatabase(log.database, db => db.exec(`UPDATE audit_events SET description = ${value} WHERE id = ${id}`))
  for (const id of [1, 100, 256, 257, 280, 300]) {
    write('jsonb(json_quote(description))', id)
    const { verdict, findings } = await judge(log)
    assert.deepEqual([verdict, findings[0]?.at], ['EDITED', { id }])
    write("CAST(description ->> '$' AS TEXT)", id)
  }
  assert.equal((await judge(log)).verdict, 'PRISTINE')
})

test('data folder: nothing is signed yet, or there is no log', async t => {
  const log = temporaryLog(t)
  await log.append(300)
  assert.equal((await judge(log)).verdict, 'UNVERIFIABLE')
  const keys = join(log.root, 'keys')
  renameSync(keys, `${keys}-apart`)
  assert.match((await verifyPath(log.path)).sentence, /No checkpoint was signed yet/)
  renameSync(`${keys}-apart`, keys)
  log.sign()
  assert.equal((await judge(log)).verdict, 'PRISTINE')
  withDatabase(log.database, db => db.exec('DROP TABLE log_head'))
  assert.equal((await judge(log)).verdict, 'MALFORMED')
  writeFileSync(log.database, 'no database')
  assert.equal((await judge(log)).verdict, 'MALFORMED')
})

test('data folder: what is behind the newest checkpoint is verified against the head, and said not to be signed', async t => {
  const log = temporaryLog(t)
  await log.append(300)
  log.sign()
  await log.append(1)
  assert.deepEqual((await judge(log)).notes, ['event 301 is not signed yet'])
  await log.append(399)
  const report = await judge(log)
  assert.deepEqual([report.verdict, report.size, report.signed_size], ['PRISTINE', 700, 300])
  assert.deepEqual(report.notes, ['events 301 to 700 are not signed yet'])
  withDatabase(log.database, db => db.exec("UPDATE audit_events SET who = 'x' WHERE id = 650"))
  assert.deepEqual((await judge(log)).findings[0]?.at, { id: 650 })
})

test('data folder: files that a power loss may have taken are no fault while the rows have what is in them', async t => {
  const log = temporaryLog(t)
  await log.append(300)
  log.sign()
  await log.append(400)
  rmSync(join(log.root, 'entries-000000'))
  assert.equal((await judge(log)).verdict, 'DELETED')
  withDatabase(log.database, db => db.exec('UPDATE log_head SET synced_size = 0'))
  const report = await judge(log)
  assert.equal(report.verdict, 'PRISTINE', report.sentence)
  assert.match(report.notes.join(), /2 of the newest bundles are not on disk yet/)
  withDatabase(log.database, db => db.exec("UPDATE audit_events SET who = 'x' WHERE id = 100"))
  const edited = await judge(log)
  // Without the entries nothing says which of a bundle's rows it is.
  assert.deepEqual([edited.verdict, edited.findings[0]?.at], ['EDITED', { id: 1 }])
  assert.match(edited.findings[0]?.detail ?? '', /This or another of the events 1 to 256/)
})

test('data folder: rows are looked at however many files are said not to be on disk yet', async t => {
  const log = temporaryLog(t)
  await log.append(8_192)
  log.sign()
  rmSync(join(log.root, 'entries-000000'))
  withDatabase(log.database, db =>
    db.exec("UPDATE log_head SET synced_size = 0; UPDATE audit_events_8 SET who = 'x' WHERE id = 7900"),
  )
  const report = await judge(log)
  assert.deepEqual([report.verdict, report.findings[0]?.at], ['EDITED', { id: 7_681 }], report.sentence)
})

test('data folder: a log of the version before seeds is verified, and goes on with its salts', async t => {
  const log = temporaryLog(t)
  await log.append(700)
  log.sign()
  withDatabase(log.database, db => {
    const size = 700
    for (let bundle = 0; bundle * 256 < size; bundle++) {
      const salts = readBundleSalts(db, bundle)?.slice(0, (size - bundle * 256) * 16) ?? assert.fail('no salts')
      db.prepare('UPDATE log_bundles SET salts = ? WHERE bundle = ?').run(salts, bundle)
    }
    db.exec('ALTER TABLE log_bundles DROP COLUMN seed; PRAGMA user_version = 6')
  })
  writeFileSync(join(log.root, 'tiles-0-000000'), new Uint8Array(2 * 8_192))
  assert.equal((await judge(log)).verdict, 'PRISTINE')
  await log.append(400)
  log.sign()
  const report = await judge(log)
  assert.deepEqual([report.verdict, report.size], ['PRISTINE', 1_100], report.sentence)
  assert.ok(!existsSync(join(log.root, 'tiles-0-000000')), 'made of the entries from now on')
  const [salts, seeds] = withDatabase(log.database, db => [
    db
      .prepare('SELECT length(salts) AS n FROM log_bundles ORDER BY bundle')
      .all()
      .map(({ n }) => n),
    db
      .prepare('SELECT length(seed) AS n FROM log_bundles ORDER BY bundle')
      .all()
      .map(({ n }) => n),
  ])
  assert.deepEqual(
    [salts, seeds],
    [
      [4_096, 4_096, 4_096, 0, 76 * 16],
      [null, null, null, 32, null],
    ],
  )
})

test('data folder: rows of a bundle that is not full are erased, others come behind them, and all of them fit their leaves', async t => {
  const log = temporaryLog(t)
  await log.append(300, n => sampleEvent(n, { who: n === 299 ? 'CP-GONE' : `CP-${n}` }))
  log.sign()
  await log.erase('CP-GONE')
  await log.append(500)
  log.sign()
  const report = await judge(log)
  assert.deepEqual([report.verdict, report.size], ['PRISTINE', 801], report.sentence)
  const seeds = withDatabase(log.database, db =>
    db
      .prepare('SELECT bundle FROM log_bundles WHERE seed IS NOT NULL ORDER BY bundle')
      .all()
      .map(row => row.bundle),
  )
  assert.deepEqual(seeds, [0, 2], 'that of the erased row is gone')
  // A power loss takes the bundles, of which nothing was synced yet; whoever goes on makes them anew.
  rmSync(join(log.root, 'entries-000000'))
  withDatabase(log.database, db => db.exec('UPDATE log_head SET synced_size = 0'))
  await log.append(1)
  const repaired = await judge(log)
  assert.deepEqual([repaired.verdict, repaired.size], ['PRISTINE', 802], repaired.sentence)
})

test('data folder: is verified while it grows', async t => {
  const log = temporaryLog(t)
  await log.append(1_000)
  log.sign()
  let grows = true
  const growing = (async () => {
    while (grows) {
      await log.append(37)
      log.sign()
    }
  })()
  try {
    for (let n = 0; n < 10; n++) {
      const report = await judge(log)
      assert.equal(report.verdict, 'PRISTINE', report.sentence)
    }
  } finally {
    grows = false
    await growing
  }
})

test('data folder and mirror: a log with tiles of level 2, by workers', async t => {
  const log = temporaryLog(t, 16_384)
  await log.append(66_000)
  log.sign()
  writeMirror(log, `${log.path}-mirror`)
  for (const path of [log.path, `${log.path}-mirror`]) {
    const report = await judge(log, path, 2)
    assert.deepEqual([report.verdict, report.size], ['PRISTINE', 66_000], report.sentence)
  }
  const spoilt = async (work: () => void, undo: () => void, path = log.path) => {
    work()
    const { verdict, findings } = await judge(log, path, 2)
    undo()
    return [verdict, findings[0]?.at]
  }
  const sql = (text: string) => () => withDatabase(log.database, db => db.exec(text))
  const renamed = spoilt(
    sql("UPDATE audit_events_2 SET who = who || '!' WHERE id = 20000"),
    sql('UPDATE audit_events_2 SET who = substr(who, 1, length(who) - 1) WHERE id = 20000'),
  )
  assert.deepEqual(await renamed, ['EDITED', { id: 20_000 }])
  const flip = (path: string, at: number) => () => {
    const bytes = readFileSync(path)
    bytes[at]! ^= 4
    writeFileSync(path, bytes)
  }
  const level1 = flip(join(log.root, 'tiles-1-000000'), 100 * 32)
  assert.deepEqual(await spoilt(level1, level1), ['EDITED', { id: 25_601 }])
  const level2 = flip(join(`${log.path}-mirror`, 'tile', '2', '000.p', '1'), 5)
  assert.deepEqual(await spoilt(level2, level2, `${log.path}-mirror`), ['EDITED', { id: 1 }])
  const gone = spoilt(
    sql('UPDATE log_edge SET level = 9 WHERE level = 2'),
    sql('UPDATE log_edge SET level = 2 WHERE level = 9'),
  )
  assert.deepEqual(await gone, ['DELETED', { id: 1 }])
  assert.equal((await judge(log, log.path, 2)).verdict, 'PRISTINE')
})

test('archive: is verified beside its data folder, beside a mirror, and alone', async t => {
  const ground = await makeGround({
    events: 3_000,
    unsigned: 0,
    erased: [5, 2_000],
    rotates: false,
    withMlDsa44: false,
    archives: true,
  })
  t.after(() => removeGround(ground))
  const { log, mirror } = ground
  const archive = join(log.path, 'archive')
  assert.deepEqual([log.path, mirror, archive].map(kindOf), ['data folder', 'mirror', 'archive'])
  const apart = `${log.path}-apart`
  t.after(() => rmSync(apart, { recursive: true, force: true }))
  cpSync(archive, apart, { recursive: true })
  for (const [path, tiles] of [[archive], [archive, log.path], [archive, mirror], [apart]] as const) {
    const report = await verifyPath(path, { key: log.key }, { tiles })
    assert.equal(report.verdict, 'PRISTINE', report.sentence)
  }
})

test('verify: what is none of these is refused; a data folder without its database is one all the same', async t => {
  await assert.rejects(verifyPath(import.meta.dirname), RangeError)
  const log = temporaryLog(t)
  await log.append(3)
  log.sign()
  rmSync(log.database)
  const { verdict, sentence } = await judge(log)
  assert.deepEqual([verdict, /The database is missing/.test(sentence)], ['MALFORMED', true], sentence)
})

test('data folder and mirror: ML-DSA-44 switched on, rotated and off again, each by a hand-over that is on record', async t => {
  const log = temporaryLog(t)
  const algorithms: string[] = []
  for (const withMlDsa44 of [true, undefined, false]) {
    await log.append(200)
    log.sign()
    await log.rotate(withMlDsa44)
    log.sign()
    const report = await judge(log)
    assert.equal(report.verdict, 'PRISTINE', report.sentence)
    algorithms.push(report.signatures.join('+'))
  }
  assert.deepEqual(algorithms, ['Ed25519+ML-DSA-44', 'Ed25519+ML-DSA-44', 'Ed25519'])
  const mirror = `${log.path}-mirror`
  writeMirror(log, mirror)
  assert.equal((await judge(log, mirror)).verdict, 'PRISTINE')
  const history = join(log.root, 'checkpoints')
  const lines = readFileSync(history, 'utf8').trimEnd().split('\n')
  const stripped = lines.map(line => JSON.parse(line)).map(note => `${note.split('\n').slice(0, 5).join('\n')}\n`)
  writeFileSync(history, stripped.map(note => `${JSON.stringify(note)}\n`).join(''))
  const { verdict, findings } = await judge(log)
  assert.deepEqual([verdict, findings[0]?.at], ['WRONG_KEY', { size: 201 }])
  assert.match(findings[0]?.detail ?? '', /ML-DSA-44 signature is missing/)
  writeFileSync(history, lines.map(line => `${line}\n`).join(''))
  const keys = readFileSync(join(log.root, 'keys'), 'utf8').split('\n')
  writeFileSync(join(log.root, 'keys'), `${keys.slice(0, 3).join('\n')}\n`)
  assert.equal((await judge(log)).verdict, 'WRONG_KEY', 'the last hand-over is not there, and its event is')
})

test('mirror: a checkpoint that the log did not sign does not say how many events there should be', async t => {
  const log = temporaryLog(t)
  await log.append(2)
  log.sign()
  await log.append(46)
  log.sign()
  const mirror = `${log.path}-mirror`
  writeMirror(log, mirror)
  const path = join(mirror, 'checkpoint')
  const [origin, , ...rest] = readFileSync(path, 'utf8').split('\n')
  writeFileSync(path, [origin, '1000', ...rest].join('\n'))
  for (const history of ['there', 'gone']) {
    if (history === 'gone') rmSync(join(mirror, 'checkpoints'))
    const { verdict, findings } = await judge(log, mirror)
    assert.deepEqual([verdict, findings.map(({ at }) => at)], ['WRONG_KEY', [{ size: 1000 }]], history)
  }
})
