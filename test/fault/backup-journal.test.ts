/** A backup beside a journal that is written, indexed and trimmed as fast as it goes. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { copyFileSync, existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import test, { type TestContext } from 'node:test'
import { formatEntry } from '../../src/event/codec.ts'
import { createIndexer } from '../../src/indexer/indexer.ts'
import { listFolder } from '../../src/journal/segment-folder.ts'
import { openJournal } from '../../src/journal/segment-journal.ts'
import { openJournalReader } from '../../src/journal/segment-reader.ts'
import { backUp } from '../../src/service/backup.ts'
import { holdJournal } from '../../src/service/backup-journal.ts'
import { type DataFolder, dataFolder } from '../../src/service/data-folder.ts'
import { restoreBackup } from '../../src/service/restore.ts'
import { createSqliteEventStore } from '../../src/store/sqlite-event-store.ts'
import { temporaryFolder } from '../cli/command-line.ts'
import { sampleEvent } from '../contract/event-store.ts'
import { auditRows } from '../harness/rows.ts'

test('backup: rows and journal of a copy fit together, however often the journal was trimmed meanwhile', async t => {
  const path = temporaryFolder(t)
  const folder = dataFolder(join(path, 'data'))
  const writer = await startWriter(t, folder, 1024 * 1024)
  for (let round = 0; round < 3; round++) {
    await writer.reached(writer.durable() + 20_000)
    const durableBefore = writer.durable()
    const segmentsBefore = readdirSync(folder.journalDirectory)
    const [directory, to] = [join(path, `backup-${round}`), join(path, `restored-${round}`)]
    const manifest = await backUp({ folder, directory, withSecrets: false })
    assert.ok(manifest.sequence >= durableBefore, 'what was durable before is in it')
    assert.ok(manifest.sequence >= manifest.indexed_sequence)
    await restoreBackup({ directory, to, actor: 'test' })
    await indexAll(dataFolder(to))
    assert.deepEqual(
      auditRows(to).map(({ id, description }) => [id, description]),
      Array.from({ length: manifest.sequence }, (_, index) => [index + 1, `event ${index}`]),
    )
    const isTrimmed = segmentsBefore.some(name => !existsSync(join(folder.journalDirectory, name)))
    t.diagnostic(
      `round ${round}: ${manifest.sequence} events, journal ${isTrimmed ? 'was' : 'was not'} trimmed meanwhile`,
    )
    rmSync(to, { recursive: true })
    rmSync(directory, { recursive: true })
  }
  await writer.stop() // it would go on in the folder that is removed
})

test('backup: a segment that is trimmed after it was seen is copied all the same; one that was never seen is a gap', async t => {
  const path = temporaryFolder(t)
  const source = join(path, 'source')
  const journal = await openJournal({ directory: source, ackTimeoutMs: 30_000, segmentBytesMax: 2048 })
  for (let n = 0; n < 60; n++) await journal.acknowledged(journal.append(formatEntry(sampleEvent(n))))
  await journal.close()
  const names = listFolder(source).segments
  assert.ok(names.length > 4, names.join())

  for (const missed of [undefined, ...names.slice(0, -1)]) {
    const [live, to] = [join(path, 'live'), join(path, 'copy')]
    mkdirSync(live)
    using held = holdJournal(live)
    for (const name of names) {
      if (name === missed) continue
      copyFileSync(join(source, name), join(live, name))
      held.look()
      if (name !== names.at(-1)) rmSync(join(live, name))
    }
    const copied = await held.copy(to, 0)
    if (missed !== undefined) assert.equal(copied, 'gap', missed)
    else assert.deepEqual(copied, { journalId: journal.id, sequence: 60, names })
    rmSync(live, { recursive: true })
    rmSync(to, { recursive: true, force: true })
  }
})

test('backup: when the journal has a gap, it fails and leaves no manifest', async t => {
  const path = temporaryFolder(t)
  const folder = dataFolder(join(path, 'data'))
  const journal = await openJournal({ directory: folder.journalDirectory, ackTimeoutMs: 30_000, segmentBytesMax: 2048 })
  for (let n = 0; n < 60; n++) await journal.acknowledged(journal.append(formatEntry(sampleEvent(n))))
  await journal.close()
  rmSync(join(folder.journalDirectory, readdirSync(folder.journalDirectory).sort()[1] as string))
  const directory = join(path, 'backup')
  await assert.rejects(backUp({ folder, directory, withSecrets: false }), { name: 'Refusal', code: 'BACKUP_FAILED' })
  assert.deepEqual(readdirSync(directory), [])
})

async function startWriter(t: TestContext, folder: DataFolder, segmentBytes: number) {
  const entry = join(import.meta.dirname, 'backup-writer.ts')
  const child: ChildProcess = spawn(process.execPath, [entry, folder.path, String(segmentBytes)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const exit = once(child, 'exit')
  const stop = async () => {
    child.kill('SIGKILL')
    await exit
  }
  t.after(stop)
  let durable = 0
  const lines = createInterface({ input: child.stdout as NodeJS.ReadableStream })
  lines.on('line', line => {
    durable = Number(line)
  })
  return {
    stop,
    durable: () => durable,
    async reached(sequence: number) {
      while (durable < sequence) await once(lines, 'line')
    },
  }
}

/** As a start of the service does. */
async function indexAll(folder: DataFolder): Promise<void> {
  const journal = await openJournal({ directory: folder.journalDirectory, ackTimeoutMs: 30_000 })
  const store = createSqliteEventStore({ path: folder.auditDatabase })
  const indexer = createIndexer({
    journalId: journal.id,
    openReader: after => openJournalReader({ directory: folder.journalDirectory, after }),
    store,
  })
  while ((await indexer.step(journal.status().durableSequence)) > 0);
  assert.deepEqual([indexer.progress().phase, indexer.progress().lastError], ['following', null])
  assert.ok((indexer.progress().indexedSequence ?? 0) <= journal.status().appendedSequence, 'not JOURNAL_BEHIND')
  indexer.stop()
  await store.close()
  await journal.close()
}
