/** A file that is there whole or not at all, also after a power loss, and private to its owner. Synchronous. */
import { closeSync, fsyncSync, openSync, renameSync, rmSync, writeSync } from 'node:fs'
import { dirname } from 'node:path'
import { syncFolder } from '../files/whole-file.ts'

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
