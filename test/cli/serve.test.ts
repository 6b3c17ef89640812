import assert from 'node:assert/strict'
import { once } from 'node:events'
import { chmodSync, existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { join } from 'node:path'
import test from 'node:test'
import { run, runHere, serve, start, temporaryFolder } from './command-line.ts'

test('serve: a first start shows address, docs, data folder, shortcomings and the admin key once, and logs no key', async t => {
  const dataDir = join(temporaryFolder(t), 'data')
  const server = await serve(t, dataDir, { EVC_LOG_LEVEL: 'trace' })
  assert.match(server.adminKey, /^evca_[0-9a-f]{64}$/)
  const banner = server.stdout()
  assert.match(banner, /^EV Central \d+\.\d+\.\d+$/m)
  assert.match(banner, /reference {4}http:\/\/127\.0\.0\.1:\d+\/docs/)
  assert.ok(banner.includes(dataDir))
  assert.doesNotMatch(banner, /others on this machine may write/)
  for (const shortcoming of ['development mode', 'EVC_TOKEN_SECRET was generated', 'no TLS', 'one machine']) {
    assert.ok(banner.includes(shortcoming), shortcoming)
  }
  assert.match(banner, /curl -X POST http:\S+\/charge-points -H "X-Admin-Key: \$ADMIN_KEY"/)
  assert.equal(banner.split(server.adminKey).length, 2, 'the key is shown once')
  assert.match(banner, /^This is no terminal: whatever keeps this output now holds the key/m)
  assert.ok(!banner.includes('\u001b'), 'no colours in a pipe')
  assert.equal(statSync(join(dataDir, 'secrets', 'key-encryption-key')).mode & 0o777, 0o600)

  const answer = await fetch(`${server.url}/charge-points`, { headers: { 'x-admin-key': server.adminKey } })
  assert.equal(answer.status, 200)
  await answer.body?.cancel()

  const { code, stderr } = await server.stop('SIGTERM')
  assert.equal(code, 0)
  assert.ok(!stderr.includes(server.adminKey.slice(5, 25)), 'the key is in no log line')
  const lines = stderr.trim().split('\n')
  assert.ok(lines.every(line => typeof JSON.parse(line).level === 'number'))
  assert.ok(lines.some(line => JSON.parse(line).msg === 'stopped'))
  assert.equal(lines.filter(line => line.includes(server.url)).length, 1, 'one line says where it listens')

  const trail = await runHere(['query', '--action', 'SYSTEM', '--json', '--data-dir', dataDir])
  const reasons = trail.stdout.match(/"reason_code":"\w+"/g)
  assert.deepEqual(reasons?.at(0), '"reason_code":"STOPPED"')
})

test('serve: a second signal ends it at once with 1, and the next start puts the unclean stop on record', async t => {
  const dataDir = temporaryFolder(t)
  chmodSync(dataDir, 0o777)
  const first = await serve(t, dataDir)
  assert.match(first.stdout(), /others on this machine may write into the data folder/)
  // A request that never ends keeps the graceful stop waiting, so that the second signal has something to cut short.
  const body = new ReadableStream({ start: controller => controller.enqueue(new TextEncoder().encode('{"cp_id": ')) })
  const headers = { 'content-type': 'application/json', 'x-admin-key': first.adminKey }
  const init: RequestInit = { method: 'POST', headers, body, duplex: 'half' }
  const hanging = fetch(`${first.url}/charge-points`, init).catch(() => {})
  await fetch(`${first.url}/health`)
  first.child.kill('SIGINT')
  await waitFor(() => first.stderr().includes('"stopping"'))
  while (first.child.exitCode === null) {
    first.child.kill('SIGINT')
    await new Promise(resolve => setTimeout(resolve, 50)) // one right after the first is taken for an echo of it
  }
  assert.equal((await first.ended).code, 1)
  await hanging

  const second = await serve(t, dataDir)
  assert.equal(second.adminKey, '', 'there is an admin already')
  assert.ok(!second.stdout().includes('evca_'))
  assert.equal((await second.stop()).code, 0)
  const trail = await runHere(['query', '--reason-code', 'UNCLEAN_STOP', '--json', '--data-dir', dataDir])
  assert.equal(trail.stdout.trim().split('\n').length, 1)
  assert.match(trail.stdout, /UNCLEAN_STOP/)
})

test('serve: a folder or a port in use is one clear line and exit code 2', async t => {
  const dataDir = join(temporaryFolder(t), 'data')
  const other = createServer().listen(0, '127.0.0.1')
  t.after(() => other.close())
  await once(other, 'listening')
  const EVC_PORT = String((other.address() as AddressInfo).port)
  // In a process of its own: it has to end by itself, though half of its parts had started.
  const samePort = await run(t, ['serve', '--data-dir', dataDir], { EVC_LOG_LEVEL: 'silent', EVC_PORT })
  assert.equal(samePort.code, 2)
  assert.match(samePort.stderr, /^error: port \d+: [^\n]*in use[^\n]*\n$/)
  assert.equal(samePort.stdout, '', 'no banner, no admin key')

  const free = await serve(t, dataDir)
  assert.match(free.adminKey, /^evca_/, 'the start that failed made no key: this one shows the first')
  const environment = { EVC_LOG_LEVEL: 'silent', EVC_PORT: '0' }
  const sameFolder = await runHere(['serve', '--data-dir', dataDir], { environment })
  assert.equal(sameFolder.code, 2)
  assert.match(sameFolder.stderr, /^error: Another process uses the data folder [^\n]*\n$/)
  const answer = await fetch(`${free.url}/charge-points`, { headers: { 'x-admin-key': free.adminKey } })
  assert.equal(answer.status, 200)
})

test('serve: what cannot be used is refused with one line and exit code 2', async t => {
  const folder = temporaryFolder(t)
  const notPem = join(folder, 'not.pem')
  writeFileSync(notPem, 'this is no certificate')
  writeFileSync(join(folder, 'file'), '')
  const cases: [Record<string, string>, RegExp][] = [
    [{ EVC_TLS_CERT: notPem, EVC_TLS_KEY: notPem }, /^error: EVC_TLS_CERT and EVC_TLS_KEY do not hold[^\n]*\n$/],
    [{ EVC_DATA_DIR: join(folder, 'file') }, /^error: [^\n]*something of that name is there already[^\n]*\n$/],
    [{ EVC_DATA_DIR: join(folder, 'file', 'data') }, /^error: [^\n]*(?:not a folder|ENOTDIR)[^\n]*\n$/],
    // Linux: what takes no other folder, and says ENOENT. Elsewhere it may not be there, nor whoever runs this be allowed to make it.
    [
      { EVC_DATA_DIR: '/proc/ev-central/data' },
      /^error: \/proc[^\n]*(?:no folder can be made there|denied|not permitted|read-only)[^\n]*\n$/,
    ],
  ]
  const silent = { EVC_LOG_LEVEL: 'silent', EVC_DATA_DIR: join(folder, 'data') }
  const results = await Promise.all(
    cases.map(([environment]) => runHere(['serve'], { environment: { ...silent, ...environment } })),
  )
  results.forEach(({ code, stderr }, i) => {
    assert.equal(code, 2, stderr)
    assert.match(stderr, cases[i]?.[1] as RegExp)
  })
})

test('serve: settings that are wrong are all listed, without their values, and exit with 2', async () => {
  const environment = { EVC_PORT: 'hunter2', EVC_BOGUS: '1', EVC_TLS_CERT: 'a', EVC_ADMIN_KEY: 'too-short' }
  const { code, stdout, stderr } = await runHere(['serve'], { environment })
  assert.equal(code, 2)
  assert.equal(stdout, '')
  for (const part of ['EVC_PORT must', 'EVC_BOGUS is not', 'go together', 'EVC_ADMIN_KEY must']) {
    assert.ok(stderr.includes(part), part)
  }
  assert.ok(!stderr.includes('hunter2') && !stderr.includes('too-short'))
})

test('serve: production without secrets is refused before anything is written', async t => {
  const dataDir = join(temporaryFolder(t), 'data')
  const environment = { NODE_ENV: 'production', EVC_DATA_DIR: dataDir, EVC_LOG_LEVEL: 'silent' }
  const { code, stderr } = await runHere(['serve'], { environment })
  assert.equal(code, 2)
  assert.match(stderr, /EVC_TOKEN_SECRET is required[\s\S]*EVC_KEY_ENCRYPTION_KEY is required/)
})

test('serve: an address for others without TLS is warned of in the banner and in the log, an error that nobody caught is logged without its message, stops gracefully and exits with 1', async t => {
  const folder = temporaryFolder(t)
  const preload = join(folder, 'throws-on-usr2.mjs')
  writeFileSync(preload, `process.on('SIGUSR2', () => { throw new Error('token=abcdef1234567890abcdef') })\n`)
  mkdirSync(join(folder, 'data'))
  // 127.0.0.1 under a name that the check does not know as loopback; nothing is opened to others here.
  const server = await serve(t, join(folder, 'data'), {
    EVC_HOST: '::ffff:127.0.0.1',
    NODE_OPTIONS: `--import=${preload}`,
  })
  assert.match(server.stdout(), /WARNING: serving other machines without TLS/)
  const { code, stderr } = await server.stop('SIGUSR2')
  assert.equal(code, 1)
  assert.ok(stderr.split('\n').some(line => line.includes('"level":40') && line.includes('without TLS')))
  const fatal = stderr.split('\n').find(line => line.includes('"level":60')) ?? ''
  assert.match(fatal, /nobody caught/)
  assert.ok(!fatal.includes('abcdef1234567890abcdef'))
  assert.ok(stderr.includes('"stopped"'), 'the stop was graceful')
})

test('serve: a reader of stdout that goes away does not end it', async t => {
  const dataDir = temporaryFolder(t)
  const server = start(t, ['serve'], { EVC_DATA_DIR: dataDir })
  server.child.stdout?.destroy()
  await waitFor(() => server.stderr().includes('"serving"'))
  const url = /"url":"([^"]+)"/.exec(server.stderr())?.[1]
  assert.equal((await fetch(`${url}/health`)).status, 200)
  assert.match(server.stderr(), /"level":40[^\n]*the key of the first admin was not shown[^\n]*ev-central admin add/)
  assert.ok(!/evca_/.test(server.stderr()))
  const other = await runHere(['admin', 'add', 'olga', '--role', 'admin', '--data-dir', dataDir])
  const key = /evca_[0-9a-f]{64}/.exec(other.stdout)?.[0] ?? ''
  assert.equal((await fetch(`${url}/charge-points`, { headers: { 'x-admin-key': key } })).status, 200, other.stderr)
  server.child.kill('SIGTERM')
  await waitFor(() => server.child.exitCode !== null)
  assert.equal(server.child.exitCode, 0)
})

