/** `evidence`: packs of a data folder whose service runs, and of one that has stopped. */
import assert from 'node:assert/strict'
import { existsSync, lstatSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'
import { unzipSync } from 'fflate'
import { parseVerifierKey } from '../../src/evidence/note.ts'
import { verifyPack } from '../../src/evidence/verify-pack.ts'
import { dataFolder } from '../../src/service/data-folder.ts'
import { runHere, serve, temporaryFolder } from './command-line.ts'

function reportOf(zip: string, key: string) {
  const steps = verifyPack(new Map(Object.entries(unzipSync(readFileSync(zip)))), [
    parseVerifierKey(key) ?? assert.fail(key),
  ])
  let step = steps.next()
  while (!step.done) step = steps.next()
  return step.value
}

test('evidence: beside a running service and after it, the pack is proven by the key that key show prints', async t => {
  const folder = temporaryFolder(t)
  const dataDir = join(folder, 'data')
  const server = await serve(t, dataDir)
  const here = (...args: string[]) => runHere([...args, '--data-dir', dataDir])
  const headers = { 'x-admin-key': server.adminKey }
  while ((await fetch(`${server.url}/checkpoint`, { headers })).status !== 200) {
    await new Promise(resolve => setTimeout(resolve, 100))
  }
  const key = (await here('key', 'show')).stdout.trim()

  const running = join(folder, 'running.zip')
  // What somebody else left where the draft will be.
  writeFileSync(join(folder, 'precious'), 'mine', { mode: 0o644 })
  symlinkSync(join(folder, 'precious'), `${running}.draft`)
  const { code, stdout, stderr } = await here('evidence', '--from', '-1h', '--to', '2100-01-01', '-o', running)
  assert.equal(code, 0, stderr)
  assert.ok(stdout.includes(key))
  const report = reportOf(running, key)
  assert.deepEqual([report.problems, report.selection], [[], 'signed'])
  assert.equal(lstatSync(running).mode & 0o7777, 0o600)
  assert.ok(lstatSync(running).isFile())
  assert.equal(readFileSync(join(folder, 'precious'), 'utf8'), 'mine')

  await server.stop()
  assert.equal((await here('key', 'rotate')).code, 0)
  const stopped = join(folder, 'stopped.zip')
  const answer = await here('evidence', '--from', '-1h', '--to', '2100-01-01', '-o', stopped, '--json')
  assert.equal(answer.code, 0, answer.stderr)
  const { problems, events, selection, key: compared } = reportOf(stopped, key)
  assert.deepEqual([problems, selection], [[], 'signed'])
  assert.equal(compared, 'given')
  assert.equal(JSON.parse(answer.stdout).events, events.length)
  assert.ok(events.some(({ row }) => row.reason_code === 'STARTED'))

  const verified = await runHere(['verify', stopped, '--key', key])
  assert.equal(verified.code, 0, verified.stdout)

  rmSync(dataFolder(dataDir).logKeys, { recursive: true })
  const copy = join(folder, 'copy.zip')
  const unsigned = await here('evidence', '--from', '-1h', '--to', '2100-01-01', '-o', copy)
  assert.equal(unsigned.code, 0)
  assert.match(unsigned.stderr, /the selection is not signed, as the private key of the log is not here/)
  assert.deepEqual([reportOf(copy, key).problems, reportOf(copy, key).selection], [[], 'unsigned'])
  const lacking = await runHere(['verify', copy, '--key', key])
  assert.deepEqual([lacking.code, lacking.stdout.split(':')[0]], [25, 'UNSIGNED_SELECTION'])

  const again = await here('evidence', '--from', '-1h', '--to', 'now', '-o', stopped)
  assert.deepEqual([again.code, again.stdout], [2, ''])
  assert.match(again.stderr, /is there already/)
})

test('evidence: options that make no sense, and a folder without events, are refused and leave no file', async t => {
  const folder = temporaryFolder(t)
  const output = join(folder, 'pack.zip')
  const cases: [string[], RegExp][] = [
    [['--from', '-1h', '--to', 'now'], /required option '-o, --output <file>'/],
    [['--to', 'now', '-o', output], /required option '--from <time>'/],
    [['--from', 'soon', '--to', 'now', '-o', output], /It is a time/],
    [['--from', 'now', '--to', '-1h', '-o', output], /--to must not lie before --from/],
    [['--from', '-1h', '--to', 'now', '--incident', '0', '-o', output], /It is a whole number/],
    [['--from', '-1h', '--to', 'now', '-o', output], /holds no audit events yet/],
  ]
  for (const [args, expected] of cases) {
    const { code, stderr } = await runHere(['evidence', ...args, '--data-dir', join(folder, 'data')])
    assert.equal(code, 2, args.join(' '))
    assert.match(stderr, expected)
  }
  assert.ok(!existsSync(output))
})
