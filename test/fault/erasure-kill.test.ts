/** Erasure, killed at random instants: no row is blank without its tombstone, and asked again it comes to its end. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { checkAll } from '../../src/service/check-all.ts'
import { dataFolder } from '../../src/service/data-folder.ts'
import { temporaryFolder } from '../cli/command-line.ts'
import { filesHolding } from '../harness/byte-scan.ts'
import { auditRows } from '../harness/rows.ts'
import { send, startServiceProcess } from '../harness/service-process.ts'
import { createRandom } from '../unit/query/event-fixture.ts'
import { ADDRESS, EVENTS, HELD, NAME } from './erasure-subject.ts'

const ROUNDS = 2

test('erasure: killed at random instants it happened or did not, and done again it leaves nothing', async t => {
  const base = temporaryFolder(t)
  const written = join(base, 'written')
  await childOf('write', written)
  assert.ok(filesHolding(written, NAME).length >= 3, 'write-ahead logs and journal')
  const random = createRandom(4711)
  let between = 0
  let kills = 0
  for (let round = 0; round < ROUNDS; round++) {
    const data = join(base, `round-${round}`)
    cpSync(written, data, { recursive: true })
    // A machine that is busy takes longer: it gets more time at each attempt.
    for (let isDone = false, longestMs = 600; !isDone; longestMs *= 1.5) {
      // Every other one just after the rows are erased, which a random instant seldom meets.
      isDone =
        kills % 2 === 0
          ? await childOf('erase', data, random() * longestMs)
          : await killedOnceErased(data, random() * 60)
      if (!isDone) kills++
      const tombstones = auditRows(data, "reason_code = 'ERASED'")
      const holders = auditRows(data).filter(row => JSON.stringify(row).includes(NAME))
      assert.ok(tombstones.length <= 1)
      const counts = tombstones.map(({ metadata_json }) => JSON.parse(metadata_json ?? '').count)
      assert.deepEqual(counts, tombstones.length === 0 ? [] : [HELD])
      if (tombstones.length === 1) assert.deepEqual(holders, [])
      else assert.ok(holders.length >= EVENTS / 10, 'all of them are there')
      assert.equal(auditRows(data, "who = '' AND description = ''").length, tombstones.length * HELD)
      const { problems } = checkAll({ folder: dataFolder(data) })
      assert.deepEqual(problems, [])
      if (tombstones.length === 1 && filesHolding(data, NAME, ADDRESS).length > 0) between++
    }
    assert.deepEqual(filesHolding(data, NAME, ADDRESS), [])
  }
  t.diagnostic(`${kills} kills, ${between} of them between the rows and the end`)
  assert.ok(kills >= ROUNDS, `${kills}`)
})

test('erasure: one that was cut short is finished by the service that starts next', async t => {
  const base = temporaryFolder(t)
  const data = join(base, 'data')
  await childOf('write', data)
  for (let isBetween = false; !isBetween; ) {
    const copy = join(base, 'copy')
    cpSync(data, copy, { recursive: true, force: true })
    await killedOnceErased(copy, 0)
    if (filesHolding(copy, NAME).length > 0) {
      const service = await startServiceProcess(copy)
      t.after(() => service.kill('SIGKILL'))
      for (const until = Date.now() + 30_000; filesHolding(copy, NAME, ADDRESS).length > 0; await sleep(100)) {
        assert.ok(Date.now() < until, filesHolding(copy, NAME, ADDRESS).join())
      }
      const answer = await send(service.url, 'POST', '/audit/erasures', { who: NAME, reason: 'again' })
      assert.deepEqual([answer.status, answer.body.erased], [200, 0])
      await service.kill('SIGTERM')
      assert.deepEqual(filesHolding(copy, NAME, ADDRESS), [])
      isBetween = true
    }
  }
})

/** Kills the erasure when its tombstone is there. @returns whether it ended before it was killed */
async function killedOnceErased(data: string, afterMs: number): Promise<boolean> {
  const child = start('erase', data)
  const exit = once(child, 'exit')
  for (let isOver = false; !isOver; ) {
    isOver = child.exitCode !== null || auditRows(data, "reason_code = 'ERASED'").length > 0
    await sleep(1)
  }
  await Promise.race([sleep(afterMs), exit])
  child.kill('SIGKILL')
  const [code] = await exit
  return code === 0
}

function start(what: 'write' | 'erase', data: string) {
  return spawn(process.execPath, [join(import.meta.dirname, 'erasure-child.ts'), what, data], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
}

/** @returns whether it ended before it was killed */
async function childOf(what: 'write' | 'erase', data: string, killAfterMs?: number): Promise<boolean> {
  const child = start(what, data)
  const exit = once(child, 'exit')
  if (killAfterMs !== undefined) {
    await Promise.race([once(child.stdout, 'data'), exit])
    await Promise.race([sleep(killAfterMs), exit])
    child.kill('SIGKILL')
  }
  const [code] = await exit
  return code === 0
}