test('command line: every command has help with an example and the exit codes', async () => {
  const commands = [
    ...['serve', 'import', 'query', 'tail', 'monitor', 'summary', 'cp', 'admin', 'demo', 'witness', 'evidence'].map(
      name => [name],
    ),
    ...['add', 'list', 'show', 'credentials', 'out-of-service', 'restore', 'revoke', 'delete'].map(name => [
      'cp',
      name,
    ]),
    ...['add', 'list', 'revoke'].map(name => ['admin', name]),
  ]
  for (const command of [[], ...commands]) {
    const { code, stdout } = await runHere([...command, '--help'])
    assert.equal(code, 0, command.join(' '))
    assert.match(stdout, /Examples?:\n {2}\S*.*ev-central/, command.join(' '))
    assert.match(stdout, /Exit codes:/, command.join(' '))
  }
})

test('command line: what is no command or option exits with 2 and echoes nothing that acts on a terminal', async () => {
  for (const args of [[], ['bogus\u001b[2J'], ['query', '--bogus'], ['cp'], ['import']]) {
    const { code, stdout, stderr } = await runHere(args)
    assert.equal(code, 2, args.join(' '))
    assert.equal(stdout, '')
    assert.ok(stderr.length > 0 && !stderr.includes('\u001b'))
  }
})

