/**
 * Damage to the journal's tail, seen from the rows: cut at every byte of the last three records, every bit of one record
 * flipped, with rows of none, some or all of them. What journal-recovery.test.ts shows of the journal alone has to hold for
 * the trail: the rows are the records that were there, in order; what is missing is declared, or the start is refused; and
 * `checkAll` says the same before the start.
 */
import assert from 'node:assert/strict'
import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type TestContext } from 'node:test'
import { formatEntry } from '../../src/event/codec.ts'
import { createIndexer } from '../../src/indexer/indexer.ts'
import { openJournal } from '../../src/journal/segment-journal.ts'
import { openJournalReader } from '../../src/journal/segment-reader.ts'
import { checkAll } from '../../src/service/check-all.ts'
import { type DataFolder, dataFolder } from '../../src/service/data-folder.ts'
import { createSqliteEventStore } from '../../src/store/sqlite-event-store.ts'
import { temporaryFolder } from '../cli/command-line.ts'
import { sampleEvent } from '../contract/event-store.ts'
import { auditRows } from '../harness/rows.ts'

const RECORDS = 6
const SEGMENT = '000000000001.journal'
const FRAME_HEADER_BYTES = 16
const SEGMENT_HEADER_BYTES = 48
/** Every byte and every bit is checked; one of so many bytes, and those around the ends of records, is started with, too. */
const STARTED_OF = 32

const textOf = (n: number) => formatEntry(sampleEvent(n))

/** Offsets at which the records end; the first, at which they begin. */
const ENDS = [SEGMENT_HEADER_BYTES]
for (let n = 0; n < RECORDS; n++) {
  ENDS.push((ENDS[n] as number) + FRAME_HEADER_BYTES + Buffer.byteLength(textOf(n)))
}

async function makeTrail(t: TestContext, rows: number): Promise<DataFolder> {
  const folder = dataFolder(join(temporaryFolder(t), 'data'))
  const journal = await openJournal({ directory: folder.journalDirectory, ackTimeoutMs: 30_000 })
  for (let n = 0; n < RECORDS; n++) journal.append(textOf(n))
  await journal.close()
  await index(folder, journal.id, rows)
  return folder
}

async function index(folder: DataFolder, journalId: string, through: number): Promise<string | null> {
  const store = createSqliteEventStore({ path: folder.auditDatabase })
  const indexer = createIndexer({
    journalId,
    openReader: after => openJournalReader({ directory: folder.journalDirectory, after }),
    store,
  })
  while ((await indexer.step(through)) > 0);
  const { lastError } = indexer.progress()
  indexer.stop()
  await store.close()
  return lastError
}

function replaceBy(original: DataFolder, folder: DataFolder): void {
  rmSync(folder.path, { recursive: true, force: true })
  cpSync(original.path, folder.path, { recursive: true })
}

/** As the service starts, with one more event; undefined when it would be refused (JOURNAL_BEHIND). */
async function startAfterwards(folder: DataFolder) {
  const journal = await openJournal({ directory: folder.journalDirectory, ackTimeoutMs: 30_000 })
  const { recovered } = journal
  const store = createSqliteEventStore({ path: folder.auditDatabase })
  const position = await store.position(`journal:${journal.id}`)
  await store.close()
  const isBehind = position > journal.status().appendedSequence
  if (!isBehind) {
    await journal.acknowledged(journal.append(textOf(100)))
    assert.equal(await index(folder, journal.id, journal.status().durableSequence), null)
  }
  await journal.close()
  return { recovered, isBehind }
}

const eventsOf = (folder: DataFolder) =>
  auditRows(folder.path).map(row => (row.reason_code === 'LOSS_DECLARED' ? 'lost' : row.description))

const events = (count: number) => Array.from({ length: count }, (_, n) => `event ${n}`)

for (const rows of [0, RECORDS - 2, RECORDS]) {
  test(`trail: the journal cut at every byte of its last three records, ${rows} of ${RECORDS} are rows`, async t => {
    const original = await makeTrail(t, rows)
    const bytes = readFileSync(join(original.journalDirectory, SEGMENT))
    assert.equal(bytes.length, ENDS[RECORDS])
    const folder = dataFolder(join(temporaryFolder(t), 'data'))
    for (let size = bytes.length; size >= (ENDS[RECORDS - 3] as number); size--) {
      writeFileSync(join(original.journalDirectory, SEGMENT), bytes.subarray(0, size))
      const whole = ENDS.findLastIndex(end => end <= size)
      const { problems, counts } = checkAll({ folder: original })
      assert.equal(counts.journal_records, whole)
      assert.equal(problems.length, whole < rows ? 1 : 0, `${size} bytes: ${problems}`)
      if (size % STARTED_OF !== 0 && !ENDS.some(end => Math.abs(end - size) <= 1)) continue
      replaceBy(original, folder)
      const { recovered, isBehind } = await startAfterwards(folder)
      assert.equal(recovered.tornBytes, size - (ENDS[whole] as number))
      assert.equal(isBehind, whole < rows, `${size} bytes`)
      assert.deepEqual(eventsOf(folder), isBehind ? events(rows) : [...events(whole), 'event 100'])
    }
  })
}

for (const rows of [0, RECORDS]) {
  test(`trail: every bit of a record in the journal flipped, ${rows} of ${RECORDS} are rows`, async t => {
    const original = await makeTrail(t, rows)
    const bytes = readFileSync(join(original.journalDirectory, SEGMENT))
    const folder = dataFolder(join(temporaryFolder(t), 'data'))
    const victim = 3
    for (let bit = (ENDS[victim] as number) * 8; bit < (ENDS[victim + 1] as number) * 8; bit++) {
      const flipped = Buffer.from(bytes)
      flipped[bit >> 3] = (flipped[bit >> 3] as number) ^ (1 << (bit & 7))
      writeFileSync(join(original.journalDirectory, SEGMENT), flipped)
      assert.match(
        checkAll({ folder: original }).problems[0] ?? '',
        /cannot be read at byte \d+: record 4; not declared yet$/,
      )
      if (bit % (STARTED_OF * 8) !== 0) continue
      replaceBy(original, folder)
      const { recovered } = await startAfterwards(folder)
      assert.deepEqual(
        recovered.damaged.map(({ firstSequence, lastSequence }) => [firstSequence, lastSequence]),
        [[victim + 1, victim + 1]],
      )
      const all = events(RECORDS)
      if (rows === 0) all[victim] = 'lost'
      assert.deepEqual(eventsOf(folder), [...all, 'event 100'])
      assert.deepEqual(checkAll({ folder }).problems, [])
    }
  })
}
