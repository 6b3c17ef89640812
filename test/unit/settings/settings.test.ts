import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'
import { formatVerifierKey, SIGNATURE_TYPE } from '../../../src/evidence/note.ts'
import { readSettings, SettingsError } from '../../../src/settings/settings.ts'
import { createKey } from '../evidence/keys-under-test.ts'

function problemsOf(environment: Record<string, string>): readonly string[] {
  try {
    readSettings(environment)
  } catch (error) {
    if (error instanceof SettingsError) return error.problems
    throw error
  }
  return []
}

test('settings: the defaults are those of the contract, and frozen', () => {
  const settings = readSettings({})
  assert.equal(settings.host, '127.0.0.1')
  assert.equal(settings.port, 8080)
  assert.equal(settings.tokenTtlSeconds, 86_400)
  assert.equal(settings.ackTimeoutMs, 100)
  assert.deepEqual([settings.bruteForceThreshold, settings.bruteForceWindowSeconds], [5, 600])
  assert.ok(Object.isFrozen(settings))
})

test('settings: every problem is reported at once, and no value is repeated', () => {
  const problems = problemsOf({
    EVC_PORT: '99999',
    EVC_TOKEN_TTL_SECONDS: '1e3',
    EVC_ADMIN_KEY: 'hunter2',
    EVC_ADMIM_KEY: 'x',
    EVC_LOG_LEVEL: 'loud',
    EVC_TRUSTED_PROXIES: '10.0.0.0/99',
    EVC_TLS_CERT: '/c.pem',
    EVC_DATABASE_URL: 'postgres://evc:hunter2@db/evc?sslmode=maybe',
  })
  assert.equal(problems.length, 8)
  assert.ok(problems.some(problem => problem === 'EVC_ADMIM_KEY is not a setting'))
  assert.ok(!problems.join().includes('hunter2'))
})

test('settings: a brute-force threshold may be 1, and high where many charge points share an address', () => {
  for (const threshold of ['1', '1000']) assert.deepEqual(problemsOf({ EVC_BRUTE_FORCE_THRESHOLD: threshold }), [])
  for (const threshold of ['0', '1001']) assert.equal(problemsOf({ EVC_BRUTE_FORCE_THRESHOLD: threshold }).length, 1)
})

test('settings: a file named by EVC_CONFIG is read, the environment wins, and unknown names in it are refused', t => {
  const folder = mkdtempSync(join(tmpdir(), 'evc-settings-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const file = join(folder, 'config.json')
  writeFileSync(
    file,
    JSON.stringify({ EVC_PORT: 9000, EVC_HOST: '127.0.0.2', EVC_TRUSTED_PROXIES: ['10.0.0.0/8', '::1'] }),
  )
  const settings = readSettings({ EVC_CONFIG: file, EVC_PORT: '9001' })
  assert.deepEqual([settings.port, settings.host, settings.trustedProxies], [9001, '127.0.0.2', ['10.0.0.0/8', '::1']])
  writeFileSync(file, JSON.stringify({ EVC_PROT: 1, port: 2 }))
  assert.equal(problemsOf({ EVC_CONFIG: file }).length, 2)
  writeFileSync(file, 'not json')
  assert.equal(problemsOf({ EVC_CONFIG: file }).length, 1)
})

test('settings: a secret may come from a file, anything else may not', t => {
  const folder = mkdtempSync(join(tmpdir(), 'evc-settings-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const file = join(folder, 'key')
  writeFileSync(file, `${'k'.repeat(40)}\n`)
  assert.equal(readSettings({ EVC_ADMIN_KEY_FILE: file }).adminKey, 'k'.repeat(40))
  assert.deepEqual(problemsOf({ EVC_ADMIN_KEY_FILE: join(folder, 'none') }), [
    'EVC_ADMIN_KEY_FILE names a file that cannot be read',
  ])
  assert.deepEqual(problemsOf({ EVC_PORT_FILE: file }), ['EVC_PORT_FILE is not a setting'])
})

test('settings: a secret that is given twice is a problem in either order; the environment still wins over the file of settings', t => {
  const folder = mkdtempSync(join(tmpdir(), 'evc-settings-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const file = join(folder, 'key')
  writeFileSync(file, 'k'.repeat(40))
  const twice = ['EVC_ADMIN_KEY is given twice: also as EVC_ADMIN_KEY_FILE']
  assert.deepEqual(problemsOf({ EVC_ADMIN_KEY: 'a'.repeat(40), EVC_ADMIN_KEY_FILE: file }), twice)
  assert.deepEqual(problemsOf({ EVC_ADMIN_KEY_FILE: file, EVC_ADMIN_KEY: 'a'.repeat(40) }), twice)

  const config = join(folder, 'settings.json')
  writeFileSync(config, JSON.stringify({ EVC_ADMIN_KEY: 'a'.repeat(40) }))
  assert.equal(readSettings({ EVC_CONFIG: config, EVC_ADMIN_KEY_FILE: file }).adminKey, 'k'.repeat(40))
})

test('settings: strict classes are a list of known names; an unknown one is a problem', () => {
  assert.deepEqual(readSettings({}).strictEvents, [])
  assert.deepEqual(readSettings({ EVC_STRICT_EVENTS: 'keys, admin,keys' }).strictEvents, ['keys', 'admin'])
  assert.deepEqual(problemsOf({ EVC_STRICT_EVENTS: 'keys,logins' }), [
    'EVC_STRICT_EVENTS must be a comma list of keys, status, admin',
  ])
})

test('settings: witnesses are a list of address and key; every other form is a problem that repeats nothing', () => {
  const [a, b] = ['a.example', 'b.example/w'].map(name =>
    formatVerifierKey(createKey(name, SIGNATURE_TYPE.ed25519Cosignature).key),
  ) as [string, string]
  assert.deepEqual([readSettings({}).witnesses, readSettings({}).witnessQuorum], [[], 0])
  const both = `https://a.example/ev|${a}, http://127.0.0.1:8090|${b}`
  const settings = readSettings({ EVC_WITNESSES: both, EVC_WITNESS_QUORUM: '2' })
  assert.deepEqual(
    settings.witnesses.map(({ url, key }) => `${url}|${formatVerifierKey(key)}`),
    both.split(', '),
  )
  assert.equal(settings.witnessQuorum, 2)
  const ofLog = formatVerifierKey(createKey('a.example').key)
  const form = /must be a comma list of url\|verifier key/
  for (const [text, rule] of [
    ['https://a.example', form],
    [a, form],
    [`|${a}`, form],
    [`https://a.example|${a.slice(0, -2)}`, form],
    [`https://a.example|${ofLog}`, form],
    [`https://a.example|${a}|x`, form],
    [`ftp://a.example|${a}`, form],
    [`https://hunter2@a.example|${a}`, form],
    [`https://a.example/?token=hunter2|${a}`, form],
    [`https://a.example|${a},https://b.example|${a}`, /must not name a witness twice/],
  ] as const) {
    const problems = problemsOf({ EVC_WITNESSES: text })
    assert.equal(problems.length, 1, text)
    assert.match(problems[0] ?? '', rule)
    assert.ok(!problems.join().includes('hunter2'))
  }
  assert.deepEqual(problemsOf({ EVC_WITNESSES: both, EVC_WITNESS_QUORUM: '3' }), [
    'EVC_WITNESS_QUORUM must be at most the number of EVC_WITNESSES',
  ])
})
