/** Journal, indexer and readers over a folder, put together as the service does (service/pipeline.ts), without the audit service. */
import { join } from 'node:path'
import { formatEntry } from '../src/event/codec.ts'
import type { AuditEvent } from '../src/event/event.ts'
import { startIndexer } from '../src/indexer/indexer-host.ts'
import { openJournal } from '../src/journal/segment-journal.ts'
import type { EventQueries } from '../src/query/event-queries.ts'
import { createFreshQueries } from '../src/query/fresh-queries.ts'
import { startReader } from '../src/query/reader-host.ts'
import type { StoreLocation } from '../src/store/location.ts'

export interface OpenTrail {
  /** As the HTTP door asks: waits for the rows of what is durable. */
  readonly queries: EventQueries
  /** Asks the rows there are. */
  readonly reader: EventQueries
  append(event: AuditEvent): number
  acknowledged(sequence: number): Promise<unknown>
  indexedSequence(): number
  caughtUp(): Promise<void>
  close(): Promise<void>
}

const FRESH_MS = 250

/** @param store left out, SQLite in the folder */
export async function openTrail(
  folder: string,
  store: StoreLocation = { kind: 'sqlite', path: join(folder, 'audit', 'audit.db') },
): Promise<OpenTrail> {
  const journalDirectory = join(folder, 'journal')
  let durable: (sequence: number) => void = () => {}
  const journal = await openJournal({
    directory: journalDirectory,
    ackTimeoutMs: 10_000,
    onDurable: sequence => durable(sequence),
  })
  const indexer = startIndexer({
    journalDirectory,
    journalId: journal.id,
    store,
    onIndexed: () => {},
    onTrim: sequence => void journal.trim(sequence),
  })
  durable = sequence => indexer.durable(sequence)
  durable(journal.status().durableSequence)
  const reader = startReader({ store })
  return {
    reader,
    queries: createFreshQueries(reader, () => indexer.caughtUp(journal.status().durableSequence, FRESH_MS)),
    append: event => journal.append(formatEntry(event, null)),
    acknowledged: sequence => journal.acknowledged(sequence),
    indexedSequence: () => indexer.status().indexedSequence,
    async caughtUp() {
      const last = journal.status().appendedSequence
      await journal.acknowledged(last)
      while (!(await indexer.caughtUp(last, 60_000)));
    },
    async close() {
      await journal.close()
      await reader.close() // first, as in the service: whoever closes the database last puts its log into it
      await indexer.stop(60_000)
    },
  }
}
