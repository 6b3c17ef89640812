/** An instance of a shared log: indexes a journal that is there already into PostgreSQL, and ends when all of it is rows. */
import { join } from 'node:path'
import { startIndexer } from '../../src/indexer/indexer-host.ts'
import { listFolder, readSegmentHeader } from '../../src/journal/segment-folder.ts'

const [journalDirectory = '', records = '', url = ''] = process.argv.slice(2)
const [segment = ''] = listFolder(journalDirectory).segments
const header = readSegmentHeader(join(journalDirectory, segment))
if (typeof header === 'string') throw new Error(`the first segment is ${header}`)
const indexer = startIndexer({
  journalDirectory,
  journalId: header.journalId,
  store: { kind: 'postgres', url },
  onIndexed: () => {},
  onTrim: () => {},
  onHalted: ({ lastError }) => {
    console.error(lastError)
    process.exit(2)
  },
})
indexer.durable(Number(records))
while (!(await indexer.caughtUp(Number(records), 60_000)));
await indexer.stop(10_000)
