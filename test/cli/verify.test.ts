/** verify, as an auditor types it. */
import assert from 'node:assert/strict'
import { existsSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type TestContext } from 'node:test'
import { formatVerifierKey, SIGNATURE_TYPE } from '../../src/evidence/note.ts'
import { createSqliteSecurityState } from '../../src/security/sqlite-security-state.ts'
import { dataFolder } from '../../src/service/data-folder.ts'
import { VERDICTS } from '../../src/verify/verdict.ts'
import { firstKey, makeZip } from '../harness/pack-under-test.ts'
import { createSignedLog, withDatabase, writeMirror } from '../harness/signed-log.ts'
import { createKey } from '../unit/evidence/keys-under-test.ts'
import { run, runHere, temporaryFolder } from './command-line.ts'

async function signedLog(t: TestContext) {
  const log = createSignedLog(join(temporaryFolder(t), 'data'))
  await log.append(600)
  log.sign()
  return log
}

const cli = (...args: string[]) => runHere(['verify', ...args])

test('verify: a trail that nobody changed: exit code 0, one line that says so', async t => {
  const log = await signedLog(t)
  const { code, stdout, stderr } = await cli(log.path, '--key', log.key)
  assert.deepEqual([code, stderr], [0, ''])
  assert.match(
    stdout,
    /^PRISTINE: Nothing was changed: 600 events, 1 signed checkpoint\.\nlog log\.example\/ev-central, 600 events, 600 of them signed \(Ed25519\), root \S{44}\n$/,
  )
})

test('verify: each verdict has its exit code, and names the event', async t => {
  const log = await signedLog(t)
  withDatabase(log.database, db =>
    db.exec("UPDATE audit_events SET date_time = '2020-01-01T00:00:00.000Z' WHERE id = 33"),
  )
  const { code, stdout } = await cli(log.path, '--key', log.key)
  assert.equal(code, VERDICTS.BACK_DATED.exit)
  assert.match(
    stdout,
    /^BACK_DATED: Back-dated: event 33 has an earlier time than was logged\. Of its row date_time differs\.\n/,
  )
  withDatabase(log.database, db => db.exec('DELETE FROM audit_events WHERE id = 7'))
  const both = await cli(log.path, '--key', log.key)
  assert.equal(both.code, VERDICTS.DELETED.exit)
  assert.match(both.stdout, /^DELETED: .* event 7 .*\nalso: Back-dated: event 33 /)
})

test('verify: --json has the whole report', async t => {
  const log = await signedLog(t)
  const { code, stdout } = await cli(log.path, '--key', log.key, '--json')
  const { verdict, exit, findings, size, signed_size } = JSON.parse(stdout)
  assert.deepEqual(
    { code, verdict, exit, findings, size, signed_size },
    {
      code: 0,
      verdict: 'PRISTINE',
      exit: 0,
      findings: [],
      size: 600,
      signed_size: 600,
    },
  )
})

test('verify: a key and a checkpoint may be files; without a key it says what it believed', async t => {
  const log = await signedLog(t)
  const [key, trusted] = [join(log.path, '..', 'log.pub'), join(log.path, '..', 'before')]
  writeFileSync(key, `${log.key}\n`)
  writeFileSync(trusted, log.sign())
  assert.equal((await cli(log.path, '--key', key, '--trusted', trusted)).code, 0)
  const own = await cli(log.path)
  assert.equal(own.code, 0)
  assert.match(own.stdout, /^note: no --key was given/m)
  writeFileSync(trusted, log.note(`log.example/ev-central\n601\n${'A'.repeat(43)}=\n`))
  assert.equal((await cli(log.path, '--key', key, '--trusted', trusted)).code, VERDICTS.ROLLED_BACK.exit)
})

test('verify: a mirror', async t => {
  const log = await signedLog(t)
  const mirror = join(log.path, '..', 'mirror')
  writeMirror(log, mirror)
  assert.equal((await cli(mirror, '--key', log.key)).code, 0)
  rmSync(join(mirror, 'tile', '0', '001'))
  const { code, stdout } = await cli(mirror, '--key', log.key)
  assert.equal(code, VERDICTS.DELETED.exit)
  assert.match(stdout, /^DELETED: .*event 257 /)
})

test('verify: an evidence pack, and what does not go with one', async t => {
  const pack = join(temporaryFolder(t), 'pack.zip')
  const zip = await makeZip()
  writeFileSync(pack, zip)
  const { code, stdout, stderr } = await cli(pack, '--key', firstKey)
  assert.deepEqual([code, stderr], [0, ''])
  assert.match(
    stdout,
    /^PRISTINE: Nothing was changed: 290 events, each under the signed checkpoint of size 300\.\nnote: 1 event is erased; .*\nlog log\.example\.com\/packs, 290 events, 290 of them signed \(Ed25519\)\n$/,
  )
  const json = await cli(pack, '--key', firstKey, '--json')
  assert.deepEqual([json.code, JSON.parse(json.stdout).verdict], [0, 'PRISTINE'])
  for (const [args, message] of [
    [['--workers', '2'], /--workers does not go with an evidence pack/],
    [['--tiles', pack], /--tiles goes with a folder of archives/],
  ] as const) {
    const refused = await cli(pack, ...args)
    assert.equal(refused.code, 2)
    assert.match(refused.stderr, message)
  }
  writeFileSync(pack, zip.subarray(1_000))
  const cut = await cli(pack, '--key', firstKey)
  assert.equal(cut.code, VERDICTS.MALFORMED.exit)
  assert.match(cut.stdout, /^MALFORMED: Malformed: what is to be verified cannot be read\./)
})

test('verify: what makes no sense is refused', async t => {
  const log = await signedLog(t)
  const witness = formatVerifierKey(createKey('one', SIGNATURE_TYPE.ed25519Cosignature).key)
  const refused: [string[], RegExp][] = [
    [[join(log.path, 'nowhere')], /is no data folder, no mirror/],
    [[log.path, '--key', 'x'], /a key is `<name>\+<id>\+<base64>`/],
    [[log.path, '--trusted', join(log.path, 'none')], /there is no file/],
    [[log.path, '--tiles', log.path], /--tiles goes with a folder of archives/],
    [[log.path, '--quorum', '1'], /--quorum is more than there are witnesses/],
    [
      [log.path, '--witness', witness, '--witness', witness, '--quorum', '2'],
      /--quorum is more than there are witnesses/,
    ],
    [[log.path, '--workers', '0'], /1 to 64/],
  ]
  for (const [args, message] of refused) {
    const { code, stderr } = await cli(...args)
    assert.equal(code, 2, args.join(' '))
    assert.match(stderr, message)
  }
})

test('verify: the data folder of the settings gets an event; a path that is given gets none', async t => {
  const log = await signedLog(t)
  const { securityDatabase } = dataFolder(log.path)
  await createSqliteSecurityState({ path: securityDatabase }).close()
  const outbox = () => withDatabase(securityDatabase, db => db.prepare('SELECT count(*) AS n FROM outbox').get()?.n)
  assert.equal((await cli(log.path)).code, 0)
  assert.equal(outbox(), 0)
  assert.equal((await cli('--data-dir', log.path)).code, 0)
  assert.equal(outbox(), 1)
})

test('verify: as a process of its own, quiet in a pipe', async t => {
  const log = await signedLog(t)
  const { code, stderr } = await run(t, ['verify', log.path, '--key', log.key])
  assert.deepEqual([code, stderr], [0, ''])
  assert.ok(existsSync(log.database))
})
