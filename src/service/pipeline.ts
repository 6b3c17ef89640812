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
import { type IndexerStatus, startIndexer } from '../indexer/indexer-host.ts'
import type { Journal, JournalStatus } from '../journal/journal.ts'
import { openJournal } from '../journal/segment-journal.ts'
import type { EventQueries } from '../query/event-queries.ts'
import { createFreshQueries } from '../query/fresh-queries.ts'
import { startReader } from '../query/reader-host.ts'
import type { StoreLocation } from '../store/location.ts'
import { watchClock } from './clock-watch.ts'
import { type DataFolder, storeOf } from './data-folder.ts'
import { noteJournalBehind, refuseJournalBehind } from './journal-behind.ts'
import { ownFailures, type Reached, type RecentFailures, sharedFailures } from './recent-failures.ts'
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

/** With the failures that were replayed into the detector. */
export interface Pipeline extends RecentFailures {
  readonly audit: AuditService
  readonly queries: EventQueries
  /** Of the folder's journal, for ever. */
  readonly journalId: string
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
  const { folder, logger, ackTimeoutMs, bruteForceWindowSeconds: windowSeconds } = options
  const { store = storeOf(folder) } = options
  const { journalDirectory: directory } = folder
  await using undo = new AsyncDisposableStack()
  refuseJournalBehind(folder)

  // Opened first, and asks what comes before and behind it.
  let indexerDurable: (sequence: number) => void = () => {}
  let declaration: () => string | undefined = () => undefined
  const journal = await openJournal({
    directory,
    ackTimeoutMs,
    onDurable: sequence => indexerDurable(sequence),
    declaration: () => declaration(),
  })
  undo.defer(() => journal.close(DRAIN_MS))
  if (journal.recovered.tornBytes > 0 || journal.recovered.damaged.length > 0) {
    logger.warn({ recovered: journal.recovered }, 'the journal was repaired after an unclean stop')
  }
  const head = createHead()
  const indexer = startIndexing({ folder, logger, store, journal, head })
  undo.defer(() => indexer.stop(DRAIN_MS))
  indexerDurable = indexer.durable

  const reader = startReader({ store })
  undo.defer(() => reader.close())
  const threshold = options.bruteForceThreshold
  const { detector = createDetector({ threshold, windowMs: windowSeconds * 1000 }) } = options
  const audit = createAuditService({ journal, detector, logger, windowSeconds })
  declaration = audit.declaration

  const isShared = store.kind === 'postgres'
  const replayed = await (isShared ? sharedFailures : ownFailures)({ indexer, journal, directory, reader, logger })
  if (isShared) undo.use(followOthers(reader, head))
  audit.replay([...replayed.recentFailures, ...replayed.unindexedFailures])
  undo.use(watchClock({ audit, logger }))
  return pipelineOf({ audit, journal, indexer, head, reader, replayed }, undo.move())
}

/** The last row that there is, as far as it is known, and who wants to know. */
function createHead() {
  const listeners = new Set<(lastEventId: number) => void>()
  let lastEventId = 0
  return {
    lastEventId: () => lastEventId,
    /** There are rows up to this one. */
    follow(id: number): void {
      lastEventId = Math.max(lastEventId, id)
      for (const listener of listeners) listener(lastEventId)
    },
    onIndexed(listener: (lastEventId: number) => void): () => void {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
  }
}

type Head = ReturnType<typeof createHead>
type Indexing = ReturnType<typeof startIndexing>

function startIndexing(parts: {
  folder: DataFolder
  logger: AuditLogger
  store: StoreLocation
  journal: Journal
  head: Head
}) {
  const { folder, logger, store, journal, head } = parts
  let isOpen = false
  const indexer = startIndexer({
    journalDirectory: folder.journalDirectory,
    journalId: journal.id,
    store,
    openedSequence: journal.status().appendedSequence,
    onHalted: ({ lastError, behindAfter }) => {
      logger.fatal({ lastError }, 'the indexer halted: events wait in the journal until somebody looks')
      if (!isOpen || behindAfter === undefined) return
      noteJournalBehind(folder, behindAfter).catch(error =>
        logger.fatal({ code: error?.code }, 'that the journal is older than the database could not be noted'),
      )
    },
    onCountFailed: detail => logger.warn({ detail }, 'events cannot be counted for summaries now; they are read'),
    onIndexed: ({ lastEventId }) => head.follow(lastEventId),
    onTrim: sequence => {
      journal.trim(sequence).catch(error => logger.warn({ code: error?.code }, 'the journal could not be trimmed'))
    },
  })
  indexer.durable(journal.status().durableSequence)
  return {
    ...indexer,
    /**
     * What the store has once all records up to `sequence` are rows, or once that takes too long. To be asked before anything is
     * appended: numbers given twice would be taken for events that the database has already.
     * @throws {Refusal} JOURNAL_BEHIND
     */
    async reached(sequence: number): Promise<Reached> {
      const isReached = await indexer.caughtUp(sequence, REACHED_MS)
      const status = indexer.status()
      if (!isReached) logger.warn(status, 'the event store is behind; events wait in the journal')
      if (status.behindAfter !== undefined) throw new Refusal('JOURNAL_BEHIND')
      isOpen = true
      return { ...status, isReached }
    },
  }
}

/** Rows of other instances: nobody tells us of them. */
function followOthers(reader: EventQueries, head: Head): AsyncDisposable {
  const look = async () => {
    const id = await reader.lastId().catch(() => 0) // it is asked again
    if (id > head.lastEventId()) head.follow(id)
  }
  return repeatedly(HEAD_MS, look, defect => {
    throw defect // of somebody who was told: not to go unnoticed
  })
}

interface Parts {
  readonly audit: AuditService
  readonly journal: Journal
  readonly indexer: Indexing
  readonly head: Head
  readonly reader: EventQueries
  readonly replayed: RecentFailures
}

function pipelineOf({ audit, journal, indexer, head, reader, replayed }: Parts, owned: AsyncDisposableStack): Pipeline {
  let closing: Promise<void> | undefined

  async function closeInOrder(): Promise<void> {
    await journal.close(DRAIN_MS) // durable first, so that the indexer's drain sees the end of it
    await owned.disposeAsync()
  }

  return {
    audit,
    queries: createFreshQueries(reader, async () => {
      if (indexer.status().lastError === null) await indexer.caughtUp(journal.status().durableSequence, FRESH_MS)
    }),
    journalId: journal.id,
    ...replayed,
    onIndexed: head.onIndexed,
    lastEventId: head.lastEventId,
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
}

async function within(ms: number, work: Promise<boolean>): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>()
  const timer = setTimeout(resolve, ms, false)
  return Promise.race([work, promise]).finally(() => clearTimeout(timer))
}
