/**
 * The position guard: a data folder that is older than it was is noticed.
 *
 * While a service runs it notes how far it is, every two seconds when there is news and once more when it has stopped: the last durable
 * journal record, the last row, the number of changes of the security state (data-position.ts). At the next start
 * the data folder must have come at least as far.
 *
 *   EVC_POSITION_FILE   outside of the data folder: a folder that is older, in part or whole, does not start (ROLLED_BACK)
 *   position.json       in the data folder, without that setting: finds parts of it that are older than others; the
 *                       service starts, as charge points have to log in, and records SYSTEM / ROLLED_BACK
 *
 * Only what survives a power loss is noted, and a note is there whole or not at all, so no crash makes the guard bark.
 * Owns the file. Must not delay a request, and a note that cannot be written stops nothing.
 */
import { existsSync, readFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join, relative, resolve } from 'node:path'
import type { AuditLogger } from '../audit/audit-service.ts'
import { system } from '../audit/events.ts'
import { createContext } from '../context/context.ts'
import { Refusal } from '../errors.ts'
import { replaceFile } from '../files/whole-file-async.ts'
import { SettingsError } from '../settings/settings.ts'
import type { DataFolder } from './data-folder.ts'
import { type DataPosition, readDatabase, readDataPosition, readJournalId, readStateChanges } from './data-position.ts'
import type { Pipeline } from './pipeline.ts'
import { putOnRecord } from './put-on-record.ts'

/** What was noted. Counts, all of which only grow. */
interface Position {
  readonly journal_id: string | null
  readonly sequence: number
  readonly last_event_id: number
  readonly state_changes: number
}

export interface PositionGuard extends AsyncDisposable {
  /** Begins to note; to be called when the pipeline is open. @throws {SettingsError} the file cannot be written */
  follow(pipeline: Pipeline): Promise<void>
}

const NOTE_MS = 2_000

export interface PositionGuardOptions {
  readonly folder: DataFolder
  /** EVC_POSITION_FILE */
  readonly file: string | undefined
  readonly logger: Pick<AuditLogger, 'fatal' | 'warn'>
}

/**
 * Compares the note with the data folder, before anything is opened. To be disposed after the pipeline.
 * @throws {Refusal} ROLLED_BACK
 * @throws {SettingsError} the file is in the data folder, or holds something else than a position
 */
export function openPositionGuard({ folder, file: given, logger }: PositionGuardOptions): PositionGuard {
  const file = positionFile(folder, given)
  const behind = findBehind(folder, given)
  if (behind !== undefined && given !== undefined) {
    throw new Refusal('ROLLED_BACK', `${folder.path} is older than ${file} says: ${behind.missing.join(', ')}.`)
  }
  let pipeline: Pipeline | undefined
  let journalId: string | undefined
  let timer: NodeJS.Timeout | undefined
  /** What the file says; undefined when it says nothing that still holds. */
  let noted = behind === undefined ? readNote(file) : undefined
  let noting: Promise<void> = Promise.resolve()

  async function note(): Promise<void> {
    if (pipeline === undefined || journalId === undefined) return
    const changes = readDatabase(folder.securityDatabase, 0, readStateChanges)
    if (changes === undefined) return // cannot be read now; a smaller number would hide what is missing
    const reached = furthest(noted, {
      journal_id: journalId,
      sequence: pipeline.status().journal.durableSequence,
      last_event_id: pipeline.lastEventId(),
      state_changes: changes,
    })
    const text = formatPosition(reached)
    if (noted !== undefined && formatPosition(noted) === text) return
    await replaceFile(file, text)
    noted = reached
  }

  /** One at a time. */
  function noteNext(): Promise<void> {
    noting = noting.then(note).catch(error => logger.warn({ code: error?.code }, 'the position could not be noted'))
    return noting
  }

  return {
    async follow(opened) {
      pipeline = opened
      journalId = readJournalId(folder.journalDirectory)
      if (behind !== undefined) {
        const { missing, ...metadata } = behind
        const description = `The data folder is older than it was: ${missing.join(', ')}`
        logger.fatal(metadata, 'the data folder is older than it was')
        opened.audit.system('ROLLED_BACK', createContext(), { description, metadata })
      }
      if (given !== undefined) {
        await note().catch(error => {
          if (error?.code === 'ENOSPC' || error?.code === 'EDQUOT') return // noted when there is room
          throw new SettingsError(['EVC_POSITION_FILE names a file that cannot be written'])
        })
      }
      timer = setInterval(noteNext, NOTE_MS)
      timer.unref()
    },
    async [Symbol.asyncDispose]() {
      clearInterval(timer)
      await noteNext()
    },
  }
}

