import assert from 'node:assert/strict'
import test from 'node:test'
import { run, runHere } from './command-line.ts'

test('bench: runs the benchmarks of the checkout, and an unknown one is a usage error that names those there are', async t => {
  const { code, stderr } = await run(t, ['bench', '--quick', 'nothing'])
  assert.equal(code, 2)
  assert.equal(
    stderr,
    'no such benchmark: nothing; there are event, durable, login, export, evidence, trail, verify, console\n',
  )
  const shared = await run(t, ['bench', '--postgres', 'event'])
  assert.equal(shared.code, 2)
  assert.equal(shared.stderr, 'no such benchmark: event; there are postgres, login, verify\n')
})

test('bench: has its own help', async () => {
  const { code, stdout } = await runHere(['bench', '--help'])
  assert.equal(code, 0)
  assert.match(stdout, /^Usage: ev-central bench \[options\] \[name\.\.\.\]$/m)
  assert.match(stdout, /ev-central bench --quick/)
})
