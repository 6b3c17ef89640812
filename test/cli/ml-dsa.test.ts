/** A second signature, ML-DSA-44, as people switch it on: keys on the command line, the real service, restarts, a verifier. */
import assert from 'node:assert/strict'
import { readdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type TestContext } from 'node:test'
import { strFromU8, unzipSync } from 'fflate'
import { askForRotation, readKeyChain, takeHandOver } from '../../src/checkpoint/key-files.ts'
import { openByChain, parseKeyChain } from '../../src/evidence/key-chain.ts'
import { parseNote, parseVerifierKey } from '../../src/evidence/note.ts'
import { algorithmOf } from '../../src/evidence/signature.ts'
import { dataFolder } from '../../src/service/data-folder.ts'
import { keyFolders } from '../../src/service/rotate-key.ts'
import { eventually } from '../http/harness.ts'
import { type Environment, run, runHere, start, temporaryFolder } from './command-line.ts'

const ADMIN_KEY = 'first-admin-key-0123456789abcdef0123456789'
const ORIGIN = 'log.example/two-signatures'
const BOTH = 'Ed25519+ML-DSA-44'

function settingsOf(data: string, more: Environment = {}): Environment {
  return { EVC_DATA_DIR: data, EVC_LOG_ORIGIN: ORIGIN, EVC_ADMIN_KEY: ADMIN_KEY, EVC_LOG_PUBLIC: 'true', ...more }
}

const noteIn = (pack: string) => strFromU8(unzipSync(readFileSync(pack))['manifest.note'] ?? assert.fail())

const MISSING = /EVC_LOG_ML_DSA is true/

async function serve(t: TestContext, environment: Environment) {
  const service = start(t, ['serve'], environment)
  const banner = await service.printed(/^Ctrl-C stops it/m)
  const url = /(http:\/\/127\.0\.0\.1:\d+)/.exec(banner)?.[1] ?? assert.fail(banner)
  const get = async (path: string) => {
    const response = await fetch(`${url}${path}`, { headers: { 'x-admin-key': ADMIN_KEY } })
    return response.status === 200 ? response.text() : ''
  }
  /** Of the checkpoint as it is served, by the keys as they are served. */
  async function algorithms(): Promise<string> {
    const chain = parseKeyChain(await get('/evidence/keys'))
    const opened = chain && openByChain(await get('/checkpoint'), chain)
    return opened?.isTrusted ? opened.signatures.map(({ key }) => algorithmOf(key)).join('+') : 'none'
  }
  return {
    ...service,
    url,
    get,
    algorithms,
    signs: (wanted: string) => eventually(async () => (await algorithms()) === wanted),
  }
}

/** A Node that has no ML-DSA-44, as far as whoever asks can tell. */
function withoutMlDsa44(folder: string): Environment {
  const file = join(folder, 'older-node.mjs')
  writeFileSync(
    file,
    `import crypto from 'node:crypto'
     import { syncBuiltinESMExports } from 'node:module'
     const { generateKeyPairSync } = crypto
     crypto.generateKeyPairSync = (type, ...rest) => {
       if (type === 'ml-dsa-44') throw new TypeError("The argument 'type' must be a supported key type")
       return generateKeyPairSync(type, ...rest)
     }
     syncBuiltinESMExports()`,
  )
  return { NODE_OPTIONS: `--import=${file}` }
}

test('key: with EVC_LOG_ML_DSA both keys are made, shown and rotated, and their private halves are private', async t => {
  const data = join(temporaryFolder(t), 'data')
  const cli = (...args: string[]) => runHere(args, { environment: settingsOf(data, { EVC_LOG_ML_DSA: 'true' }) })
  const made = await cli('key', 'generate')
  assert.equal(made.code, 0, made.stderr)
  const lines = made.stdout.trim().split('\n')
  const keys = lines.map(line => parseVerifierKey(line) ?? assert.fail(line))
  assert.deepEqual(keys.map(algorithmOf), ['Ed25519', 'ML-DSA-44'])
  assert.equal((await cli('key', 'show')).stdout, made.stdout)
  assert.equal((await cli('key', 'generate')).stdout, made.stdout, 'once')
  const { verifier, ml_dsa_44, earlier } = JSON.parse((await cli('key', 'show', '--json')).stdout)
  assert.deepEqual([verifier, ml_dsa_44, earlier.length], [lines[0], lines[1], 1])
  for (const { id } of keys) assert.equal(statSync(join(data, 'log-keys', `${id}.pem`)).mode & 0o777, 0o600)
  assert.equal(statSync(join(data, 'log-keys')).mode & 0o777, 0o700)

  const rotated = await cli('key', 'rotate')
  assert.equal(rotated.code, 0, rotated.stderr)
  assert.deepEqual(
    rotated.stdout
      .trim()
      .split('\n')
      .map(line => algorithmOf(parseVerifierKey(line) ?? assert.fail(line))),
    ['Ed25519', 'ML-DSA-44'],
  )
  assert.notEqual(rotated.stdout, made.stdout)
  assert.equal((await cli('key', 'show')).stdout, rotated.stdout)
  assert.equal(
    readdirSync(join(data, 'log-keys')).length,
    4,
    'the first key, which only announced them, is kept by nobody',
  )
})

