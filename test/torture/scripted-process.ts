/**
 * A process whose system calls are made to fail: `node scripted-process.ts <folder>`. It opens journal, indexer and store in
 * the folder, appends, indexes, checkpoints and trims, over several segments, and prints a line for each event that it would
 * have answered. Ends with 0 when all of it became rows, with 3 when it could not open the journal, with 4 when the disk
 * did not let it end.
 *
 * Everything runs on the main thread and, with UV_THREADPOOL_SIZE=1, one other; so a call has the same number each time.
 */
import { writeSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { formatEntry } from '../../src/event/codec.ts'
import { createIndexer } from '../../src/indexer/indexer.ts'
import { openJournal } from '../../src/journal/segment-journal.ts'
import { openJournalReader } from '../../src/journal/segment-reader.ts'
import { dataFolder } from '../../src/service/data-folder.ts'
import { createSqliteEventStore } from '../../src/store/sqlite-event-store.ts'
import { sampleEvent } from '../contract/event-store.ts'

const ROUNDS = 4
const EVENTS_A_ROUND = 8
const TRIES_MAX = 40

const folder = dataFolder(process.argv[2] as string)
const journal = await openJournal({
  directory: folder.journalDirectory,
  ackTimeoutMs: 2_000,
  segmentBytesMax: 1_500,
}).catch(() => process.exit(3))
const store = createSqliteEventStore({ path: folder.auditDatabase })
const openIndexer = () =>
  createIndexer({
    journalId: journal.id,
    openReader: after => openJournalReader({ directory: folder.journalDirectory, after }),
    store,
  })
let indexer = openIndexer()

const alive = setInterval(() => {}, 1_000) // as a server's socket does; the journal's own timers keep no process
for (let round = 0; round < ROUNDS; round++) {
  for (let n = 0; n < EVENTS_A_ROUND; n++) await record(round * EVENTS_A_ROUND + n)
  await index()
  await store.checkpoint().then(
    () => journal.trim(indexer.progress().indexedSequence ?? 0).catch(() => {}),
    () => {},
  )
}
await journal.close()
const isWhole = await index()
indexer.stop()
await store.close()
clearInterval(alive)
process.exitCode = isWhole ? 0 : 4

async function record(n: number): Promise<void> {
  const sequence = journal.append(formatEntry(sampleEvent(n)))
  if ((await journal.acknowledged(sequence)) === 'durable') writeSync(1, `event ${n}\n`)
}

/** Whether everything durable is rows. */
async function index(): Promise<boolean> {
  for (let tries = 0; tries < TRIES_MAX; tries++) {
    const { durableSequence } = journal.status()
    await indexer.step(durableSequence).catch(() => {
      indexer.stop() // as its thread ends, and is started anew
      indexer = openIndexer()
    })
    const { phase, indexedSequence } = indexer.progress()
    if (phase === 'following' && indexedSequence === durableSequence) return true
    if (phase === 'waiting-for-store') await sleep(5)
  }
  return false
}
