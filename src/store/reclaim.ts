/**
 * Gives the pages that nothing uses any more back to the disk: a little at a time, so that the indexer never waits long for
 * the write lock. A crash leaves the rest for the next time; the pages are used again meanwhile.
 */
import { statSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import { setTimeout } from 'node:timers/promises'
import { sqliteCode } from './connection.ts'

const BUSY_TIMEOUT_MS = 5_000
/** 4 MiB: some ten milliseconds. */
const PAGES_AT_ONCE = 1_024
const STEPS_BETWEEN_CHECKPOINTS = 8
const INCREMENTAL = 2
const SQLITE_BUSY = 5
const ATTEMPTS = 50
const RETRY_MS = 100

export interface Reclaimed {
  readonly bytesBefore: number
  readonly bytesAfter: number
  /** False for a file made by a version that could not do this: its free pages are only used again. */
  readonly canShrink: boolean
}

/** Does what it can within some seconds; what is in use then (a backup reads, for example) is left for the next time. */
export async function reclaimSpace(path: string): Promise<Reclaimed> {
  const db = new DatabaseSync(path, { timeout: BUSY_TIMEOUT_MS })
  const ask = (pragma: string) => Number(Object.values(db.prepare(`PRAGMA ${pragma}`).get() ?? {})[0])
  const bytesBefore = statSync(path).size
  const canShrink = ask('auto_vacuum') === INCREMENTAL
  try {
    for (let step = 1, failures = 0; canShrink && ask('freelist_count') > 0 && failures < ATTEMPTS; step++) {
      try {
        db.exec(`PRAGMA incremental_vacuum(${PAGES_AT_ONCE})`)
        if (step % STEPS_BETWEEN_CHECKPOINTS === 0) db.exec('PRAGMA wal_checkpoint(PASSIVE)')
      } catch (error) {
        if (sqliteCode(error) !== SQLITE_BUSY) throw error
        failures++
      }
      await setTimeout(1) // others may want the lock
    }
    await shrinkFile(db)
    return { bytesBefore, bytesAfter: statSync(path).size, canShrink }
  } finally {
    db.close()
  }
}

/** The file ends where the database ends once all of the write-ahead log is in it; readers may keep it a moment longer. */
async function shrinkFile(db: DatabaseSync): Promise<void> {
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const result = db.prepare('PRAGMA wal_checkpoint(PASSIVE)').get()
    if (result?.busy === 0 && result.checkpointed === result.log) return
    await setTimeout(RETRY_MS)
  }
}
