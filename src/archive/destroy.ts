/** Files whose bytes are overwritten before they go. Synchronous. */
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
import { syncPath } from '../files/whole-file.ts'

const ZEROS = new Uint8Array(1024 * 1024)

/** Overwrites a file with zeros and deletes it. Crash in it: a file that is partly zeros, to be destroyed again. */
export function destroy(path: string): void {
  overwrite(path)
  rmSync(path)
  syncPath(dirname(path))
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
    syncPath(dirname(path))
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
