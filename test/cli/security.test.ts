/** cp and admin: beside a running server, and on a data folder without one. */
import assert from 'node:assert/strict'
import { readdirSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type TestContext } from 'node:test'
import { runHere, serve, temporaryFolder } from './command-line.ts'

interface Answer {
  readonly status: number
  readonly body: Record<string, unknown>
}

async function call(url: string, path: string, body?: object, adminKey?: string): Promise<Answer> {
  const response = await fetch(url + path, {
    headers: {
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      ...(adminKey === undefined ? {} : { 'x-admin-key': adminKey }),
    },
    ...(body === undefined ? {} : { method: 'POST', body: JSON.stringify(body) }),
  })
  return { status: response.status, body: (await response.json()) as Answer['body'] }
}

/** The trail once it holds an event that matches, as NDJSON. */
async function recorded(dataDir: string, reason: string, who?: string): Promise<string> {
  for (let left = 200; ; left--) {
    const args = ['query', '--json', '--data-dir', dataDir, ...(who === undefined ? [] : ['--who', who])]
    const { stdout } = await runHere([...args, ...(reason === '' ? [] : ['--reason-code', reason])])
    if (stdout !== '' || left === 0) return stdout
    await new Promise(resolve => setTimeout(resolve, 50))
  }
}

test('cp and admin: what they do beside a running server works over HTTP at once and reaches the trail', async t => {
  const dataDir = temporaryFolder(t)
  const server = await serve(t, dataDir)
  const here = (...args: string[]) => runHere([...args, '--data-dir', dataDir])

  const added = await here('cp', 'add', 'CP-001', '--location', 'Depot north')
  assert.equal(added.code, 0, added.stderr)
  assert.match(added.stdout, /^[0-9a-f]{64}\n$/, 'stdout is the secret and nothing else')
  assert.match(added.stderr, /shown only this once/)
  const credentials = added.stdout.trim()
  const logIn = (secret: string) => call(server.url, '/auth/credentials', { cp_id: 'CP-001', credentials: secret })
  assert.equal((await logIn(credentials)).status, 200)

  assert.equal((await here('cp', 'out-of-service', 'CP-001', '--reason', 'yearly check')).code, 0)
  assert.equal((await logIn(credentials)).body.code, 'CP_OUT_OF_SERVICE')
  assert.match((await here('cp', 'restore', 'CP-001')).stderr, /OUT_OF_SERVICE -> ACTIVE/)
  const reissued = await here('cp', 'credentials', 'CP-001', '--reason', 'unit replaced', '--json')
  const renewed = JSON.parse(reissued.stdout)
  assert.equal(renewed.cp_id, 'CP-001')
  assert.equal((await logIn(credentials)).status, 401)
  assert.equal((await logIn(renewed.credentials)).status, 200)

  const operator = await here('admin', 'add', 'alice', '--role', 'operator')
  assert.match(operator.stdout, /^evca_[0-9a-f]{64}\n$/)
  const key = operator.stdout.trim()
  assert.equal((await call(server.url, '/security/status/CP-001', undefined, key)).status, 200)
  assert.equal((await here('admin', 'revoke', 'alice')).code, 0)
  assert.equal((await call(server.url, '/security/status/CP-001', undefined, key)).status, 401)

  assert.equal((await here('cp', 'revoke', 'CP-001', '--reason', 'stolen')).code, 0)
  assert.equal((await logIn(renewed.credentials)).body.code, 'CP_REVOKED')
  assert.equal((await here('cp', 'delete', 'CP-001')).code, 0)
  assert.equal((await logIn(renewed.credentials)).body.code, 'AUTHENTICATION_FAILED')

  assert.match(
    await recorded(dataDir, 'CP_DELETED'),
    /cli:/,
    'the running server delivers the events of the command line',
  )
  const changes = await recorded(dataDir, '', 'CP-001')
  assert.match(changes, /yearly check/)
  assert.match(await recorded(dataDir, 'CP_REGISTERED'), /"request_id":"[0-9a-f-]{36}"/)
  const everything = (await here('query', '--all', '--json')).stdout
  for (const secret of [credentials, renewed.credentials, key]) assert.ok(!everything.includes(secret))
  assert.equal((await server.stop()).code, 0)
})