test('command line: --version is the version of the package', async () => {
  const manifest = JSON.parse(readFileSync(join(import.meta.dirname, '..', '..', 'package.json'), 'utf8'))
  assert.deepEqual(await runHere(['--version']), { code: 0, stdout: `${manifest.version}\n`, stderr: '' })
})

async function waitFor(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise(resolve => setTimeout(resolve, 20))
}

test('serve: --until-ready ends with 0 as soon as it is ready, and leaves a clean data folder', async t => {
  const dataDir = temporaryFolder(t)
  const { code, stderr } = await run(t, ['serve', '--until-ready'], { EVC_DATA_DIR: dataDir })
  assert.equal(code, 0, stderr)
  assert.ok(!existsSync(join(dataDir, 'running')), 'a clean stop')
  assert.equal((await runHere(['check', '--data-dir', dataDir])).code, 0)
})

test('serve: --until-ready ends with 1, and says what fails, when something asks it to stop before it is ready', async t => {
  const dataDir = temporaryFolder(t)
  mkdirSync(join(dataDir, 'audit'))
  writeFileSync(join(dataDir, 'audit', 'audit.db'), 'no database at all')
  const waiting = start(t, ['serve', '--until-ready'], { EVC_DATA_DIR: dataDir })
  await waiting.printed(/^Ctrl-C stops it/m)
  const { code, stderr } = await waiting.stop('SIGTERM')
  assert.equal(code, 1)
  assert.match(stderr, /^error: .*store \(/m)
})
