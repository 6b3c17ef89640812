/** Archiving, killed at random instants: every event is a row or in an archive that left on record, and nothing twice. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { readRetention } from '../../src/archive/sqlite-trail.ts'
import { verifyArchives } from '../../src/archive/verify.ts'
import { checkStore } from '../../src/store/check-store.ts'
import { type ArchiveRecord, findUnexplainedGaps, listArchives } from '../../src/store/retention.ts'
import { temporaryFolder } from '../cli/command-line.ts'
import { archiveFolder, pathsOf, SEGMENT, writeOldTrail } from '../harness/old-trail.ts'
import { auditRows } from '../harness/rows.ts'
import { createRandom } from '../unit/query/event-fixture.ts'

const SEGMENTS = 24

test('archive: killed at random instants, every event is a row or in an archive on record, never neither', async t => {
  const data = join(temporaryFolder(t), 'data')
  const rows = await writeOldTrail(data, SEGMENT * SEGMENTS + 10)
  const random = createRandom(4711)
  const seen = new Map<number, ArchiveRecord>()
  let kills = 0
  for (let isDone = false; !isDone; ) {
    isDone = await archiveOrDie(data, 5 + random() * 120)
    if (!isDone) kills++
    const known = readRetention(pathsOf(data).auditDatabase, listArchives)
    for (const [number, record] of seen) assert.deepEqual(known[number - 1], record, 'what left has left')
    for (const record of known) seen.set(record.number, record)
    const events = auditRows(data, "reason_code = 'ARCHIVED'")
    const ofEvents = events.map(({ metadata_json }) => JSON.parse(metadata_json ?? ''))
    assert.deepEqual(
      ofEvents.map(({ archive, first_id, sha256 }) => [archive, first_id, sha256]),
      known.map(({ number, first_id, sha256 }) => [number, first_id, sha256]),
      'one event for each, and none without',
    )
    assert.deepEqual(readRetention(pathsOf(data).auditDatabase, findUnexplainedGaps), [])
    if (existsSync(archiveFolder(data))) {
      const { sound, problems } = await verifyArchives(archiveFolder(data), known)
      for (const { number } of known)
        assert.ok(
          sound.some(manifest => manifest.number === number),
          `archive ${number}`,
        )
      assert.ok(sound.length <= known.length + 1)
      assert.ok(
        problems.length <= 1 && problems.every(problem => problem.endsWith(' has no manifest')),
        problems.join(),
      )
    }
  }
  t.diagnostic(`${kills} kills before it was done`)
  assert.ok(kills >= 10, `${kills}`)
  assert.equal(seen.size, SEGMENTS)
  assert.deepEqual(checkStore(pathsOf(data).auditDatabase), [])
  assert.deepEqual(
    auditRows(data)
      .slice(0, 10)
      .map(row => ({ ...row })),
    rows.slice(-10),
  )
})

/** @returns whether it ended before it was killed */
async function archiveOrDie(data: string, afterMs: number): Promise<boolean> {
  const child = spawn(process.execPath, [join(import.meta.dirname, 'archive-child.ts'), data], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const exit = once(child, 'exit')
  await Promise.race([once(child.stdout, 'data'), exit])
  await Promise.race([sleep(afterMs), exit])
  child.kill('SIGKILL')
  const [code] = await exit
  return code === 0
}
