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
 * Crash before the rename: the old content, and a draft that is removed next time. After it: the new content. A draft is always made
 * anew: a folder may come from elsewhere (`adopt`), and a link in it would lead to another file.
 * @param time that the file is to have, if not now
 */
export function writeWhole(path: string, content: string | Uint8Array, time?: Date): void {
  const draft = `${path}.draft`
  rmSync(draft, { force: true })
  write(draft, 'wx', content)
  if (time !== undefined) utimesSync(draft, time, time)
  renameSync(draft, path)
  syncPath(dirname(path))
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
  if (topmost !== undefined) syncPath(dirname(topmost))
}

/** The entries of a folder, or the bytes of a file. */
export function syncPath(path: string): void {
  const file = openSync(path, constants.O_RDONLY)
  try {
    fsyncSync(file)
  } finally {
    closeSync(file)
  }
}
