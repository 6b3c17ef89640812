/** Files that are there whole or not at all, also after a power loss, and, but for public ones, private to their owner. */
import { closeSync, constants, fsyncSync, mkdirSync, openSync, renameSync, utimesSync, writeSync } from 'node:fs'
import { dirname } from 'node:path'

/**
 * Crash before the rename: the old content, and a draft that is overwritten next time. After it: the new content.
 * @param time that the file is to have, if not now
 */
export function writeWhole(path: string, content: string | Uint8Array, time?: Date): void {
  const draft = `${path}.draft`
  write(draft, 'w', content)
  if (time !== undefined) utimesSync(draft, time, time)
  renameSync(draft, path)
  syncFolder(dirname(path))
}

/** As `writeWhole`, with its folder; for everybody to read, as far as the umask of the process allows. */
export function writePublic(path: string, content: string | Uint8Array): void {
  const topmost = mkdirSync(dirname(path), { recursive: true, mode: 0o755 })
  if (topmost !== undefined) syncFolder(dirname(topmost))
  const draft = `${path}.draft`
  write(draft, 'w', content, 0o644)
  renameSync(draft, path)
  syncFolder(dirname(path))
}

/** Crash before the sync: a line that is torn, and that whoever reads it leaves out. */
export function appendLine(path: string, line: string): void {
  write(path, 'a', `${line}\n`)
}

function write(path: string, flags: 'w' | 'a', content: string | Uint8Array, mode = 0o600): void {
  const file = openSync(path, flags, mode)
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
