/** The security state and its outbox when the process is killed at every step. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import { openSecurity, outcome, temporaryFolder } from '../unit/security/security-under-test.ts'

const CHILD = fileURLToPath(new URL('security-child.ts', import.meta.url))

interface Aftermath {
  /** Whole lines that the child printed before it died. */
  readonly answers: string[]
  readonly security: Awaited<ReturnType<typeof openSecurity>>
  /** uuids of events: in the dead process' journal, and those delivered at the start after it. */
  readonly before: string[]
  readonly after: string[]
}

/** Runs the child until it is dead, then starts over its folder. */
async function killAt(t: TestContext, point: string, killAfterAnswers = Number.POSITIVE_INFINITY): Promise<Aftermath> {
  const folder = temporaryFolder(t)
  const child = spawn(process.execPath, [CHILD, folder, point], { stdio: ['ignore', 'pipe', 'inherit'] })
  let printed = ''
  child.stdout.setEncoding('utf8').on('data', text => {
    printed += text
    if (printed.split('\n').length > killAfterAnswers) child.kill('SIGKILL')
  })
  const signal = await new Promise(resolve => child.on('close', (_code, by) => resolve(by)))
  assert.equal(signal, 'SIGKILL')
  const security = await openSecurity(t, { path: join(folder, 'security.db') })
  return {
    answers: printed.split('\n').slice(0, -1),
    security,
    before: readFileSync(join(folder, 'journal'), 'utf8').split('\n').slice(0, -1),
    after: security.journal.entries.map(entry => entry.outboxId ?? ''),
  }
}

test('security: killed before the commit, neither the change nor its event is there', async t => {
  const { security, before, after } = await killAt(t, 'before the commit')
  assert.equal(await outcome(security.chargePoints.status('CP-0')), 'CP_NOT_FOUND')
  assert.deepEqual([before, after], [[], []])
})

test('security: killed between commit and delivery, the next start delivers the event', async t => {
  const { security, before, after } = await killAt(t, 'before the delivery')
  assert.equal(await outcome(security.chargePoints.status('CP-0')), 'ok')
  assert.equal(before.length, 0)
  assert.equal(after.length, 1)
  assert.deepEqual(security.trail(), ['SYSTEM CP_REGISTERED'])
})

test('security: killed between delivery and deletion, the events come again under the same uuids', async t => {
  const { before, after } = await killAt(t, 'before the deletion')
  assert.equal(new Set(before).size, 2)
  assert.deepEqual(after, before)
})

test('security: killed after the deletion, nothing comes again', async t => {
  const { before, after, security } = await killAt(t, 'after the deletion')
  assert.equal(before.length, 2)
  assert.deepEqual(after, [])
  assert.equal(await outcome(security.keys.current('CP-0')), 'ok')
})

test('security: killed under load, every answered change has its event and no accepted message is accepted again', async t => {
  for (const answered of [1, 20, 60]) {
    const { answers, before, after, security } = await killAt(t, 'load', answered)
    assert.ok(answers.length >= answered)
    assert.equal(new Set(before).size, before.length, 'one process delivers each event once')
    const events = new Set([...before, ...after]).size
    const page = await security.chargePoints.statuses({ limit: 1000 })
    const changes = page.charge_points.length + page.charge_points.filter(({ has_key }) => has_key).length
    assert.equal(events, changes, 'an event for each change, a change for each event')
    for (const answer of answers) {
      const [cpId = '', payload = ''] = answer.split(' ')
      assert.equal(await outcome(security.messages.accept(cpId, payload)), 'TAMPERING_DETECTED')
    }
    await security.close()
  }
})
