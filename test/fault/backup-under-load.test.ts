/**
 * A backup is made while the service is busy, by a process of its own, and restored elsewhere. Everything that was answered
 * before the backup began is there, once; ids are gapless; no state without its event.
 */
import assert from 'node:assert/strict'
import { cpSync, existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'
import { dataFolder } from '../../src/service/data-folder.ts'
import { type RestoreProgress, restoreBackup } from '../../src/service/restore.ts'
import { run, runHere, start, temporaryFolder } from '../cli/command-line.ts'
import { auditRows, eventually } from '../harness/rows.ts'
import { send, startServiceProcess } from '../harness/service-process.ts'

const CLIENTS = 8
const WARM_LOGINS = 200

test('backup: made under load and restored elsewhere, it has all that was answered before it began', async t => {
  const folder = temporaryFolder(t)
  const [data, backup, restored] = ['data', 'backup', 'restored'].map(name => join(folder, name)) as [
    string,
    string,
    string,
  ]
  const service = await startServiceProcess(data)
  t.after(() => service.kill('SIGKILL'))
  const { body } = await send(service.url, 'POST', '/charge-points', { cp_id: 'CP-0' })
  const login = { cp_id: 'CP-0', credentials: String(body.credentials) }

  const answered: string[] = []
  const registered: string[] = ['CP-0']
  let running = true
  let serial = 0
  const clients = Array.from({ length: CLIENTS }, async () => {
    while (running) {
      const requestId = `load-${serial++}`
      const answer = await send(service.url, 'POST', '/auth/credentials', login, { 'x-request-id': requestId })
      assert.equal(answer.status, 200)
      answered.push(requestId)
    }
  })
  clients.push(
    (async () => {
      for (let n = 1; running; n++) {
        assert.equal((await send(service.url, 'POST', '/charge-points', { cp_id: `CP-${n}` })).status, 201)
        registered.push(`CP-${n}`)
      }
    })(),
  )
  await eventually(
    () => answered.length,
    count => count > WARM_LOGINS,
  )
  const before = { answered: [...answered], registered: [...registered] }
  const made = await run(t, ['--data-dir', data, 'backup', backup, '--with-secrets', '--json'])
  const { sequence } = JSON.parse(made.stdout) as { sequence: number }
  assert.deepEqual([made.code, made.stderr], [0, ''])
  const during = answered.length - before.answered.length
  running = false
  await Promise.all(clients)
  assert.ok(during > 0, 'nothing was answered while the backup was made: no load')
  assert.equal(await service.kill('SIGTERM'), 0)

  const done = await run(t, ['restore', backup, '--to', restored])
  assert.equal(done.code, 0, done.stderr)
  const again = await startServiceProcess(restored)
  t.after(() => again.kill('SIGKILL'))
  await eventually(
    () => auditRows(restored, "reason_code IN ('RESTORED', 'STARTED')"),
    rows => rows.map(row => row.reason_code).join() === 'STARTED,RESTORED,STARTED',
  )
  const rows = auditRows(restored)
  assert.deepEqual(
    rows.map(row => row.id),
    rows.map((_, index) => index + 1),
    'ids are gapless',
  )
  const logins = rows.filter(row => row.action === 'AUTH_SUCCESS').map(row => row.request_id)
  assert.equal(new Set(logins).size, logins.length, 'no login is there twice')
  const known = new Set(logins)
  assert.deepEqual(
    before.answered.filter(id => !known.has(id)),
    [],
  )

  const events = rows
    .filter(row => row.reason_code === 'CP_REGISTERED')
    .map(row => JSON.parse(row.metadata_json ?? '{}').cp_id)
  assert.equal(new Set(events).size, events.length, 'no registration is there twice')
  const list = await run(t, ['--data-dir', restored, 'cp', 'list', '--json'])
  const state = list.stdout
    .trim()
    .split('\n')
    .map(line => (JSON.parse(line) as { cp_id: string }).cp_id)
  assert.deepEqual(
    before.registered.filter(cpId => !state.includes(cpId)),
    [],
    'what was registered before is there',
  )
  assert.deepEqual(
    state.filter(cpId => !events.includes(cpId)),
    [],
    'no state without its event',
  )
  assert.equal(rows.filter(row => row.reason_code === 'UNCLEAN_STOP' || row.reason_code === 'LOSS_DECLARED').length, 0)
  assert.equal((await send(again.url, 'POST', '/auth/credentials', login, {})).status, 200)
  assert.equal(await again.kill('SIGTERM'), 0)

  const original = auditRows(data)
  // When a row was written is what an indexer says; all else is what the journal says.
  const contents = (all: typeof rows) => all.slice(0, sequence).map(row => JSON.stringify({ ...row, created_at: '' }))
  const [copied, written] = [contents(rows), contents(original)]
  assert.equal(
    copied.findIndex((row, index) => row !== written[index]),
    -1,
    'up to the backup both trails are one',
  )
  assert.equal(original.filter(row => row.reason_code === 'BACKED_UP').length, 1)
  t.diagnostic(`${before.answered.length} logins before, ${during} during the backup, ${copied.length} events in it`)
})

test('backup: killed at any moment it leaves a folder that is not taken for a backup', async t => {
  const folder = temporaryFolder(t)
  const data = join(folder, 'data')
  const service = await startServiceProcess(data)
  t.after(() => service.kill('SIGKILL'))
  let unfinished = 0
  for (let round = 0; round < 4; round++) {
    const backup = join(folder, `backup-${round}`)
    const running = start(t, ['--data-dir', data, 'backup', backup])
    await eventually(
      () => existsSync(join(backup, ['audit', 'security', 'journal', 'manifest.json'][round] as string)),
      isThere => isThere || running.child.exitCode !== null,
    )
    await running.stop('SIGKILL')
    const check = await run(t, ['restore', backup, '--check'])
    if (existsSync(join(backup, 'manifest.json'))) {
      assert.equal(check.code, 0, check.stderr)
    } else {
      unfinished++
      assert.equal(check.code, 2)
      assert.match(check.stderr, /it has no manifest\.json, so the backup did not end.* \(BACKUP_INVALID\)/)
    }
  }
  t.diagnostic(`${unfinished} of 4 were killed before the manifest`)
  assert.equal(await service.kill('SIGTERM'), 0)

  const directory = join(folder, 'backup')
  assert.equal((await run(t, ['--data-dir', data, 'backup', directory])).code, 0)
  // What was signed before a restore stays beside the new log, and is in a backup of that one.
  const [restored, second] = [join(folder, 'restored'), join(folder, 'second')]
  assert.equal((await runHere(['restore', directory, '--to', restored])).code, 0)
  const { stdout } = await runHere(['--data-dir', restored, 'backup', second, '--json'])
  const aside = (JSON.parse(stdout).files as { path: string }[]).filter(({ path }) =>
    /-log\/.*\.[0-9a-f]{8}$/.test(path),
  )
  assert.equal(aside.length, 3, stdout)
  assert.equal((await runHere(['restore', second, '--check'])).code, 0)

  const garbage = join(folder, 'garbage')
  cpSync(data, garbage, { recursive: true })
  writeFileSync(dataFolder(garbage).auditDatabase, 'x'.repeat(9_999))
  const none = await runHere(['--data-dir', garbage, 'backup', join(folder, 'of-garbage')])
  assert.deepEqual([none.code, /^error: a file is not the database that it should be/.test(none.stderr)], [1, true])
  assert.equal(existsSync(join(folder, 'of-garbage', 'manifest.json')), false)

  // A restore that is cut short leaves a folder that nobody takes for a data folder.
  const cutShort = join(folder, 'cut-short')
  const onProgress = ({ phase, done, total }: RestoreProgress) => {
    if (phase === 'copying' && done > total / 2) throw new Error('killed')
  }
  await assert.rejects(restoreBackup({ directory, to: cutShort, actor: 'cli:test', onProgress }), /killed/)
  for (const args of [['serve'], ['check'], ['backup', join(folder, 'of-half')], ['restore', '--accept']]) {
    const { code, stderr } = await runHere(args, { environment: { EVC_DATA_DIR: cutShort } })
    assert.deepEqual([code, /\(RESTORE_INCOMPLETE\)\n$/.test(stderr)], [2, true], stderr)
  }
  const again = await runHere(['restore', directory, '--to', cutShort])
  assert.deepEqual([again.code, /\(FOLDER_NOT_EMPTY\)\n$/.test(again.stderr)], [2, true])
})
