/**
 * A restore: a backup becomes a data folder that the next start goes on from, and says so in the trail.
 *
 * Promise: nothing is written unless the whole backup is there, unchanged; a folder that is not whole does not start.
 *
 *   step                                                  a crash after it
 *   1. check the manifest and every digest                nothing was written
 *   2. make the folder, and `restoring` in it             an empty folder that does not start (RESTORE_INCOMPLETE)
 *   3. copy the files, checking the digests once more     the same, not empty
 *   4. put the log's checkpoints and keys aside, and      the same
 *      SYSTEM / RESTORED into the outbox
 *   5. sync, delete `restoring`                           a data folder; its first start records RESTORED
 *
 * What is restored goes on as a new log, with keys and checkpoints of its own, whose first entries are those of the old one: that one
 * may have gone on behind the backup, and no key must sign two different histories.
 *
 * The outbox keeps the event until it is durable in the journal, however often that start is killed, and it becomes one
 * row. Must not be asked to repair a half-restored folder: it is deleted by a person, and restored again.
 */
import { existsSync, readFileSync, statSync } from 'node:fs'
import { mkdir, open, rm } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { system } from '../audit/events.ts'
import { putChainAside } from '../checkpoint/key-files.ts'
import { createContext } from '../context/context.ts'
import { Refusal } from '../errors.ts'
import type { AuditEvent } from '../event/event.ts'
import { syncPath, writeNew } from '../files/whole-file-async.ts'
import { makeEmptyFolder } from './backup.ts'
import { digestOf, MANIFEST_NAME, type Manifest, parseManifest } from './backup-manifest.ts'
import { type DataFolder, dataFolder } from './data-folder.ts'
import { putOnRecord } from './put-on-record.ts'

export interface RestoreProgress {
  readonly phase: 'checking' | 'copying'
  readonly done: number
  readonly total: number
}

type OnProgress = (progress: RestoreProgress) => void

const MARKER_NAME = 'restoring'

/**
 * Reads the whole backup.
 * @throws {Refusal} BACKUP_INVALID
 */
export async function checkBackup(directory: string, onProgress: OnProgress = () => {}): Promise<Manifest> {
  const manifest = readManifest(directory)
  const total = bytesOf(manifest)
  let done = 0
  for (const { path, bytes, sha256 } of manifest.files) {
    const file = join(directory, path)
    const found = statSync(file, { throwIfNoEntry: false })
    if (found?.isFile() !== true) throw invalid(directory, `${path} is missing`)
    if (found.size !== bytes) throw invalid(directory, `${path} has ${found.size} bytes instead of ${bytes}`)
    const digest = await digestOf(file, read => {
      done += read
      onProgress({ phase: 'checking', done, total })
    })
    if (digest !== sha256) throw invalid(directory, `${path} was changed`)
  }
  return manifest
}

/**
 * @param options.actor who does it, for the trail
 * @throws {Refusal} BACKUP_INVALID, FOLDER_NOT_EMPTY
 */
export async function restoreBackup(options: {
  readonly directory: string
  readonly to: string
  readonly actor: string
  readonly onProgress?: OnProgress
}): Promise<Manifest> {
  const { directory, to, actor, onProgress = () => {} } = options
  const manifest = await checkBackup(directory, onProgress)
  await makeEmptyFolder(to)
  await writeNew(join(to, MARKER_NAME), async () => {})
  await syncPath(to)
  await copyFiles(manifest, directory, to, onProgress)
  putChainAside(dataFolder(to).log)
  // Else the copy is of an audit library embedded elsewhere, which has no security state and no outbox.
  if (manifest.files.some(({ path }) => path.startsWith('security/'))) {
    await putOnRecord(dataFolder(to), restoredEvent(manifest, actor))
  }
  await rm(join(to, MARKER_NAME))
  await syncPath(to)
  return manifest
}

/** To be asked before a data folder is opened. @throws {Refusal} RESTORE_INCOMPLETE */
export function refuseHalfRestored(folder: DataFolder): void {
  if (existsSync(join(folder.path, MARKER_NAME))) {
    throw new Refusal('RESTORE_INCOMPLETE')
  }
}

function readManifest(directory: string): Manifest {
  const file = join(directory, MANIFEST_NAME)
  if (!existsSync(file)) throw invalid(directory, `it has no ${MANIFEST_NAME}, so the backup did not end`)
  const manifest = parseManifest(readFileSync(file, 'utf8'))
  if (manifest === undefined) throw invalid(directory, `its ${MANIFEST_NAME} is not one that this version writes`)
  return manifest
}

async function copyFiles(manifest: Manifest, from: string, to: string, onProgress: OnProgress): Promise<void> {
  const total = bytesOf(manifest)
  let done = 0
  const folders = new Set(manifest.files.map(({ path }) => dirname(path)))
  for (const name of folders) await mkdir(join(to, name), { recursive: true, mode: 0o700 })
  for (const { path, sha256 } of manifest.files) {
    await copyFile(join(from, path), join(to, path), read => {
      done += read
      onProgress({ phase: 'copying', done, total })
    })
    if ((await digestOf(join(to, path))) !== sha256) throw invalid(from, `${path} changed while it was copied`)
  }
  for (const name of folders) await syncPath(join(to, name))
}

const PIECE_BYTES = 1024 * 1024

async function copyFile(from: string, to: string, onBytes: (bytes: number) => void): Promise<void> {
  const source = await open(from, 'r')
  try {
    await writeNew(to, async target => {
      const piece = Buffer.alloc(PIECE_BYTES)
      for (;;) {
        const { bytesRead } = await source.read(piece, 0, PIECE_BYTES)
        if (bytesRead === 0) return
        await target.appendFile(piece.subarray(0, bytesRead))
        onBytes(bytesRead)
      }
    })
  } finally {
    await source.close()
  }
}

function restoredEvent(manifest: Manifest, actor: string): AuditEvent {
  const { created_at, journal_id, sequence, last_event_id, state_changes, version } = manifest
  return system('RESTORED', createContext(), {
    description: `Restored from the backup of ${created_at}: what happened since is missing`,
    metadata: { backup_time: created_at, version, journal: journal_id, sequence, last_event_id, state_changes, actor },
  })
}

function bytesOf(manifest: Manifest): number {
  return manifest.files.reduce((sum, { bytes }) => sum + bytes, 0)
}

function invalid(directory: string, why: string): Refusal {
  return new Refusal('BACKUP_INVALID', `${resolve(directory)} cannot be restored: ${why}.`)
}
