/**
 * What a journal's folder holds when it is opened, put in order.
 *
 * Promise: afterwards every record that was durable, and every other one that can be read, is either in its place or handed
 * back to be written anew; whatever could not be read is reported, kept as a `.damaged` copy and declared in its place, so
 * that a reader passes it knowingly. Refuses a folder that is not this format's before anything is changed.
 *
 * Reading comes first and says everything there is to know: how far the sequence has come, what is to be written anew. The
 * newest segment is fsynced with it, once. When that fails, its records do not count as durable, as the next fsync would
 * report success for pages the kernel has dropped; they are written anew.
 * What has to be written is a list of steps (`mend`), each of which can be tried again: a full or read-only disk only
 * delays them, and the first new segment with them. A crash anywhere leaves the original or the mended file under its name,
 * perhaps one more copy.
 *
 * A process that ended while its disk was full left a segment of the reserve, in which records are declared lost. Those
 * that an older segment has all the same are written anew, and so is everything behind the first of them.
 */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { ClosedSegment } from './closed-segments.ts'
import type { Files } from './files.ts'
import { SEGMENT_HEADER_BYTES } from './frame.ts'
import { type FoundSegment, readHeaders, type UnreadableFile } from './recovery-headers.ts'
import { isDiskError, listFolder, placeFile } from './segment-folder.ts'
import { type Entry, type Loss, mergeRuns, readEntries, rebuildSegment, surveySegment } from './segment-survey.ts'

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
  /** The last sequence in its place; durably so once all is mended. */
  readonly lastSequence: number
  /** Behind it, only in superseded segments; to be written anew, in order. */
  readonly requeue: readonly Entry[]
  readonly segments: readonly ClosedSegment[]
  readonly recovered: Omit<Recovered, 'preserved'>
  /** Does what is left to do. Rejects with the system's error where it cannot go on; to be called again then. */
  mend(): Promise<void>
}

type Step = () => Promise<void>

interface Read {
  readonly segment: ClosedSegment
  readonly records: number
  readonly lastSequence: number
  readonly losses: readonly Loss[]
  readonly tornBytes: number
  /** Where its part ends, readable frames that a newer segment supersedes. */
  readonly copies: readonly Entry[]
  /** Everything in it, when it is the newest segment and whole. */
  readonly entries: () => readonly Entry[]
}

/** @throws {JournalError} FOREIGN, CORRUPT (see `readHeaders`): nothing was changed. */
export async function recover(files: Files, directory: string): Promise<Recovery> {
  const contents = listFolder(directory)
  const found = readHeaders(directory, contents.segments)
  const steps: Step[] = contents.temporary.map(name => () => removeFile(files, join(directory, name)))
  const reads: Read[] = []
  const damaged: Damage[] = []
  let isSynced = true
  let tornBytes = 0
  for (const [index, segment] of found.segments.entries()) {
    const through = (found.segments[index + 1]?.header.firstSequence ?? Number.POSITIVE_INFINITY) - 1
    const read = await readSegment(files, directory, segment, through, steps)
    for (const loss of read.losses) damaged.push({ segment: segment.name, ...loss })
    if (segment.isHeaderDamaged) damaged.push(headerDamage(segment))
    // A killed process may have left records that no fsync covered; from here on they count as durable.
    const isNewest = segment === found.segments.at(-1)
    if (isNewest && read.losses.length === 0) isSynced = await trySync(files, join(directory, segment.name))
    reads.push(read)
    tornBytes += read.tornBytes
  }
  const lastSequence = reads.at(-1)?.lastSequence ?? 0
  for (const file of found.unreadable) {
    steps.push(() => setAside(files, directory, file))
    if (file.isUnfinished) tornBytes += file.bytes
    else damaged.push({ segment: file.name, offset: 0, firstSequence: lastSequence + 1, lastSequence })
  }
  const inPlace = isSynced ? beforeLossesFound(reads) : (reads.at(-1) as Read).segment.firstSequence - 1
  return {
    journalId: found.journalId,
    lastOrdinal: found.lastOrdinal,
    lastSequence: inPlace,
    requeue: mergeRuns(inPlace, runsBehind(inPlace, reads)),
    segments: reads.map(({ segment }) => ({
      ...segment,
      isSuperseded: segment.isSuperseded || segment.firstSequence > inPlace,
    })),
    recovered: { records: reads.reduce((sum, { records }) => sum + records, 0), tornBytes, damaged },
    async mend() {
      for (let step = steps[0]; step !== undefined; step = steps[0]) {
        await step()
        steps.shift()
      }
    },
  }
}

