/** `witness`, as people start it: the real binary, asked by the client of a log. */
import assert from 'node:assert/strict'
import { readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'
import { parseVerifierKey, SIGNATURE_TYPE } from '../../src/evidence/note.ts'
import { createWitnessClient } from '../../src/witness/client.ts'
import { createWitnessedLog, numbered } from '../harness/witnessed-log.ts'
import { run, runHere, start, temporaryFolder } from './command-line.ts'

test('witness: one command makes a key, prints it and cosigns; the next start goes on with both', async t => {
  const folder = join(temporaryFolder(t), 'witness')
  const [log, other] = [createWitnessedLog(), createWitnessedLog('log.example/other')]
  log.append(...numbered(300))
  const logs = ['--log', log.verifierKey, '--log', other.verifierKey]
  const args = ['witness', '--data', folder, '--port', '0', ...logs]
  const first = start(t, [...args, '--name', 'witness.example/w1'])
  const banner = await first.printed(/^Ctrl-C stops it/m)
  assert.match(banner, /^EV Central witness \d+\.\d+\.\d+$/m)
  assert.match(banner, /log {6}log\.example\/ev-central, nothing cosigned yet/)
  const [url, keyText] = [/address {2}(\S+)/.exec(banner)?.[1] ?? '', /key {6}(\S+)/.exec(banner)?.[1] ?? '']
  const key = parseVerifierKey(keyText)
  assert.ok(key !== undefined && key.type === SIGNATURE_TYPE.ed25519Cosignature && key.name === 'witness.example/w1')
  assert.equal(statSync(join(folder, 'key.pem')).mode & 0o777, 0o600)
  assert.ok((await (await fetch(url)).text()).includes(`key ${keyText}\n`))
  for (const path of ['%ff%zz<script>', `${'a'.repeat(3_000)}<script>/checkpoint`]) {
    const answer = await fetch(`${url}/${path}`)
    assert.deepEqual([Math.trunc(answer.status / 100), answer.headers.get('x-content-type-options')], [4, 'nosniff'])
    assert.equal(await answer.text(), 'this cannot be answered\n')
  }

  const client = createWitnessClient({ witnesses: [{ url, key }], quorum: 1, readProof: log.proof })
  t.after(() => client.close())
  const cosigned = new Promise(resolve => client.onCosigned(resolve))
  client.submit(log.checkpoint())
  await cosigned
  assert.equal(client.status().isSatisfied, true)

  const second = await run(t, args)
  assert.deepEqual([second.code, second.stdout], [2, ''])
  assert.match(second.stderr, /^error: Another witness uses the folder [^\n]* \(DATA_FOLDER_IN_USE\)\n$/)

  const { code, stderr } = await first.stop()
  assert.equal(code, 0)
  const lines = stderr
    .trim()
    .split('\n')
    .map(line => JSON.parse(line).msg)
  assert.deepEqual(lines, ['witnessing', 'stopping'])
  const secret = readFileSync(join(folder, 'key.pem'), 'utf8').split('\n')[1] as string
  assert.ok(!(banner + stderr).includes(secret))

  const again = await start(t, args).printed(/^Ctrl-C stops it/m)
  assert.ok(again.includes(keyText))
  assert.match(again, /log {6}log\.example\/ev-central, cosigned up to 300/)
})

test('witness: a state that is damaged, and a port in use, are one clear line and exit code 2', async t => {
  const folder = join(temporaryFolder(t), 'witness')
  const { verifierKey } = createWitnessedLog()
  const args = (data: string, port: string) => ['witness', '--data', data, '--port', port, '--log', verifierKey]
  const first = start(t, args(folder, '0'))
  const url = /address {2}(\S+)/.exec(await first.printed(/^Ctrl-C stops it/m))?.[1] ?? ''
  const inUse = await run(t, args(`${folder}-2`, new URL(url).port))
  assert.deepEqual([inUse.code, inUse.stdout], [2, ''])
  assert.match(inUse.stderr, /^error: the address and port are in use already; --port names another\n$/)
  await first.stop('SIGKILL')
  writeFileSync(join(folder, 'state'), '{"v":1}\n')
  const damaged = await run(t, args(folder, '0'))
  assert.deepEqual([damaged.code, damaged.stdout], [2, ''])
  assert.match(
    damaged.stderr,
    /^error: This witness cannot know [^\n]*state is damaged[^\n]* \(WITNESS_STATE_DAMAGED\)\n$/,
  )
})

test('witness: options that make no sense are refused with the rule, and nothing is made', async t => {
  const folder = join(temporaryFolder(t), 'witness')
  const { verifierKey } = createWitnessedLog()
  const cases: [string[], RegExp][] = [
    [['--data', folder], /required option '--log <key>'/],
    [['--log', verifierKey], /required option '--data <dir>'/],
    [['--data', folder, '--log', 'nonsense'], /It is a verifier key of a log/],
    [['--data', folder, '--log', verifierKey.slice(0, -1)], /It is a verifier key of a log/],
    [['--data', folder, '--log', verifierKey, '--log', verifierKey], /named twice/],
    [['--data', folder, '--log', verifierKey, '--name', 'a+b'], /without spaces and \+/],
    [['--data', folder, '--log', verifierKey, '--port', '70000'], /0 to 65535/],
  ]
  for (const [args, message] of cases) {
    const { code, stdout, stderr } = await runHere(['witness', ...args])
    assert.deepEqual([code, stdout], [2, ''], args.join(' '))
    assert.match(stderr, message)
  }
  assert.throws(() => statSync(folder), { code: 'ENOENT' })
})
