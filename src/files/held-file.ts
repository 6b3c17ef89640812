/**
 * A file that one process holds at a time. The lock is the kernel's, through SQLite, so it goes with the process however that ends.
 *
 * One that is there is opened by SQLite alone: a process that closes any descriptor of a file loses its locks on it (POSIX), so a second
 * try of whoever holds it would let others in.
 */
import { accessSync, closeSync, constants, existsSync, openSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'

/** @param refusal what is thrown when somebody holds it. @throws the error of the file system when it cannot be written */
export function holdFile(file: string, refusal: (cause: unknown) => Error): Disposable {
  if (!existsSync(file)) makeFile(file)
  accessSync(file, constants.R_OK | constants.W_OK) // of one that is not ours, SQLite would say that it is held
  const lock = new DatabaseSync(file, { timeout: 0 })
  try {
    lock.exec('PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE')
  } catch (cause) {
    lock.close()
    throw refusal(cause)
  }
  return { [Symbol.dispose]: () => lock.close() }
}

/** SQLite would make it 0644. Made by another process meanwhile, it is that one's. */
function makeFile(file: string): void {
  try {
    closeSync(openSync(file, 'wx', 0o600))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  }
}
