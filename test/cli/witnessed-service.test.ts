/** The service beside a witness, both as people start them: what is signed is cosigned and shown, also after a rotation of keys. */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import test from 'node:test'
import { openCheckpoint } from '../../src/evidence/checkpoint.ts'
import { parseVerifierKey } from '../../src/evidence/note.ts'
import { createVerifier } from '../../src/evidence/signature.ts'
import { eventually } from '../http/harness.ts'
import { run, start, temporaryFolder } from './command-line.ts'

const ADMIN_KEY = 'first-admin-key-0123456789abcdef0123456789'
const ORIGIN = 'log.example/witnessed'

test('service: its checkpoints are cosigned by the witness it names, before and after the log changes its key', async t => {
  const folder = temporaryFolder(t)
  const data = join(folder, 'data')
  const environment = { EVC_LOG_ORIGIN: ORIGIN, EVC_DATA_DIR: data }
  const first = (await run(t, ['key', 'generate'], environment)).stdout.trim()
  assert.equal((await run(t, ['key', 'show'], environment)).stdout.trim(), first)
  const witness = start(t, ['witness', '--data', join(folder, 'witness'), '--port', '0', '--log', first])
  const banner = await witness.printed(/^Ctrl-C stops it/m)
  const [, url = ''] = /address {2}(\S+)/.exec(banner) ?? []
  const [, witnessKey = ''] = /key {6}(\S+)/.exec(banner) ?? []

  const service = start(t, ['serve'], {
    ...environment,
    EVC_PORT: '0',
    EVC_ADMIN_KEY: ADMIN_KEY,
    EVC_LOG_PUBLIC: 'true',
    EVC_WITNESSES: `${url}|${witnessKey}`,
    EVC_WITNESS_QUORUM: '1',
  })
  const [, address = ''] = /(http:\/\/127\.0\.0\.1:\d+)/.exec(await service.printed(/http:\/\/127\.0\.0\.1:\d+/)) ?? []
  const cosignedBy = async (logKey: string) => {
    const response = await fetch(`${address}/checkpoint`)
    if (response.status !== 200) return false
    const [log, other] = [logKey, witnessKey].map(text => createVerifier(parseVerifierKey(text) ?? assert.fail()))
    const opened = openCheckpoint(await response.text(), { origin: ORIGIN, log: [log!], witnesses: [other!] })
    return opened.isTrusted && opened.cosignatures.length === 1
  }
  await eventually(() => cosignedBy(first))
  const { checks } = (await (await fetch(`${address}/ready`)).json()) as { checks: { name: string; ok: boolean }[] }
  assert.ok(checks.find(({ name }) => name === 'witnesses')?.ok)

  const rotated = await run(t, ['key', 'rotate'], environment)
  assert.match(rotated.stderr, /the new key signs from now on/)
  await eventually(() => cosignedBy(rotated.stdout.trim()))
  const events = await fetch(`${address}/audit/events?reason_code=LOG_KEY_ROTATED`, {
    headers: { 'x-admin-key': ADMIN_KEY },
  })
  assert.equal(((await events.json()) as { events: unknown[] }).events.length, 1)

  // A stop waits a moment for the witnesses, so that the last event is under a cosigned checkpoint, too, and in packs.
  assert.equal((await service.stop()).code, 0)
  const pack = join(folder, 'pack.zip')
  const settings = { ...environment, EVC_WITNESSES: `${url}|${witnessKey}`, EVC_WITNESS_QUORUM: '1' }
  const made = await run(t, ['evidence', '--from', '-1h', '--to', '2100-01-01', '-o', pack], settings)
  assert.deepEqual([made.code, made.stderr], [0, ''])
  const verified = await run(t, ['verify', pack, '--key', first, '--witness', witnessKey])
  assert.equal(verified.code, 0, verified.stdout)
  const verifiedLog = await run(t, ['verify', data, '--key', first, '--witness', witnessKey])
  assert.equal(verifiedLog.code, 0, verifiedLog.stdout)
  assert.doesNotMatch(verifiedLog.stdout, /not witnessed yet|not signed yet/)
})
