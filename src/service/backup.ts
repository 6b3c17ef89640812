/**
 * A backup: a consistent copy of a data folder in a folder of its own, made by another process while the service runs
 * on, or with none running.
 *
 * Promise: every event that was answered for before the backup began is in it; so is the event of every change of the
 * state that is in it; the copied journal goes on where the copied rows end. Nothing of the data folder is changed.
 *
 *   step                                  a crash after it          what the service does meanwhile
 *   1. hold the journal's segments        -                         may trim them: we still have their bytes
 *   2. copy the log's checkpoints and     files, no manifest        signs others
 *      keys, then audit.db, rows up to
 *      P, then the log's packs            files, no manifest        journals, indexes, trims what is above P
 *   3. copy security.db                   files, no manifest        delivers outbox rows and deletes them
 *   4. copy the journal behind P          files, no manifest        journals
 *   5. copy the secrets, if asked for     files, no manifest
 *   6. sync, digest, write the manifest   a whole backup
 *
 * Why this order. The journal last: it then reaches at least to P (else the restored set would be refused as
 * JOURNAL_BEHIND), and an outbox row that was deleted before step 3 was durable in the journal by then, so it is among
 * the rows or in the copy. A row that was not deleted is delivered again and recorded once. The security state comes after the
 * rows, which take longest, so that it is as young as the trail, but for the blink of step 4; never younger.
 * Held first: what was trimmed before step 1 was rows already, and step 2 sees them. A segment that is begun, indexed and
 * trimmed between two looks (20 ms) leaves a gap, which step 4 finds: then all is done again.
 *
 * The log's packs after the rows: what is below the head of the copied rows was written before it and never changes. Its checkpoints
 * before them, so that none is of rows that are not in the copy. The keys that sign are never in a backup.
 *
 * The databases are copied page by page by SQLite's online backup, under one read transaction. Rejected: without that
 * transaction every commit of the service begins the copy anew, and it never ends; VACUUM INTO takes as long, holds the
 * thread (so no segment could be held) and cannot say how far it is.
 */
import { chmodSync, existsSync, globSync, statSync } from 'node:fs'
import { mkdir, readdir, readFile, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { backup, DatabaseSync } from 'node:sqlite'
import { Refusal } from '../errors.ts'
import { makeFolders } from '../files/whole-file.ts'
import { replaceFile, syncPath, writeNew } from '../files/whole-file-async.ts'
import { holdJournal } from './backup-journal.ts'
import { type BackedUpFile, digestOf, formatManifest, MANIFEST_NAME, type Manifest } from './backup-manifest.ts'
import type { DataFolder } from './data-folder.ts'
import { indexedIn, readRowsPosition, readStateChanges } from './data-position.ts'
import { VERSION } from './version.ts'

export interface BackupOptions {
  readonly folder: DataFolder
  /** Made with mode 0700; may exist if it is empty. */
  readonly directory: string
  /** Whether the generated secrets go along. Whoever has them and the databases can read every charge point key. */
  readonly withSecrets: boolean
  readonly onProgress?: (progress: BackupProgress) => void
}

export interface BackupProgress {
  readonly phase: 'events' | 'state' | 'digests'
  readonly done: number
  readonly total: number
}

const ATTEMPTS = 5
const PAGES_AT_ONCE = 1_000
const LOG_FOLDER = 'audit/audit.db-log'
const NO_ROWS = { lastEventId: 0, positions: new Map<string, number>() }

/** @throws {Refusal} FOLDER_NOT_EMPTY; BACKUP_FAILED, then the folder is left without a manifest. */
export async function backUp(options: BackupOptions): Promise<Manifest> {
  const { folder, directory, onProgress = () => {} } = options
  await makeEmptyFolder(directory)
  const created_at = new Date().toISOString()
  const contents = await copyContents(folder, directory, onProgress)
  const secrets = options.withSecrets ? await copySecrets(folder, directory) : []
  const { names, ...positions } = contents
  const files = await describe(directory, [...names, ...secrets], onProgress)
  const manifest = { version: VERSION, created_at, ...positions, has_secrets: secrets.length > 0, files }
  await replaceFile(join(directory, MANIFEST_NAME), formatManifest(manifest))
  return manifest
}

/** @throws {Refusal} FOLDER_NOT_EMPTY */
export async function makeEmptyFolder(directory: string): Promise<void> {
  const topmost = makeFolders(directory, 0o700)
  if (topmost === undefined) {
    if ((await readdir(directory)).length > 0) throw new Refusal('FOLDER_NOT_EMPTY', `${directory} is not empty.`)
    chmodSync(directory, 0o700)
  }
  await syncPath(dirname(topmost ?? directory))
}

type Contents = Omit<Manifest, 'version' | 'created_at' | 'has_secrets' | 'files'> & { readonly names: string[] }

async function copyContents(
  folder: DataFolder,
  directory: string,
  onProgress: (progress: BackupProgress) => void,
): Promise<Contents> {
  for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
    const contents = await copyOnce(folder, directory, onProgress)
    if (contents !== undefined) return contents
    for (const name of ['audit', 'security', 'journal'])
      await rm(join(directory, name), { recursive: true, force: true })
  }
  throw new Refusal('BACKUP_FAILED')
}

