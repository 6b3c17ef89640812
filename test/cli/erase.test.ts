/** erase, as people type it. */
import assert from 'node:assert/strict'
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import test, { type TestContext } from 'node:test'
import { dataFolder } from '../../src/service/data-folder.ts'
import { filesHolding } from '../harness/byte-scan.ts'
import { auditRows } from '../harness/rows.ts'
import { runHere, serve, temporaryFolder } from './command-line.ts'

const NAME = 'CP-leaver-4711'

/** A data folder on which a service has run and was stopped, or killed, after somebody of that name was refused. */
async function usedFolder(t: TestContext, signal: NodeJS.Signals): Promise<string> {
  const data = join(temporaryFolder(t), 'data')
  const service = await serve(t, data)
  for (let n = 0; n < 3; n++) {
    await fetch(`${service.url}/auth/credentials`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ cp_id: NAME, credentials: 'wrong-credentials-0123456789' }),
    })
  }
  await service.stop(signal)
  return data
}

const erase = (data: string, ...args: string[]) => runHere(['erase', ...args, '--data-dir', data])
const REASON = ['--reason', 'request 118', '--yes']

test('erase: --dry-run counts and changes nothing; then the data folder shows nothing of the name', async t => {
  const data = await usedFolder(t, 'SIGTERM')
  assert.ok(filesHolding(data, NAME).length > 0)
  const plan = await erase(data, '--who', NAME, '--dry-run')
  assert.deepEqual([plan.code, plan.stdout], [0, '3 events hold the subject\n'], plan.stderr)
  const asData = await erase(data, '--who', NAME, '--dry-run', '--json')
  assert.deepEqual(JSON.parse(asData.stdout), { events: 3, refused: null })
  assert.equal(auditRows(data, `who = '${NAME}'`).length, 3)

  const done = await erase(data, '--who', NAME, ...REASON, '--json')
  assert.equal(done.code, 0, done.stderr)
  const { erased, event_id, archives_missing } = JSON.parse(done.stdout)
  assert.deepEqual([erased, archives_missing], [3, []])
  assert.deepEqual(filesHolding(data, NAME), [])
  const [tombstone] = auditRows(data, `id = ${event_id}`)
  assert.equal(tombstone?.reason_code, 'ERASED')
  assert.match(tombstone?.metadata_json ?? '', /"actor":"cli:/)
  const check = await runHere(['check', '--data-dir', data])
  assert.equal(check.code, 0, check.stdout)

  const again = await erase(data, '--who', NAME, ...REASON)
  assert.deepEqual([again.code, again.stdout], [0, 'no event holds the subject\n'])
  assert.equal(existsSync(join(data, 'running')), false)
})

test('erase: what a killed service left in the journal becomes rows first', async t => {
  const data = await usedFolder(t, 'SIGKILL')
  const done = await erase(data, '--who', NAME, ...REASON)
  assert.equal(done.code, 0, done.stderr)
  assert.match(done.stdout, /^3 events were erased; event \d+ says so\n$/)
  assert.deepEqual(filesHolding(data, NAME), [])
  assert.equal((await runHere(['check', '--data-dir', data])).code, 0)
  assert.ok(existsSync(join(data, 'running')), 'the next start says that the service did not stop cleanly')
  assert.equal(readdirSync(dataFolder(data).journalDirectory).filter(name => name.endsWith('.journal')).length, 1)
})

test('erase: a running service is named as the one to ask', async t => {
  const data = join(temporaryFolder(t), 'data')
  await serve(t, data)
  const { code, stderr } = await erase(data, '--who', NAME, ...REASON)
  assert.equal(code, 2)
  assert.match(stderr, /POST \/audit\/erasures/)
})

test('erase: what is not valid is refused, and nothing is changed', async t => {
  const data = join(temporaryFolder(t), 'data')
  const bad = [
    [],
    ['--who', NAME],
    ['--who', NAME, '--reason', 'x'],
    ['--who', NAME, '--yes'],
    ['--who', NAME, '--ip', '192.0.2.1', ...REASON],
    ['--who', '', ...REASON],
    ['--who', 'x'.repeat(65), ...REASON],
    ['--who', NAME, '--reason', 'x\u001b[31m', '--yes'],
    ['--who', NAME, '--reason', 'x'.repeat(257), '--yes'],
    ['--who', NAME, ...REASON], // there is nothing in the folder
  ]
  for (const args of bad) {
    const { code, stdout, stderr } = await erase(data, ...args)
    assert.deepEqual([code, stdout], [2, ''], args.join(' '))
    assert.match(stderr, /^error: /)
  }
  assert.equal(existsSync(data), false)
})
