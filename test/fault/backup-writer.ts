/** Writes, indexes, checkpoints and trims without a pause; prints how far the journal is durable. Ends when killed. */
import { join } from 'node:path'
import { formatEntry } from '../../src/event/codec.ts'
import { createIndexer } from '../../src/indexer/indexer.ts'
import { openJournal } from '../../src/journal/segment-journal.ts'
import { openJournalReader } from '../../src/journal/segment-reader.ts'
import { dataFolder } from '../../src/service/data-folder.ts'
import { createSqliteEventStore } from '../../src/store/sqlite-event-store.ts'
import { sampleEvent } from '../contract/event-store.ts'

const folder = dataFolder(process.argv[2] ?? '')
const directory = join(folder.path, 'journal')
const journal = await openJournal({ directory, ackTimeoutMs: 30_000, segmentBytesMax: Number(process.argv[3]) })
const store = createSqliteEventStore({ path: folder.auditDatabase })
const indexer = createIndexer({
  journalId: journal.id,
  openReader: after => openJournalReader({ directory, after }),
  store,
})
for (let n = 0; ; ) {
  let last = 0
  for (let more = 0; more < 500; more++) last = journal.append(formatEntry(sampleEvent(n++)))
  await journal.acknowledged(last)
  process.stdout.write(`${journal.status().durableSequence}\n`)
  await indexer.step(journal.status().durableSequence)
  await store.checkpoint()
  await journal.trim(indexer.progress().indexedSequence ?? 0)
}
