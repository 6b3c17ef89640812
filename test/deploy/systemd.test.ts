/** deploy/systemd: by a strict parser here, and by systemd itself where it is installed. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'
import { EXIT } from '../../src/cli/outcome.ts'
import { STOP_MS_MAX } from '../../src/cli/server-process.ts'
import { LIMITS } from '../../src/limits.ts'
import { assertProduction, ROOT, read, settingsOf } from './deployed.ts'

const UNIT = read('deploy', 'systemd', 'ev-central.service')
const EXAMPLE = read('deploy', 'systemd', 'environment.example')
/** systemd-analyze rates what a service could do to its machine from 0 to 10. */
const EXPOSURE_MAX = 2

const service = sectionsOf(UNIT).get('Service') ?? assert.fail()
const setTo = (key: string) => service.get(key)?.at(-1)

test('systemd: a process of a user of its own, started again unless that would not help, stopped in time', () => {
  assert.deepEqual([...sectionsOf(UNIT).keys()], ['Unit', 'Service', 'Install'])
  assert.equal(setTo('User'), 'ev-central')
  assert.equal(setTo('Restart'), 'on-failure')
  assert.equal(setTo('RestartPreventExitStatus'), String(EXIT.usage))
  assert.equal(setTo('KillSignal'), 'SIGTERM')
  assert.ok(Number(setTo('TimeoutStopSec')) * 1_000 > STOP_MS_MAX)
  assert.ok(Number(setTo('LimitNOFILE')) > LIMITS.connectionsMax)
  for (const key of ['NoNewPrivileges', 'ProtectHome', 'PrivateTmp', 'PrivateDevices']) assert.equal(setTo(key), 'true')
  assert.equal(setTo('ProtectSystem'), 'strict')
  assert.equal(setTo('CapabilityBoundingSet'), '')
  assert.equal(
    `exec env ${setTo('Environment')} ${setTo('ExecStart')?.replace(/\/usr\/bin\/|\/opt.*ev-central\/(?=bin)/g, '')}`,
    JSON.parse(read('package.json')).scripts.start,
  )
})

test('systemd: the example of an environment has settings that a production start takes, also those that are commented out', () => {
  assert.ok(EXAMPLE.startsWith(`# ${setTo('EnvironmentFile')},`))
  const environment = variablesOf(EXAMPLE)
  assertProduction(settingsOf(environment))
  assert.equal(environment.EVC_DATA_DIR, `/var/lib/${setTo('StateDirectory')}`)
  assertProduction(settingsOf(variablesOf(EXAMPLE.replace(/^#(?=\w+=)/gm, ''))))
})

test('systemd: systemd takes the unit, and what it could do to its machine is little', t => {
  if (spawnSync('systemd-analyze', ['--version']).status !== 0) return t.skip('systemd is not installed')
  const folder = mkdtempSync(join(tmpdir(), 'evc-unit-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const file = join(folder, 'ev-central.service')
  const check = (unit: string) => {
    const here = unit.replaceAll('/opt/ev-central/node_modules/ev-central', ROOT)
    writeFileSync(file, here.replace('/usr/bin/node', process.execPath))
    return spawnSync('systemd-analyze', ['verify', file], { encoding: 'utf8' })
  }
  const misspelt = check(UNIT.replace('ProtectClock', 'ProtectClocks'))
  assert.match(misspelt.stderr, /ProtectClocks/, 'systemd sees a misspelt key')
  const verified = check(UNIT)
  assert.deepEqual([verified.status, verified.stderr], [0, ''])
  const rated = spawnSync('systemd-analyze', ['security', '--offline=true', '--no-pager', file], { encoding: 'utf8' })
  const [, exposure] = /Overall exposure level for \S+: ([\d.]+)/.exec(rated.stdout) ?? []
  if (exposure === undefined) return t.diagnostic('this systemd does not rate files')
  assert.ok(Number(exposure) <= EXPOSURE_MAX, exposure)
})

/** Values by key, in order; no continued lines, no quotes, no space around `=`. */
function sectionsOf(unit: string): Map<string, Map<string, string[]>> {
  const sections = new Map<string, Map<string, string[]>>()
  let entries: Map<string, string[]> | undefined
  for (const line of unit.split('\n')) {
    if (line === '' || line.startsWith('#')) continue
    const title = /^\[(\w+)\]$/.exec(line)?.[1]
    if (title !== undefined) {
      assert.ok(!sections.has(title))
      entries = new Map()
      sections.set(title, entries)
      continue
    }
    const [, key = '', value = ''] = /^([A-Z]\w+)=(\S.*|)$/.exec(line) ?? assert.fail(line)
    entries?.set(key, [...(entries.get(key) ?? []), value])
  }
  return sections
}

function variablesOf(file: string): Record<string, string> {
  const lines = file.split('\n').filter(line => line !== '' && !line.startsWith('#'))
  return Object.fromEntries(lines.map(line => /^(\w+)=(\S+)$/.exec(line)?.slice(1, 3) ?? assert.fail(line)))
}
