/**
 * The journal: segment files in one folder, an append-only record of truth.
 *
 * Promise: `append` returns at once and never touches the disk; a record survives the process once it is written (end of
 * the turn it was appended in, unless the disk is behind) and the machine once it is durable. A failing disk delays
 * records and loses none, until the bounded queue is full and refuses, or the process ends meanwhile.
 * Owns: the files `<ordinal>.journal` of the folder, the sequence, the queue. Must not: know what a record means; put
 * more than one promise, timer and immediate on a turn's records, however many; let two processes use one folder (its
 * caller's duty).
 *
 * The life of a record: `append` frames it into the queue (record-queue.ts) -> at the end of the turn the writer
 * (segment-writer.ts: states, durable steps, failures) writes all that is queued, fsyncs it, and confirms ->
 * whoever waits is told (acknowledgements.ts), `onDurable` wakes the reader's side (segment-reader.ts) -> `trim` deletes
 * segments that are not needed any more (closed-segments.ts).
 *
 * A record's place is the newest segment whose first sequence is not above it. That one rule serves rotation and
 * failure alike: a new segment begins behind the last durable record, so whatever an older one holds from there on is
 * superseded, whether readable or not.
 *
 * Opening puts the folder in order (recovery.ts) and always goes on in a new segment: never behind bytes that another
 * process left, so no file is ever appended to by two, and a reader's file never changes behind its back. An empty
 * segment that this leaves behind is deleted once the new one is in place.
 *
 * A folder that can be read and not written (full, read-only or failing disk) opens stalled: reading tells how far the
 * sequence has come, so records are taken at once, into the queue. Until what recovery has to mend is mended, nothing
 * counts as durable, so that no reader meets what is not in order yet; then it goes on as after any other failure.
 *
 * What the full queue refused, its owner declares (`declaration`): in the reserve (reserve.ts) while the disk is full,
 * and as the last record when the journal is closed.
 */
import { randomBytes } from 'node:crypto'
import { LIMITS } from '../limits.ts'
import { createAcknowledgements } from './acknowledgements.ts'
import { createClosedSegments } from './closed-segments.ts'
import { type Files, nodeFiles } from './files.ts'
import { FRAME_HEADER_BYTES } from './frame.ts'
import { type Journal, JournalError } from './journal.ts'
import { createRecordQueue } from './record-queue.ts'
import { type Recovered, recover } from './recovery.ts'
import { createReserve } from './reserve.ts'
import { listFolder } from './segment-folder.ts'
import { createSegmentWriter } from './segment-writer.ts'

export type { Damage, Recovered } from './recovery.ts'

const CLOSE_MS_DEFAULT = 5_000

export interface JournalOptions {
  /** Made if it is not there (mode 0700); its parents too. */
  readonly directory: string
  /** How long `acknowledged` waits for the disk. */
  readonly ackTimeoutMs: number
  /** Called after each successful group fsync with the last durable sequence. Must not throw. */
  readonly onDurable?: (sequence: number) => void
  /** The record that declares what `append` refused and nothing has declared yet, if there is any. Must not throw. */
  readonly declaration?: () => string | undefined
  readonly queueBytesMax?: number
  readonly segmentBytesMax?: number
  /** Of each of the two files of the reserve. */
  readonly reserveBytes?: number
  readonly files?: Files
}

export interface SegmentJournal extends Journal {
  /** What opening found and put in order. */
  readonly recovered: Recovered
}

/**
 * @throws {JournalError} FOREIGN (the folder holds something else; nothing was changed), CORRUPT (the journal's id cannot
 * be read; nothing was changed). System errors when the folder cannot be made or read, or writing it is not allowed:
 * nothing is lost, try again. A full, read-only or failing disk is no error: the journal opens `stalled`.
 */
