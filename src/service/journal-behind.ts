/**
 * A journal that is not the one whose records became rows, noticed only after events were taken: an old copy of it, where the
 * database could not be read when the service was started, or one of two copies that are in use at once. The new events have
 * numbers that the database takes for known, so the indexer halts; but the next start would find the journal as long as the
 * database and see nothing. Hence a note in the journal's folder, which goes away with it.
 *
 * Crash before the note: the service had no time to take many events; the next start notices if they are fewer than what the
 * journal lacks.
 */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Refusal } from '../errors.ts'
import { replaceFile } from '../files/whole-file-async.ts'
import type { DataFolder } from './data-folder.ts'

const NOTE_NAME = 'behind'

/** To be asked before the journal is opened. @throws {Refusal} JOURNAL_BEHIND */
export function refuseJournalBehind(folder: DataFolder): void {
  const note = join(folder.journalDirectory, NOTE_NAME)
  if (existsSync(note)) throw new Refusal('JOURNAL_BEHIND', readFileSync(note, 'utf8').trim())
}

/** @param after the last record that is a row of this journal */
export async function noteJournalBehind(folder: DataFolder, after: number): Promise<void> {
  const text = `The database has rows of another copy of this journal, which is the same up to record ${after}. Records from ${after + 1} on were taken since; they are in this journal folder only.`
  await replaceFile(join(folder.journalDirectory, NOTE_NAME), `${text}\n`)
}
