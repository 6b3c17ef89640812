/** archive, archive hold, archive verify and query --archive, as people type them. */
import assert from 'node:assert/strict'
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type TestContext } from 'node:test'
import { beginKeyChain } from '../../src/checkpoint/key-files.ts'
import { createSqliteSecurityState } from '../../src/security/sqlite-security-state.ts'
import { dataFolder } from '../../src/service/data-folder.ts'
import { archiveFolder, SEGMENT, writeOldTrail } from '../harness/old-trail.ts'
import { auditRows } from '../harness/rows.ts'
import { timeAt } from '../unit/query/event-fixture.ts'
import { run, runHere, temporaryFolder } from './command-line.ts'

async function oldTrail(t: TestContext, segments = 3) {
  const data = join(temporaryFolder(t), 'data')
  const rows = await writeOldTrail(data, SEGMENT * segments + 20)
  const cli = (...args: string[]) => runHere([...args, '--data-dir', data])
  return { data, rows, cli }
}

const jsonLines = (text: string) =>
  text
    .split('\n')
    .filter(line => line !== '')
    .map(line => JSON.parse(line))

test('archive: --dry-run says what would leave and changes nothing; then it leaves, to where it is told', async t => {
  const { data, cli } = await oldTrail(t)
  const before = timeAt(SEGMENT * 2)
  const plan = await cli('archive', '--before', before, '--dry-run')
  assert.equal(plan.code, 0, plan.stderr)
  assert.deepEqual(plan.stdout.trimEnd().split('\n'), [
    `would leave: events 1 to 2048, ${timeAt(0)} to ${timeAt(SEGMENT - 1)}`,
    `would leave: events 2049 to 4096, ${timeAt(SEGMENT)} to ${timeAt(SEGMENT * 2 - 1)}`,
  ])
  assert.equal(auditRows(data).length, SEGMENT * 3 + 20)
  assert.equal(existsSync(archiveFolder(data)), false)

  const to = join(data, '..', 'cold')
  const done = await cli('archive', '--before', before, '--to', to, '--json')
  assert.equal(done.code, 0, done.stderr)
  const { archived, held, database_bytes_before, database_bytes_after } = JSON.parse(done.stdout)
  assert.deepEqual([archived.length, archived[1].last_id, held], [2, SEGMENT * 2, []])
  assert.ok(database_bytes_after < database_bytes_before / 2)
  assert.equal(readdirSync(to).length, 6)
  const events = auditRows(data, "reason_code = 'ARCHIVED'")
  assert.match(events[0]?.metadata_json ?? '', /"actor":"cli:/)
  const again = await cli('archive', '--before', before)
  assert.deepEqual([again.code, again.stdout], [0, 'nothing left the database\n'])
})

test('archive: --dry-run says what waits for a checkpoint', async t => {
  const { data, cli } = await oldTrail(t)
  const { log, logKeys } = dataFolder(data)
  beginKeyChain({ log, keys: logKeys })
  const plan = await cli('archive', '--before', timeAt(SEGMENT), '--dry-run')
  assert.equal(plan.code, 0)
  assert.equal(
    plan.stdout,
    `not signed yet: events 1 to 2048, ${timeAt(0)} to ${timeAt(SEGMENT - 1)}\nnothing would leave the database\n`,
  )
  assert.match(plan.stderr, /no checkpoint covers these events/)
  const { leaving, unsigned } = JSON.parse(
    (await cli('archive', '--before', timeAt(SEGMENT), '--dry-run', '--json')).stdout,
  )
  assert.deepEqual([leaving, unsigned.map(({ last_id }: { last_id: number }) => last_id)], [[], [SEGMENT]])
})

test('archive: the days are those of --keep-days, else of EVC_RETENTION_DAYS; a limit is needed', async t => {
  const { data, cli } = await oldTrail(t)
  assert.match((await cli('archive', '--keep-days', '36500', '--dry-run')).stdout, /^nothing would leave/)
  assert.match((await cli('archive', '--keep-days', '1', '--dry-run')).stdout, /would leave: events 1 to 2048/)
  const bySetting = (days: string) =>
    runHere(['archive', '--dry-run', '--json'], { environment: { EVC_DATA_DIR: data, EVC_RETENTION_DAYS: days } })
  assert.equal(JSON.parse((await bySetting('1')).stdout).leaving.length, 3)
  assert.equal(JSON.parse((await bySetting('36500')).stdout).leaving.length, 0)
  const bad = [
    [],
    ['--keep-days', '0'],
    ['--keep-days', '1', '--before', '-1d'],
    ['--before', 'yesterday'],
    ['verify', join(data, 'nowhere')],
    ['hold', 'add', '--from', '2026-01-01', '--to', '2026-02-01'],
    ['hold', 'add', '--from', '2026-02-01', '--to', '2026-01-01', '--reason', 'x'],
    ['hold', 'add', '--from', '2026-01-01', '--to', '2026-02-01', '--reason', 'x\u001b[31m'],
    ['hold', 'remove', '7'],
    ['hold', 'remove', 'x'],
  ]
  for (const args of bad) {
    const { code, stdout, stderr } = await cli('archive', ...args)
    assert.deepEqual([code, stdout], [2, ''], args.join(' '))
    assert.match(stderr, /^error: /)
  }
  const nowhere = await runHere(['archive', '--keep-days', '1', '--data-dir', join(data, 'nowhere')])
  assert.deepEqual([nowhere.code, existsSync(join(data, 'nowhere'))], [2, false])
  assert.match((await bySetting('0')).stderr, /EVC_RETENTION_DAYS must be a whole number from 1 to 36500/)
  assert.equal(auditRows(data).length, SEGMENT * 3 + 20)
})

test('archive hold: what overlaps stays, says which hold keeps it, and leaves when the hold has ended', async t => {
  const { data, cli } = await oldTrail(t)
  const [from, to] = [timeAt(SEGMENT + 100), timeAt(SEGMENT + 200)]
  const placed = await cli('archive', 'hold', 'add', '--from', from, '--to', to, '--reason', 'case 4711', '--json')
  assert.equal(placed.code, 0, placed.stderr)
  const hold = JSON.parse(placed.stdout)
  assert.deepEqual([hold.id, hold.start_time, hold.end_time, hold.reason], [1, from, to, 'case 4711'])
  assert.match((await cli('archive', 'hold', 'list')).stdout, /case 4711/)
  assert.deepEqual(jsonLines((await cli('archive', 'hold', 'list', '--json')).stdout), [hold])

  const done = await cli('archive', '--keep-days', '1')
  assert.match(done.stdout, /^archive 1: events 1 to 2048, /m)
  assert.match(done.stdout, /^archive 2: events 4097 to 6144, /m)
  assert.match(done.stdout, /^held: events 2049 to 4096, .*, by legal hold 1$/m)
  assert.equal(auditRows(data, `id BETWEEN ${SEGMENT + 1} AND ${SEGMENT * 2}`).length, SEGMENT)
  const verified = await cli('archive', 'verify')
  assert.equal(verified.code, 0, verified.stdout)

  assert.equal((await cli('archive', 'hold', 'remove', '1')).stdout, 'legal hold 1 (case 4711) ended\n')
  assert.match((await cli('archive', '--keep-days', '1')).stdout, /^archive 3: events 2049 to 4096, /m)
  const actors = auditRows(data, "reason_code LIKE 'HOLD_%'").map(row => JSON.parse(row.metadata_json ?? '').actor)
  assert.equal(actors.length, 2)
  for (const actor of actors) assert.match(actor, /^cli:/)
})

test('query --archive: the same words get the same answer as before they left, in every form and order', async t => {
  const { data, cli } = await oldTrail(t)
  const held = ['--end-time', timeAt(SEGMENT * 3)]
  const questions = [
    ['--who', 'CP-1', '--limit', '50', ...held],
    ['--who', 'CP-rare', '--all', '--json', ...held],
    ['--action', 'AUTH_FAIL,INCIDENT', '--severity', 'WARN', '--all', '--csv', ...held],
    ['--ip', '10.0.0.2', '--order', 'asc', '--all', '--json', ...held],
    ['--reason-code', 'REVOKED', '--start-time', timeAt(1_000), '--end-time', timeAt(4_500), '--all', '--json'],
    ['--request-id', 'request-17', '--json', ...held],
    ['--cursor', '3000', '--limit', '1000', '--json', ...held],
    ['--order', 'asc', '--cursor', '3000', '--limit', '1000', '--json', ...held],
    ['--who', 'nobody', ...held],
  ]
  const before = []
  for (const question of questions) before.push(await cli('query', ...question))
  assert.equal((await cli('archive', '--keep-days', '1')).code, 0)
  for (const [n, question] of questions.entries()) {
    const after = await cli('query', '--archive', archiveFolder(data), ...question)
    assert.deepEqual(after, before[n], question.join(' '))
  }
  const stranger = await runHere(['query', '--archive', archiveFolder(data), '--all', '--json'], {
    environment: { EVC_DATA_DIR: join(data, 'none') },
  })
  assert.equal(jsonLines(stranger.stdout).length, SEGMENT * 3, 'no data folder is needed')
  assert.equal(existsSync(join(data, 'none')), false)
})

test('query --archive, archive verify: reading archives is on record too', async t => {
  const { data, cli } = await oldTrail(t, 1)
  const state = createSqliteSecurityState({ path: dataFolder(data).securityDatabase })
  await cli('archive', '--keep-days', '1')
  await cli('query', '--archive', archiveFolder(data), '--who', 'CP-1', '--all', '--json')
  await cli('archive', 'verify')
  const events = (await state.outbox(0, 10)).map(({ event }) => event)
  await state.close()
  assert.deepEqual(
    events.map(({ action, reason_code }) => [action, reason_code]),
    [
      ['ACCESS', 'EXPORT'],
      ['ACCESS', 'VERIFY'],
    ],
  )
  assert.deepEqual(JSON.parse(events[0]?.metadata_json ?? ''), { who: 'CP-1', archive: archiveFolder(data) })
})

test('archive verify, query --archive: what was changed is named, by the real binary, with its exit code', async t => {
  const { data, cli } = await oldTrail(t)
  await cli('archive', '--keep-days', '1')
  const sound = await run(t, ['archive', 'verify', '--data-dir', data])
  assert.deepEqual([sound.code, sound.stdout.split('\n').length, sound.stderr], [0, 4, ''])
  const file = join(archiveFolder(data), 'events-000000002049-000000004096.ndjson.gz')
  const bytes = readFileSync(file)
  bytes[9_000] = (bytes[9_000] ?? 0) ^ 0xff
  writeFileSync(file, bytes)
  const verified = await run(t, ['archive', 'verify', archiveFolder(data), '--data-dir', data])
  assert.equal(verified.code, 1)
  assert.match(verified.stdout, /^WRONG: The archive .*000000002049-.*: its digest is not the one in its manifest/m)
  assert.match(verified.stdout, /^sound: archive 3, /m)
  const json = JSON.parse((await cli('archive', 'verify', '--json')).stdout)
  assert.deepEqual([json.sound.length, json.problems.length, json.known], [2, 1, 3])

  const asked = await run(t, ['query', '--archive', archiveFolder(data), '--all', '--json', '--data-dir', data])
  assert.equal(asked.code, 2)
  assert.match(asked.stderr, /^error: The archive .*000000002049-.*: its digest .* \(ARCHIVE_INVALID\)\n$/)
  assert.deepEqual(
    jsonLines(asked.stdout).map(({ id }) => id),
    Array.from({ length: SEGMENT }, (_, n) => SEGMENT * 3 - n),
    'nothing of the changed archive, nor behind it',
  )
  const narrow = await cli('query', '--archive', archiveFolder(data), '--end-time', timeAt(SEGMENT), '--all', '--json')
  assert.deepEqual([narrow.code, jsonLines(narrow.stdout).length], [0, SEGMENT], 'what is not asked for is not read')
  for (const command of [
    ['archive', 'verify', temporaryFolder(t)],
    ['query', '--archive', temporaryFolder(t)],
  ]) {
    const nothing = await cli(...command)
    assert.deepEqual([nothing.code, /holds no archives\n$/.test(nothing.stderr)], [2, true], 'silence is no success')
  }
  rmSync(file)
  assert.match((await cli('query', '--archive', archiveFolder(data))).stdout, /6144/)
})
