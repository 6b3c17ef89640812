/**
 * docs/operations.md names the alert rules, metrics and checks that there are, and its backup can be restored; the pages
 * on failures and security name tests that there are.
 */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { globSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'
import { pino } from 'pino'
import { ALERT_RULES, ruleText } from '../../src/cli/alert-rules.ts'
import { type Central, startCentral } from '../../src/service/central.ts'
import { readSettings } from '../../src/settings/settings.ts'

const ROOT = join(import.meta.dirname, '..', '..')
const TEXT = readFileSync(join(ROOT, 'docs', 'operations.md'), 'utf8')
const ADMIN_KEY = 'first-admin-key-0123456789abcdef0123456789'
const SECRETS = {
  EVC_ADMIN_KEY: ADMIN_KEY,
  EVC_TOKEN_SECRET: 'token-secret-of-the-tests-0123456789',
  EVC_KEY_ENCRYPTION_KEY: 'key-encryption-key-of-the-tests-0123456789',
}

test('operations: the alert rules are those of monitor, with their thresholds', () => {
  const rows = section('Alert rules').matchAll(/^\| `([A-Z_]+)` +\| ([^|]+?) +\|/gm)
  assert.deepEqual(
    [...rows].map(([, name, fires]) => [name, fires]),
    ALERT_RULES.map(rule => [rule.name, ruleText(rule)]),
  )
})

test('operations: the tables have every metric and every readiness check of the service', async () => {
  await using undo = new AsyncDisposableStack()
  const central = await start(undo, temporaryFolder(undo))
  const metrics = await (await fetch(`${central.url}/metrics`)).text()
  const known = [...metrics.matchAll(/^# TYPE (evc_\w+) (\w+)$/gm)].map(([, name, type]) => `${name} ${type}`)
  const documented = [...section('Metrics').matchAll(/^\| `(evc_\w+)` +\| (\w+) +\|/gm)]
  assert.deepEqual(documented.map(([, name, type]) => `${name} ${type}`).sort(), known.sort())
  const mentioned = [...TEXT.matchAll(/evc_[a-z_]+/g)].map(([name]) => name.replace(/_(?:count|sum|bucket)$/, ''))
  const names = new Set(known.map(line => line.split(' ')[0]))
  for (const name of mentioned) assert.ok(names.has(name), name)

  const { checks } = (await (await fetch(`${central.url}/ready`)).json()) as { checks: { name: string }[] }
  assert.deepEqual(
    [...section('Health').matchAll(/^\| `([a-z_]+)` +\|/gm)].map(([, name]) => name),
    checks.map(({ name }) => name),
  )
})

test('failure modes, security: the tests that are named exist', () => {
  for (const document of ['docs/failure-modes.md', 'SECURITY.md']) {
    const named = readFileSync(join(ROOT, document), 'utf8').matchAll(/`((?:[a-z]+\/)+[a-z-]+)`(?=[,\s])/g)
    const files = [...named].map(([, name]) => name as string)
    assert.ok(files.length > 20, document)
    for (const name of files)
      assert.ok(globSync(`test/${name}{.test,}.ts`, { cwd: ROOT }).length > 0, `${document}: ${name}`)
  }
})

const hasSqlite3 = spawnSync('sqlite3', ['--version']).status === 0

test('operations: the documented backup of a running service can be restored', { skip: !hasSqlite3 }, async () => {
  await using undo = new AsyncDisposableStack()
  const folder = temporaryFolder(undo)
  const data = join(folder, 'data')
  const central = await start(undo, data)
  const headers = { 'x-admin-key': ADMIN_KEY, 'content-type': 'application/json' }
  await fetch(`${central.url}/charge-points`, { method: 'POST', headers, body: '{"cp_id":"CP-0042"}' })
  const registered = async ({ url }: Central) => {
    const answer = await fetch(`${url}/audit/events?reason_code=CP_REGISTERED`, { headers })
    return ((await answer.json()) as { events: object[] }).events
  }
  const patience = performance.now() + 5_000
  while ((await registered(central)).length === 0) assert.ok(performance.now() < patience)

  const backup = join(folder, 'backup')
  const script = /^```sh\n(# With the service running:[\s\S]*?)^```/m.exec(section('Backup'))?.[1]
  assert.ok(script !== undefined)
  const done = spawnSync('sh', ['-e'], {
    input: script,
    env: { ...process.env, DATA: data, BACKUP: backup },
    encoding: 'utf8',
  })
  assert.deepEqual([done.status, done.stdout, done.stderr], [0, 'ok\nok\n', ''])
  const before = await registered(central)
  await central.stop()

  const restored = await start(undo, backup)
  assert.deepEqual(await registered(restored), before)
  const list = await (await fetch(`${restored.url}/charge-points`, { headers })).json()
  assert.equal((list as { charge_points: { cp_id: string }[] }).charge_points[0]?.cp_id, 'CP-0042')
})

function section(title: string): string {
  const [, text = ''] = new RegExp(`\\n## ${title}\\n([\\s\\S]*?)(?=\\n## |$)`).exec(TEXT) ?? []
  assert.notEqual(text, '', title)
  return text
}

function temporaryFolder(undo: AsyncDisposableStack): string {
  const folder = mkdtempSync(join(tmpdir(), 'evc-docs-'))
  undo.defer(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

async function start(undo: AsyncDisposableStack, dataDir: string): Promise<Central> {
  const settings = readSettings({ EVC_PORT: '0', EVC_DATA_DIR: dataDir, ...SECRETS })
  const central = await startCentral(settings, pino({ level: 'silent' }))
  undo.defer(() => central.stop())
  return central
}
