/** Files that are there whole or not at all, also after a power loss, and private to their owner. */
import {
  closeSync,
  constants,
  fsyncSync,
  mkdirSync,
  openSync,
  renameSync,
  rmSync,
  utimesSync,
  writeSync,
} from 'node:fs'
import { dirname } from 'node:path'

/**
 * Crash before the rename: the old content, and a draft that goes next time. After it: the new content. A draft is always made
 * anew, as others may have put a file or a link in its place where the folder is theirs too (a mirror).
 * @param time that the file is to have, if not now
 */
export function writeWhole(path: string, content: string | Uint8Array, time?: Date): void {
  const draft = `${path}.draft`
  rmSync(draft, { force: true })
  write(draft, 'wx', content)
  if (time !== undefined) utimesSync(draft, time, time)
  renameSync(draft, path)
  syncFolder(dirname(path))
}

/** Crash before the sync: a line that is torn, and that whoever reads it leaves out. */
export function appendLine(path: string, line: string): void {
  write(path, 'a', `${line}\n`)
}

function write(path: string, flags: 'wx' | 'a', content: string | Uint8Array): void {
  const file = openSync(path, flags, 0o600)
  try {
    const bytes = typeof content === 'string' ? Buffer.from(content) : content
    for (let at = 0; at < bytes.length; ) at += writeSync(file, bytes, at)
    fsyncSync(file)
  } finally {
    closeSync(file)
  }
}

/** Mode 0700, with whatever is missing above it. */
export function makePrivateFolder(path: string): void {
  const topmost = mkdirSync(path, { recursive: true, mode: 0o700 })
  if (topmost !== undefined) syncFolder(dirname(topmost))
}

export function syncFolder(path: string): void {
  const folder = openSync(path, constants.O_RDONLY)
  try {
    fsyncSync(folder)
  } finally {
    closeSync(folder)
  }
}