test('cp and admin: without a server the state changes at once and the events wait for the next start', async t => {
  const dataDir = join(temporaryFolder(t), 'data')
  const here = (...args: string[]) => runHere([...args, '--data-dir', dataDir])
  const { stdout: key } = await here('admin', 'add', 'bob', '--role', 'admin')
  const secretFile = join(dataDir, '..', 'chosen')
  writeFileSync(secretFile, 'correct horse battery staple\n')
  const chosen = await here('cp', 'add', 'CP-7', '--credentials-file', secretFile)
  assert.deepEqual(
    { code: chosen.code, stdout: chosen.stdout },
    { code: 0, stdout: '' },
    'a given secret is not echoed',
  )
  assert.ok(!readdirSync(dataDir).includes('journal'), 'only the server writes the journal')
  assert.equal(statSync(join(dataDir, 'security', 'security.db')).mode & 0o777, 0o600)

  const server = await serve(t, dataDir)
  assert.equal(server.adminKey, '', 'there is an admin already, so none is made')
  assert.equal((await call(server.url, '/charge-points', undefined, key.trim())).status, 200)
  const login = { cp_id: 'CP-7', credentials: 'correct horse battery staple' }
  assert.equal((await call(server.url, '/auth/credentials', login)).status, 200)
  assert.match(await recorded(dataDir, 'ADMIN_ADDED'), /bob/)
  assert.match(await recorded(dataDir, 'CP_REGISTERED'), /CP-7/)
  assert.equal((await server.stop()).code, 0)
})

test('cp: list and show tell status, key and location, as table and as JSON', async t => {
  const here = onFreshFolder(t)
  await here('cp', 'add', 'CP-2')
  await here('cp', 'add', 'CP-1', '--location', 'Harbour, bay 3')
  await here('cp', 'out-of-service', 'CP-2', '--reason', 'fire drill')
  const table = await here('cp', 'list')
  assert.match(table.stdout, /^CP-1 +ACTIVE +- +never +Harbour, bay 3\nCP-2 +OUT_OF_SERVICE/m)
  const some = await here('cp', 'list', '--status', 'OUT_OF_SERVICE', '--json')
  assert.equal(JSON.parse(some.stdout).cp_id, 'CP-2')
  assert.match((await here('cp', 'show', 'CP-1')).stdout, /^security_status +ACTIVE$/m)
  const shown = JSON.parse((await here('cp', 'show', 'CP-1', '--json')).stdout)
  assert.equal(shown.location, 'Harbour, bay 3')
})

test('cp and admin: refusals exit with 2, say why in one line, and change nothing', async t => {
  const here = onFreshFolder(t)
  for (const args of [
    ['cp', 'list'],
    ['admin', 'list'],
    ['cp', 'revoke', 'CP-1', '--reason', 'x'],
  ]) {
    const { code, stderr } = await here(...args)
    assert.equal(code, 2, 'a folder that was never used is most likely a misspelt one')
    assert.match(stderr, /^error: [^\n]*--data-dir[^\n]*\n$/)
  }
  await here('cp', 'add', 'CP-1')
  await here('admin', 'add', 'carol', '--role', 'admin')
  const refused: [string[], RegExp][] = [
    [['cp', 'add', 'CP-1'], /CP_EXISTS/],
    [['cp', 'add', 'no spaces'], /characters/],
    [['cp', 'add', 'x'.repeat(49)], /characters/],
    [['cp', 'show', 'CP-2'], /CP_NOT_FOUND/],
    [['cp', 'restore', 'CP-1'], /INVALID_TRANSITION/],
    [['cp', 'revoke', 'CP-1'], /--reason/],
    [['cp', 'list', '--status', 'BROKEN'], /ACTIVE/],
    [['admin', 'add', 'carol', '--role', 'admin'], /ADMIN_EXISTS/],
    [['admin', 'add', 'dave', '--role', 'root'], /operator/],
    [['admin', 'revoke', 'carol'], /LAST_ADMIN/],
    [['admin', 'revoke', 'nobody'], /ADMIN_NOT_FOUND/],
  ]
  for (const [args, reason] of refused) {
    const { code, stdout, stderr } = await here(...args)
    assert.equal(code, 2, args.join(' '))
    assert.equal(stdout, '')
    assert.match(stderr, reason)
  }
})

test('cp: another key-encryption key than the one the data was written with is refused', async t => {
  const here = onFreshFolder(t)
  await here('cp', 'add', 'CP-1')
  const environment = { EVC_KEY_ENCRYPTION_KEY: 'another-key-encryption-key-of-32-characters' }
  const { code, stderr } = await here('cp', 'list', environment)
  assert.equal(code, 2)
  assert.match(stderr, /^error: EVC_KEY_ENCRYPTION_KEY is not the one[^\n]*\n$/)
})

function onFreshFolder(t: TestContext) {
  const dataDir = join(temporaryFolder(t), 'data')
  return (...args: (string | Record<string, string>)[]) => {
    const words = args.filter(arg => typeof arg === 'string')
    const environment = Object.assign({}, ...args.filter(arg => typeof arg === 'object'))
    return runHere([...words, '--data-dir', dataDir], { environment })
  }
}
