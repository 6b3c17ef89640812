/**
 * The indexer: each journal record becomes exactly one row, in order, however often it crashes.
 *
 * Promise: the position in the journal moves in the same transaction as the rows, so a step that is cut short anywhere
 * is simply done again, from the store's position on. A store that is unavailable is waited for; nothing is skipped.
 * Owns the position of its journal in the store. Must not be waited for by a request, and must not write the journal.
 *
 *   catching-up        durable records are waiting
 *   following          everything durable is indexed
 *   waiting-for-store  the last step failed; the same batch is offered again
 *   halted             the journal cannot be read back, is older than the database or in use twice, or the database is not
 *                      ours: an operator has to look
 *   stopped            for good
 *
 * What this process appended, nobody else makes rows of, as the folder is locked. Where somebody did all the same, the journal is an old
 * copy, or two machines use copies of one folder, as when one was cloned: their records have the same numbers, and those of one would
 * be taken for rows of the other.
 */
import type { JournalReader, JournalRecord } from '../journal/journal.ts'
import { JournalError } from '../journal/journal.ts'
import { LIMITS } from '../limits.ts'
import { type Appended, type Batch, type EventStore, type Row, StoreError } from '../store/event-store.ts'
import { rowsOf } from './records.ts'

export type Phase = 'catching-up' | 'following' | 'waiting-for-store' | 'halted' | 'stopped'

const NEXT: Record<Phase, readonly Phase[]> = {
  'catching-up': ['following', 'waiting-for-store', 'halted', 'stopped'],
  following: ['catching-up', 'waiting-for-store', 'halted', 'stopped'],
  'waiting-for-store': ['catching-up', 'following', 'halted', 'stopped'],
  halted: ['stopped'],
  stopped: [],
}

export interface IndexerProgress {
  readonly phase: Phase
  /** Every record up to this one is a row; undefined until the store has been reached for the first time. */
  readonly indexedSequence: number | undefined
  readonly lastEventId: number
  /** Journal records that were declared lost by this indexer. */
  readonly lostRecords: number
  /** Of a journal that is not the one whose records became rows: up to which record it is. */
  readonly behindAfter: number | undefined
  readonly lastError: string | null
}

export interface Indexer {
  /** Asks the store how far it is, as the first step would: so that this is known before a first large batch. */
  begin(): Promise<void>
  /**
   * Indexes one batch of the records up to `durableSequence`, and returns how many records that was; 0 when there
   * were none or it could not be done now (the phase tells). One step at a time.
   */
  step(durableSequence: number): Promise<number>
  progress(): IndexerProgress
  stop(): void
}

/** Of one transaction; also a bound of the database's write-ahead log. */
const BATCH_CHARACTERS_MAX = 64 * 1024 * 1024
const RECORDS_PER_READ = 1_000
/** From so many on rows of a batch are indexed afterwards. */
const BACKLOG_RECORDS_AT_ONCE = 50_000

