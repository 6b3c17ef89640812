/** The folder of a journal: how its files are named, which there are, and how a new one comes to be. */
import { closeSync, openSync, readdirSync, readSync } from 'node:fs'
import { join } from 'node:path'
import type { Files } from './files.ts'
import { type HeaderFault, parseSegmentHeader, SEGMENT_HEADER_BYTES, type SegmentHeader } from './frame.ts'

const SEGMENT_NAME = /^\d{12}\.journal$/
const TEMPORARY_NAME = /^\d{12}\.journal\.tmp$/
const PRESERVED_NAME = /^\d{12}\.journal\.damaged(-\d+)?$/
/** The files of the reserve (reserve.ts); no segments as long as they have these names. */
export const RESERVE_NAMES = ['reserve-1', 'reserve-2'] as const

export function formatSegmentName(ordinal: number): string {
  return `${String(ordinal).padStart(12, '0')}.journal`
}

export function parseSegmentName(name: string): number {
  return Number.parseInt(name, 10)
}

export interface FolderContents {
  /** By ordinal, oldest first. */
  readonly segments: string[]
  /** Files that were not finished when their process ended. */
  readonly temporary: string[]
  /** Copies of damaged segments, for whoever investigates; the journal never reads or deletes them. */
  readonly preserved: string[]
}

export function listFolder(directory: string): FolderContents {
  const names = readdirSync(directory).sort()
  return {
    segments: names.filter(name => SEGMENT_NAME.test(name)),
    temporary: names.filter(name => TEMPORARY_NAME.test(name)),
    preserved: names.filter(name => PRESERVED_NAME.test(name)),
  }
}

export function readSegmentHeader(path: string): SegmentHeader | HeaderFault {
  const bytes = Buffer.alloc(SEGMENT_HEADER_BYTES)
  const fd = openSync(path, 'r')
  try {
    return parseSegmentHeader(bytes.subarray(0, readSync(fd, bytes, 0, SEGMENT_HEADER_BYTES, 0)))
  } finally {
    closeSync(fd)
  }
}

/**
 * Puts a whole file under its name, durably, and returns it open for writing. A segment therefore never shows a torn
 * header to a reader or to a recovery. After a failure the old file, the new one or none has the name.
 */
export async function placeFile(files: Files, directory: string, name: string, bytes: Buffer): Promise<number> {
  const path = join(directory, name)
  const temporary = `${path}.tmp`
  const fd = await files.create(temporary)
  try {
    await writeWhole(files, fd, bytes)
    await syncWhole(files, fd)
    // Crash here: a temporary file, which the next open deletes.
    await files.rename(temporary, path)
    // Crash here: the file may or may not be found after a power loss. Both are fine: nothing counts as in it yet.
    await files.syncPath(directory)
    return fd
  } catch (error) {
    await files.close(fd).catch(() => {})
    await files.unlink(temporary).catch(() => {})
    throw error
  }
}

export async function writeWhole(files: Files, fd: number, bytes: Buffer): Promise<void> {
  for (let position = 0; position < bytes.length; ) {
    position += await new Promise<number>((resolve, reject) => {
      files.write(fd, bytes, position, bytes.length - position, position, (error, written) => {
        if (error !== null) reject(error)
        else if (written === 0) reject(nothingWritten())
        else resolve(written)
      })
    })
  }
}

export function syncWhole(files: Files, fd: number): Promise<void> {
  return new Promise((resolve, reject) => files.sync(fd, error => (error === null ? resolve() : reject(error))))
}

/** What a full, read-only or failing disk answers: nothing is wrong with what was asked, and it may pass. */
const DISK_ERRORS: ReadonlySet<string | undefined> = new Set(['ENOSPC', 'EDQUOT', 'EROFS', 'EIO'])

export function isDiskError(error: unknown): boolean {
  return DISK_ERRORS.has((error as NodeJS.ErrnoException | undefined)?.code)
}

/** A write that takes nothing and reports nothing would be retried for ever; it counts as a failed one. */
export function nothingWritten(): NodeJS.ErrnoException {
  return Object.assign(new Error('EIO: the write took no bytes'), { code: 'EIO' })
}
