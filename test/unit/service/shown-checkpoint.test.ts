/** Which checkpoint is shown while real witnesses follow, are slow, and are gone. */
import assert from 'node:assert/strict'
import test, { type TestContext } from 'node:test'
import { parseNote } from '../../../src/evidence/note.ts'
import { LIMITS } from '../../../src/limits.ts'
import { createShownCheckpoint } from '../../../src/service/shown-checkpoint.ts'
import { createWitnessClient } from '../../../src/witness/client.ts'
import { createWitnessedLog, numbered } from '../../harness/witnessed-log.ts'
import { eventually } from '../../http/harness.ts'
import { serve, temporaryFolder } from '../witness/witness-under-test.ts'

const signatures = (note: string | undefined) => parseNote(note ?? '')?.signatures.length

/** A log whose witness answers when it is let. */
async function startWitnessed(t: TestContext, kept?: string) {
  const log = createWitnessedLog()
  log.append(...numbered(5))
  const { url, witness } = await serve(t, temporaryFolder(t), [log])
  let gate = Promise.withResolvers<void>()
  const client = createWitnessClient({
    witnesses: [{ url, key: witness.key }],
    quorum: 1,
    readProof: log.proof,
    fetch: async (input, init) => {
      await gate.promise
      return fetch(input, init)
    },
  })
  t.after(() => client.close())
  let newest: string | undefined
  let waitedMs = 0
  const shown = createShownCheckpoint({
    newest: () => newest,
    witnesses: { witnessed: client.witnessed, status: () => ({ ...client.status(), waitingMs: waitedMs }) },
    readKept: () => kept,
  })
  return {
    log,
    client,
    shown,
    sign() {
      newest = log.checkpoint()
      client.submit(newest)
      return newest
    },
    answer: () => gate.resolve(),
    hold() {
      gate = Promise.withResolvers<void>()
      t.after(() => gate.resolve())
    },
    wait(ms: number) {
      waitedMs = ms
    },
  }
}

test('shown checkpoint: what is signed before the first is cosigned, then the newest that is cosigned', async t => {
  const { log, client, shown, sign, answer, hold } = await startWitnessed(t)
  assert.equal(shown(), undefined)
  const first = sign()
  assert.equal(shown(), first, 'nothing is witnessed yet')
  answer()
  await eventually(() => client.status().isSatisfied)
  const witnessed = shown()
  assert.equal(signatures(witnessed), 2)

  hold()
  log.append(...numbered(300, 5))
  sign()
  assert.equal(shown(), witnessed, 'the newest one is waited for')
  answer()
  await eventually(() => client.status().isSatisfied)
  assert.equal(shown(), client.witnessed())
  assert.notEqual(shown(), witnessed)
})

test('shown checkpoint: witnesses that do not answer are waited for so long, and nothing smaller is shown afterwards', async t => {
  const { log, client, shown, sign, answer, hold, wait } = await startWitnessed(t)
  sign()
  answer()
  await eventually(() => client.status().isSatisfied)
  const witnessed = shown()
  hold()
  log.append(...numbered(10, 5))
  const newest = sign()
  wait(LIMITS.witnessedWaitMsMax)
  assert.equal(shown(), witnessed)
  wait(LIMITS.witnessedWaitMsMax + 1)
  assert.equal(shown(), newest)
  wait(0)
  assert.equal(shown(), newest, 'the witnessed one is smaller')
  answer()
  await eventually(() => client.status().isSatisfied)
  assert.equal(signatures(shown()), 2)
})

test('shown checkpoint: after a restart the one that was kept, until the witnesses answer', async t => {
  const before = await startWitnessed(t)
  before.sign()
  before.answer()
  await eventually(() => before.client.status().isSatisfied)
  const kept = before.client.witnessed()
  const { log, client, shown, sign, answer } = await startWitnessed(t, kept)
  log.append(...numbered(10, 5))
  sign()
  assert.equal(shown(), kept)
  answer()
  await eventually(() => client.status().isSatisfied)
  assert.equal(shown(), client.witnessed())
})
