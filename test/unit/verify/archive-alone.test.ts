/** Archives without the log that they left. One thing changed in one of them: test/torture/mutations/archive.ts. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { cpSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type TestContext } from 'node:test'
import { archiveSegments, planArchive } from '../../../src/archive/archive.ts'
import { verifyArchives } from '../../../src/archive/verify.ts'
import { formatVerifierKey } from '../../../src/evidence/note.ts'
import { verifyPath } from '../../../src/verify/sources/verify-path.ts'
import type { Trust } from '../../../src/verify/verify.ts'
import { pathsOf } from '../../harness/old-trail.ts'
import { createSignedLog, type SignedLog, withDatabase, writeMirror } from '../../harness/signed-log.ts'
import { createKey } from '../evidence/keys-under-test.ts'

const FUTURE = Date.UTC(2036, 0, 1)

const archive = (log: SignedLog, beforeMs = FUTURE) =>
  archiveSegments({ ...pathsOf(log.path), beforeMs, actor: 'test', signatureMs: 0 })

function signedLog(t: TestContext): SignedLog {
  const log = createSignedLog()
  t.after(() => {
    log.remove()
    rmSync(apartOf(log), { recursive: true, force: true })
  })
  return log
}

const apartOf = ({ path }: SignedLog) => `${path}-apart`

/** The archives, where no log is. */
function moveApart(log: SignedLog): string {
  cpSync(join(log.path, 'archive'), apartOf(log), { recursive: true })
  return apartOf(log)
}

function editManifest(directory: string, n: number, edit: (manifest: Manifest) => void): void {
  const name =
    readdirSync(directory)
      .filter(name => name.endsWith('.manifest.json'))
      .sort()[n] ?? assert.fail()
  const manifest = JSON.parse(readFileSync(join(directory, name), 'utf8'))
  edit(manifest)
  writeFileSync(join(directory, name), JSON.stringify(manifest))
}

interface Manifest {
  erased?: { event: number; ids: number[] }[]
  log: { proof?: Record<'edge' | 'consistency' | 'bundles', string[]> & { checkpoint: string; keys: string } }
}

test('archives alone: several that left at different times, each under its own checkpoint, by the key that rotated since', async t => {
  const log = signedLog(t)
  await log.append(2_500)
  const first = log.sign()
  assert.equal((await archive(log, Date.UTC(2026, 0, 1) + 1_025_000)).archived.length, 1)
  await log.rotate()
  await log.append(3_000)
  const newest = log.sign()
  assert.equal((await archive(log)).archived.length, 4)
  const apart = moveApart(log)
  const report = await verifyPath(apart, { key: log.key })
  assert.deepEqual(
    [report.verdict, report.size, report.signed_size, report.checkpoints, report.archived],
    ['PRISTINE', 5_120, 5_120, 2, 5_120],
    report.sentence,
  )
  assert.deepEqual(report.notes, [])
  const { sound, problems } = await verifyArchives(apart, [])
  assert.deepEqual([sound.length, problems], [5, []])
  for (const trusted of [first, newest]) assert.equal((await verifyPath(apart, { key: log.key, trusted })).exit, 0)
  // The event that tells of the first archive has left with another one, and still tells of it.
  const besideLog = await verifyPath(join(log.path, 'archive'), { key: log.key })
  assert.equal(besideLog.verdict, 'PRISTINE', besideLog.sentence)
  assert.deepEqual((await verifyPath(log.path, { key: log.key })).notes, [
    'the rows of 5 archives were not read: verify the folder that these lie in, too',
    'events 5503 to 5506 are not signed yet',
  ])
  // The newest may be elsewhere, as the oldest may; not one between others.
  const events = (first: string, last: string) =>
    join(apart, `events-${first.padStart(12, '0')}-${last.padStart(12, '0')}`)
  rmSync(`${events('4097', '5120')}.manifest.json`)
  const untold = await verifyPath(apart, { key: log.key })
  assert.deepEqual([untold.verdict, untold.size, untold.notes.length], ['PRISTINE', 4_096, 1])
  assert.match(untold.notes[0]!, /no manifest tells of these files.*: events-000000004097-000000005120\.ndjson\.gz$/)
  rmSync(`${events('2049', '3072')}.manifest.json`)
  const gap = await verifyPath(apart, { key: log.key })
  assert.deepEqual([gap.verdict, gap.findings[0]!.at], ['UNVERIFIABLE', { id: 2_049 }])
  cpSync(`${events('1', '1024')}.manifest.json`, `${events('2049', '3072')}.manifest.json`)
  assert.match(
    (await verifyPath(apart, { key: log.key })).sentence,
    /is the manifest of other events than its name says/,
  )
})