export function createIndexer(deps: {
  journalId: string
  openReader: (after: number) => JournalReader
  store: EventStore
  /** The last record of the journal before this thread began: rows of later ones are its own. */
  openedSequence?: number | undefined
  clock?: () => number
}): Indexer {
  const { journalId, openReader, store, openedSequence = Number.POSITIVE_INFINITY, clock = Date.now } = deps
  const source = `journal:${journalId}`
  let phase: Phase = 'catching-up'
  /** Undefined when it has to be asked of the store. Owner of it and of the reader: the running step only. */
  let position: number | undefined
  /** Where commits that nobody answered may have moved it from `indexedSequence`. */
  const uncertain = new Set<number>()
  let behindAfter: number | undefined
  let reader: JournalReader | undefined
  let room: number | undefined
  let indexedSequence: number | undefined
  let lastEventId = 0
  let lostRecords = 0
  let lastError: string | null = null

  function move(to: Phase): void {
    if (phase === to) return
    if (!NEXT[phase].includes(to)) throw new Error(`the indexer cannot go from ${phase} to ${to}`)
    phase = to
  }

  async function locate(): Promise<number> {
    const found = await store.position(source)
    lastEventId = await store.lastId()
    // Else records of this process would be taken for known ones, as they have the same numbers.
    const own = Math.max(indexedSequence ?? 0, openedSequence)
    if (found > own && !uncertain.has(found)) {
      behindAfter = own
      throw new JournalError(
        'BEHIND',
        `records ${own + 1} to ${found} in the database are of another copy of the journal`,
      )
    }
    if (found !== indexedSequence) uncertain.clear()
    indexedSequence = found
    reader?.close()
    reader = openReader(found)
    return found
  }

  /** A long backlog is taken as whole as the segment has room: rows that come together cost less. */
  function recordsOfBatch(backlog: number): number {
    if (room === undefined) return Math.min(backlog, LIMITS.batchRecordsMax)
    const isLong = backlog >= Math.min(room, BACKLOG_RECORDS_AT_ONCE)
    return Math.min(backlog, isLong ? room : LIMITS.batchRecordsMax)
  }

  async function step(durableSequence: number): Promise<number> {
    position ??= await locate()
    const after = position
    const through = after + recordsOfBatch(durableSequence - after)
    const now = new Date(clock()).toISOString()
    const batch = readBatch(source, reader as JournalReader, { after, through, journalId, now })
    if (batch === undefined) {
      move('following')
      lastError = null
      return 0
    }
    // Crash before the commit: the batch is read again. After it: the position says so, and reading goes on behind it.
    position = undefined
    room = undefined // another writer may have filled it
    const appended = await append(batch)
    position = batch.through
    uncertain.clear()
    indexedSequence = position
    lastEventId = appended.lastId
    room = appended.room
    lostRecords += batch.lost
    lastError = null
    move(position < durableSequence ? 'catching-up' : 'following')
    return position - after
  }

  async function append(batch: Batch): Promise<Appended> {
    try {
      return await store.append(batch)
    } catch (error) {
      if (error instanceof StoreError && error.code === 'UNAVAILABLE') uncertain.add(batch.through)
      throw error
    }
  }

  /** What is expected to go wrong; anything else is a defect and ends the thread, which is started anew. */
  function settle(error: unknown): number {
    if (error instanceof StoreError && error.code === 'POSITION_MOVED') {
      move('catching-up')
      return 0
    }
    const isKnown = error instanceof StoreError || error instanceof JournalError
    if (!isKnown) throw error
    lastError = `${error.code}: ${error.message}`
    move(error.code === 'UNAVAILABLE' ? 'waiting-for-store' : 'halted')
    return 0
  }

  return {
    async begin() {
      try {
        position ??= await locate()
      } catch (error) {
        settle(error)
      }
    },
    async step(durableSequence) {
      if (phase === 'halted' || phase === 'stopped') return 0
      try {
        return await step(durableSequence)
      } catch (error) {
        return settle(error)
      }
    },
    progress: () => ({ phase, indexedSequence, lastEventId, lostRecords, behindAfter, lastError }),
    stop() {
      move('stopped')
      reader?.close()
    },
  }
}

/**
 * The records above `after`, at most through `through`, as a batch that reads most of them while it is written. A record that
 * cannot be read back ends it before; the next one meets it at its beginning, and throws.
 *
 * @returns undefined when there are none
 */
function readBatch(
  source: string,
  reader: JournalReader,
  { after, through, journalId, now }: { after: number; through: number; journalId: string; now: string },
): (Batch & { readonly lost: number }) | undefined {
  let records = reader.read(through, RECORDS_PER_READ)
  if (records.length === 0) return undefined
  let reached = after
  let lost = 0

  function readMore(): JournalRecord[] {
    try {
      return reader.read(through, RECORDS_PER_READ)
    } catch (error) {
      if (error instanceof JournalError) return []
      throw error
    }
  }

  function* rows(): Generator<Row> {
    for (let characters = 0; records.length > 0; records = readMore()) {
      const made = rowsOf(records, reached, journalId, now)
      yield* made.rows
      lost += made.lost
      reached = records.at(-1)?.sequence ?? reached
      for (const { text } of records) characters += text.length
      if (characters >= BATCH_CHARACTERS_MAX) return
    }
  }

  return {
    source,
    after,
    rows: rows(),
    rowsExpected: through - after,
    get through() {
      return reached
    },
    get lost() {
      return lost
    },
  }
}
