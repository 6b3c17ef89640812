/**
 * The reserve: room on the disk that is set aside, so that a loss can be declared when there is no room left.
 *
 * Promise: while the journal cannot write, a segment is kept on the disk that says what the journal would be if the
 * process ended now: the oldest queued records as far as they fit, the rest of them declared lost, and the record that declares
 * what the full queue refused. It takes no new block, so it fits on a full disk and whoever else writes cannot take its
 * place. Nothing counts as durable through it; once space is back the queue itself is written to a newer segment.
 * Not promised: on a disk that is read-only or fails, on file systems that write elsewhere what is overwritten (btrfs,
 * ZFS), and while the two files could not be made yet, for lack of the very space.
 *
 * Owns `reserve-1` and `reserve-2`: zeros, real blocks, mode 0600. To place a segment:
 *
 *   1. the spare file is overwritten and fsynced       crash: a spare with leftovers, overwritten when it is used next
 *   2. it is renamed to the new segment's name         crash: two such segments; the newer supersedes the older
 *   3. the older one becomes the spare again           crash before: a superseded segment, trimmed by the next process
 *
 * A file that failed is never used again; one that cannot be renamed back or deleted is left to be trimmed, before its
 * successors. One operation at a time.
 */
import { statSync } from 'node:fs'
import { join } from 'node:path'
import type { ClosedSegments } from './closed-segments.ts'
import type { Files } from './files.ts'
import {
  FRAME_HEADER_BYTES,
  formatFrame,
  formatSegmentHeader,
  SEGMENT_HEADER_BYTES,
  type SegmentHeader,
} from './frame.ts'
import type { RecordQueue } from './record-queue.ts'
import { formatSegmentName, RESERVE_NAMES, syncWhole, writeWhole } from './segment-folder.ts'

export interface Reserve {
  /** Makes what is missing of it. Never rejects: what cannot be made now is tried again. */
  restore(): Promise<void>
  /** Puts a segment, asked for when it is its turn, in place of the one before. Never rejects; false when it cannot. */
  place(ask: () => ReservedSegment | undefined): Promise<boolean>
  /** The segment is not needed any more; its file is a spare again. Never rejects. */
  takeBack(): Promise<void>
  /** Overwrites what segments that were placed have left in the spares. Never rejects. */
  wipe(): Promise<void>
  /** What is placed stays. */
  close(): Promise<void>
}

export interface ReservedSegment {
  readonly header: SegmentHeader
  /** Its frames that are not durable begin at the header's first sequence. */
  readonly queue: Pick<RecordQueue, 'copyTo'>
  /** Last sequence given. */
  readonly lastSequence: number
  /** The record behind it. */
  readonly declaration: string | undefined
}

interface ReserveFile {
  readonly home: string
  readonly fd: number
  /** Bytes from here on are zero. */
  used: number
}

interface Placed {
  readonly file: ReserveFile
  readonly path: string
  readonly hold: { release(): void }
}

const RESTORE_MS = 1_000
const BLOCK_BYTES = 512

