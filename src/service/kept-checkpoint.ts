/**
 * The newest checkpoint of a shared log that this instance signed or was shown, kept in its data folder: a database that is set back while
 * no instance runs is noticed by the next one that starts. With the embedded SQLite the log has its checkpoint in a file itself.
 *
 * The file is the signed note, as `ev-central verify --trusted` takes it. Written behind the signing, one write at a time: a crash leaves
 * an older one, which is a weaker mark and never a wrong one. A file that cannot be written stops nothing.
 */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Logger } from 'pino'
import { replaceFile } from '../files/whole-file-async.ts'
import type { DataFolder } from './data-folder.ts'

export interface KeptCheckpoint extends AsyncDisposable {
  /** As it was found at the start. */
  readonly note: string | undefined
  /** The newest one counts. */
  keep(note: string): void
}

export function openKeptCheckpoint(folder: DataFolder, logger: Pick<Logger, 'warn'>): KeptCheckpoint {
  const file = join(folder.path, 'last-checkpoint')
  let next: string | undefined
  let writing: Promise<void> | undefined
  /** One line for each time that it does not go. */
  let hasFailed = false

  async function write(): Promise<void> {
    try {
      for (let note = next; note !== undefined; note = next) {
        next = undefined
        await replaceFile(file, note)
      }
      hasFailed = false
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      if (!hasFailed) logger.warn({ code }, 'the newest checkpoint could not be kept in the data folder')
      hasFailed = true
    }
  }

  return {
    note: existsSync(file) ? readFileSync(file, 'utf8') : undefined,
    keep(note) {
      next = note
      writing ??= write().finally(() => {
        writing = undefined
      })
    },
    async [Symbol.asyncDispose]() {
      await writing
    },
  }
}
