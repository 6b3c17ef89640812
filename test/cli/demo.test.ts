import assert from 'node:assert/strict'
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'
import { run, runHere, start, temporaryFolder } from './command-line.ts'

test('demo: runs for the seconds given, says it is a simulation, shows every scene and ends with a summary', async t => {
  const temporary = temporaryFolder(t)
  const { code, stdout, stderr } = await run(t, ['demo', '--seconds', '5', '--charge-points', '40'], {
    TMPDIR: temporary,
  })
  assert.equal(code, 0, stderr)
  assert.match(stdout, /SIMULATION/)
  assert.match(stdout, /\/docs$/m)
  assert.match(stdout, /npx ev-central --data-dir \S+ monitor/)
  assert.match(stdout, /curl -H 'X-Admin-Key: evca_[0-9a-f]{64}'/)
  assert.match(stdout, /40 charge points are registered/)
  assert.match(stdout, /answers 401 401 401 401 401 429/)
  assert.match(stdout, /itself still logs in from its own address -> 200/)
  assert.match(stdout, /one bit of a message of SIM-\d+ was changed -> 400 TAMPERING_DETECTED/)
  assert.match(stdout, /guessed admin key -> 401/)
  const end = stdout.slice(stdout.indexOf('End of the simulation'))
  assert.match(end, /^AUTH_SUCCESS +\d+$/m)
  const sum = [...end.matchAll(/^[A-Z_]+ .*\d\.\d\S* +(\d+)$/gm)].reduce((total, [, count]) => total + Number(count), 0)
  assert.match(end, new RegExp(`^INCIDENT +${sum}$`, 'm'), 'the episodes have all the incidents')
  assert.match(end, /^The incidents belong to 3 episodes/m)
  for (const incident of ['BRUTE_FORCE_SUSPECTED', 'TAMPERING_DETECTED', 'UNAUTHORIZED_ADMIN_ACCESS']) {
    assert.equal(end.split(incident).length, 2, `one episode of ${incident}`)
  }
  assert.deepEqual(readdirSync(temporary), [], 'the temporary data folder is gone')
})

test('demo: the same seed tells the same story', async t => {
  const story = async (seed: string) => {
    const { stdout } = await run(t, ['demo', '--seconds', '1', '--charge-points', '9', '--seed', seed])
    return stdout.match(/(?<=^\d\d:\d\d:\d\d).*$/gm) ?? []
  }
  const [first, second] = await Promise.all([story('7'), story('7')])
  assert.ok(first.length > 5)
  assert.deepEqual(first, second)
})

test('demo: keeps to an empty data folder, and Ctrl-C ends it with a summary and 0', async t => {
  const folder = temporaryFolder(t)
  const used = join(folder, 'used')
  mkdirSync(used)
  writeFileSync(join(used, 'something'), '')
  const refused = await runHere(['demo', '--data-dir', used])
  assert.equal(refused.code, 2)
  assert.match(refused.stderr, /not empty/)

  const dataDir = join(folder, 'data')
  const demo = start(t, ['demo', '--charge-points', '3', '--data-dir', dataDir])
  await demo.printed(/have logged in/)
  const { code, stdout } = await demo.stop('SIGINT')
  assert.equal(code, 0)
  assert.match(stdout, /End of the simulation: \d+ audit events/)
  const monitor = await runHere(['query', '--action', 'AUTH_SUCCESS', '--json', '--data-dir', dataDir])
  assert.ok(monitor.stdout.trim().split('\n').length >= 3, 'a folder that was named is kept')
})
