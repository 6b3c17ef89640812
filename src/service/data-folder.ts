/**
 * The data folder: who uses it, where things lie in it, and which secrets were generated into it.
 *
 *   lock.db                held by the process that serves this folder
 *   running                exists while a service runs; left behind by an unclean stop
 *   migrated               its log goes on in the PostgreSQL that this names, and nothing may be recorded here any more
 *   adopted                all of its journal is in the PostgreSQL that this names: nothing here is needed any more
 *   journal/               the record of truth until indexed
 *   audit/audit.db         audit_events
 *   audit/audit.db-log/    the log: tiles, entries, checkpoints, the chain of keys
 *   log-keys/              private keys that sign checkpoints, mode 0600
 *   security/security.db   charge points, keys, admins, outbox
 *   archive/               segments that left audit.db, or partitions that left a PostgreSQL, unless they were sent elsewhere
 *   last-checkpoint        with PostgreSQL: the newest that this instance knows of (kept-checkpoint.ts)
 *   archive-lock.db        held by the process that archives
 *   start-reserve          room for a start on a full disk (start-reserve.ts)
 *   secrets/               generated secrets (development only), mode 0600
 */
import { randomBytes, randomUUID } from 'node:crypto'
import { existsSync, linkSync, lstatSync, readFileSync, rmSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { Refusal } from '../errors.ts'
import { holdFile } from '../files/held-file.ts'
import { makeFolders, syncPath, writeWhole } from '../files/whole-file.ts'
import type { StoreLocation } from '../store/location.ts'

export interface DataFolder {
  readonly path: string
  readonly journalDirectory: string
  readonly auditDatabase: string
  readonly securityDatabase: string
  /** Folders of the log and of its private keys. */
  readonly log: string
  readonly logKeys: string
}

/** Names only; touches nothing. */
export function dataFolder(path: string): DataFolder {
  const root = resolve(path)
  return {
    path: root,
    journalDirectory: join(root, 'journal'),
    auditDatabase: join(root, 'audit', 'audit.db'),
    securityDatabase: join(root, 'security', 'security.db'),
    log: join(root, 'audit', 'audit.db-log'),
    logKeys: join(root, 'log-keys'),
  }
}

/** Of whoever uses this folder: its own trail, or the one in PostgreSQL. */
export function storeOf({ auditDatabase }: DataFolder, databaseUrl?: string): StoreLocation {
  return databaseUrl === undefined ? { kind: 'sqlite', path: auditDatabase } : { kind: 'postgres', url: databaseUrl }
}

/** Where archives go to, unless another folder is named; also for a trail in PostgreSQL. */
export const archiveFolder = ({ path }: DataFolder) => join(path, 'archive')

export interface DataFolderLock extends Disposable {
  /** Whether the process before this one did not stop cleanly. */
  readonly isAfterUncleanStop: boolean
  /** To be called last in a clean stop, when everything is on disk. */
  markClean(): void
  /** The same for a command: that a service before did not stop cleanly is for its next start to put on record. */
  leaveAsFound(): void
}

/**
 * Takes the folder for this process, creating it if need be, until the process ends, however it does.
 * @throws {Refusal} DATA_FOLDER_IN_USE; MIGRATION_REFUSED: its log goes on elsewhere
 */
export function lockDataFolder(folder: DataFolder): DataFolderLock {
  return lockFolder(folder, refuseMigrated)
}

/**
 * Work of a command on a folder that no service runs on. That the service before did not stop cleanly is left for the next start to
 * put on record.
 * @throws {Refusal} DATA_FOLDER_IN_USE, MIGRATION_REFUSED
 */
export async function whileStopped<T>(folder: DataFolder, work: () => T | Promise<T>): Promise<T> {
  using lock = lockDataFolder(folder)
  try {
    return await work()
  } finally {
    if (!lock.isAfterUncleanStop) lock.markClean()
  }
}

/** For whoever finishes a migration, or takes it back. @throws {Refusal} DATA_FOLDER_IN_USE */
export function lockMigratingFolder(folder: DataFolder): DataFolderLock {
  return lockFolder(folder, () => {})
}

/** @param admit asked under the lock */
function lockFolder(folder: DataFolder, admit: (folder: DataFolder) => void): DataFolderLock {
  makeFolders(folder.path, 0o700)
  const lockFile = join(folder.path, 'lock.db')
  // A folder may come from elsewhere (`adopt`), and a link in it would lead to another file.
  if (lstatSync(lockFile, { throwIfNoEntry: false })?.isSymbolicLink()) {
    throw new Refusal('DATA_FOLDER_IN_USE', `${lockFile} is a link to another file: remove it.`)
  }
  const busy = `Another process uses the data folder ${folder.path}.`
  using undo = new DisposableStack()
  undo.use(holdFile(lockFile, cause => new Refusal('DATA_FOLDER_IN_USE', busy, { cause })))
  admit(folder)
  const marker = join(folder.path, 'running')
  const isAfterUncleanStop = existsSync(marker)
  writeWhole(marker, '')
  const markClean = () => rmSync(marker, { force: true })
  const lock = undo.move()
  return {
    isAfterUncleanStop,
    markClean,
    leaveAsFound() {
      if (!isAfterUncleanStop) markClean()
    },
    [Symbol.dispose]: () => lock.dispose(),
  }
}

const migratedFile = ({ path }: DataFolder) => join(path, 'migrated')

/** The database that its log went to, as it is shown; undefined when it did not. */
export function migratedTo(folder: DataFolder): string | undefined {
  const file = migratedFile(folder)
  return existsSync(file) ? readFileSync(file, 'utf8').trim() : undefined
}

/** To be asked before anything is recorded in a folder. @throws {Refusal} MIGRATION_REFUSED */
export function refuseMigrated(folder: DataFolder): void {
  const address = migratedTo(folder)
  if (address === undefined) return
  throw new Refusal(
    'MIGRATION_REFUSED',
    `The trail of ${folder.path} was migrated to ${address}, where its log goes on: set EVC_DATABASE_URL, and another EVC_DATA_DIR. The way back is \`ev-central migrate --back\`.`,
  )
}

/** @param address of the database, without its password; undefined takes the mark away */
export function markMigrated(folder: DataFolder, address: string | undefined): void {
  const file = migratedFile(folder)
  if (address === undefined) {
    rmSync(file, { force: true })
    syncPath(folder.path)
  } else writeWhole(file, `${address}\n`)
}

const adoptedFile = ({ path }: DataFolder) => join(path, 'adopted')

/** The database that all of its journal is in, read there by somebody else than its service. */
export function adoptedInto(folder: DataFolder): string | undefined {
  const file = adoptedFile(folder)
  return existsSync(file) ? readFileSync(file, 'utf8').trim() : undefined
}

export function markAdopted(folder: DataFolder, address: string): void {
  writeWhole(adoptedFile(folder), `${address}\n`)
}

/**
 * A generated secret of the folder: 32 random bytes as hex, made at the first call.
 */
export function generatedSecret(folder: DataFolder, name: string): string {
  const directory = join(folder.path, 'secrets')
  makeFolders(directory, 0o700)
  const file = join(directory, name)
  if (!existsSync(file)) createDurably(file, randomBytes(32).toString('hex'))
  const secret = readFileSync(file, 'utf8').trim()
  if (!/^[0-9a-f]{64}$/.test(secret)) throw new Error(`${file} does not hold a generated secret`)
  return secret
}

/** Unless another process was first: then what that one wrote stays, and both go on with the same content. */
function createDurably(file: string, content: string): void {
  const own = `${file}.${randomUUID()}`
  writeWhole(own, content)
  try {
    linkSync(own, file) // unlike a rename, never replaces
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  } finally {
    rmSync(own)
  }
}