/**
 * Goes on without what is missing, deliberately: that is put on record, and the note is forgotten.
 * Crash between the two: on record, and still refused; done again, it is on record twice.
 * @returns what is missing; undefined when nothing is, and nothing was done
 */
export async function acceptPosition(options: {
  readonly folder: DataFolder
  readonly file: string | undefined
  readonly actor: string
}): Promise<readonly string[] | undefined> {
  const { folder, file, actor } = options
  const behind = findBehind(folder, file)
  if (behind === undefined) return undefined
  const { missing, ...metadata } = behind
  const description = `Going on with a data folder that is older than it was: ${missing.join(', ')}`
  await putOnRecord(folder, system('ROLLED_BACK', createContext(), { description, metadata: { ...metadata, actor } }))
  await rm(positionFile(folder, file))
  return missing
}

function positionFile(folder: DataFolder, given: string | undefined): string {
  if (given === undefined) return join(folder.path, 'position.json')
  const file = resolve(given)
  if (!relative(folder.path, file).startsWith('..')) {
    throw new SettingsError(['EVC_POSITION_FILE names a file in the data folder: it would grow old together with it'])
  }
  return file
}

interface Behind {
  readonly noted: Position
  readonly found: Position
  /** In words. */
  readonly missing: readonly string[]
}

/** Undefined when there is no note, or the folder is as far as it says. */
function findBehind(folder: DataFolder, given: string | undefined): Behind | undefined {
  const file = positionFile(folder, given)
  if (!existsSync(file)) return undefined
  const noted = readNote(file)
  if (noted === undefined) {
    if (given === undefined) return undefined // it is written anew
    throw new SettingsError(['EVC_POSITION_FILE names a file that does not hold a position'])
  }
  const found = comparable(noted, readDataPosition(folder))
  const missing = [
    ...shortfall('journal records', noted.sequence, found.sequence),
    ...shortfall('events', noted.last_event_id, found.last_event_id),
    ...shortfall('changes of the security state', noted.state_changes, found.state_changes),
  ]
  return missing.length === 0 ? undefined : { noted, found, missing }
}

/** Another journal counts for itself, and what cannot be read says so elsewhere: neither is taken for older. */
function comparable(noted: Position, { journal, lastEventId, stateChanges }: DataPosition): Position {
  const isSameJournal = journal !== undefined && journal.journalId === noted.journal_id
  return {
    journal_id: journal?.journalId ?? null,
    sequence: isSameJournal ? journal.sequence : noted.sequence,
    last_event_id: lastEventId ?? noted.last_event_id,
    state_changes: stateChanges ?? noted.state_changes,
  }
}

/** A database that is replaced under a running service must not take the note back with it: the next start looks again. */
function furthest(noted: Position | undefined, reached: Position): Position {
  if (noted === undefined) return reached
  const isSameJournal = noted.journal_id === reached.journal_id
  return {
    journal_id: reached.journal_id,
    sequence: isSameJournal ? Math.max(noted.sequence, reached.sequence) : reached.sequence,
    last_event_id: Math.max(noted.last_event_id, reached.last_event_id),
    state_changes: Math.max(noted.state_changes, reached.state_changes),
  }
}

function shortfall(what: string, noted: number, found: number): string[] {
  return found < noted ? [`${noted - found} of ${noted} ${what} are missing`] : []
}

function readNote(file: string): Position | undefined {
  return existsSync(file) ? parsePosition(readFileSync(file, 'utf8')) : undefined
}

function formatPosition({ journal_id, sequence, last_event_id, state_changes }: Position): string {
  return `${JSON.stringify({ format: 'ev-central-position', journal_id, sequence, last_event_id, state_changes })}\n`
}

/** To the letter, or not at all. */
function parsePosition(text: string): Position | undefined {
  try {
    const position: Position = JSON.parse(text)
    const { sequence, last_event_id, state_changes } = position
    const isSound = [sequence, last_event_id, state_changes].every(count => Number.isSafeInteger(count) && count >= 0)
    return isSound && formatPosition(position) === text ? position : undefined
  } catch {
    return undefined
  }
}
