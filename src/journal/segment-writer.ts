/**
 * Brings the queue to the disk: writes, fsyncs, changes segments, survives a failing disk.
 *
 * A group is written and fsynced in one operation (`writeThrough`): half the calls, and half the times that a sleeping thread
 * is woken. What comes meanwhile waits for it, which makes larger groups, but at most `WRITE_HOLD_MS`: then it is written
 * without, and fsynced afterwards, so that records survive a killed process although the disk takes seconds. It is written
 * together with the group under way, of which nobody knows yet how much the file has: so no write ever leaves a gap.
 *
 * States, moved by `move` alone:
 *
 *   writing  the segment takes records
 *   leaving  it is full or failed; operations in flight end, none begins; then its file is closed for ever
 *   opening  the next segment is being made, starting at the first record that is not known durable
 *   waiting  that failed, or the disk failed before; the next attempt comes after a pause
 *   closed
 *
 * After the first failed write or fsync a segment is never written or fsynced again: the next fsync would report success
 * for pages the kernel has dropped. Its unconfirmed records are still queued and go to the next segment; those it
 * holds are superseded by that one, and counted only if the process ends before they are there.
 *
 * A disk that takes nothing when the journal is opened is such a failure too: the writer starts waiting, and what
 * recovery has to mend (`mend`) is mended before the first segment is made.
 *
 * While waiting, what would be lost if the process ended is kept in the reserve (reserve.ts), brought up to date soon
 * after each change: before an answer stops waiting for its record, with the default acknowledgement time-out.
 *
 * Crash while writing: a torn tail, of which nobody was told "durable"; recovery cuts it. A power loss may leave a gap in it
 * as well, as a disk writes in its own order; recovery keeps what is behind the gap and declares the gap lost.
 * Crash between write and fsync: records that may or may not be found; recovery keeps those it finds, in order.
 * Crash while leaving or opening: unconfirmed records are only in the segment given up; recovery finds them there, since
 * a newer segment's first sequence says where the older one stops to count, and re-queues what the newer lacks.
 */
import { join } from 'node:path'
import type { ClosedSegments } from './closed-segments.ts'
import type { Files } from './files.ts'
import { formatSegmentHeader, SEGMENT_HEADER_BYTES } from './frame.ts'
import type { Range, RecordQueue } from './record-queue.ts'
import type { Reserve, ReservedSegment } from './reserve.ts'
import { formatSegmentName, isDiskError, nothingWritten, placeFile } from './segment-folder.ts'

const RETRY_MS_MIN = 50
const RETRY_MS_MAX = 1_000
const WRITE_HOLD_MS = 10
const RESERVE_MS = 50
const RESERVE_AT_CLOSE_MS = 1_000

type State = 'writing' | 'leaving' | 'opening' | 'waiting' | 'closed'

const NEXT: Record<State, readonly State[]> = {
  opening: ['writing', 'waiting', 'closed'],
  writing: ['leaving', 'closed'],
  leaving: ['opening', 'waiting', 'closed'],
  waiting: ['opening', 'closed'],
  closed: [],
}

interface Segment {
  readonly fd: number
  readonly ordinal: number
  readonly firstSequence: number
  /** Where the next bytes go. */
  position: number
  isOpen: boolean
}

/** A place in the queue at a frame's end. */
interface Mark {
  readonly position: number
  readonly sequence: number
}

export interface SegmentWriter {
  /** Makes the first segment, or waits until the disk allows it. Rejects when it is not for the disk to allow. */
  start(): Promise<void>
  /** There is something new in the queue, or a record was refused. */
  wake(): void
  durableSequence(): number
  /** Leaves the segment, if a record is in it, and resolves when the next one is in place; false when closed before. */
  rotate(): Promise<boolean>
  health(): {
    readonly isStalled: boolean
    readonly writeErrors: number
    readonly syncErrors: number
    readonly lastError: string | null
  }
  /** Begins nothing more; the file is closed when the operations in flight have ended. */
  close(): Promise<void>
}