test('archives alone: a stranger, another history, a checkpoint that no archive has, and witnesses that did not sign', async t => {
  const [log, other] = [signedLog(t), signedLog(t)]
  const signed: string[] = []
  for (const one of [log, other]) {
    await one.append(2_500)
    signed.push(one.sign())
    await archive(one)
  }
  const apart = moveApart(log)
  const verdict = async (trust: Trust) => (await verifyPath(apart, trust)).verdict
  assert.equal(await verdict({ key: log.key }), 'PRISTINE')
  assert.equal(await verdict({ key: other.key }), 'WRONG_KEY')
  assert.equal(await verdict({ key: log.key, trusted: signed[1] }), 'FORKED')
  const witness = formatVerifierKey(createKey('witness.example', 4).key)
  assert.equal(await verdict({ key: log.key, witnesses: [witness] }), 'NOT_WITNESSED')
  await log.append(10)
  assert.equal(await verdict({ key: log.key, trusted: log.sign() }), 'UNVERIFIABLE')
})

test('archives alone: what leads to the log is looked at in each of them', async t => {
  const log = signedLog(t)
  await log.append(3_500)
  log.sign()
  await archive(log)
  const cases: [part: string, edit: (proof: NonNullable<Manifest['log']['proof']>) => unknown, verdict: string][] = [
    ['edge', proof => proof.edge.splice(0, 1, proof.bundles[0]!), 'EDITED'],
    ['edge', proof => proof.edge.push(proof.edge[0]!), 'EDITED'],
    ['edge', proof => proof.edge.splice(0, 1, 'not base64'), 'EDITED'],
    ['consistency', proof => proof.consistency.pop(), 'EDITED'],
    ['bundles', proof => proof.bundles.reverse(), 'EDITED'],
    [
      'checkpoint',
      proof => Object.assign(proof, { checkpoint: proof.checkpoint.replace('log.example', 'log.sample') }),
      'WRONG_KEY',
    ],
    ['keys', proof => Object.assign(proof, { keys: '' }), 'MALFORMED'],
  ]
  for (const [part, edit, verdict] of cases) {
    const apart = moveApart(log)
    editManifest(apart, 1, ({ log: { proof } }) => edit(proof!))
    const report = await verifyPath(apart, { key: log.key })
    assert.equal(report.verdict, verdict, `${part}: ${report.sentence}`)
  }
})

test('archives alone: without a proof nothing is decided, and it is said why', async t => {
  const log = signedLog(t)
  await log.append(2_500)
  log.sign()
  await archive(log)
  const apart = moveApart(log)
  editManifest(apart, 1, manifest => delete manifest.log.proof)
  const report = await verifyPath(apart, { key: log.key })
  assert.equal(report.verdict, 'UNVERIFIABLE')
  assert.match(report.sentence, /Its manifest has no proof.*--tiles names the log that its events left/)
  assert.deepEqual([report.signed_size, report.size], [1_024, 2_048])
})

test('archives: a copy from before an erasure is told by the log, by the log at hand, and by the archive of the erasure', async t => {
  const log = signedLog(t)
  await log.append(2_500)
  log.sign()
  await archive(log)
  const here = join(log.path, 'archive')
  const original = `${apartOf(log)}/original`
  const between = `${apartOf(log)}/between`
  cpSync(here, original, { recursive: true })
  await log.erase('CP-3')
  cpSync(here, between, { recursive: true })
  await log.erase('CP-4')
  log.sign()
  const verdictOf = async (path: string, tiles?: string) => {
    const { verdict, findings } = await verifyPath(path, { key: log.key }, { tiles })
    return findings[0] === undefined ? verdict : `${verdict} ${Object.values(findings[0].at)} ${findings[0].detail}`
  }
  const older = 'EDITED the manifest of archive 1 It is an older one: what was erased since is still in its archive'
  assert.equal(await verdictOf(log.path), 'PRISTINE')
  assert.equal(await verdictOf(here, log.path), 'PRISTINE')
  for (const copy of [original, between]) assert.equal(await verdictOf(copy, log.path), older)

  const newest = `${apartOf(log)}/newest`
  cpSync(here, newest, { recursive: true })
  cpSync(between, here, { recursive: true })
  assert.equal(await verdictOf(log.path), older)
  // As somebody does it who writes to the database, too.
  const digests = readdirSync(between)
    .filter(name => name.endsWith('.manifest.json'))
    .sort()
    .map(name =>
      createHash('sha256')
        .update(readFileSync(join(between, name)))
        .digest('hex'),
    )
  withDatabase(log.database, db => {
    const put = db.prepare('UPDATE event_archives SET manifest_sha256 = ? WHERE number = ?')
    for (const [n, digest] of digests.entries()) put.run(digest, n + 1)
  })
  const told = 'EDITED the manifest of archive 1 The one on record is not the one that the last erasure tells of'
  assert.equal(await verdictOf(log.path), told)

  // Alone, an older copy is what it was, until an archive beside it has the event that tells of its erasure.
  for (const copy of [original, between, newest]) assert.equal(await verdictOf(copy), 'PRISTINE')
  withDatabase(log.database, db => {
    const put = db.prepare('UPDATE event_archives SET manifest_sha256 = ? WHERE number = ?')
    const names = readdirSync(newest).filter(name => name.endsWith('.manifest.json'))
    for (const [n, name] of names.sort().entries()) {
      put.run(
        createHash('sha256')
          .update(readFileSync(join(newest, name)))
          .digest('hex'),
        n + 1,
      )
    }
  })
  cpSync(newest, here, { recursive: true })
  await log.append(1_500)
  log.sign()
  await archive(log)
  const apart = `${apartOf(log)}/apart`
  cpSync(here, apart, { recursive: true })
  assert.equal(await verdictOf(apart), 'PRISTINE')
  for (const copy of [original, between]) {
    cpSync(copy, apart, { recursive: true })
    assert.match(
      await verdictOf(apart),
      /^EDITED the manifest of archive 1 Event \d+, an erasure, tells of another one/,
    )
  }
})

