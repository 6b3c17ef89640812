/**
 * The audit pipeline: audit -> journal -> indexer -> store -> query, wired in that order over one data folder.
 *
 * Shared by the service (central.ts) and the embedded library (embed/). Opening recovers what a crash left: the journal
 * cuts a torn tail, the indexer goes on where it was, the detector is replayed from rows and records. Closing goes the
 * other way: the journal is made durable, the indexer drains it, then the connections go.
 */
import { type AuditLogger, type AuditService, createAuditService } from '../audit/audit-service.ts'
import { createDetector, type Detector } from '../audit/detector.ts'
import { Refusal } from '../errors.ts'
import type { AuditEvent, StoredEvent } from '../event/event.ts'
import { type IndexerStatus, startIndexer } from '../indexer/indexer-host.ts'
import type { JournalStatus } from '../journal/journal.ts'
import { openJournal } from '../journal/segment-journal.ts'
import type { EventQueries } from '../query/event-queries.ts'
import { createFreshQueries } from '../query/fresh-queries.ts'
import { startReader } from '../query/reader-host.ts'
import type { StoreLocation } from '../store/location.ts'
import { watchClock } from './clock-watch.ts'
import type { DataFolder } from './data-folder.ts'
import { noteJournalBehind, refuseJournalBehind } from './journal-behind.ts'
import { failureRecords, failureRows } from './recent-failures.ts'
import { repeatedly } from './repeatedly.ts'

export interface PipelineOptions {
  readonly folder: DataFolder
  /** Left out: SQLite, in the folder. */
  readonly store?: StoreLocation
  readonly logger: AuditLogger
  readonly ackTimeoutMs: number
  readonly bruteForceThreshold: number
  readonly bruteForceWindowSeconds: number
  /** Left out: one that counts what is recorded here. */
  readonly detector?: Detector | undefined
}

export interface Pipeline {
  readonly audit: AuditService
  readonly queries: EventQueries
  /** Of the folder's journal, for ever. */
  readonly journalId: string
  /** Stored AUTH_FAIL and brute-force events of the recent past, oldest first, as replayed into the detector. */
  readonly recentFailures: readonly StoredEvent[]
  /** Those behind them that are no rows yet; none where rows are shared: there they are counted as rows, by all alike. */
  readonly unindexedFailures: readonly AuditEvent[]
  /** The last row that there was when those were read. */
  readonly replayedThrough: number
  /** Calls back whenever rows were added; returns how to stop that. */
  onIndexed(listener: (lastEventId: number) => void): () => void
  lastEventId(): number
  /** Resolves when everything recorded so far can be queried, or after the time-out (false). */
  caughtUp(timeoutMs: number): Promise<boolean>
  /**
   * Deletes the journal's segments that hold a record that was a row before the call; `sync` puts the rows on disk before. False
   * when that could not be within the time.
   */
  dropIndexed(timeoutMs: number, sync: () => Promise<void>): Promise<boolean>
  status(): { journal: JournalStatus; indexer: IndexerStatus }
  close(): Promise<void>
}

/** How long opening waits for the indexer to reach the store; one that is shared, with what was not indexed before a crash. */
const REACHED_MS = 5_000
const DRAIN_MS = 5_000
/** How long a question waits for the rows of what was durable when it was asked. */
const FRESH_MS = 250
/** How often an instance asks for rows of others. */
const HEAD_MS = 150

