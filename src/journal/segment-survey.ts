/**
 * What a segment's bytes hold, sound or not: pure functions, used by recovery alone.
 *
 * A segment is the place of the records from its first sequence through the one before the next segment's first; behind
 * those there may be copies that the next segment supersedes. Where a frame is unreadable the bytes are searched for the
 * next one that is not: a valid frame of a plausible sequence does not come about by chance (crc32), nor by a
 * caller's text, as long as texts contain no NUL character (JSON does not).
 */
import {
  DAMAGED,
  FRAME_HEADER_BYTES,
  formatFrame,
  formatSegmentHeader,
  frameSequence,
  frameText,
  INCOMPLETE,
  measureFrame,
  SEGMENT_HEADER_BYTES,
  type SegmentHeader,
} from './frame.ts'

/** Bytes that are not what was written, and the records lost with them; none when `lastSequence` is below the first. */
export interface Loss {
  readonly offset: number
  readonly firstSequence: number
  readonly lastSequence: number
}

export interface Survey {
  /** Readable records of which this segment is the place. */
  readonly records: number
  /** Through which sequence it answers: records, and losses declared or found. */
  readonly lastSequence: number
  readonly losses: readonly Loss[]
  /** Offset behind the last frame of which it is the place; copies may follow. */
  readonly end: number
  /** Bytes of an unfinished write behind `end`; only in the newest segment. */
  readonly tornBytes: number
  /** Good stretches, in order; a declared loss stands between them. */
  readonly stretches: readonly { readonly from: number; readonly to: number }[]
}

/** `through`: the last sequence of which the segment is the place; Infinity for the newest one. */
export function surveySegment(bytes: Buffer, firstSequence: number, through: number): Survey {
  const isNewest = through === Number.POSITIVE_INFINITY
  const losses: Loss[] = []
  const stretches: { from: number; to: number }[] = []
  let records = 0
  let expected = firstSequence
  let from = SEGMENT_HEADER_BYTES
  let offset = from
  let tornBytes = 0
  while (expected <= through) {
    const size = measureNext(bytes, offset, expected)
    if (size > 0) {
      expected = frameSequence(bytes, offset) + 1
      if (size > FRAME_HEADER_BYTES) records++
      offset += size
      continue
    }
    if (isNewest && offset === bytes.length) break
    const next = findFrame(bytes, offset, expected, through)
    if (next === undefined && isNewest && isTorn(bytes, offset)) {
      tornBytes = bytes.length - offset
      break
    }
    // A whole frame that is wrong, and nothing good behind it: at least its one record was there.
    const lost = next === undefined ? (isNewest ? expected : through) : next.sequence - 1
    losses.push({ offset, firstSequence: expected, lastSequence: lost })
    stretches.push({ from, to: offset })
    expected = lost + 1
    from = offset = next?.offset ?? bytes.length
    if (next === undefined) break
  }
  stretches.push({ from, to: offset })
  return { records, lastSequence: expected - 1, losses, end: offset, tornBytes, stretches }
}

/** The segment without what is unreadable; each loss is declared in its place. */
export function rebuildSegment(bytes: Buffer, header: SegmentHeader, survey: Survey): Buffer {
  const parts: Buffer[] = [formatSegmentHeader(header)]
  for (const [index, { from, to }] of survey.stretches.entries()) {
    parts.push(bytes.subarray(from, to))
    const loss = survey.losses[index]
    if (loss === undefined || loss.lastSequence < loss.firstSequence) continue
    const frame = Buffer.alloc(FRAME_HEADER_BYTES)
    formatFrame(frame, 0, loss.lastSequence, '')
    parts.push(frame)
  }
  return Buffer.concat(parts)
}

/** Texts of the records that a run begins with. */
export function readRun(bytes: Buffer, offset: number, sequence: number): string[] {
  const entries = readEntries(bytes, offset, sequence)
  const records = entries.findIndex(({ text }) => text === '')
  return entries.slice(0, records < 0 ? entries.length : records).map(({ text }) => text)
}

/** A record, or with an empty text the declaration that the records through `sequence` are lost. */
export interface Entry {
  readonly sequence: number
  readonly text: string
}

/** The unbroken run of frames at `offset`, the first of which has to be for `sequence`. */
export function readEntries(bytes: Buffer, offset: number, sequence: number): Entry[] {
  const entries: Entry[] = []
  let expected = sequence
  for (let at = offset; ; ) {
    const size = measureNext(bytes, at, expected)
    if (size <= 0) return entries
    const found = frameSequence(bytes, at)
    entries.push({ sequence: found, text: frameText(bytes, at, size) })
    expected = found + 1
    at += size
  }
}

/**
 * One run from what several hold behind `after`, oldest first: a record counts more than a declared loss, a newer record
 * more than an older one, and what none of them has is declared lost.
 */
export function mergeRuns(after: number, runs: readonly (readonly Entry[])[]): Entry[] {
  const texts = new Map<number, string>()
  let last = after
  for (const { sequence, text } of runs.flat()) {
    last = Math.max(last, sequence)
    if (sequence > after && text !== '') texts.set(sequence, text)
  }
  const merged: Entry[] = []
  let expected = after + 1
  for (const sequence of [...texts.keys()].sort((a, b) => a - b)) {
    if (sequence > expected) merged.push({ sequence: sequence - 1, text: '' })
    merged.push({ sequence, text: texts.get(sequence) as string })
    expected = sequence + 1
  }
  if (last >= expected) merged.push({ sequence: last, text: '' })
  return merged
}

/** The first valid frame at or behind `offset` whose sequence is plausible there. */
export function findFrame(
  bytes: Buffer,
  offset: number,
  sequenceMin: number,
  sequenceMax: number,
): { readonly offset: number; readonly sequence: number } | undefined {
  for (let at = offset; at + FRAME_HEADER_BYTES <= bytes.length; at++) {
    const sequence = frameSequence(bytes, at)
    if (sequence < sequenceMin || sequence > sequenceMax) continue
    if (measureFrame(bytes, at, bytes.length) > 0) return { offset: at, sequence }
  }
  return undefined
}

/** As `measureFrame`, for the frame that has to come next: the expected record, or a declared loss from it on. */
function measureNext(bytes: Buffer, offset: number, expected: number): number {
  const size = measureFrame(bytes, offset, bytes.length)
  if (size <= 0) return size
  const sequence = frameSequence(bytes, offset)
  if (sequence === expected) return size
  return size === FRAME_HEADER_BYTES && sequence > expected ? size : DAMAGED
}

/** What an interrupted write leaves: the beginning of a frame, or room that was never filled. */
function isTorn(bytes: Buffer, offset: number): boolean {
  return measureFrame(bytes, offset, bytes.length) === INCOMPLETE || isZero(bytes.subarray(offset))
}

export function isZero(bytes: Buffer): boolean {
  return bytes.every(byte => byte === 0)
}
