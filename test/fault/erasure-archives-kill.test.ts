/** Erasure in archives, killed at random instants: the next run goes on, until nothing shows the subject and all of it verifies. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { archiveSegments } from '../../src/archive/archive.ts'
import { readRetention } from '../../src/archive/sqlite-trail.ts'
import { verifyArchives } from '../../src/archive/verify.ts'
import { dataFolder } from '../../src/service/data-folder.ts'
import { listArchives } from '../../src/store/retention.ts'
import { verifyPath } from '../../src/verify/sources/verify-path.ts'
import { temporaryFolder } from '../cli/command-line.ts'
import { sampleEvent } from '../contract/event-store.ts'
import { filesHolding } from '../harness/byte-scan.ts'
import { pathsOf } from '../harness/old-trail.ts'
import { auditRows } from '../harness/rows.ts'
import { createSignedLog } from '../harness/signed-log.ts'
import { createRandom } from '../unit/query/event-fixture.ts'
import { NAME } from './erasure-subject.ts'

const ROUNDS = 2
const EVENTS = 6_000
const HELD = EVENTS / 10

test('erasure in archives: killed at random instants, the next one goes on, and what is left verifies', async t => {
  const base = temporaryFolder(t)
  const data = join(base, 'data')
  const log = createSignedLog(data)
  await log.append(EVENTS, n => sampleEvent(n, n % 10 === 3 ? { who: NAME } : {}))
  log.sign()
  const options = { ...pathsOf(data), beforeMs: Date.UTC(2036, 0, 1), actor: 'test' }
  assert.equal((await archiveSegments(options)).archived.length, 5)
  log.sign()
  const { journalDirectory } = dataFolder(data)
  mkdirSync(journalDirectory)
  writeFileSync(join(journalDirectory, '000000000001.journal.damaged'), `torn [1,null,"2026-01-01T00:00:00Z","${NAME}"`)
  const written = join(base, 'written')
  cpSync(data, written, { recursive: true })
  const random = createRandom(4711)
  const kills = { before: 0, between: 0 }
  for (let round = 0; round < ROUNDS; round++) {
    rmSync(data, { recursive: true }) // the archives on record are at this place
    cpSync(written, data, { recursive: true })
    for (let isDone = false, longestMs = 400; !isDone; longestMs *= 1.3) {
      const isLate = (kills.before + kills.between) % 2 === 1
      isDone = isLate
        ? await eraseOrDie(data, random() * 25, true)
        : await eraseOrDie(data, random() * longestMs, false)
      const tombstones = auditRows(data, "reason_code = 'ERASED'")
      assert.deepEqual(
        tombstones.map(({ metadata_json }) => JSON.parse(metadata_json ?? '').count),
        tombstones.length === 0 ? [] : [HELD],
      )
      if (!isDone) kills[tombstones.length === 0 ? 'before' : 'between']++
    }
    assert.deepEqual(filesHolding(data, NAME), [])
    const archive = join(data, 'archive')
    const { sound, problems } = await verifyArchives(
      archive,
      readRetention(dataFolder(data).auditDatabase, listArchives),
    )
    assert.deepEqual([sound.length, problems], [5, []])
    const apart = join(base, `apart-${round}`)
    cpSync(archive, apart, { recursive: true })
    for (const path of [data, archive, apart]) {
      const report = await verifyPath(path, { key: log.key }, { workers: 0 })
      assert.equal(report.verdict, 'PRISTINE', `${path}: ${report.sentence}`)
    }
  }
  t.diagnostic(`${kills.before} kills before the tombstone, ${kills.between} behind it`)
  assert.ok(kills.between >= ROUNDS, 'some of them where files are replaced')
})

/** @param isLate counts the time from when the tombstone is there. @returns whether it ended before it was killed */
async function eraseOrDie(data: string, afterMs: number, isLate: boolean): Promise<boolean> {
  const child = spawn(process.execPath, [join(import.meta.dirname, 'erasure-child.ts'), 'erase', data], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const exit = once(child, 'exit')
  await Promise.race([once(child.stdout, 'data'), exit])
  const isErased = () => auditRows(data, "reason_code = 'ERASED'").length > 0
  while (isLate && child.exitCode === null && !isErased()) await sleep(1)
  await Promise.race([sleep(afterMs), exit])
  child.kill('SIGKILL')
  const [code] = await exit
  return code === 0
}