/** @throws {Refusal} JOURNAL_BEHIND */
export async function openPipeline(options: PipelineOptions): Promise<Pipeline> {
  const { folder, logger } = options
  await using undo = new AsyncDisposableStack()
  const listeners = new Set<(lastEventId: number) => void>()
  let lastEventId = 0
  const { store = { kind: 'sqlite', path: folder.auditDatabase } } = options

  /** There are rows up to this one. */
  function follow(id: number): void {
    lastEventId = Math.max(lastEventId, id)
    for (const listener of listeners) listener(lastEventId)
  }

  refuseJournalBehind(folder)
  let indexerDurable: (sequence: number) => void = () => {}
  let declaration: () => string | undefined = () => undefined
  const journal = await openJournal({
    directory: folder.journalDirectory,
    ackTimeoutMs: options.ackTimeoutMs,
    onDurable: sequence => indexerDurable(sequence),
    declaration: () => declaration(),
  })
  undo.defer(() => journal.close(DRAIN_MS))
  if (journal.recovered.tornBytes > 0 || journal.recovered.damaged.length > 0) {
    logger.warn({ recovered: journal.recovered }, 'the journal was repaired after an unclean stop')
  }

  const openedSequence = journal.status().appendedSequence
  let isOpen = false
  const indexer = startIndexer({
    journalDirectory: folder.journalDirectory,
    journalId: journal.id,
    store,
    openedSequence,
    onHalted: ({ lastError, behindAfter }) => {
      logger.fatal({ lastError }, 'the indexer halted: events wait in the journal until somebody looks')
      if (!isOpen || behindAfter === undefined) return
      noteJournalBehind(folder, behindAfter).catch(error =>
        logger.fatal({ code: error?.code }, 'that the journal is older than the database could not be noted'),
      )
    },
    onCountFailed: detail => logger.warn({ detail }, 'events cannot be counted for summaries now; they are read'),
    onIndexed: progress => follow(progress.lastEventId),
    onTrim: sequence => {
      journal.trim(sequence).catch(error => logger.warn({ code: error?.code }, 'the journal could not be trimmed'))
    },
  })
  indexerDurable = sequence => indexer.durable(sequence)
  indexer.durable(journal.status().durableSequence)
  undo.defer(() => indexer.stop(DRAIN_MS))

  const reader = startReader({ store })
  undo.defer(() => reader.close())
  const queries = createFreshQueries(reader, async () => {
    if (indexer.status().lastError === null) await indexer.caughtUp(journal.status().durableSequence, FRESH_MS)
  })

  const detector =
    options.detector ??
    createDetector({ threshold: options.bruteForceThreshold, windowMs: options.bruteForceWindowSeconds * 1000 })
  const audit = createAuditService({ journal, detector, logger, windowSeconds: options.bruteForceWindowSeconds })
  declaration = audit.declaration

  const isShared = store.kind === 'postgres'
  const isReached = await indexer.caughtUp(isShared ? journal.status().durableSequence : 0, REACHED_MS)
  if (!isReached) logger.warn(indexer.status(), 'the event store is behind; events wait in the journal')
  // Nothing was appended yet. Numbers given twice would be taken for events that the database has already.
  const { indexedSequence, lastEventId: lastRow, behindAfter } = indexer.status()
  if (behindAfter !== undefined) throw new Refusal('JOURNAL_BEHIND')
  isOpen = true
  // In the same turn as the status, so that neither more is a row nor less a record.
  const { durableSequence } = journal.status()
  const unindexedFailures =
    isReached && !isShared ? failureRecords(folder.journalDirectory, indexedSequence, durableSequence, logger) : []
  if (isShared) {
    // Rows of other instances: nobody tells us of them.
    undo.use(
      repeatedly(HEAD_MS, async () => {
        const id = await reader.lastId().catch(() => 0) // asked again
        if (id > lastEventId) follow(id)
      }),
    )
  }
  const replayedThrough = isShared ? await reader.lastId().catch(() => lastRow) : lastRow
  const recentFailures = await failureRows(reader, isShared || isReached ? replayedThrough : undefined, logger)
  audit.replay([...recentFailures, ...unindexedFailures])
  undo.use(watchClock({ audit, logger }))

  const owned = undo.move()
  let closing: Promise<void> | undefined
  return {
    audit,
    queries,
    journalId: journal.id,
    recentFailures,
    unindexedFailures,
    replayedThrough,
    onIndexed(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    lastEventId: () => lastEventId,
    caughtUp: timeoutMs => indexer.caughtUp(journal.status().appendedSequence, timeoutMs),
    async dropIndexed(timeoutMs, sync) {
      if (!(await within(timeoutMs, journal.rotate()))) return false
      const through = journal.status().appendedSequence
      if (!(await indexer.caughtUp(through, timeoutMs))) return false
      await sync()
      await journal.trim(through)
      return true
    },
    status: () => ({ journal: journal.status(), indexer: indexer.status() }),
    close() {
      closing ??= closeInOrder()
      return closing
    },
  }

  async function closeInOrder(): Promise<void> {
    await journal.close(DRAIN_MS) // durable first, so that the indexer's drain sees the end of it
    await owned.disposeAsync()
  }
}

async function within(ms: number, work: Promise<boolean>): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>()
  const timer = setTimeout(resolve, ms, false)
  return Promise.race([work, promise]).finally(() => clearTimeout(timer))
}
