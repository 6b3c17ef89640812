/**
 * The failures of the recent past, for whoever counts them: at a start, those that are rows, and those that a crash left in the
 * journal and the indexer has not come to. A start does not wait for it: a hundred thousand records take it more than a second.
 *
 * Promise: each is in one of the two, as the indexer's sequence and its last row are of one moment. What cannot be read is left out,
 * with a warning: the windows start with what there is.
 */
import type { AuditLogger } from '../audit/audit-service.ts'
import { MalformedRecordError } from '../event/codec.ts'
import { type AuditEvent, isErased, type StoredEvent } from '../event/event.ts'
import type { IndexerStatus } from '../indexer/indexer-host.ts'
import { checkedEntry } from '../indexer/records.ts'
import type { Journal } from '../journal/journal.ts'
import { openJournalReader } from '../journal/segment-reader.ts'
import { LIMITS } from '../limits.ts'
import type { EventQueries } from '../query/event-queries.ts'

const REPLAY_HOURS = 24
const ACTIONS = ['AUTH_FAIL', 'INCIDENT'] as const
const RECORDS_AT_ONCE = 10_000

export interface RecentFailures {
  /** Stored AUTH_FAIL and brute-force events of the recent past, oldest first. */
  readonly recentFailures: readonly StoredEvent[]
  /** Those behind them that are no rows yet; none where rows are shared: there they are counted as rows, by all alike. */
  readonly unindexedFailures: readonly AuditEvent[]
  /** The last row that there was when those were read. */
  readonly replayedThrough: number
}

/** What the indexer has reached, or not: then it is as far as is known. */
export type Reached = Pick<IndexerStatus, 'indexedSequence' | 'lastEventId'> & { readonly isReached: boolean }

interface Sources {
  /** @throws {Refusal} JOURNAL_BEHIND */
  readonly indexer: { reached(sequence: number): Promise<Reached> }
  readonly journal: Pick<Journal, 'status'>
  readonly directory: string
  readonly reader: EventQueries
  readonly logger: AuditLogger
}

/** Of rows that this process alone writes. */
export async function ownFailures({ indexer, journal, directory, reader, logger }: Sources): Promise<RecentFailures> {
  const { isReached, indexedSequence, lastEventId } = await indexer.reached(0)
  // In the same turn, so that neither more is a row nor less a record.
  const through = journal.status().durableSequence
  const unindexedFailures = isReached ? failureRecords(directory, indexedSequence, through, logger) : []
  const recentFailures = await failureRows(reader, isReached ? lastEventId : undefined, logger)
  return { recentFailures, unindexedFailures, replayedThrough: lastEventId }
}

/** Of rows of all instances: what a crash left in this journal is waited for, as all count rows. */
export async function sharedFailures({ indexer, journal, reader, logger }: Sources): Promise<RecentFailures> {
  const { lastEventId } = await indexer.reached(journal.status().durableSequence)
  const replayedThrough = await reader.lastId().catch(() => lastEventId)
  const recentFailures = await failureRows(reader, replayedThrough, logger)
  return { recentFailures, unindexedFailures: [], replayedThrough }
}

/** Rows, oldest first. @param throughId the last of them; left out, all that there are */
async function failureRows(
  queries: EventQueries,
  throughId: number | undefined,
  logger: AuditLogger,
): Promise<StoredEvent[]> {
  const start_time = new Date(Date.now() - REPLAY_HOURS * 3_600_000).toISOString()
  const newestFirst: StoredEvent[] = []
  let after = throughId === undefined ? undefined : throughId + 1
  try {
    do {
      const page = await queries.page({
        filter: { action: ACTIONS, start_time },
        limit: LIMITS.pageEventsMax,
        order: 'desc',
        ...(after === undefined ? {} : { after }),
      })
      newestFirst.push(...page.events.filter(event => !isErased(event)))
      after = page.next ?? undefined
    } while (after !== undefined && newestFirst.length < LIMITS.replayEventsMax)
  } catch (error) {
    logger.warn(
      { code: (error as { code?: string }).code },
      'brute-force windows start empty: the event store cannot be read',
    )
  }
  return newestFirst.reverse()
}

/** Records behind sequence `after`, up to `through`, which is durable; oldest first. Synchronous: nothing is trimmed meanwhile. */
export function failureRecords(directory: string, after: number, through: number, logger: AuditLogger): AuditEvent[] {
  const reader = openJournalReader({ directory, after: Math.max(after, through - LIMITS.replayRecordsMax) })
  const since = new Date(Date.now() - REPLAY_HOURS * 3_600_000).toISOString()
  const failures: AuditEvent[] = []
  try {
    for (let records = reader.read(through, RECORDS_AT_ONCE); records.length > 0; ) {
      for (const { text } of records) {
        const event = failureIn(text)
        if (event !== undefined && event.date_time >= since) failures.push(event)
      }
      failures.splice(0, Math.max(0, failures.length - LIMITS.replayEventsMax)) // the newest count, however many a crash left
      records = reader.read(through, RECORDS_AT_ONCE)
    }
  } catch (error) {
    logger.warn(
      { code: (error as { code?: string }).code },
      'brute-force windows start without what is no row yet: the journal cannot be read',
    )
  } finally {
    reader.close()
  }
  return failures
}

function failureIn(text: string): AuditEvent | undefined {
  if (!ACTIONS.some(action => text.includes(action))) return undefined // most are none, and need not be parsed
  try {
    const { event } = checkedEntry(text)
    return ACTIONS.some(action => action === event.action) ? event : undefined
  } catch (error) {
    if (error instanceof MalformedRecordError) return undefined // the indexer declares it lost
    throw error
  }
}
