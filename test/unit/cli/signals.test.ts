import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import test from 'node:test'

const SIGNALS = JSON.stringify(new URL('../../../src/cli/signals.ts', import.meta.url).href)

/** In a process of its own, as what is tested may end it; `later` is a while after the first signal. */
function afterSignals(later: number, ...signals: NodeJS.Signals[]) {
  const program = `
    import { stopRequest } from ${SIGNALS}
    const stop = stopRequest(() => console.log('last words'))
    let now = 0
    performance.now = () => now
    for (const signal of ${JSON.stringify(signals)}) {
      process.emit(signal)
      now = ${later}
    }
    console.log('goes on, asked to stop:', stop.signal.aborted)`
  const { status, stdout } = spawnSync(process.execPath, ['--input-type=module', '-e', program], { encoding: 'utf8' })
  return { status, stdout }
}

test('signals: the first asks to stop, and what npm passes on right after it changes nothing', () => {
  const asked = { status: 0, stdout: 'goes on, asked to stop: true\n' }
  assert.deepEqual(afterSignals(5), { status: 0, stdout: 'goes on, asked to stop: false\n' })
  assert.deepEqual(afterSignals(5, 'SIGINT'), asked)
  assert.deepEqual(afterSignals(5, 'SIGINT', 'SIGINT'), asked)
  assert.deepEqual(afterSignals(5, 'SIGTERM', 'SIGINT', 'SIGTERM'), asked)
})

test('signals: another one, later, ends the process at once with 1, its last words said', () => {
  assert.deepEqual(afterSignals(1_000, 'SIGINT', 'SIGINT'), { status: 1, stdout: 'last words\n' })
  assert.deepEqual(afterSignals(1_000, 'SIGINT', 'SIGTERM'), { status: 1, stdout: 'last words\n' })
})
