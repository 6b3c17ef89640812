/**
 * The indexer: each journal record becomes exactly one row, in order, however often it crashes.
 *
 * Promise: the position in the journal moves in the same transaction as the rows, so a step that is cut short anywhere
 * is simply done again. A store that is unavailable is waited for with the batch in hand; nothing is skipped.
 * Owns the position of its journal in the store. Must not be waited for by a request, and must not write the journal.
 *
 *   catching-up        durable records are waiting
 *   following          everything durable is indexed
 *   waiting-for-store  the last step failed; the same batch is offered again
 *   halted             the journal cannot be read back or is older than the database, or the database is not ours: an
 *                      operator has to look
 *   stopped            for good
 */
import type { JournalReader, JournalRecord } from '../journal/journal.ts'
import { JournalError } from '../journal/journal.ts'
import { LIMITS } from '../limits.ts'
import { type Batch, type EventStore, StoreError } from '../store/event-store.ts'
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
  readonly lastError: string | null
}

export interface Indexer {
  /**
   * Indexes one batch of the records up to `durableSequence`, and returns how many records that was; 0 when there
   * were none or it could not be done now (the phase tells). One step at a time.
   */
  step(durableSequence: number): Promise<number>
  progress(): IndexerProgress
  stop(): void
}

/** A batch also ends here, so that large records do not fill the memory. */
const BATCH_CHARACTERS_MAX = 8 * 1024 * 1024
const RECORDS_PER_READ = 1_000

export function createIndexer(deps: {
  journalId: string
  openReader: (after: number) => JournalReader
  store: EventStore
  /** The last record of the journal before this process appended any: no row can be of a later one at first. */
  openedSequence?: number | undefined
  clock?: () => number
}): Indexer {
  const { journalId, openReader, store, openedSequence = Number.POSITIVE_INFINITY, clock = Date.now } = deps
  const source = `journal:${journalId}`
  let phase: Phase = 'catching-up'
  /** Undefined when it has to be asked of the store. */
  let position: number | undefined
  let reader: JournalReader | undefined
  /** Read and not committed yet. Owner of it and of the position: the running step only. */
  let pending: { readonly batch: Batch; readonly lost: number } | undefined
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
    const isFirst = indexedSequence === undefined
    indexedSequence = found
    // Else new records would be taken for known ones, as they have the same numbers.
    if (isFirst && found > openedSequence) {
      throw new JournalError('BEHIND', `the journal ended at record ${openedSequence}, the database has ${found}`)
    }
    reader?.close()
    reader = openReader(found)
    return found
  }

  function read(after: number, durableSequence: number): typeof pending {
    const records = readBatch(reader as JournalReader, durableSequence)
    const last = records.at(-1)
    if (last === undefined) return undefined
    const { rows, lost } = rowsOf(records, after, journalId, new Date(clock()).toISOString())
    return { batch: { source, after, through: last.sequence, rows }, lost }
  }

  async function step(durableSequence: number): Promise<number> {
    position ??= await locate()
    pending ??= read(position, durableSequence)
    if (pending === undefined) {
      move('following')
      lastError = null
      return 0
    }
    const { batch, lost } = pending
    // Crash before the commit: the batch is read again. After it: the position says so, and reading goes on behind it.
    const appended = await store.append(batch)
    pending = undefined
    position = batch.through
    indexedSequence = position
    lastEventId = appended.lastId
    lostRecords += lost
    lastError = null
    move(position < durableSequence ? 'catching-up' : 'following')
    return batch.through - batch.after
  }

  /** What is expected to go wrong; anything else is a defect and ends the thread, which is started anew. */
  function settle(error: unknown): number {
    if (error instanceof StoreError && error.code === 'POSITION_MOVED') {
      position = undefined
      pending = undefined
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
    async step(durableSequence) {
      if (phase === 'halted' || phase === 'stopped') return 0
      try {
        return await step(durableSequence)
      } catch (error) {
        return settle(error)
      }
    },
    progress: () => ({ phase, indexedSequence, lastEventId, lostRecords, lastError }),
    stop() {
      move('stopped')
      reader?.close()
    },
  }
}

function readBatch(reader: JournalReader, durableSequence: number): JournalRecord[] {
  const records: JournalRecord[] = []
  let characters = 0
  while (records.length < LIMITS.batchRecordsMax && characters < BATCH_CHARACTERS_MAX) {
    const limit = Math.min(RECORDS_PER_READ, LIMITS.batchRecordsMax - records.length)
    const read = reader.read(durableSequence, limit)
    for (const record of read) {
      records.push(record)
      characters += record.text.length
    }
    if (read.length < limit) break
  }
  return records
}
