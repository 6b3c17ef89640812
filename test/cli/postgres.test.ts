/** The command line with EVC_DATABASE_URL. */
import assert from 'node:assert/strict'
import test, { type TestContext } from 'node:test'
import { postgresServer } from '../harness/postgres.ts'
import { eventually } from '../harness/rows.ts'
import { type Environment, runHere, serve, start, temporaryFolder } from './command-line.ts'

const server = postgresServer()

async function shared(t: TestContext) {
  const environment: Environment = { EVC_DATABASE_URL: await server.createDatabase(), EVC_DATA_DIR: temporaryFolder(t) }
  return { environment, here: (...args: string[]) => runHere(args, { environment }) }
}

test('postgres: what cp and admin do is right at every instance and reaches the trail, which query shows', async t => {
  const { environment, here } = await shared(t)
  const before = await here('cp', 'add', 'CP-1') // before there was any instance
  assert.equal(before.code, 0, before.stderr)
  const credentials = /[0-9a-f]{64}/.exec(before.stdout)?.[0]
  const { url } = await serve(t, temporaryFolder(t), { EVC_DATABASE_URL: environment.EVC_DATABASE_URL as string })
  const login = await fetch(`${url}/auth/credentials`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ cp_id: 'CP-1', credentials }),
  })
  assert.equal(login.status, 200, await login.text())
  const admin = await here('admin', 'add', 'olga', '--role', 'operator')
  const key = /evca_\w+/.exec(admin.stdout)?.[0] ?? ''
  const listed = await fetch(`${url}/charge-points`, { headers: { 'x-admin-key': key } })
  assert.equal(listed.status, 200, await listed.text())
  for (const reason of ['CP_REGISTERED', 'ADMIN_ADDED', 'READ']) {
    const found = await eventually(
      () => here('query', '--json', '--reason-code', reason),
      ({ stdout }) => stdout !== '',
    )
    assert.equal(found.code, 0, found.stderr)
  }
  assert.match((await here('summary')).stdout, /AUTH_SUCCESS/)
})

test('postgres: what works on the files of the embedded SQLite says that it does not on PostgreSQL', async t => {
  const { here } = await shared(t)
  for (const args of [['backup', 'x'], ['archive', 'run'], ['check'], ['verify'], ['key', 'rotate']]) {
    const { code, stderr } = await here(...args)
    assert.equal(code, 2, `${args.join(' ')}: ${stderr}`)
    assert.match(stderr, /NOT_WITH_POSTGRESQL/, args.join(' '))
  }
})

test('postgres: a server that cannot be reached, and a setting that makes no sense there, are told in words', async t => {
  const { environment } = await shared(t)
  const away = { ...environment, EVC_DATABASE_URL: 'postgres://evc:hunter2@127.0.0.1:1/evc' }
  const ended = await start(t, ['serve'], away).ended
  assert.equal(ended.code, 1)
  assert.match(ended.stderr, /PostgreSQL cannot be reached/)
  assert.doesNotMatch(ended.stderr + ended.stdout, /hunter2/)
  await (await serve(t, environment.EVC_DATA_DIR as string)).stop()
  const embedded = await start(t, ['serve'], environment).ended
  assert.equal(embedded.code, 2)
  assert.match(embedded.stderr, /holds the trail of an embedded SQLite/)
  const retention = await runHere(['cp', 'list'], { environment: { ...environment, EVC_RETENTION_DAYS: '30' } })
  assert.equal(retention.code, 2)
  assert.match(retention.stderr, /EVC_RETENTION_DAYS/)
})
