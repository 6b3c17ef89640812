/**
 * Room for a start on a full disk.
 *
 * SQLite makes a `-shm` of 32 KiB for each database that is opened, and removes it when the database is closed in good order:
 * so it is after a clean stop that a full disk would let neither logins nor questions through. Promise: between two
 * processes, and while one runs, that many blocks are set aside in the file `start-reserve`; a start gives them back right
 * before it needs them. A process that ends on a full disk sets them aside from what its databases have just freed.
 * Not promised: when somebody else takes the blocks in between, where the databases are on another disk, and on file systems
 * that keep no zeros.
 */
import { closeSync, fsyncSync, lstatSync, openSync, rmSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { LIMITS } from '../limits.ts'
import type { DataFolder } from './data-folder.ts'

export interface StartReserve extends Disposable {
  /** Never throws: what cannot be had now is tried again at the end. */
  setAside(): void
}

/** Gives the blocks back. To be disposed of when the databases are closed. */
export function releaseStartReserve({ path }: DataFolder): StartReserve {
  const file = join(path, 'start-reserve')
  const remove = () => {
    try {
      rmSync(file, { force: true })
    } catch {
      // a read-only disk: what cannot go on there says so itself
    }
  }
  const setAside = () => {
    try {
      if (lstatSync(file, { throwIfNoEntry: false })?.size === LIMITS.startReserveBytes) return
      remove()
      fill(file)
    } catch {
      remove()
    }
  }
  remove()
  return { setAside, [Symbol.dispose]: setAside }
}

function fill(file: string): void {
  const fd = openSync(file, 'wx', 0o600)
  try {
    const zeros = Buffer.alloc(LIMITS.startReserveBytes)
    for (let written = 0; written < zeros.length; ) written += writeSync(fd, zeros, written)
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
}
