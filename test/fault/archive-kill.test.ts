/** Archiving, killed at random instants: every event is a row or in an archive that left on record, and nothing twice. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { readRetention } from '../../src/archive/sqlite-trail.ts'
import { readKnownArchives } from '../../src/archive/trail.ts'
import { verifyArchives } from '../../src/archive/verify.ts'
import { checkStore } from '../../src/store/check-store.ts'
import { type ArchiveRecord, findUnexplainedGaps, listArchives } from '../../src/store/retention.ts'
import { verifyPath } from '../../src/verify/index.ts'
import { temporaryFolder } from '../cli/command-line.ts'
import { archiveFolder, pathsOf, SEGMENT, writeOldTrail } from '../harness/old-trail.ts'
import { postgresServer } from '../harness/postgres.ts'
import { auditRows, eventually } from '../harness/rows.ts'
import { createSignedPostgres } from '../harness/signed-postgres.ts'
import { createRandom } from '../unit/query/event-fixture.ts'

const server = postgresServer()
const SEGMENTS = 7

test('archive: killed at random instants, every event is a row or in an archive on record, never neither', async t => {
  const data = join(temporaryFolder(t), 'data')
  const rows = await writeOldTrail(data, SEGMENT * SEGMENTS + 10)
  const random = createRandom(4711)
  const seen = new Map<number, ArchiveRecord>()
  let kills = 0
  for (let isDone = false; !isDone; ) {
    isDone = await archiveOrDie(data, 10 + random() * 170)
    if (!isDone) kills++
    const known = readRetention(pathsOf(data).store.path, listArchives)
    for (const [number, record] of seen) assert.deepEqual(known[number - 1], record, 'what left has left')
    for (const record of known) seen.set(record.number, record)
    const events = auditRows(data, "reason_code = 'ARCHIVED'")
    const ofEvents = events.map(({ metadata_json }) => JSON.parse(metadata_json ?? ''))
    assert.deepEqual(
      ofEvents.map(({ archive, first_id, sha256 }) => [archive, first_id, sha256]),
      known.map(({ number, first_id, sha256 }) => [number, first_id, sha256]),
      'one event for each, and none without',
    )
    assert.deepEqual(readRetention(pathsOf(data).store.path, findUnexplainedGaps), [])
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
  assert.ok(kills >= 3, `${kills}`)
  assert.equal(seen.size, SEGMENTS)
  assert.deepEqual(checkStore(pathsOf(data).store.path), [])
  assert.deepEqual(
    auditRows(data)
      .slice(0, 10)
      .map(row => ({ ...row })),
    rows.slice(-10),
  )
})

/** @returns whether it ended before it was killed */
const archiveOrDie = (data: string, afterMs: number) => killedWhen([data], () => sleep(afterMs))

async function killedWhen(args: readonly string[], until: () => Promise<unknown>): Promise<boolean> {
  const child = spawn(process.execPath, [join(import.meta.dirname, 'archive-child.ts'), ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const exit = once(child, 'exit')
  await Promise.race([once(child.stdout, 'data'), exit])
  await Promise.race([until(), exit])
  child.kill('SIGKILL')
  const [code] = await exit
  return code === 0
}

const PARTITION = 1_024
const PARTITIONS = 6

test('archive on PostgreSQL: killed at any step, every event is a row or in an archive on record, never neither', async t => {
  await using log = await createSignedPostgres(server, 1)
  await log.append(0) // makes the tables
  await log.run(`UPDATE event_layout SET partition_ids = ${PARTITION}`)
  await log.append(PARTITION * PARTITIONS + 10)
  await log.sign()
  const directory = join(temporaryFolder(t), 'archive')
  const random = createRandom(4711)
  const left = async () => Number((await log.run('SELECT count(*) AS n FROM event_archives'))[0]?.n)
  const count = (name: string) =>
    existsSync(directory) ? readdirSync(directory).filter(file => file.endsWith(name)).length : 0
  /** As soon as the next archive is at this step, the last of them: it is finished, and its partition there. */
  const steps = ['.ndjson.gz.draft', '.salts', '.manifest.json'].map(name => async () => {
    const before = count(name)
    while (count(name) === before) await sleep(1)
  })
  let [kills, between] = [0, 0]
  for (let n = 0, isDone = false; !isDone; n++) {
    const until =
      n < steps.length ? steps[n]! : n === steps.length ? () => sleep(random() * 300) : () => new Promise(() => {})
    isDone = await killedWhen([log.url, directory], until)
    if (!isDone) kills++
    await eventually(
      () => log.run(SESSIONS),
      sessions => sessions.length === 0,
    )
    const known = await readKnownArchives({ kind: 'postgres', url: log.url })
    const [state] = await log.run(`SELECT (SELECT size::int FROM log_head) AS size, count(*)::int AS rows,
      count(*) FILTER (WHERE reason_code = 'ARCHIVED')::int AS told FROM audit_events`)
    assert.deepEqual(state, {
      size: PARTITION * PARTITIONS + 10 + known.length,
      rows: PARTITION * (PARTITIONS - known.length) + 10 + known.length,
      told: known.length,
    })
    const { sound, problems } = await verifyArchives(directory, known)
    assert.deepEqual(
      problems.filter(problem => !problem.endsWith(' has no manifest')),
      [],
    )
    assert.ok(sound.length - known.length <= 1, 'at most the one that was about to leave')
    if (sound.length > known.length) between++
  }
  t.diagnostic(`${kills} kills, ${between} between a finished archive and its drop`)
  assert.ok(kills > 1, `${kills}`)
  assert.equal(await left(), PARTITIONS)
  await log.sign()
  const report = await verifyPath(log.url, { key: log.key() }, { workers: 0 })
  assert.deepEqual([report.verdict, report.archived], ['PRISTINE', PARTITION * PARTITIONS], report.sentence)
})

/** The server notices that a client is gone when it has done what that had asked for. */
const SESSIONS = `SELECT FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
  AND backend_type = 'client backend' AND (application_name = 'ev-central archive' OR state <> 'idle')`
