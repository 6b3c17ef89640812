/**
 * The way out when the event database is older than the journal and the records in between are gone: the indexer halts
 * there (`record N is in no segment of the journal`), and a person decides to go on without them.
 *
 * One row, SYSTEM / LOSS_DECLARED, says which records are missing; the position moves behind them in the same transaction.
 * Crash before it: nothing happened. After it: the next start indexes what there is.
 */
import { system } from '../audit/events.ts'
import { createContext } from '../context/context.ts'
import { createSqliteEventStore } from '../store/sqlite-event-store.ts'
import type { DataFolder } from './data-folder.ts'
import { readDataPosition } from './data-position.ts'

/** @returns how many records were declared lost; 0 when there is no gap, and nothing was done */
export async function declareJournalGap(folder: DataFolder, actor: string): Promise<number> {
  const { journal, indexedSequence } = readDataPosition(folder)
  if (journal === undefined || indexedSequence === undefined) return 0
  const [first, last] = [indexedSequence + 1, journal.firstSequence - 1]
  if (last < first) return 0
  const count = last - first + 1
  const event = system('LOSS_DECLARED', createContext(), {
    description: `Journal records ${first} to ${last} are lost: the event database was older than the journal`,
    metadata: { journal: journal.journalId, first_sequence: first, last_sequence: last, count, actor },
  })
  const store = createSqliteEventStore({ path: folder.auditDatabase })
  try {
    const source = `journal:${journal.journalId}`
    // Refused (POSITION_MOVED) if a service indexes meanwhile: then there is no gap.
    await store.append({ source, after: indexedSequence, through: last, rows: [{ event, onceKey: null }] })
  } finally {
    await store.close()
  }
  return count
}
