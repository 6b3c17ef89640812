/**
 * What the journal's folder holds, for a check of everything: read from the bytes, as recovery reads them, without changing any.
 *
 * A torn tail is no problem: an unfinished write, confirmed to nobody, or one that is under way at this moment. Nor is a
 * loss that the journal has declared. Unreadable bytes that it has not declared yet are one, until the next start does so.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import {
  FRAME_HEADER_BYTES,
  frameSequence,
  frameText,
  measureFrame,
  parseSegmentHeader,
  SEGMENT_HEADER_BYTES,
  type SegmentHeader,
} from '../journal/frame.ts'
import type { JournalRecord } from '../journal/journal.ts'
import { listFolder, parseSegmentName } from '../journal/segment-folder.ts'
import { isZero, readRun, type Survey, surveySegment } from '../journal/segment-survey.ts'

export interface CheckedJournal {
  readonly problems: readonly string[]
  /** Undefined when no segment has a sound header. */
  readonly journalId: string | undefined
  /** Where its sequence begins now, and its last record; the latter is the smaller when there is none. */
  readonly firstSequence: number
  readonly lastSequence: number
  /** Every readable record from `firstSequence` on, in order; also those that the next start writes anew. */
  records(): Iterable<JournalRecord>
  /** Copies of damaged segments, kept for whoever investigates. */
  readonly preserved: readonly string[]
}

interface Part {
  readonly name: string
  readonly header: SegmentHeader
  readonly bytes: Buffer
}

/** Undefined when there is no journal. Holds the segments in memory, as long as it is held. */
export function checkJournal(directory: string): CheckedJournal | undefined {
  if (!existsSync(directory) || listFolder(directory).segments.length === 0) return undefined
  const problems: string[] = []
  const parts: Part[] = []
  for (const { name, bytes } of readSegments(directory)) {
    const header = parseSegmentHeader(bytes)
    if (typeof header === 'string') {
      const isUnfinished = bytes.length < SEGMENT_HEADER_BYTES || isZero(bytes)
      if (!isUnfinished) problems.push(`the header of journal segment ${name} is ${header}`)
      continue
    }
    if (header.ordinal !== parseSegmentName(name)) problems.push(`journal segment ${name} was renamed`)
    parts.push({ name, header, bytes })
  }
  problems.push(...checkHeaders(parts))
  const surveys = parts.map(({ header, bytes }, index) =>
    surveySegment(bytes, header.firstSequence, throughOf(parts, index)),
  )
  for (const [index, { losses }] of surveys.entries()) {
    for (const { offset, firstSequence: first, lastSequence: last } of losses) {
      const lost =
        last < first ? 'no record is lost' : first === last ? `record ${first}` : `records ${first} to ${last}`
      problems.push(`journal segment ${parts[index]?.name} cannot be read at byte ${offset}: ${lost}; not declared yet`)
    }
  }
  const firstSequence = parts[0]?.header.firstSequence ?? 1
  const lastSequence = surveys.at(-1)?.lastSequence ?? firstSequence - 1
  return {
    problems,
    journalId: parts.at(-1)?.header.journalId,
    firstSequence,
    lastSequence,
    *records() {
      for (const [index, { bytes }] of parts.entries()) yield* recordsOf(bytes, surveys[index] as Survey)
      yield* copiesBehind(parts, surveys, lastSequence)
    },
    preserved: listFolder(directory).preserved,
  }
}

/** Of one moment: the folder is looked at again until nothing came or went meanwhile. */
function readSegments(directory: string): { readonly name: string; readonly bytes: Buffer }[] {
  for (;;) {
    const { segments } = listFolder(directory)
    try {
      const read = segments.map(name => ({ name, bytes: readFileSync(join(directory, name)) }))
      const isSame = readdirSync(directory).filter(name => segments.includes(name)).length === segments.length
      if (isSame && listFolder(directory).segments.length === segments.length) return read
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error // else trimmed meanwhile
    }
  }
}

function* checkHeaders(parts: readonly Part[]): Generator<string> {
  for (const [index, { name, header }] of parts.entries()) {
    const previous = parts[index - 1]?.header
    if (previous === undefined) continue
    if (header.journalId !== previous.journalId) yield `journal segment ${name} belongs to another journal`
    if (header.firstSequence < previous.firstSequence) yield `journal segment ${name} begins before the one it follows`
  }
}

function throughOf(parts: readonly Part[], index: number): number {
  return (parts[index + 1]?.header.firstSequence ?? Number.POSITIVE_INFINITY) - 1
}

function* recordsOf(bytes: Buffer, { stretches }: Survey): Generator<JournalRecord> {
  for (const { from, to } of stretches) {
    for (let at = from; at < to; ) {
      const size = measureFrame(bytes, at, to)
      if (size <= 0) return
      if (size > FRAME_HEADER_BYTES) yield { sequence: frameSequence(bytes, at), text: frameText(bytes, at, size) }
      at += size
    }
  }
}

/** Records behind the last that only segments given up hold (recovery.ts). */
function copiesBehind(parts: readonly Part[], surveys: readonly Survey[], last: number): JournalRecord[] {
  let longest: JournalRecord[] = []
  for (const [index, { bytes }] of parts.slice(0, -1).entries()) {
    const { end, lastSequence } = surveys[index] as Survey
    const run = readRun(bytes, end, lastSequence + 1).map((text, n) => ({ sequence: lastSequence + 1 + n, text }))
    const behind = run.filter(record => record.sequence > last)
    if (behind[0]?.sequence === last + 1 && behind.length > longest.length) longest = behind
  }
  return longest
}
