/** The command line with EVC_DATABASE_URL. */
import assert from 'node:assert/strict'
import { existsSync, mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type TestContext } from 'node:test'
import { unzipSync } from 'fflate'
import { parseVerifierKey } from '../../src/evidence/note.ts'
import { verifyPack } from '../../src/evidence/verify-pack.ts'
import { createPostgresEventStore } from '../../src/store/postgres-event-store.ts'
import { batchOf, rowsFrom } from '../contract/event-store.ts'
import { postgresServer } from '../harness/postgres.ts'
import { eventually } from '../harness/rows.ts'
import { type Environment, runHere, serve, start, temporaryFolder } from './command-line.ts'

const server = postgresServer()

async function shared(t: TestContext) {
  const environment: Environment = { EVC_DATABASE_URL: await server.createDatabase(), EVC_DATA_DIR: temporaryFolder(t) }
  return { environment, here: (...args: string[]) => runHere(args, { environment }) }
}

test('postgres: what cp and admin do is right at every instance and reaches the trail, which query, verify, mirror and evidence show', async t => {
  const { environment, here } = await shared(t)
  const before = await here('cp', 'add', 'CP-1') // before there was any instance
  assert.equal(before.code, 0, before.stderr)
  const credentials = /[0-9a-f]{64}/.exec(before.stdout)?.[0]
  const url = environment.EVC_DATABASE_URL as string
  const running = await serve(t, temporaryFolder(t), { EVC_DATABASE_URL: url })
  const login = await fetch(`${running.url}/auth/credentials`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ cp_id: 'CP-1', credentials }),
  })
  assert.equal(login.status, 200, await login.text())
  const admin = await here('admin', 'add', 'olga', '--role', 'operator')
  const key = /evca_\w+/.exec(admin.stdout)?.[0] ?? ''
  const listed = await fetch(`${running.url}/charge-points`, { headers: { 'x-admin-key': key } })
  assert.equal(listed.status, 200, await listed.text())
  for (const reason of ['CP_REGISTERED', 'ADMIN_ADDED', 'READ']) {
    const found = await eventually(
      () => here('query', '--json', '--reason-code', reason),
      ({ stdout }) => stdout !== '',
    )
    assert.equal(found.code, 0, found.stderr)
  }
  assert.match((await here('summary')).stdout, /AUTH_SUCCESS/)

  // Only the database of the settings has its verification on record.
  const verified = await eventually(
    () => here('verify'),
    ({ code }) => code === 0,
  )
  assert.match(verified.stdout, /^PRISTINE: Nothing was changed: \d+ events/)
  await eventually(
    () => here('query', '--json', '--reason-code', 'VERIFY'),
    ({ stdout }) => /PRISTINE/.test(stdout),
  )
  const [mirror, zip] = [join(temporaryFolder(t), 'mirror'), join(temporaryFolder(t), 'pack.zip')]
  const mirrored = await here('mirror', mirror)
  assert.deepEqual(
    [mirrored.code, (await runHere(['verify', mirror], { environment: {} })).code],
    [0, 0],
    mirrored.stderr,
  )
  const lacking = { ...environment, EVC_KEY_ENCRYPTION_KEY: 'another-key-than-that-of-the-log' }
  const unsigned = await runHere(['evidence', '--from', '-1h', '--to', 'now', '-o', `${zip}.unsigned`], {
    environment: lacking,
  })
  assert.match(unsigned.stderr, /the selection is not signed, as the private key of the log is not here/)
  const pack = await here('evidence', '--from', '-1h', '--to', 'now', '-o', zip)
  assert.equal(pack.code, 0, pack.stderr)
  assert.doesNotMatch(pack.stderr, /not signed/)
  const logKey = parseVerifierKey(/by another way: (\S+)/.exec(pack.stdout)?.[1] ?? '') ?? assert.fail(pack.stdout)
  const checking = verifyPack(new Map(Object.entries(unzipSync(readFileSync(zip)))), [logKey])
  let step = checking.next()
  while (!step.done) step = checking.next()
  assert.deepEqual([step.value.problems, step.value.key, step.value.selection], [[], 'given', 'signed'])
  assert.ok(step.value.events.some(({ row }) => row.reason_code === 'STARTED'))
  await running.stop()
  await server.run(url, "UPDATE audit_events SET description = 'nothing' WHERE id = 1")
  const edited = await runHere(['verify', url], { environment: {} })
  assert.deepEqual([edited.code, /^EDITED: Edited: event 1 /.test(edited.stdout)], [10, true], edited.stdout)
  const refused = [
    await runHere(['verify', 'postgres://a:hunter2@127.0.0.1:1/b?ssl=1'], { environment: {} }),
    await runHere(['verify', 'mysql://a:hunter2@127.0.0.1/b'], { environment: {} }),
    await runHere(['verify', 'postgres://a:hunter2@127.0.0.1:1/b'], { environment: {} }),
  ]
  assert.deepEqual(
    refused.map(({ code }) => code),
    [2, 2, 1],
  )
  for (const { stdout, stderr } of [...refused, edited]) assert.doesNotMatch(stdout + stderr, /hunter2|[0-9a-f]{32}@/)
})

