/** A file that is there whole or not at all, also after a power loss, and private to its owner. Synchronous. */
import {
  closeSync,
  existsSync,
  fstatSync,
  fsyncSync,
  linkSync,
  openSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs'
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
  rmSync(path, { force: true }) // made anew: others may have put a file or a link there, where the folder is theirs too
  const file = openSync(path, 'wx', 0o600)
  try {
    await write(bytes => {
      for (let at = 0; at < bytes.length; ) at += writeSync(file, bytes, at)
    })
    fsyncSync(file)
  } finally {
    closeSync(file)
  }
}

const ZEROS = new Uint8Array(1024 * 1024)

/** Overwrites a file with zeros and deletes it. Crash in it: a file that is partly zeros, to be destroyed again. */
export function destroy(path: string): void {
  overwrite(path)
  rmSync(path)
  syncFolder(dirname(path))
}

/**
 * Puts a file in the place of another one, whose bytes are overwritten: under a second name, so that there is always one to be read.
 * A file system that has no second names overwrites it before. Called again it goes on where a crash was.
 */
export function replaceDestroying(path: string, staged: string, doomed: string): void {
  if (existsSync(staged)) {
    if (existsSync(path)) {
      try {
        if (!existsSync(doomed)) linkSync(path, doomed)
      } catch {
        overwrite(path)
      }
    }
    renameSync(staged, path)
    syncFolder(dirname(path))
  }
  if (existsSync(doomed)) destroyLeftover(doomed, path)
}

/** The old file under its second name, unless that is still the one in its place. */
export function destroyLeftover(doomed: string, path: string): void {
  if (existsSync(path) && statSync(doomed).ino === statSync(path).ino) rmSync(doomed)
  else destroy(doomed)
}

function overwrite(path: string): void {
  const file = openSync(path, 'r+')
  try {
    const { size } = fstatSync(file)
    for (let at = 0; at < size; ) at += writeSync(file, ZEROS, 0, Math.min(ZEROS.length, size - at), at)
    fsyncSync(file)
  } finally {
    closeSync(file)
  }
}