/** Steps 1 to 4. Undefined when the journal was trimmed faster than it could be held. */
async function copyOnce(
  folder: DataFolder,
  directory: string,
  onProgress: (progress: BackupProgress) => void,
): Promise<Contents | undefined> {
  using held = holdJournal(folder.journalDirectory)
  const names: string[] = []
  const copy = async <T>(path: string, name: string, phase: 'events' | 'state', read: (db: DatabaseSync) => T) => {
    if (!existsSync(path)) return undefined
    names.push(name)
    return await copyDatabase(path, join(directory, name), read, (done, total) => onProgress({ phase, done, total }))
  }
  names.push(...(await copyLog(folder, directory, CHECKPOINT_FILES)))
  const rows = (await copy(folder.auditDatabase, 'audit/audit.db', 'events', readRowsPosition)) ?? NO_ROWS
  names.push(...(await copyLog(folder, directory, LOG_PACKS)))
  const changes = await copy(folder.securityDatabase, 'security/security.db', 'state', readStateChanges)
  const indexed = indexedIn(rows, held.journalId())
  const journal = await held.copy(join(directory, 'journal'), indexed)
  if (journal === 'gap') return undefined
  for (const name of journal?.names ?? []) names.push(`journal/${name}`)
  return {
    journal_id: journal?.journalId ?? null,
    sequence: journal?.sequence ?? indexed,
    indexed_sequence: indexed,
    last_event_id: rows.lastEventId,
    state_changes: changes ?? 0,
    names,
  }
}

/** What `read` finds in the source is what the copy holds: both see the database of the same moment. */
async function copyDatabase<T>(
  source: string,
  target: string,
  read: (db: DatabaseSync) => T,
  onPages: (done: number, total: number) => void,
): Promise<T> {
  await mkdir(dirname(target), { recursive: true, mode: 0o700 })
  await writeNew(target, async () => {}) // SQLite would make it 0644
  const db = new DatabaseSync(source, { readOnly: true, timeout: 5_000 })
  try {
    db.exec('BEGIN')
    const found = read(db)
    await backup(db, target, {
      rate: PAGES_AT_ONCE,
      progress: ({ totalPages, remainingPages }) => onPages(totalPages - remainingPages, totalPages),
    })
    return found
  } finally {
    db.close()
  }
}

/** With the id of a key behind them they are of a log that was gone on from: what was signed then holds. */
const CHECKPOINT_FILES = /^(?:checkpoints?|witnessed|keys)(?:\.[0-9a-f]{8})?$/
const LOG_PACKS = /^(?:tiles-\d-|entries-)\d{6}$/

async function copyLog({ log }: DataFolder, directory: string, which: RegExp): Promise<string[]> {
  const names = existsSync(log) ? (await readdir(log)).filter(name => which.test(name)).sort() : []
  const target = join(directory, LOG_FOLDER)
  if (names.length > 0) await mkdir(target, { recursive: true, mode: 0o700 })
  for (const name of names) {
    const content = await readFile(join(log, name))
    await writeNew(join(target, name), async file => void (await file.writeFile(content)))
  }
  return names.map(name => `${LOG_FOLDER}/${name}`)
}

/** Those that are finished: a draft of one has another name. */
async function copySecrets(folder: DataFolder, directory: string): Promise<string[]> {
  const names = globSync('secrets/*', { cwd: folder.path }).filter(name => /^secrets\/[a-z-]+$/.test(name))
  if (names.length > 0) await mkdir(join(directory, 'secrets'), { mode: 0o700 })
  for (const name of names) {
    const content = await readFile(join(folder.path, name))
    await writeNew(join(directory, name), async file => void (await file.writeFile(content)))
  }
  return names
}

/** Syncs every file and folder, and takes the digests. */
async function describe(
  directory: string,
  names: readonly string[],
  onProgress: (progress: BackupProgress) => void,
): Promise<BackedUpFile[]> {
  const sizes = names.map(name => statSync(join(directory, name)).size)
  const total = sizes.reduce((sum, bytes) => sum + bytes, 0)
  let done = 0
  const files: BackedUpFile[] = []
  for (const [index, path] of names.entries()) {
    const file = join(directory, path)
    await syncPath(file)
    const sha256 = await digestOf(file, bytes => {
      done += bytes
      onProgress({ phase: 'digests', done, total })
    })
    files.push({ path, bytes: sizes[index] as number, sha256 })
  }
  for (const name of new Set(names.map(name => dirname(name)))) await syncPath(join(directory, name))
  await syncPath(directory)
  return files
}