export function createSegmentWriter(deps: {
  files: Files
  directory: string
  journalId: string
  queue: RecordQueue
  closedSegments: ClosedSegments
  reserve: Reserve
  lastOrdinal: number
  durableSequence: number
  segmentBytesMax: number
  /** Puts the folder in order, if that is still to do. */
  mend: () => Promise<void>
  /** Last sequence given. */
  lastSequence: () => number
  /** The record that declares what was refused and is not declared yet. */
  declaration: () => string | undefined
  /** A write takes everything queued so far. */
  onWrite: () => void
  onDurable: (sequence: number) => void
}): SegmentWriter {
  const { files, queue, closedSegments, reserve } = deps
  let state: State = 'opening'
  let segment: Segment | undefined
  let ordinal = deps.lastOrdinal
  let written: Mark = { position: 0, sequence: deps.durableSequence }
  let durable: Mark = written
  let isWriting = false
  let isSyncing = false
  let hold: NodeJS.Timeout | undefined
  let retry: NodeJS.Timeout | undefined
  let reserving: NodeJS.Timeout | undefined
  /** What is in the reserve; undefined when nothing is. */
  let reserved: Pick<ReservedSegment, 'lastSequence' | 'declaration'> | undefined
  /** Somebody waits for a new segment. */
  let rotation: PromiseWithResolvers<boolean> | undefined
  let failuresInARow = 0
  let writeErrors = 0
  let syncErrors = 0
  let lastError: string | null = null

  function move(to: State): void {
    if (!NEXT[state].includes(to)) throw new Error(`journal: no way from ${state} to ${to}`)
    state = to
  }

  /** Begins whatever can begin now. Called whenever something changed. */
  function step(): void {
    if (state === 'writing') {
      startSync()
      startWrite()
    }
    if (state === 'waiting') reserveSoon()
    if (isWriting || isSyncing) return
    if (state === 'leaving') leave()
    if (state === 'closed') void closeFile()
  }

  function endHold(): void {
    hold = undefined
    if (state === 'writing') startWrite(true)
  }

  function startWrite(isHeldLongEnough = false): void {
    if (isWriting) return
    const current = segment as Segment
    if (rotation !== undefined || current.position >= deps.segmentBytesMax) {
      // A segment is left when all of it is durable: so only the newest one ever holds unconfirmed records.
      const isDue = rotation !== undefined || queue.unwritten() !== undefined
      if (!isSyncing && durable.position === written.position && isDue) move('leaving')
      return
    }
    const range = queue.unwritten()
    if (range === undefined) return
    if (isSyncing && !isHeldLongEnough) {
      hold ??= setTimeout(endHold, WRITE_HOLD_MS).unref()
      return
    }
    deps.onWrite()
    if (!isSyncing && written.position === durable.position) {
      writeThrough(current, range)
      startWrite() // a range is at most a chunk of the queue; the rest waits
    } else {
      isWriting = true
      current.position -= queue.rewind(written.position)
      write(current, queue.unwritten() as Range, 0)
    }
  }

  /** The common case: nothing is in flight, so the group is written and synced in one operation. */
  function writeThrough(current: Segment, range: Range): void {
    isSyncing = true
    const mark = { position: queue.wrote(range), sequence: range.lastSequence }
    const end = current.position + range.length
    const { buffer, offset, length } = range
    const go = (left: number): void =>
      files.writeThrough(current.fd, buffer, offset + length - left, left, end - left, (error, bytes) => {
        if (error === null && bytes > 0 && bytes < left && state === 'writing') return go(left - bytes)
        const failure = error ?? (bytes < left ? nothingWritten() : null)
        // EIO comes from the disk, when the file has the bytes already: what a killed process leaves may be found there.
        const isTaken = failure === null || failure.code === 'EIO'
        if (isTaken && written.position < mark.position) written = mark // else later ones were written meanwhile
        endSync(failure, mark, isTaken ? 'sync' : 'write')
      })
    current.position = end
    go(length)
  }

  function write(current: Segment, range: Range, done: number): void {
    const { buffer, offset, length } = range
    files.write(current.fd, buffer, offset + done, length - done, current.position, (error, bytes) => {
      if (error === null && bytes > 0) current.position += bytes
      if (error === null && bytes > 0 && done + bytes < length && state === 'writing') {
        write(current, range, done + bytes)
        return
      }
      isWriting = false
      queue.release(durable.position)
      if (error !== null || bytes === 0) fail('write', error ?? nothingWritten())
      else if (done + bytes === length) written = { position: queue.wrote(range), sequence: range.lastSequence }
      step()
    })
  }

  function startSync(): void {
    if (isSyncing || durable.position === written.position) return
    isSyncing = true
    const mark = written
    files.sync((segment as Segment).fd, error => endSync(error, mark, 'sync'))
  }

  function endSync(error: NodeJS.ErrnoException | null, mark: Mark, operation: 'write' | 'sync'): void {
    isSyncing = false
    clearTimeout(hold)
    hold = undefined
    if (error === null) confirm(mark)
    else fail(operation, error)
    step()
    if (error === null) deps.onDurable(mark.sequence)
  }

  function confirm(mark: Mark): void {
    durable = mark
    if (!isWriting) queue.release(mark.position) // else the write under way may read what is durable by now
    // A sync that was under way when a write failed confirms its records, but not that the disk works again.
    if (state !== 'writing') return
    recovered()
    if (reserved === undefined) return
    const reach = reserved.lastSequence + (reserved.declaration === undefined ? 0 : 1)
    if (mark.sequence < reach) return
    reserved = undefined
    void reserve.takeBack()
  }

  function recovered(): void {
    failuresInARow = 0
    lastError = null
  }

  function reserveSoon(): void {
    reserving ??= setTimeout(() => {
      reserving = undefined
      void reserveNow()
    }, RESERVE_MS).unref()
  }

  async function reserveNow(): Promise<void> {
    let placing: ReservedSegment | undefined
    const isPlaced = await reserve.place(() => {
      placing = state === 'waiting' || state === 'closed' ? withoutSegment() : undefined
      return placing
    })
    if (isPlaced) reserved = placing
  }

  /** Nothing of it counts as durable: the next segment begins where this one does, and supersedes it. */
  function withoutSegment(): ReservedSegment | undefined {
    const lastSequence = deps.lastSequence()
    const declaration = deps.declaration()
    if (lastSequence === durable.sequence && declaration === undefined) return undefined
    if (reserved?.lastSequence === lastSequence && reserved.declaration === declaration) return undefined
    const header = { journalId: deps.journalId, ordinal: ++ordinal, firstSequence: durable.sequence + 1 }
    return { header, queue, lastSequence, declaration }
  }

  function fail(operation: 'write' | 'sync', error: NodeJS.ErrnoException): void {
    if (operation === 'write') writeErrors++
    else syncErrors++
    lastError = error.code ?? error.name
    if (state !== 'writing' && state !== 'opening') return // the second loop failing on the same segment
    failuresInARow++
    if (state === 'writing') move('leaving')
  }

  function leave(): void {
    void closeFile()
    if (failuresInARow > 1) pause()
    else openNext()
  }

  /** Never while an operation is in flight: its number could name another file by then. */
  async function closeFile(): Promise<void> {
    if (segment === undefined || !segment.isOpen) return
    segment.isOpen = false
    await files.close(segment.fd).catch(() => {}) // what is durable is so already, what is not is still queued
  }

  /** The first failure is retried at once: most often a fresh file is all it takes. */
  function pause(): void {
    move('waiting')
    const pauseMs = Math.min(RETRY_MS_MAX, RETRY_MS_MIN * 2 ** (failuresInARow - 2))
    retry = setTimeout(openNext, Math.max(RETRY_MS_MIN, pauseMs)).unref()
    reserveSoon()
  }

  function openNext(): void {
    move('opening')
    makeSegment().then(
      () => {
        if (state === 'opening') move('writing')
        if (queue.unwritten() === undefined) recovered() // its header is durable: the disk works, and nobody will prove it again
        step()
        void reserve.restore()
      },
      (error: NodeJS.ErrnoException) => {
        if (state !== 'opening') return
        fail('write', error)
        pause()
      },
    )
  }

  /** Every attempt takes a new ordinal: a reader may have seen the file of a failed one. */
  async function makeSegment(): Promise<void> {
    await deps.mend()
    ordinal++
    const firstSequence = durable.sequence + 1
    const header = formatSegmentHeader({ journalId: deps.journalId, ordinal, firstSequence })
    const name = formatSegmentName(ordinal)
    const fd = await placeFile(files, deps.directory, name, header).catch(async error => {
      await discard(name, firstSequence)
      throw error
    })
    const previous = segment
    segment = { fd, ordinal, firstSequence, position: SEGMENT_HEADER_BYTES, isOpen: true }
    if (previous !== undefined) {
      closedSegments.add({
        ordinal: previous.ordinal,
        firstSequence: previous.firstSequence,
        lastSequence: written.sequence,
        isSuperseded: durable.sequence < previous.firstSequence,
      })
    }
    written = durable
    queue.rewind()
    await closedSegments.discardSuperseded()
    rotation?.resolve(true)
    rotation = undefined
  }

  /** If it got its name, it is an empty segment. One that stays must leave before its successor, or looks like a gap. */
  async function discard(name: string, firstSequence: number): Promise<void> {
    try {
      await files.unlink(join(deps.directory, name))
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return
      closedSegments.add({ ordinal, firstSequence, lastSequence: firstSequence - 1, isSuperseded: true })
    }
  }

  return {
    async start() {
      try {
        await makeSegment()
        move('writing')
        step()
      } catch (error) {
        if (!isDiskError(error)) throw error
        fail('write', error as NodeJS.ErrnoException)
        pause()
      }
      await reserve.restore()
    },
    wake: step,
    durableSequence: () => durable.sequence,
    async rotate() {
      if (state === 'closed') return false
      if (state === 'writing' && segment?.position === SEGMENT_HEADER_BYTES) return true
      rotation ??= Promise.withResolvers()
      const { promise } = rotation
      step()
      return promise
    },
    health: () => ({ isStalled: failuresInARow > 0, writeErrors, syncErrors, lastError }),

    async close() {
      clearTimeout(retry)
      clearTimeout(reserving)
      rotation?.resolve(false)
      // A segment that takes records has them; one whose fsync hangs may have them, and must not be superseded.
      const isWithout = state === 'waiting' || state === 'opening'
      move('closed')
      const lastWord = isWithout ? reserveNow() : Promise.resolve()
      await within(RESERVE_AT_CLOSE_MS, lastWord.then(reserve.close))
      if (!isWriting && !isSyncing) await closeFile()
    },
  }
}

/** A disk that hangs must not hold up the end of the process. */
async function within(ms: number, work: Promise<void>): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  const timer = setTimeout(resolve, ms)
  await Promise.race([work, promise])
  clearTimeout(timer)
}
