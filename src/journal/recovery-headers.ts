/**
 * Which files of the folder are segments of which journal: decided before recovery changes anything.
 *
 * A header that is damaged is made up again from the journal's other headers and the first frame that can be read: the
 * first frame of a segment has the segment's first sequence.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { measureFrame, parseSegmentHeader, SEGMENT_HEADER_BYTES, type SegmentHeader } from './frame.ts'
import { JournalError } from './journal.ts'
import { parseSegmentName, readSegmentHeader } from './segment-folder.ts'
import { findFrame, isZero } from './segment-survey.ts'

export interface FoundSegment {
  readonly name: string
  readonly header: SegmentHeader
  readonly isHeaderDamaged: boolean
}

/** A file without a readable header and without a readable frame. */
export interface UnreadableFile {
  readonly name: string
  readonly bytes: number
  /** It is too short for a header, or all zero: a file that was being made when the power failed. */
  readonly isUnfinished: boolean
}

export interface FoundHeaders {
  readonly journalId: string | undefined
  readonly lastOrdinal: number
  /** By ordinal, oldest first. */
  readonly segments: readonly FoundSegment[]
  readonly unreadable: readonly UnreadableFile[]
}

/**
 * @throws {JournalError} FOREIGN: a file that is no segment, of another journal, or of another format version.
 * CORRUPT: there are records, and no header tells which journal's they are; or the headers contradict each other.
 */
export function readHeaders(directory: string, names: readonly string[]): FoundHeaders {
  const sound = new Map<string, SegmentHeader>()
  let journalId: string | undefined
  for (const name of names) {
    const header = readSegmentHeader(join(directory, name))
    if (header === 'unsupported') throw new JournalError('FOREIGN', `${name} is of another format version`)
    if (header === 'foreign' || header === 'damaged') continue
    journalId ??= header.journalId
    if (header.journalId !== journalId) throw new JournalError('FOREIGN', `${name} belongs to another journal`)
    if (header.ordinal !== parseSegmentName(name)) throw new JournalError('FOREIGN', `${name} was renamed`)
    sound.set(name, header)
  }
  const segments: FoundSegment[] = []
  const unreadable: UnreadableFile[] = []
  for (const name of names) {
    const header = sound.get(name)
    const found = header === undefined ? examine(directory, name, journalId) : { name, header, isHeaderDamaged: false }
    if ('header' in found) segments.push(found)
    else unreadable.push(found)
  }
  for (const [index, { name, header }] of segments.entries()) {
    const previous = segments[index - 1]
    if (previous !== undefined && header.firstSequence < previous.header.firstSequence) {
      throw new JournalError('CORRUPT', `${name} begins before the segment it follows`)
    }
  }
  return { journalId, lastOrdinal: parseSegmentName(names.at(-1) ?? '0'), segments, unreadable }
}

/** What a file without a valid header is. */
function examine(directory: string, name: string, journalId: string | undefined): FoundSegment | UnreadableFile {
  const bytes = readFileSync(join(directory, name))
  const isUnfinished = bytes.length < SEGMENT_HEADER_BYTES || isZero(bytes)
  const isForeign = parseSegmentHeader(bytes) === 'foreign' && !isUnfinished
  if (isForeign && measureFrame(bytes, SEGMENT_HEADER_BYTES, bytes.length) <= 0) {
    throw new JournalError('FOREIGN', `${name} is not a journal segment`)
  }
  const frame = findFrame(bytes, Math.min(SEGMENT_HEADER_BYTES, bytes.length), 1, Number.MAX_SAFE_INTEGER)
  if (frame === undefined) return { name, bytes: bytes.length, isUnfinished }
  if (journalId === undefined)
    throw new JournalError('CORRUPT', `the header of ${name} is damaged, and there is no other`)
  const header = { journalId, ordinal: parseSegmentName(name), firstSequence: frame.sequence }
  return { name, header, isHeaderDamaged: true }
}
