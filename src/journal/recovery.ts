/**
 * What a journal's folder holds when it is opened, put in order.
 *
 * Promise: afterwards every record that was durable, and every other one that can be read, is either in its place or handed
 * back to be written anew; whatever could not be read is reported, kept as a `.damaged` copy and declared in its place, so
 * that a reader passes it knowingly. Refuses a folder that is not this format's before anything is changed.
 *
 * Mending is idempotent: a crash anywhere leaves the original or the mended file under its name, perhaps one more copy.
 */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { ClosedSegment } from './closed-segments.ts'
import type { Files } from './files.ts'
import type { SegmentHeader } from './frame.ts'
import { type FoundSegment, readHeaders, type UnreadableFile } from './recovery-headers.ts'
import { listFolder, placeFile } from './segment-folder.ts'
import { type Loss, readRun, rebuildSegment, type Survey, surveySegment } from './segment-survey.ts'

export interface Damage extends Loss {
  /** File name of the segment. */
  readonly segment: string
}

/** For the log: what opening found. */
export interface Recovered {
  /** Readable records, indexed or not. */
  readonly records: number
  /** Bytes of an unfinished write that were cut off: normal after a crash, their records were confirmed to nobody. */
  readonly tornBytes: number
  /** Not normal. The records from `firstSequence` through `lastSequence` are lost (none when the latter is the smaller). */
  readonly damaged: readonly Damage[]
  /** Names of the copies of damaged segments that are in the folder, made by this opening or an earlier one. */
  readonly preserved: readonly string[]
}

export interface Recovery {
  /** Undefined when nothing in the folder has one: the journal begins. */
  readonly journalId: string | undefined
  readonly lastOrdinal: number
  /** The last sequence in its place, durably. */
  readonly lastSequence: number
  /** Texts of the records behind it that only superseded segments hold; to be written anew, in order. */
  readonly requeue: readonly string[]
  readonly segments: readonly ClosedSegment[]
  readonly recovered: Recovered
}

/** Readable records behind the part of a segment that counts. */
interface Copies {
  readonly firstSequence: number
  readonly texts: readonly string[]
}

/** @throws {JournalError} FOREIGN, CORRUPT (see `readHeaders`): nothing was changed. */
export async function recover(files: Files, directory: string): Promise<Recovery> {
  const contents = listFolder(directory)
  const found = readHeaders(directory, contents.segments)
  for (const name of contents.temporary) await files.unlink(join(directory, name))
  const segments: ClosedSegment[] = []
  const copies: Copies[] = []
  const damaged: Damage[] = []
  let lastSequence = (found.segments[0]?.header.firstSequence ?? 1) - 1
  let records = 0
  let tornBytes = 0
  for (const [index, segment] of found.segments.entries()) {
    const through = (found.segments[index + 1]?.header.firstSequence ?? Number.POSITIVE_INFINITY) - 1
    const { survey, superseded } = await recoverSegment(files, directory, segment, through)
    lastSequence = survey.lastSequence
    records += survey.records
    tornBytes += survey.tornBytes
    for (const loss of survey.losses) damaged.push({ segment: segment.name, ...loss })
    if (segment.isHeaderDamaged) damaged.push(headerDamage(segment))
    if (superseded.texts.length > 0) copies.push(superseded)
    segments.push(closedSegment(segment.header, through, lastSequence + superseded.texts.length))
  }
  for (const file of found.unreadable) {
    await setAside(files, directory, file)
    if (file.isUnfinished) tornBytes += file.bytes
    else damaged.push({ segment: file.name, offset: 0, firstSequence: lastSequence + 1, lastSequence })
  }
  return {
    journalId: found.journalId,
    lastOrdinal: found.lastOrdinal,
    lastSequence,
    requeue: copiesBehind(lastSequence, copies),
    segments,
    recovered: { records, tornBytes, damaged, preserved: listFolder(directory).preserved },
  }
}

async function recoverSegment(
  files: Files,
  directory: string,
  segment: FoundSegment,
  through: number,
): Promise<{ survey: Survey; superseded: Copies }> {
  const bytes = await readFile(join(directory, segment.name))
  const survey = surveySegment(bytes, segment.header.firstSequence, through)
  const firstSequence = survey.lastSequence + 1
  const isWhole = survey.losses.length === 0 && !segment.isHeaderDamaged
  const texts = isWhole ? readRun(bytes, survey.end, firstSequence) : []
  const path = join(directory, segment.name)
  if (!isWhole) {
    await preserve(files, directory, segment.name)
    const fd = await placeFile(files, directory, segment.name, rebuildSegment(bytes, segment.header, survey))
    await files.close(fd)
  } else if (through === Number.POSITIVE_INFINITY) {
    // Crash after the cut: the same file again, without the tail.
    if (survey.tornBytes > 0) await files.truncate(path, survey.end)
    // A killed process may have left records that no fsync covered; from here on they count as durable.
    await files.syncPath(path)
  }
  return { survey, superseded: { firstSequence, texts } }
}

/**
 * Records that a process had written but not confirmed when it gave a segment up, and that it did not live to write anew.
 * Same sequence, same record: a sequence is given once, and opening always goes on behind all of them.
 */
function copiesBehind(lastSequence: number, all: readonly Copies[]): readonly string[] {
  let longest: readonly string[] = []
  for (const { firstSequence, texts } of all) {
    if (firstSequence > lastSequence + 1) continue
    const behind = texts.slice(lastSequence + 1 - firstSequence)
    if (behind.length > longest.length) longest = behind
  }
  return longest
}

function closedSegment(header: SegmentHeader, through: number, lastSequence: number): ClosedSegment {
  const { ordinal, firstSequence } = header
  return { ordinal, firstSequence, lastSequence, isSuperseded: through < firstSequence }
}

function headerDamage({ name, header }: FoundSegment): Damage {
  return { segment: name, offset: 0, firstSequence: header.firstSequence, lastSequence: header.firstSequence - 1 }
}

/** An unreadable file leaves the order of segments; if it has any content, under a `.damaged` name. */
async function setAside(files: Files, directory: string, file: UnreadableFile): Promise<void> {
  if (file.bytes === 0) await files.unlink(join(directory, file.name))
  else await files.rename(join(directory, file.name), join(directory, preservedName(directory, file.name)))
  await files.syncPath(directory)
}

/** Crash within: a copy too many, perhaps a partial one; the next opening makes another. */
async function preserve(files: Files, directory: string, name: string): Promise<void> {
  const copy = join(directory, preservedName(directory, name))
  await files.copy(join(directory, name), copy)
  await files.syncPath(copy)
}

function preservedName(directory: string, name: string): string {
  const taken = new Set(listFolder(directory).preserved)
  let preserved = `${name}.damaged`
  for (let count = 2; taken.has(preserved); count++) preserved = `${name}.damaged-${count}`
  return preserved
}
