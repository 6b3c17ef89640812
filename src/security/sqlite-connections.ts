/**
 * The two connections to the security database and the order of writes on them.
 *
 * `reader` answers everything outside a transaction; `writer` belongs to one transaction at a time, so nobody ever reads
 * what is not committed. Two kinds of commit: FULL fsyncs before it returns (changes of state; rare, a few ms); NORMAL
 * only writes, which survives kill -9, and whoever needs more awaits `synced()`, one fsync off the event loop for
 * everything written so far.
 */
import { chmodSync, closeSync, mkdirSync, openSync } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { dirname } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { setTimeout as delay } from 'node:timers/promises'
import { Refusal } from '../errors.ts'
import { migrate } from './sqlite-schema.ts'

export interface Connections {
  readonly reader: DatabaseSync
  readonly writer: DatabaseSync
  /** Runs `work` between BEGIN IMMEDIATE and COMMIT; one at a time. */
  transaction<T>(commit: 'FULL' | 'NORMAL', work: () => T | Promise<T>): Promise<T>
  /** Resolves when all that is committed survives power loss. */
  synced(): Promise<void>
  close(): Promise<void>
}

/** While we open, nothing else runs, so SQLite may wait by itself. */
const OPEN_WAIT_MS = 5_000
/** Afterwards its waiting would stop the event loop: brief there, the rest of the wait is ours. */
const LOCK_SPIN_MS = 20
const LOCK_WAIT_MS = 5_000
const SQLITE_BUSY = 5

export function openConnections(path: string): Connections {
  createPrivately(path)
  const writer = new DatabaseSync(path, { timeout: OPEN_WAIT_MS })
  let reader: DatabaseSync
  try {
    migrate(writer, path)
    writer.exec(`PRAGMA busy_timeout = ${LOCK_SPIN_MS}`)
    reader = new DatabaseSync(path, { timeout: LOCK_SPIN_MS })
    reader.exec('PRAGMA query_only = ON')
  } catch (error) {
    writer.close()
    throw error
  }
  let lastWrite: Promise<unknown> = Promise.resolve()
  let wal: Promise<FileHandle> | undefined

  async function begin(): Promise<void> {
    const deadline = Date.now() + LOCK_WAIT_MS
    for (;;) {
      try {
        writer.exec('BEGIN IMMEDIATE')
        return
      } catch (cause) {
        // The low byte is the primary code; BUSY has extended ones.
        if (((cause as { errcode?: number }).errcode ?? 0) % 256 !== SQLITE_BUSY) throw cause
        if (Date.now() > deadline) {
          throw new Refusal('OVERLOADED', 'The security state is locked by another process.', {
            cause,
            retryAfterSeconds: 1,
          })
        }
        await delay(LOCK_SPIN_MS)
      }
    }
  }

  async function inTransaction<T>(commit: 'FULL' | 'NORMAL', work: () => T | Promise<T>): Promise<T> {
    writer.exec(`PRAGMA synchronous = ${commit}`)
    await begin()
    try {
      const result = await work()
      // Crash before: nothing was written. After (FULL): everything is on disk, and the outbox rows with it.
      writer.exec('COMMIT')
      return result
    } catch (error) {
      if (writer.isTransaction) writer.exec('ROLLBACK')
      throw error
    }
  }

  return {
    reader,
    writer,
    transaction(commit, work) {
      const run = lastWrite.then(() => inTransaction(commit, work))
      lastWrite = run.catch(() => {})
      return run
    },
    async synced() {
      // The file stays the same one while a connection is open, and SQLite takes no lock on it that our handle could break.
      wal ??= open(`${path}-wal`, 'r+')
      try {
        await (await wal).datasync()
      } catch (error) {
        // What a failed fsync left is unknown and the next one on this descriptor may lie: never use it again.
        const failed = wal
        wal = undefined
        failed.then(handle => handle.close()).catch(() => {})
        throw error
      }
    },
    async close() {
      await lastWrite
      if (wal !== undefined) await (await wal).close()
      reader.close()
      writer.close()
    },
  }
}

/** SQLite gives -wal and -shm the mode of the main file, so that has to be right before it is first opened. */
function createPrivately(path: string): void {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
  try {
    closeSync(openSync(path, 'wx', 0o600))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    // By path, never by opening it: closing a second descriptor would drop the locks of a connection in this process.
    chmodSync(path, 0o600)
  }
}