test('service: a second signature is switched on for a log that is there, survives restarts and rotation, and is switched off', async t => {
  const folder = temporaryFolder(t)
  const data = join(folder, 'data')
  const [off, on] = [settingsOf(data), settingsOf(data, { EVC_LOG_ML_DSA: 'true' })]
  const before = await serve(t, off)
  await before.signs('Ed25519')
  const firstKey = (await runHere(['key', 'show'], { environment: off })).stdout.trim()
  assert.equal((await before.stop()).code, 0)

  const first = await serve(t, on)
  await first.signs(BOTH)
  const { signatures } = parseNote(await first.get('/checkpoint')) ?? assert.fail()
  assert.deepEqual(
    signatures.map(({ name, bytes }) => [name, bytes.length]),
    [
      [ORIGIN, 64],
      [ORIGIN, 8 + 2_420],
    ],
  )
  const { events } = JSON.parse(await first.get('/audit/events?reason_code=LOG_KEY_ROTATED'))
  assert.equal(events.length, 1)
  assert.match(JSON.parse(events[0].metadata_json).note_sha256, /^[0-9a-f]{64}$/)
  const rotated = await runHere(['key', 'rotate'], { environment: off })
  assert.match(
    rotated.stderr,
    /the new key signs from now on/,
    'by what the log is, not by the shell that it is asked in',
  )
  assert.equal(rotated.stdout.trim().split('\n').length, 2)
  await first.signs(BOTH)
  await first.stop('SIGKILL')

  const second = await serve(t, on)
  await second.signs(BOTH)
  const chainOf = async (service: typeof second) => parseKeyChain(await service.get('/evidence/keys')) ?? assert.fail()
  assert.equal((await chainOf(second)).handOvers.length, 2, 'a restart hands over to nobody')
  const packs = [join(folder, 'running.zip'), join(folder, 'stopped.zip')] as const
  const range = 'start_time=2020-01-01T00:00:00Z&end_time=2100-01-01T00:00:00Z'
  const taken = await fetch(`${second.url}/audit/evidence?${range}`, { headers: { 'x-admin-key': ADMIN_KEY } })
  writeFileSync(packs[0], await taken.bytes())
  await second.stop()
  const keyFile = join(folder, 'log.pub')
  const shown = (await runHere(['key', 'show'], { environment: on })).stdout
  writeFileSync(keyFile, shown)
  const packed = await runHere(['evidence', '--from', '-1h', '--to', '2100-01-01', '-o', packs[1]], { environment: on })
  assert.equal(packed.code, 0, packed.stderr)
  for (const key of shown.trim().split('\n')) assert.ok(packed.stdout.includes(`by another way: ${key}\n`))
  for (const pack of packs) {
    const { code, stdout } = await runHere(['verify', pack, '--key', keyFile])
    assert.equal(code, 0, stdout)
    assert.match(stdout, /of them signed \(Ed25519 and ML-DSA-44\)\n/)
    const { signatures: ofManifest } = parseNote(noteIn(pack)) ?? assert.fail()
    assert.deepEqual(
      ofManifest.map(({ bytes }) => bytes.length),
      [64, 2_420],
    )
  }
  for (const key of [keyFile, firstKey]) {
    const verified = await runHere(['verify', data, '--key', key])
    assert.equal(verified.code, 0, verified.stdout)
    assert.match(verified.stdout, /of them signed \(Ed25519 and ML-DSA-44\), root /)
  }

  const third = await serve(t, off)
  await third.signs('Ed25519')
  assert.equal((await chainOf(third)).handOvers.length, 3)
  await third.stop()
  assert.equal((await runHere(['verify', data, '--key', keyFile])).code, 0)
})

test('service: does not start with EVC_LOG_ML_DSA when the key is missing or this Node lacks the algorithm, and says so', async t => {
  const folder = temporaryFolder(t)
  const data = join(folder, 'data')
  const [off, on] = [settingsOf(data), settingsOf(data, { EVC_LOG_ML_DSA: 'true' })]
  const older = withoutMlDsa44(folder)
  for (const args of [['serve'], ['key', 'generate']]) {
    const { code, stderr, stdout } = await run(t, args, { ...on, ...older })
    assert.notEqual(code, 0)
    assert.match(stderr + stdout, MISSING)
    assert.match(stderr + stdout, /no ML-DSA-44/)
  }
  const made = (await runHere(['key', 'generate'], { environment: on })).stdout.trim().split('\n')
  const rotated = await run(t, ['key', 'rotate'], { ...off, ...older })
  assert.deepEqual(
    [rotated.code === 0, /this Node has no ML-DSA-44/.test(rotated.stderr)],
    [false, true],
    rotated.stderr,
  )
  const { id } = parseVerifierKey(made[1]!) ?? assert.fail()
  const file = join(data, 'log-keys', `${id}.pem`)
  renameSync(file, `${file}.away`)
  const refused = await run(t, ['serve'], on)
  assert.notEqual(refused.code, 0)
  assert.match(refused.stderr + refused.stdout, MISSING)
  assert.ok((refused.stderr + refused.stdout).includes(`${id}.pem is not there`))
  renameSync(`${file}.away`, file)
  const service = await serve(t, on)
  await service.signs(BOTH)
})

test('key rotate: finishes a hand-over that was cut off, and then makes the one that is asked for', async t => {
  const data = join(temporaryFolder(t), 'data')
  const settings = settingsOf(data, { EVC_LOG_ML_DSA: 'true' })
  const made = await runHere(['key', 'generate'], { environment: settings })
  assert.equal(made.code, 0, made.stderr)
  const folders = keyFolders(dataFolder(data))
  const chain = readKeyChain(folders) ?? assert.fail()
  askForRotation(folders, chain)
  const cutOff = takeHandOver(folders, chain, 0) ?? assert.fail()
  const rotated = await runHere(['key', 'rotate'], { environment: settings })
  assert.equal(rotated.code, 0, rotated.stderr)
  assert.equal((await runHere(['key', 'show'], { environment: settings })).stdout, rotated.stdout)
  const notes = readKeyChain(folders)?.handOvers.map(({ note }) => note) ?? []
  assert.deepEqual([notes.length, notes[1]], [3, cutOff])
})
