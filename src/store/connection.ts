/**
 * One SQLite connection that is opened on demand, given up when it is no longer to be trusted, and opened again.
 *
 * So a database that is locked, gone, replaced or on a full disk costs the callers an error each, and works again
 * once it is back. Used by the store (read-write) and by the queries (read-only).
 */
import { statSync } from 'node:fs'
import type { DatabaseSync } from 'node:sqlite'
import { StoreError } from './event-store.ts'

export interface Connection<T> {
  /** Whether `use` would neither open a database nor make one where it is gone. */
  isOpen(): boolean
  /**
   * Runs synchronous work on the open database. If it throws, an open transaction is rolled back.
   * @throws {StoreError} UNAVAILABLE or FOREIGN for whatever SQLite or the file system says; other errors as they are.
   */
  use<R>(work: (open: T) => R): R
  close(): void
}

const SQLITE = { ERROR: 1, BUSY: 5, FULL: 13, CONSTRAINT: 19, MISUSE: 21, NOTADB: 26 } as const

export function createConnection<T extends { readonly db: DatabaseSync }>(path: string, open: () => T): Connection<T> {
  let current: { readonly opened: T; readonly file: string | undefined } | undefined
  let isClosed = false

  /** The file is the one we opened: an unlinked or replaced database would take writes that nobody can ever read. */
  const isOpen = () => current !== undefined && current.file === fileIdentity(path)

  function connect(): T {
    if (isClosed) throw new StoreError('UNAVAILABLE', 'the event store is closed')
    if (!isOpen()) drop()
    if (current === undefined) {
      const opened = open()
      current = { opened, file: fileIdentity(path) }
    }
    return current.opened
  }

  function drop(): void {
    const { opened } = current ?? {}
    current = undefined
    try {
      opened?.db.close()
    } catch {
      // closing does I/O; on a failing disk there is nothing left to save
    }
  }

  function recover(error: unknown): void {
    const db = current?.opened.db
    try {
      if (db?.isTransaction) db.exec('ROLLBACK')
    } catch {
      drop()
    }
    const code = sqliteCode(error)
    if (code !== undefined && code !== SQLITE.BUSY && code !== SQLITE.FULL) drop()
  }

  return {
    isOpen,
    use(work) {
      try {
        return work(connect())
      } catch (error) {
        recover(error)
        throw asStoreError(error)
      }
    },
    close() {
      isClosed = true
      drop()
    },
  }
}

/** Errors of SQLite and of the file system become a StoreError; anything else is a defect and stays itself. */
function asStoreError(error: unknown): unknown {
  const code = sqliteCode(error)
  if (code === SQLITE.NOTADB) return new StoreError('FOREIGN', 'the file is not a database', { cause: error })
  if (code === SQLITE.CONSTRAINT || code === SQLITE.MISUSE) return error
  if (code !== undefined)
    return new StoreError('UNAVAILABLE', `database: ${(error as Error).message}`, { cause: error })
  if (error instanceof Error && 'syscall' in error && 'code' in error) {
    return new StoreError('UNAVAILABLE', `database file: ${error.code}`, { cause: error })
  }
  return error
}

/** Primary result code of an SQLite error (the low byte of the extended one), undefined for any other error. */
export function sqliteCode(error: unknown): number | undefined {
  if (!(error instanceof Error) || !('errcode' in error) || typeof error.errcode !== 'number') return undefined
  return error.errcode & 0xff
}

function fileIdentity(path: string): string | undefined {
  const found = statSync(path, { throwIfNoEntry: false })
  return found === undefined ? undefined : `${found.dev}:${found.ino}`
}