export function createReserve(deps: {
  files: Files
  directory: string
  bytes: number
  closedSegments: Pick<ClosedSegments, 'hold'>
}): Reserve {
  const { files, directory, closedSegments } = deps
  const homes = RESERVE_NAMES.map(name => join(directory, name))
  const buffer = Buffer.alloc(deps.bytes)
  let spares: ReserveFile[] = []
  let placed: Placed | undefined
  let retry: NodeJS.Timeout | undefined
  let isClosed = false
  let last: Promise<unknown> = Promise.resolve()

  function inTurn<T>(work: () => Promise<T>): Promise<T> {
    const mine = last.then(work)
    last = mine.catch(() => {})
    return mine
  }

  async function restore(): Promise<void> {
    clearTimeout(retry)
    for (const home of homes) {
      if (isClosed || placed?.file.home === home || spares.some(file => file.home === home)) continue
      const file = await (isWhole(home) ? adopt(home) : make(home))
      if (file !== undefined) spares.push(file)
    }
    if (spares.length + (placed === undefined ? 0 : 1) < homes.length) restoreSoon()
  }

  function restoreSoon(): void {
    clearTimeout(retry)
    if (!isClosed) retry = setTimeout(() => inTurn(restore), RESTORE_MS).unref()
  }

  function isWhole(home: string): boolean {
    const found = statSync(home, { throwIfNoEntry: false })
    return found !== undefined && found.size === deps.bytes && found.blocks * BLOCK_BYTES >= found.size
  }

  /** What an earlier process left, or a step that failed. No power loss may bring an older name of it back, see `free`. */
  async function adopt(home: string): Promise<ReserveFile | undefined> {
    try {
      await files.syncPath(directory)
      return { home, fd: await files.edit(home), used: deps.bytes }
    } catch {
      return undefined // not made anew: on a full disk its blocks would be gone
    }
  }

  async function make(home: string): Promise<ReserveFile | undefined> {
    let fd: number | undefined
    try {
      fd = await files.create(home)
      await writeWhole(files, fd, buffer.fill(0))
      await syncWhole(files, fd)
      await files.syncPath(directory)
      return { home, fd, used: 0 }
    } catch {
      if (fd !== undefined) await drop(fd, home)
      return undefined
    }
  }

  async function drop(fd: number, ...paths: string[]): Promise<void> {
    await files.close(fd).catch(() => {})
    for (const path of paths) await files.unlink(path).catch(() => {})
  }

  async function place(ask: () => ReservedSegment | undefined): Promise<boolean> {
    const contents = spares.length === 0 || isClosed ? undefined : ask()
    if (contents === undefined) return false
    const file = spares.shift() as ReserveFile
    const path = join(directory, formatSegmentName(contents.header.ordinal))
    const hold = closedSegments.hold(contents.header)
    try {
      const length = formatReserved(buffer.fill(0), contents)
      await writeWhole(files, file.fd, buffer.subarray(0, Math.max(file.used, length)))
      file.used = length
      await syncWhole(files, file.fd)
      await files.rename(file.home, path)
      await files.syncPath(directory)
    } catch {
      await drop(file.fd, file.home, path)
      hold.release()
      restoreSoon()
      return false
    }
    const older = placed
    placed = { file, path, hold }
    await free(older)
    return true
  }

  async function takeBack(): Promise<void> {
    const older = placed
    placed = undefined
    await free(older)
  }

  async function wipe(): Promise<void> {
    for (const file of spares.filter(({ used }) => used > 0)) {
      try {
        await writeWhole(files, file.fd, buffer.fill(0).subarray(0, file.used))
        await syncWhole(files, file.fd)
        file.used = 0
      } catch {
        spares = spares.filter(other => other !== file)
        await drop(file.fd, file.home)
        restoreSoon()
      }
    }
  }

  async function free(older: Placed | undefined): Promise<void> {
    if (older === undefined) return
    const { file, path, hold } = older
    try {
      await files.rename(path, file.home)
      // Else a power loss could bring the segment's name back, with whatever is written into the file from now on.
      await files.syncPath(directory)
      spares.push(file)
    } catch {
      await drop(file.fd)
      restoreSoon()
    }
    hold.release()
  }

  return {
    restore: () => inTurn(restore),
    place: ask => inTurn(() => place(ask)),
    takeBack: () => inTurn(takeBack),
    wipe: () => inTurn(wipe),
    close() {
      isClosed = true
      clearTimeout(retry)
      return inTurn(async () => {
        for (const { fd } of placed === undefined ? spares : [...spares, placed.file]) await drop(fd)
        spares = []
      })
    },
  }
}

/** Fills the zeroed buffer; returns how much of it is used. */
function formatReserved(buffer: Buffer, contents: ReservedSegment): number {
  const { header, queue, lastSequence, declaration } = contents
  formatSegmentHeader(header).copy(buffer)
  const tailBytes =
    FRAME_HEADER_BYTES + (declaration === undefined ? 0 : FRAME_HEADER_BYTES + Buffer.byteLength(declaration))
  const copied = queue.copyTo(buffer, SEGMENT_HEADER_BYTES, buffer.length - tailBytes)
  let { offset } = copied
  if (lastSequence >= header.firstSequence && copied.lastSequence < lastSequence) {
    offset = formatFrame(buffer, offset, lastSequence, '')
  }
  return declaration === undefined ? offset : formatFrame(buffer, offset, lastSequence + 1, declaration)
}
