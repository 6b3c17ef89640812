/** A file that is there whole or not at all, also after a power loss, and private to its owner. Synchronous. */
import { closeSync, constants, fsyncSync, mkdirSync, openSync, renameSync, rmSync, writeSync } from 'node:fs'
import { dirname } from 'node:path'

type Append = (bytes: Uint8Array) => void

/**
 * @param write gets a function that appends, for as long as the promise takes
 *
 * Crash before the rename: a draft, which the next attempt overwrites. After it: the file; its bytes were on disk before.
 * Failing before the rename leaves nothing, and what was there stays.
 */
export async function writeDurably(path: string, write: (append: Append) => Promise<void> | void): Promise<void> {
  const draft = `${path}.draft`
  try {
    await writeSynced(draft, write)
    renameSync(draft, path)
  } catch (error) {
    rmSync(draft, { force: true }) // the disk may be full of it
    throw error
  }
  syncFolder(dirname(path))
}

async function writeSynced(path: string, write: (append: Append) => Promise<void> | void): Promise<void> {
  const file = openSync(path, 'w', 0o600)
  try {
    await write(bytes => {
      for (let at = 0; at < bytes.length; ) at += writeSync(file, bytes, at)
    })
    fsyncSync(file)
  } finally {
    closeSync(file)
  }
}

/** Mode 0700, with whatever is missing above it. */
export function makeFolder(path: string): void {
  const topmost = mkdirSync(path, { recursive: true, mode: 0o700 })
  if (topmost !== undefined) syncFolder(dirname(topmost))
}

function syncFolder(path: string): void {
  const folder = openSync(path, constants.O_RDONLY)
  try {
    fsyncSync(folder)
  } finally {
    closeSync(folder)
  }
}
