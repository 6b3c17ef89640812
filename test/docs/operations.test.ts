/**
 * docs/operations.md names the alert rules, metrics and checks that there are, and its commands for backup, restore,
 * retention and legal hold are run; the pages on failures and security name tests that there are.
 */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { chmodSync, cpSync, globSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'
import { pino } from 'pino'
import { archiveSegments } from '../../src/archive/archive.ts'
import { ALERT_RULES, ruleText } from '../../src/cli/alert-rules.ts'
import { type Central, startCentral } from '../../src/service/central.ts'
import { readSettings } from '../../src/settings/settings.ts'
import { pathsOf, SEGMENT, writeOldTrail } from '../harness/old-trail.ts'

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

test('failure modes, security: the tests that are named exist', () => {
  for (const document of ['docs/failure-modes.md', 'SECURITY.md']) {
    const named = readFileSync(join(ROOT, document), 'utf8').matchAll(/`((?:[a-z]+\/)+[a-z-]+)`(?=[,\s])/g)
    const files = [...named].map(([, name]) => name as string)
    assert.ok(files.length > 20, document)
    for (const name of files)
      assert.ok(globSync(`test/${name}{.test,}.ts`, { cwd: ROOT }).length > 0, `${document}: ${name}`)
  }
})

test('operations: the tables have every metric and readiness check of a service, and its documented backup can be restored as documented', async () => {
  await using undo = new AsyncDisposableStack()
  const folder = temporaryFolder(undo)
  const [data, backup, old] = [join(folder, 'data'), join(folder, 'backup'), join(folder, 'old')]
  const central = await start(undo, data)
  await assertTablesFit(central)
  const headers = { 'x-admin-key': ADMIN_KEY, 'content-type': 'application/json' }
  await fetch(`${central.url}/charge-points`, { method: 'POST', headers, body: '{"cp_id":"CP-0042"}' })
  const events = async ({ url }: Central, reason: string) => {
    const answer = await fetch(`${url}/audit/events?reason_code=${reason}`, { headers })
    return ((await answer.json()) as { events: object[] }).events
  }
  const before = await events(central, 'CP_REGISTERED')
  assert.equal(before.length, 1)
  await writeOldArchive(data)

  const variables = { DATA: data, BACKUP: backup, OLD: old }
  const made = runScript(undo, 'Backup', '# $DATA is the data folder, $BACKUP a folder', variables)
  assert.match(made.stdout, /^backup of .*\ncomplete and unchanged: backup of /)
  await central.stop()
  const restored = runScript(undo, 'Backup', '# $OLD is where', variables)
  assert.match(restored.stdout, /^restored: backup of /)
  assert.deepEqual(readdirSync(join(data, 'archive')), readdirSync(join(old, 'archive')))

  const again = await start(undo, data)
  assert.deepEqual(await events(again, 'CP_REGISTERED'), before)
  assert.equal((await events(again, 'RESTORED')).length, 1)
  const list = await (await fetch(`${again.url}/charge-points`, { headers })).json()
  assert.equal((list as { charge_points: { cp_id: string }[] }).charge_points[0]?.cp_id, 'CP-0042')
})

test('operations: an older folder is refused with EVC_POSITION_FILE, until what is documented is done', async () => {
  await using undo = new AsyncDisposableStack()
  const folder = temporaryFolder(undo)
  const [data, copy] = [join(folder, 'data'), join(folder, 'copy')]
  const variables = { EVC_POSITION_FILE: join(folder, 'position.json') }
  const serve = async (work: (central: Central) => Promise<unknown> = async () => {}) => {
    const central = await start(undo, data, variables)
    await work(central)
    await central.stop()
  }
  await serve()
  cpSync(data, copy, { recursive: true })
  const headers = { 'x-admin-key': ADMIN_KEY, 'content-type': 'application/json' }
  await serve(({ url }) => fetch(`${url}/charge-points`, { method: 'POST', headers, body: '{"cp_id":"CP-1"}' }))
  rmSync(data, { recursive: true })
  cpSync(copy, data, { recursive: true })
  await assert.rejects(serve(), { name: 'Refusal', code: 'ROLLED_BACK' })
  const environment = { ...variables, EVC_DATA_DIR: data }
  const accepted = runScript(undo, 'Backup', '# With the service stopped: go on', environment)
  assert.match(accepted.stdout, /^accepted: \d+ of \d+ journal records are missing$/m)
  await serve()
})

test('operations: the documented commands of retention and legal hold do what is said', async () => {
  await using undo = new AsyncDisposableStack()
  const folder = temporaryFolder(undo)
  const data = join(folder, 'data')
  await writeOldTrail(data, SEGMENT * 2 + 1)
  const variables = { DATA: data, EVC_DATA_DIR: data }
  const held = runScript(undo, 'Retention', 'ev-central archive hold add', variables)
  assert.match(held.stdout, /^legal hold 1 keeps the events of 2026-03-01T00:00:00.000Z to 2026-04-01T00:00:00.000Z$/m)
  assert.match(held.stdout, /^legal hold 1 \(case 4711\) ended$/m)
  const archived = runScript(undo, 'Retention', '# With the service running or stopped', variables)
  assert.match(archived.stdout, /^would leave: events 1 to 2048, /m)
  assert.match(archived.stdout, /^archive 2: events 2049 to 4096, /m)
  assert.match(archived.stdout, /^sound: archive 2, /m)
  const [header = '', first = '', ...found] = runScript(undo, 'Retention', '# Without this program', variables)
    .stdout.trimEnd()
    .split('\n')
  assert.equal(JSON.parse(header).format, 'ev-central-archive')
  assert.equal(JSON.parse(first).id, 1)
  assert.ok(found.length > 0)
  for (const line of found) assert.match(line, /"action":"(?:AUTH_FAIL|INCIDENT)"/)
})

/** The tables have every metric and every readiness check of the service, and no other. */
async function assertTablesFit(central: Central): Promise<void> {
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
}

/** Something to be copied along with a backup. */
async function writeOldArchive(data: string): Promise<void> {
  const elsewhere = `${data}-old`
  await writeOldTrail(elsewhere, SEGMENT + 1)
  await archiveSegments({ ...pathsOf(elsewhere), beforeMs: Date.UTC(2036, 0, 1), actor: 'test' })
  cpSync(join(elsewhere, 'archive'), join(data, 'archive'), { recursive: true })
}

/** The code block of the section that begins so, run by a shell that finds `ev-central`. */
function runScript(undo: AsyncDisposableStack, title: string, begins: string, variables: Record<string, string>) {
  const block = [...section(title).matchAll(/^```sh\n([\s\S]*?)^```/gm)].find(([, text]) => text?.startsWith(begins))
  assert.ok(block !== undefined, begins)
  const bin = temporaryFolder(undo)
  const program = join(bin, 'ev-central')
  writeFileSync(program, `#!/bin/sh\nexec '${process.execPath}' '${join(ROOT, 'bin', 'ev-central.js')}' "$@"\n`)
  chmodSync(program, 0o755)
  const env = { ...process.env, ...SECRETS, ...variables, PATH: `${bin}:${process.env.PATH}` }
  const done = spawnSync('sh', ['-e'], { input: block[1], env, encoding: 'utf8' })
  assert.equal(done.status, 0, done.stdout + done.stderr)
  return done
}

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

async function start(undo: AsyncDisposableStack, dataDir: string, environment = {}): Promise<Central> {
  const settings = readSettings({ EVC_PORT: '0', EVC_DATA_DIR: dataDir, ...SECRETS, ...environment })
  const central = await startCentral(settings, pino({ level: 'silent' }))
  undo.defer(() => central.stop())
  return central
}