test('postgres: what works on the files of the embedded SQLite says that it does not on PostgreSQL, and an empty database is no trail', async t => {
  const { here } = await shared(t)
  const none = await here('verify')
  assert.deepEqual([none.code, /MALFORMED: .* no table audit_events/.test(none.stdout)], [22, true], none.stdout)
  for (const args of [['backup', 'x'], ['check']]) {
    const { code, stderr } = await here(...args)
    assert.equal(code, 2, `${args.join(' ')}: ${stderr}`)
    assert.match(stderr, /NOT_WITH_POSTGRESQL/, args.join(' '))
  }
})

test('postgres: a service archives what is old, into its data folder; verify, query and evidence find it there', async t => {
  const { environment, here } = await shared(t)
  const url = environment.EVC_DATABASE_URL as string
  assert.equal((await here('cp', 'list')).code, 0) // makes the tables
  await server.run(url, 'UPDATE event_layout SET partition_ids = 1024')
  const store = createPostgresEventStore({ url })
  const old = Date.now() - 90 * 86_400_000
  const rows = rowsFrom(0, 1_100).map(({ event }, n) => {
    const date_time = new Date(old + n * 1_000).toISOString()
    return { event: { ...event, date_time }, onceKey: null }
  })
  await store.append(batchOf(0, rows))
  await store.close()
  const data = temporaryFolder(t)
  const running = await serve(t, data, { EVC_DATABASE_URL: url, EVC_RETENTION_DAYS: '30' })
  const archived = await eventually(
    () => server.run(url, 'SELECT file FROM event_archives'),
    found => found.length > 0,
    60_000,
  )
  await running.stop()
  const archives = join(data, 'archive')
  assert.deepEqual(archived, [{ file: join(archives, 'events-000000000001-000000001024.ndjson.gz') }])
  const sound = await here('archive', 'verify', archives)
  assert.deepEqual([sound.code, /^sound: archive 1, events 1 to 1024, /.test(sound.stdout)], [0, true], sound.stdout)
  const found = await here('query', '--archive', archives, '--json', '--order', 'asc', '--limit', '1')
  assert.equal(JSON.parse(found.stdout).id, 1, found.stderr)
  const more = await here('archive', '--keep-days', '30', '--dry-run')
  assert.deepEqual([more.code, more.stdout], [0, 'nothing would leave the database\n'])
  const zip = join(data, 'pack.zip')
  const pack = await here('evidence', '--from', '-100d', '--to', '-80d', '-o', zip, '--json')
  const { events, archives_missing } = JSON.parse(pack.stdout)
  assert.deepEqual([events, archives_missing], [1_100, []], pack.stderr)
  const verified = await here('verify')
  assert.match(verified.stdout, /^PRISTINE/)
})

test('postgres: serve --until-ready in a new folder leaves no journal that anybody waits for; in another one it leaves it alone', async t => {
  const { environment, here } = await shared(t)
  const [made = '', used = ''] = [temporaryFolder(t), temporaryFolder(t)].map(folder => join(folder, 'data'))
  mkdirSync(join(used, 'journal'), { recursive: true })
  for (const EVC_DATA_DIR of [made, used]) {
    const { code, stderr } = await start(t, ['serve', '--until-ready'], { ...environment, EVC_DATA_DIR }).ended
    assert.equal(code, 0, stderr)
  }
  assert.deepEqual(
    [made, used].map(folder => existsSync(join(folder, 'journal'))),
    [false, true],
  )
  assert.ok(!existsSync(join(made, 'running')))
  const listed = (await here('instances', 'list', '--json')).stdout.trim().split('\n')
  assert.deepEqual(listed.map(line => JSON.parse(line).state).sort(), ['forgotten', 'stopped'])
  assert.equal((await here('query', '--json', '--reason-code', 'LOSS_DECLARED,JOURNAL_ADOPTED')).stdout, '')
})

test('postgres: a server that cannot be reached, and a setting that makes no sense there, are told in words', async t => {
  const { environment } = await shared(t)
  const away = { ...environment, EVC_DATABASE_URL: 'postgres://evc:hunter2@127.0.0.1:1/evc' }
  const ended = await start(t, ['serve'], away).ended
  assert.equal(ended.code, 1)
  assert.match(ended.stderr, /PostgreSQL cannot be reached/)
  assert.doesNotMatch(ended.stderr + ended.stdout, /hunter2/)
  const asked = await runHere(['query'], { environment: away })
  assert.deepEqual(
    [asked.code, /PostgreSQL cannot be reached: ECONNREFUSED/.test(asked.stderr)],
    [1, true],
    asked.stderr,
  )
  await (await serve(t, environment.EVC_DATA_DIR as string)).stop()
  const embedded = await start(t, ['serve'], environment).ended
  assert.equal(embedded.code, 2)
  assert.match(embedded.stderr, /holds the trail of an embedded SQLite/)
})
