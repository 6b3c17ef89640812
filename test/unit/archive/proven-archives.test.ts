/** Packs of a trail of which some has left: the same as while all of it was in the database. */
import assert from 'node:assert/strict'
import { readFileSync, renameSync } from 'node:fs'
import { join } from 'node:path'
import test, { type TestContext } from 'node:test'
import { unzipSync } from 'fflate'
import { archiveSegments } from '../../../src/archive/archive.ts'
import { liftHold, placeHold } from '../../../src/archive/holds.ts'
import { withArchives } from '../../../src/archive/proven-archives.ts'
import { readRetention } from '../../../src/archive/sqlite-trail.ts'
import { parseVerifierKey } from '../../../src/evidence/note.ts'
import type { PackSelection } from '../../../src/evidence/pack.ts'
import { verifyPack } from '../../../src/evidence/verify-pack.ts'
import { writePack } from '../../../src/pack/write-pack.ts'
import { startReader } from '../../../src/query/reader-host.ts'
import { listArchives } from '../../../src/store/retention.ts'
import { sampleEvent } from '../../contract/event-store.ts'
import { pathsOf } from '../../harness/old-trail.ts'
import { createSignedLog } from '../../harness/signed-log.ts'

const EVENTS = 5_500
const GONE = 'CP-gone'
const isSubject = (n: number) => n % 500 === 7
const at = (n: number) => sampleEvent(n).date_time

/** Segments 1, 2 and 4 have left; 3 is held. Something was erased before and after. */
async function partlyArchived(t: TestContext) {
  const log = createSignedLog()
  t.after(() => log.remove())
  const incident = {
    action: 'INCIDENT',
    severity: 'CRITICAL',
    who: 'CP-3',
    metadata_json: '{"scope":"cp_id"}',
  } as const
  await log.append(EVENTS, n => sampleEvent(n, n === 900 ? incident : isSubject(n) ? { who: GONE } : {}))
  log.sign()
  await log.erase(GONE)
  await log.append(300, n => sampleEvent(n))
  const checkpoint = log.sign()
  const reader = startReader({ store: { kind: 'sqlite', path: log.database } })
  t.after(() => reader.close())
  const keys = readFileSync(join(log.root, 'keys'), 'utf8')
  async function packOf(selection: Partial<PackSelection>) {
    using queries = await withArchives(reader, async () => readRetention(log.database, listArchives))
    const asked = { start_time: at(0), end_time: '2036-01-01T00:00:00.000Z', cp_id: null, incident: null, ...selection }
    const { zip } = await writePack({ queries, checkpoint, keys, signManifest: async () => undefined }, asked)
    const files = new Map(Object.entries(unzipSync(Buffer.concat([...zip]))))
    const steps = verifyPack(files, [parseVerifierKey(log.key)!])
    for (let step = steps.next(); ; step = steps.next()) if (step.done === true) return { report: step.value, files }
  }
  async function archive(): Promise<void> {
    const hold = await placeHold(log.database, { start_time: at(2_100), end_time: at(2_200), reason: 'case' }, 'test')
    await archiveSegments({ ...pathsOf(log.path), beforeMs: Date.parse(at(4_097)), actor: 'test' })
    await liftHold(log.database, hold.id, 'test')
    assert.deepEqual(
      readRetention(log.database, listArchives).map(({ first_id }) => first_id),
      [1, 1_025, 3_073],
    )
  }
  return { log, archive, packOf }
}

test('packs: what has left is in them, with its proofs, to the byte as it was before', async t => {
  const { archive, packOf } = await partlyArchived(t)
  const selections: Partial<PackSelection>[] = [
    {},
    { start_time: at(1_000), end_time: at(3_500) },
    { cp_id: 'CP-2' },
    { incident: 900 },
    { start_time: at(1), end_time: at(2) },
  ]
  const before = await Promise.all(selections.map(packOf))
  await archive()
  for (const [n, selection] of selections.entries()) {
    const { report, files } = await packOf(selection)
    assert.deepEqual(report.problems, [])
    assert.ok(report.events.length > 0 && report.events.every(({ isProven }) => isProven))
    for (const name of ['events.ndjson', 'proofs.ndjson', 'checkpoint', 'keys']) {
      assert.deepEqual(files.get(name), before[n]?.files.get(name), `${JSON.stringify(selection)} ${name}`)
    }
  }
})

test('packs: an archive that is moved away is named; one that was changed is refused', async t => {
  const { log, archive, packOf } = await partlyArchived(t)
  await archive()
  const [first] = readRetention(log.database, listArchives)
  renameSync(first!.file, `${first!.file}.away`)
  const reader = startReader({ store: { kind: 'sqlite', path: log.database } })
  t.after(() => reader.close())
  using queries = await withArchives(reader, async () => readRetention(log.database, listArchives))
  let known: ReturnType<typeof listArchives> = []
  using before = await withArchives(reader, async () => known)
  known = readRetention(log.database, listArchives)
  assert.deepEqual(await before.missing({}), [1, 2, 3], 'what has left since')
  assert.deepEqual(await queries.missing({ start_time: at(5), end_time: at(6) }), [1])
  assert.deepEqual(await queries.missing({ start_time: at(2_000) }), [])
  const { report } = await packOf({})
  assert.deepEqual(
    [report.problems, report.events[0]?.row.id, report.manifest?.archives_missing],
    [[], 1_025, [1]],
    'and the pack says so',
  )
  renameSync(first!.file.replace('ndjson.gz', 'salts'), first!.file)
  await assert.rejects(packOf({}), { name: 'Refusal', code: 'ARCHIVE_INVALID' })
})
