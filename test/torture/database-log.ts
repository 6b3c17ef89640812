/**
 * What a crash leaves of SQLite's write-ahead log. A killed process leaves all of it; a power cut leaves what a checkpoint has
 * brought to the disk, and of the frames behind it none, some, or all.
 */
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import type { Random } from './random.ts'

const LOG_HEADER_BYTES = 32

export interface DatabaseLog {
  /** All that is in it now is on the disk. */
  synced(path: string): void
  /** Connections have been closed. */
  closed(path: string): void
  /** Copies what a crash leaves; nothing where there is none. */
  copy(from: string, to: string, kind: 'kill' | 'power cut'): void
}

export function createDatabaseLog(random: Random): DatabaseLog {
  /** As it is on the disk for certain; of another file by the same name it says nothing. */
  let known: { readonly file: string; readonly bytes: Buffer } | undefined
  return {
    synced(path) {
      known = existsSync(path) ? { file: identityOf(path), bytes: readFileSync(path) } : undefined
    },
    closed(path) {
      if (!existsSync(path)) known = undefined // all of it is in the database
    },
    copy(from, to, kind) {
      const before = known
      known = undefined
      if (!existsSync(from)) return
      const now = readFileSync(from)
      const isSame = before !== undefined && before.file === identityOf(from) && before.bytes.length <= now.length
      const synced = isSame ? before.bytes : undefined
      const left = kind === 'kill' ? now : afterPowerCut(now, synced, random)
      writeFileSync(to, left)
      const certain = kind === 'kill' ? synced : left // what a power cut leaves is on the disk
      if (certain !== undefined) known = { file: identityOf(to), bytes: certain }
    },
  }
}

/**
 * Behind what is on the disk, frames may be missing. A log that has begun anew (another header, which is fsynced) has its
 * older frames behind those of the new ones that reached the disk; they do not count any more.
 */
function afterPowerCut(now: Buffer, synced: Buffer | undefined, random: Random): Buffer {
  const isGoneOn = synced?.subarray(0, LOG_HEADER_BYTES).equals(now.subarray(0, LOG_HEADER_BYTES)) ?? false
  if (isGoneOn) return now.subarray(0, random.between(Math.min(synced?.length ?? 0, now.length), now.length))
  const cut = random.between(Math.min(LOG_HEADER_BYTES, now.length), now.length)
  return Buffer.concat([now.subarray(0, cut), synced?.subarray(cut) ?? Buffer.alloc(0)])
}

/** A number of a deleted file may be given again. */
function identityOf(path: string): string {
  const { ino, birthtimeNs } = statSync(path, { bigint: true })
  return `${ino} ${birthtimeNs}`
}