/** Adds the steps that mend it. */
async function readSegment(
  files: Files,
  directory: string,
  { name, header, isHeaderDamaged }: FoundSegment,
  through: number,
  steps: Step[],
): Promise<Read> {
  const path = join(directory, name)
  const bytes = await readFile(path)
  const survey = surveySegment(bytes, header.firstSequence, through)
  const { records, lastSequence, losses, tornBytes, end } = survey
  const isWhole = losses.length === 0 && !isHeaderDamaged
  const copies = isWhole ? readEntries(bytes, end, lastSequence + 1) : []
  const isNewest = isWhole && through === Number.POSITIVE_INFINITY
  const entries = () => (isNewest ? readEntries(bytes, SEGMENT_HEADER_BYTES, header.firstSequence) : [])
  if (!isWhole) {
    steps.push(() => preserve(files, directory, name))
    steps.push(async () => {
      const found = await readFile(path) // the original, or what an attempt before this one has made of it
      const mended = rebuildSegment(found, header, surveySegment(found, header.firstSequence, through))
      await files.close(await placeFile(files, directory, name, mended))
    })
  } else if (tornBytes > 0) {
    // Crash after the cut: the same file again, without the tail. It needs no fsync: a tail that comes back is cut again.
    steps.push(() => files.truncate(path, end))
  }
  const segment = {
    ordinal: header.ordinal,
    firstSequence: header.firstSequence,
    lastSequence: copies.at(-1)?.sequence ?? lastSequence,
    isSuperseded: through < header.firstSequence,
  }
  return { segment, records, lastSequence, losses, tornBytes, copies, entries }
}

async function trySync(files: Files, path: string): Promise<boolean> {
  try {
    await files.syncPath(path)
    return true
  } catch (error) {
    if (isDiskError(error)) return false
    throw error
  }
}

/** The last sequence before the first declared loss of the newest segment that an older one has records of. */
function beforeLossesFound(reads: readonly Read[]): number {
  const newest = reads.at(-1)
  if (newest === undefined) return 0
  const found = new Set(reads.flatMap(({ copies }) => recordsBefore(copies)).map(({ sequence }) => sequence))
  let before = newest.segment.firstSequence - 1
  if (found.size === 0) return newest.lastSequence
  for (const { sequence, text } of newest.entries()) {
    if (text === '') for (let lost = before + 1; lost <= sequence; lost++) if (found.has(lost)) return before
    before = sequence
  }
  return newest.lastSequence
}

/** What a process had written and not confirmed, and did not live to write anew. Same sequence, same record. */
function runsBehind(inPlace: number, reads: readonly Read[]): (readonly Entry[])[] {
  const runs = reads.map(({ lastSequence, copies }) => (lastSequence > inPlace ? [] : copies))
  const newest = reads.at(-1)
  return newest === undefined || newest.lastSequence === inPlace ? runs : [...runs, newest.entries()]
}

/** What stands behind a loss in a segment of the reserve is a declaration made up for it, under a number given again. */
function recordsBefore(copies: readonly Entry[]): readonly Entry[] {
  const loss = copies.findIndex(({ text }) => text === '')
  return loss < 0 ? copies : copies.slice(0, loss)
}

async function removeFile(files: Files, path: string): Promise<void> {
  await files.unlink(path).catch(error => {
    if (error.code !== 'ENOENT') throw error
  })
}

function headerDamage({ name, header }: FoundSegment): Damage {
  return { segment: name, offset: 0, firstSequence: header.firstSequence, lastSequence: header.firstSequence - 1 }
}

/** An unreadable file leaves the order of segments; if it has any content, under a `.damaged` name. */
async function setAside(files: Files, directory: string, { name, bytes }: UnreadableFile): Promise<void> {
  if (bytes === 0) await removeFile(files, join(directory, name))
  else if (listFolder(directory).segments.includes(name)) {
    await files.rename(join(directory, name), join(directory, preservedName(directory, name)))
  }
  await files.syncPath(directory)
}

/** Crash within: a copy too many, perhaps a partial one; the next opening makes another. */
async function preserve(files: Files, directory: string, name: string): Promise<void> {
  const copy = join(directory, preservedName(directory, name))
  try {
    await files.copy(join(directory, name), copy)
    await files.syncPath(copy)
  } catch (error) {
    await removeFile(files, copy).catch(() => {}) // else each attempt would leave one
    throw error
  }
}

function preservedName(directory: string, name: string): string {
  const taken = new Set(listFolder(directory).preserved)
  let preserved = `${name}.damaged`
  for (let count = 2; taken.has(preserved); count++) preserved = `${name}.damaged-${count}`
  return preserved
}