export async function openJournal(options: JournalOptions): Promise<SegmentJournal> {
  const { directory, ackTimeoutMs, onDurable, files = nodeFiles } = options
  const { queueBytesMax = LIMITS.journalQueueBytesMax, segmentBytesMax = LIMITS.segmentBytesMax } = options
  const { reserveBytes = LIMITS.journalReserveBytes, declaration = () => undefined } = options
  await files.createDirectory(directory)
  const { requeue, mend, ...recovery } = await recover(files, directory)
  const id = recovery.journalId ?? randomBytes(16).toString('hex')
  const queue = createRecordQueue()
  const acknowledgements = createAcknowledgements(ackTimeoutMs, recovery.lastSequence)
  const closedSegments = createClosedSegments(files, directory, recovery.segments)
  const reserve = createReserve({ files, directory, bytes: reserveBytes, closedSegments })
  const writer = createSegmentWriter({
    files,
    directory,
    journalId: id,
    queue,
    closedSegments,
    reserve,
    lastOrdinal: recovery.lastOrdinal,
    durableSequence: recovery.lastSequence,
    segmentBytesMax,
    mend: putInOrder,
    lastSequence: () => appendedSequence,
    declaration: () => (isDeclared ? undefined : declaration()),
    onWrite: acknowledgements.endTurn,
    onDurable: confirm,
  })
  let appendedSequence = recovery.lastSequence
  let preserved: readonly string[] = []
  let isInOrder = false
  let isStarted = false
  let isDeclared = false
  let refused = 0
  let isTurnEndDue = false
  let closing: Promise<void> | undefined
  let isClosed = false
  let onEmpty: (() => void) | undefined

  async function putInOrder(): Promise<void> {
    if (isInOrder) return
    await mend()
    preserved = listFolder(directory).preserved
    isInOrder = true
    if (isStarted) confirm(recovery.lastSequence)
  }

  function confirm(sequence: number): void {
    acknowledgements.durable(sequence)
    if (sequence === appendedSequence) onEmpty?.()
    if (!isClosed) onDurable?.(sequence) // an fsync may outlive a close that ran out of time
  }

  /** An empty text declares everything behind the last record through `sequence` lost. */
  function take(text: string, sequence = appendedSequence + 1): number {
    appendedSequence = sequence
    queue.push(sequence, text)
    acknowledgements.appended(sequence)
    if (!isTurnEndDue) {
      isTurnEndDue = true
      setImmediate(endTurn)
    }
    return sequence
  }

  const durableSequence = () => (isInOrder ? writer.durableSequence() : 0)

  function endTurn(): void {
    isTurnEndDue = false
    acknowledgements.endTurn()
    writer.wake()
  }

  /** The exact length is computed only when a bound could be met. */
  function admit(text: string): void {
    const bytesMax = text.length * 3
    const room = queueBytesMax - queue.bytes() - FRAME_HEADER_BYTES
    if (bytesMax <= LIMITS.recordBytesMax && bytesMax <= room && text.length > 0) return
    const bytes = text.length > LIMITS.recordBytesMax ? text.length : Buffer.byteLength(text)
    if (bytes > LIMITS.recordBytesMax) throw new JournalError('RECORD_TOO_LARGE', `a record of ${bytes} bytes or more`)
    if (bytes === 0) throw new RangeError('a record has at least one byte') // an empty frame declares a loss
    if (bytes <= room) return
    refused++
    if (!isTurnEndDue) {
      isTurnEndDue = true
      setImmediate(endTurn)
    }
    throw new JournalError('QUEUE_FULL', 'the journal waits for the disk, and its queue is full')
  }

  /** Whether everything accepted is durable. */
  async function drain(timeoutMs: number): Promise<boolean> {
    if (writer.durableSequence() < appendedSequence) {
      const { promise, resolve } = Promise.withResolvers<void>()
      const timer = setTimeout(resolve, timeoutMs) // not unref'd: whoever awaits the close must not see the process end
      onEmpty = resolve
      writer.wake()
      await promise
      clearTimeout(timer)
    }
    return writer.durableSequence() === appendedSequence
  }

  async function drainAndClose(timeoutMs: number): Promise<void> {
    // If the disk takes nothing, the queue and the declaration go to the reserve, as far as there is room in it.
    const text = (await drain(timeoutMs)) ? declaration() : undefined
    if (text !== undefined) {
      isDeclared = true
      take(text)
      await drain(timeoutMs)
    }
    isClosed = true
    acknowledgements.close()
    await writer.close()
  }

  for (const { sequence, text } of requeue) take(text, sequence) // bounded by what was a queue or a segment before
  await writer.start()
  isStarted = true
  if (!isInOrder) preserved = listFolder(directory).preserved

  return {
    id,
    get recovered() {
      return { ...recovery.recovered, preserved }
    },
    append(text) {
      if (closing !== undefined) throw new JournalError('CLOSED', 'the journal is closed')
      admit(text)
      return take(text)
    },
    acknowledged: acknowledgements.wait,
    async rotate() {
      if (!(await writer.rotate())) return false
      await reserve.wipe()
      return true
    },
    trim: sequence => closedSegments.trim(Math.min(sequence, durableSequence())),
    status() {
      const { isStalled, ...health } = writer.health()
      return {
        phase: isClosed ? 'closed' : isStalled ? 'stalled' : 'open',
        appendedSequence,
        durableSequence: durableSequence(),
        queuedBytes: queue.bytes(),
        late: acknowledgements.lateCount(),
        refused,
        ...health,
      }
    },
    close(timeoutMs = CLOSE_MS_DEFAULT) {
      closing ??= drainAndClose(timeoutMs)
      return closing
    },
  }
}