test('archives: those that left with blank rows, and with the event that tells of these, are right beside any log; no other is', async t => {
  const log = signedLog(t)
  await log.append(2_500)
  await log.erase('CP-3')
  await log.append(1_000)
  log.sign()
  await archive(log)
  log.sign()
  const here = join(log.path, 'archive')
  const mirror = `${apartOf(log)}/mirror`
  writeMirror(log, mirror)
  for (const [path, tiles] of [[log.path], [here], [here, mirror]] as const) {
    const { verdict, sentence, notes } = await verifyPath(path, { key: log.key }, { tiles })
    assert.deepEqual([verdict, notes.includes('357 events were erased by event 2501')], ['PRISTINE', true], sentence)
  }
  // A row that is blank and that no event tells of, in an archive whose manifest does not either.
  const copy = `${apartOf(log)}/copy`
  cpSync(here, copy, { recursive: true })
  editManifest(copy, 0, ({ erased }) => erased![0]!.ids.shift())
  const hushed = await verifyPath(copy, { key: log.key }, { tiles: mirror })
  assert.deepEqual([hushed.verdict, hushed.findings[0]?.at], ['ERASED_WITHOUT_RECORD', { id: 3 }])
  const manifest = join(here, 'events-000000000001-000000001024.manifest.json')
  writeFileSync(manifest, `${readFileSync(manifest, 'utf8')} `)
  const digest = createHash('sha256').update(readFileSync(manifest)).digest('hex')
  withDatabase(log.database, db =>
    db.prepare('UPDATE event_archives SET manifest_sha256 = ? WHERE number = 1').run(digest),
  )
  const { sentence } = await verifyPath(log.path, { key: log.key })
  assert.match(sentence, /No event says that it left with archive 1/)
})

test('archive: what no checkpoint covers yet stays, and leaves once one does', async t => {
  const log = signedLog(t)
  await log.append(2_500)
  const { archived, unsigned } = await archive(log)
  assert.deepEqual([archived.length, unsigned.map(({ firstId }) => firstId)], [0, [1, 1_025]])
  const plan = async () => {
    const { leaving, unsigned } = await planArchive(pathsOf(log.path).store, FUTURE)
    return [leaving, unsigned].map(segments => segments.map(({ firstId }) => firstId))
  }
  assert.deepEqual(await plan(), [[], [1, 1_025]])
  log.sign()
  await log.append(1_000)
  assert.deepEqual(await plan(), [[1, 1_025], [2_049]])
  const half = await archive(log)
  assert.deepEqual([half.archived.length, half.unsigned.map(({ firstId }) => firstId)], [2, [2_049]])
  const waiting = archiveSegments({
    ...pathsOf(log.path),
    beforeMs: FUTURE,
    actor: 'test',
    signatureMs: 60_000,
  })
  log.sign()
  assert.equal((await waiting).archived.length, 1)
})

test('archive: events that are not under the checkpoint do not leave', async t => {
  const log = signedLog(t)
  await log.append(2_500)
  log.sign()
  withDatabase(log.database, db => db.exec("UPDATE audit_events_1 SET who = 'nobody' WHERE id = 700"))
  await assert.rejects(archive(log), { name: 'Refusal', code: 'ARCHIVE_INVALID', message: /not under the checkpoint/ })
})
