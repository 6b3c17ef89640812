/**
 * The two connections to the security database and the order of writes on them.
 *
 * `reader` answers everything outside a transaction; `writer` belongs to one transaction at a time, so nobody ever reads
 * what is not committed. Two kinds of commit: FULL fsyncs before it returns (changes of state; rare, a few ms); NORMAL
 * only writes, which survives kill -9, and whoever needs more awaits `synced()`, one fsync off the event loop for
 * everything written so far.
 *
 * A full, failing or read-only disk and a lock that stays are no faults of ours but states that pass: STATE_UNAVAILABLE,
 * rolled back, tried anew by whoever comes next, so that the first write after the disk is well again succeeds. Reads
 * go on meanwhile. One case is uncertain: an fsync that fails in the middle of a commit. The commit is taken back, and
 * what is left of it in the -wal is overwritten by the next one; killed before that, SQLite may find it whole, the
 * change and its outbox row both.
 */
import { chmodSync, closeSync, openSync } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { dirname } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { setTimeout as delay } from 'node:timers/promises'
import { makePrivateFolder } from '../files/whole-file.ts'
import { migrate } from './sqlite-schema.ts'
import { isLocked, unavailable } from './sqlite-unavailable.ts'

export interface Connections {
  readonly reader: DatabaseSync
  readonly writer: DatabaseSync
  /** Runs `work` between BEGIN IMMEDIATE and COMMIT; one at a time. @throws {Refusal} STATE_UNAVAILABLE: nothing was written. */
  transaction<T>(commit: 'FULL' | 'NORMAL', work: () => T | Promise<T>): Promise<T>
  /** Resolves when all that is committed survives power loss. @throws {Refusal} STATE_UNAVAILABLE */
  synced(): Promise<void>
  /** Why the last write failed, in SQLite's words; null if it did not. */
  lastWriteError(): string | null
  close(): Promise<void>
}

/** While we open, nothing else runs, so SQLite may wait by itself. */
const OPEN_WAIT_MS = 5_000
/** Afterwards its waiting would stop the event loop: brief there, the rest of the wait is ours. */
const LOCK_SPIN_MS = 20
const LOCK_WAIT_MS = 2_000

const CANNOT_OPEN =
  'The security database cannot be opened: its disk is full or failing, or another process holds it. Make room, then try again.'

/** @throws {Refusal} STATE_UNAVAILABLE */
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
    throw unavailable(error, CANNOT_OPEN) ?? error
  }
  let lastWrite: Promise<unknown> = Promise.resolve()
  let wal: Promise<FileHandle> | undefined

  let lastWriteError: string | null = null
  const changes = writer.prepare('SELECT total_changes() AS n')
  const totalChanges = () => Number(changes.get()?.n)

  async function begin(deadline: number): Promise<void> {
    for (;;) {
      try {
        writer.exec('BEGIN IMMEDIATE')
        return
      } catch (error) {
        if (!isLocked(error) || performance.now() > deadline) throw error
        await delay(LOCK_SPIN_MS)
      }
    }
  }

  async function inTransaction<T>(commit: 'FULL' | 'NORMAL', deadline: number, work: () => T | Promise<T>): Promise<T> {
    writer.exec(`PRAGMA synchronous = ${commit}`)
    await begin(deadline)
    try {
      const result = await work()
      // Crash before: nothing was written. After (FULL): everything is on disk, and the outbox rows with it.
      writer.exec('COMMIT')
      return result
    } catch (error) {
      // SQLite has often rolled back by itself; a rollback that fails leaves nothing either.
      if (writer.isTransaction) writer.exec('ROLLBACK')
      throw error
    }
  }

  function noted(error: unknown): unknown {
    const refusal = unavailable(error)
    if (refusal !== undefined) lastWriteError = (error as Error).message
    return refusal ?? error
  }

  return {
    reader,
    writer,
    transaction(commit, work) {
      // From now, not from its turn: behind others that wait for the same lock it would wait as long as all of them.
      const deadline = performance.now() + LOCK_WAIT_MS
      const run = lastWrite.then(async () => {
        const changesBefore = lastWriteError === null ? 0 : totalChanges()
        try {
          const result = await inTransaction(commit, deadline, work)
          // A transaction that wrote nothing says nothing of the disk.
          if (lastWriteError !== null && totalChanges() > changesBefore) lastWriteError = null
          return result
        } catch (error) {
          throw noted(error)
        }
      })
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
        throw noted(error)
      }
    },
    lastWriteError: () => lastWriteError,
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
  makePrivateFolder(dirname(path))
  try {
    closeSync(openSync(path, 'wx', 0o600))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    // By path, never by opening it: closing a second descriptor would drop the locks of a connection in this process.
    chmodSync(path, 0o600)
  }
}
