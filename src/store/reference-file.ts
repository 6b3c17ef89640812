/**
 * Opens a database of the reference implementation for reading, without changing it or anything beside it, and checks
 * that it is one: a sound SQLite file with a table `audit_events` of exactly the 14 documented columns.
 */
import { closeSync, copyFileSync, mkdtempSync, openSync, readSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { pathToFileURL } from 'node:url'
import { Refusal } from '../errors.ts'
import { COLUMNS } from '../event/event.ts'

/** Whatever the file holds; nothing is known about the types yet. */
export type ReferenceRow = { readonly [column in (typeof COLUMNS)[number]]: unknown }

export interface ReferenceFile extends Disposable {
  readonly total: number
  /** In the order of their ids. All calls see the same snapshot. */
  rows(): Iterable<ReferenceRow>
}

const BUSY_TIMEOUT_MS = 5_000

/** @throws {Refusal} FOREIGN_FILE */
export function openReferenceFile(file: string): ReferenceFile {
  const undo = new DisposableStack()
  try {
    const db = undo.use(openUnchanged(file, undo))
    db.exec('PRAGMA trusted_schema = OFF; BEGIN')
    checkSchema(db)
    checkPages(db)
    const select = db.prepare(`SELECT ${COLUMNS.join(', ')} FROM audit_events ORDER BY id`)
    const total = Number(db.prepare('SELECT count(*) AS total FROM audit_events').get()?.total)
    return {
      total,
      *rows() {
        try {
          for (const row of select.iterate()) yield row as ReferenceRow
        } catch (error) {
          throw asRefusal(error)
        }
      },
      [Symbol.dispose]: () => undo.dispose(),
    }
  } catch (error) {
    undo.dispose()
    throw asRefusal(error)
  }
}

/**
 * A file with a log beside it (`-wal`, or the `-journal` of an interrupted transaction) is complete only with the log,
 * and SQLite would tidy both up: so a copy is opened. A file in WAL mode without a log is opened as immutable, since
 * SQLite would create one. Any other is opened read-only with the usual locks.
 */
function openUnchanged(file: string, undo: DisposableStack): DatabaseSync {
  if (!statSync(file).isFile()) throw new Refusal('FOREIGN_FILE', 'it is not a file')
  const logs = ['-wal', '-journal'].filter(
    suffix => (statSync(file + suffix, { throwIfNoEntry: false })?.size ?? 0) > 0,
  )
  if (logs.length > 0) {
    const directory = undo.adopt(mkdtempSync(join(tmpdir(), 'evc-import-')), path => rmSync(path, { recursive: true }))
    const copy = join(directory, 'reference.db')
    for (const suffix of ['', ...logs]) copyFileSync(file + suffix, copy + suffix)
    return new DatabaseSync(copy)
  }
  const url = pathToFileURL(file)
  if (isInWalMode(file)) url.searchParams.set('immutable', '1')
  return new DatabaseSync(url, { readOnly: true, timeout: BUSY_TIMEOUT_MS })
}

/** Bytes 18 and 19 of the header are the write and read version: 2 for WAL (SQLite file format, 1.3.3). */
function isInWalMode(file: string): boolean {
  const header = Buffer.alloc(20)
  const fd = openSync(file, 'r')
  try {
    return readSync(fd, header, 0, 20, 0) === 20 && (header[18] === 2 || header[19] === 2)
  } finally {
    closeSync(fd)
  }
}

function checkSchema(db: DatabaseSync): void {
  const found = db.prepare("SELECT type, sql FROM sqlite_schema WHERE lower(name) = 'audit_events'").get()
  if (found?.type !== 'table' || !/^\s*CREATE\s+TABLE\b/i.test(String(found.sql))) {
    throw new Refusal('FOREIGN_FILE', 'it has no table audit_events')
  }
  const columns = db.prepare("SELECT name FROM pragma_table_xinfo('audit_events')").all()
  const names = new Set(columns.map(column => String(column.name)))
  const missing = COLUMNS.filter(column => !names.has(column))
  if (missing.length > 0) throw new Refusal('FOREIGN_FILE', `audit_events has no column ${missing.join(', ')}`)
  if (names.size !== COLUMNS.length) {
    throw new Refusal(
      'FOREIGN_FILE',
      `audit_events has ${names.size} columns instead of the ${COLUMNS.length} documented`,
    )
  }
}

function checkPages(db: DatabaseSync): void {
  const result = db.prepare('PRAGMA quick_check(1)').get()
  if (result?.quick_check !== 'ok') throw new Refusal('FOREIGN_FILE', 'the file is damaged')
}

function asRefusal(error: unknown): unknown {
  if (error instanceof Refusal || !(error instanceof Error)) return error
  if ('errstr' in error) return new Refusal('FOREIGN_FILE', `it cannot be opened: ${error.message}`, { cause: error })
  if ('code' in error && error.code === 'ERR_OUT_OF_RANGE') {
    return new Refusal('FOREIGN_FILE', 'it holds a number that is too large', { cause: error })
  }
  if ('syscall' in error && 'code' in error) {
    return new Refusal('FOREIGN_FILE', `the file cannot be read: ${error.code}`, { cause: error })
  }
  return error
}
