/**
 * A process that indexes a journal nobody is writing: `node indexer-process.ts <folder> <durable sequence>`.
 * Prints `indexed <sequence>` as it goes, `error <lastError>` whenever that changes, and `done` once everything is indexed; then it stops
 * and exits.
 */
import { join } from 'node:path'
import { startIndexer } from '../../src/indexer/indexer-host.ts'
import { listFolder, readSegmentHeader } from '../../src/journal/segment-folder.ts'

const [directory = '', durable = '0'] = process.argv.slice(2)
const journalDirectory = join(directory, 'journal')
const [segment = ''] = listFolder(journalDirectory).segments
const header = readSegmentHeader(join(journalDirectory, segment))
if (typeof header === 'string') throw new Error(`the first segment is ${header}`)

const indexer = startIndexer({
  journalDirectory,
  journalId: header.journalId,
  store: { kind: 'sqlite', path: join(directory, 'audit', 'audit.db') },
  onIndexed: ({ sequence }) => console.log(`indexed ${sequence}`),
  onTrim: () => {},
})
indexer.durable(Number(durable))

let told: string | null = null
const watch = setInterval(() => {
  const { lastError } = indexer.status()
  if (lastError !== told) console.log(`error ${lastError}`)
  told = lastError
}, 10)
await indexer.caughtUp(Number(durable), 60_000)
clearInterval(watch)
await indexer.stop(60_000)
console.log('done')
