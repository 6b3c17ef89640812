/** `npm start` and `npx` as a supervisor or a terminal runs them: npm, a shell and the server are three processes to stop. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import test, { type TestContext } from 'node:test'
import { runHere, temporaryFolder } from './command-line.ts'

const CHECKOUT = join(import.meta.dirname, '..', '..')

interface NpmStart {
  readonly npm: ChildProcess
  readonly url: string
  readonly output: () => string
  readonly closed: Promise<unknown>
}

async function npmStart(t: TestContext, dataDir: string, command = ['npm', 'start']): Promise<NpmStart> {
  const environment = { PATH: process.env.PATH, HOME: dataDir, EVC_PORT: '0', EVC_DATA_DIR: dataDir }
  // A process group of its own, as under a terminal, so that nothing of it can outlive the test.
  const [program = '', ...args] = command
  const npm = spawn(program, args, {
    cwd: CHECKOUT,
    env: environment,
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  t.after(() => signalGroup(npm, 'SIGKILL'))
  let output = ''
  const keep = (text: string) => {
    output += text
  }
  npm.stdout.setEncoding('utf8').on('data', keep)
  npm.stderr.setEncoding('utf8').on('data', keep)
  // The pipes are closed when the last process that holds them is gone, an orphan too.
  const closed = once(npm, 'close')
  while (!/^Ctrl-C stops it/m.test(output)) {
    assert.equal(npm.exitCode ?? npm.signalCode, null, output)
    await once(npm.stdout, 'data')
  }
  return { npm, url: /address\s+(\S+)/.exec(output)?.[1] ?? '', output: () => output, closed }
}

function signalGroup({ pid }: ChildProcess, signal: NodeJS.Signals): void {
  try {
    process.kill(-(pid as number), signal)
  } catch {
    // all of it is gone
  }
}

async function assertStoppedCleanly({ url, output, closed }: NpmStart, dataDir: string): Promise<void> {
  await closed
  assert.ok(output().includes('"stopped"'), output())
  await assert.rejects(fetch(`${url}/health`), 'nothing serves any more')
  const { stdout } = await runHere(['query', '--action', 'SYSTEM', '--json', '--data-dir', dataDir])
  assert.match(stdout.split('\n')[0] ?? '', /"reason_code":"STOPPED"/)
}

test('npm start: SIGTERM to npm, as of a supervisor, stops the server cleanly and npm waits for it', async t => {
  const dataDir = temporaryFolder(t)
  const running = await npmStart(t, dataDir)
  running.npm.kill('SIGTERM')
  await once(running.npm, 'exit')
  assert.ok(
    running.output().includes('"stopped"'),
    'npm outlives the server, so that a container does not end too early',
  )
  await assertStoppedCleanly(running, dataDir)
})

test('npm start: Ctrl-C, which reaches npm and the server both, is one request to stop', async t => {
  const dataDir = temporaryFolder(t)
  const running = await npmStart(t, dataDir)
  signalGroup(running.npm, 'SIGINT')
  await assertStoppedCleanly(running, dataDir)
})

test('npx ev-central serve: SIGTERM to npx, whose shell hands nothing on, stops the server cleanly', async t => {
  const dataDir = temporaryFolder(t)
  const running = await npmStart(t, dataDir, ['npx', '--offline', 'ev-central', 'serve'])
  running.npm.kill('SIGTERM')
  await assertStoppedCleanly(running, dataDir)
})
