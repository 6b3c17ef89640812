/** Files that are there whole or not at all, also after a power loss, and, but for public ones, private to their owner. */
import {
  closeSync,
  constants,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeSync,
} from 'node:fs'
import { dirname, resolve } from 'node:path'

/**
 * Crash before the rename: the old content, and a draft that is removed next time. After it: the new content. A draft is always made
 * anew: a folder may come from elsewhere (`adopt`), and a link in it would lead to another file.
 * @param time that the file is to have, if not now
 */
export function writeWhole(path: string, content: string | Uint8Array, time?: Date): void {
  place(path, draft => {
    write(draft, 'wx', content)
    if (time !== undefined) utimesSync(draft, time, time)
  })
}

/** As `writeWhole`, with its folder; for everybody to read, as far as the umask of the process allows. */
export function writePublic(path: string, content: string | Uint8Array): void {
  makeDurably(dirname(path), 0o755)
  place(path, draft => write(draft, 'wx', content, 0o644))
}

function place(path: string, writeDraft: (draft: string) => void): void {
  const draft = startDraft(path)
  try {
    writeDraft(draft)
    renameSync(draft, path)
  } catch (error) {
    rmSync(draft, { force: true }) // the disk may be full of it
    throw error
  }
  syncPath(dirname(path))
}

type Append = (bytes: Uint8Array) => void

/**
 * The same, a piece at a time.
 * @param writeAll gets a function that appends, for as long as its promise takes
 */
export async function writePieces(path: string, writeAll: (append: Append) => Promise<void> | void): Promise<void> {
  const draft = startDraft(path)
  try {
    const file = openSync(draft, 'wx', 0o600)
    try {
      await writeAll(bytes => append(file, bytes))
      fsyncSync(file)
    } finally {
      closeSync(file)
    }
    renameSync(draft, path)
  } catch (error) {
    rmSync(draft, { force: true })
    throw error
  }
  syncPath(dirname(path))
}

function startDraft(path: string): string {
  const draft = `${path}.draft`
  rmSync(draft, { force: true })
  return draft
}

/** Crash before the sync: a line that is torn, and that whoever reads it leaves out. */
export function appendLine(path: string, line: string): void {
  write(path, 'a', `${line}\n`)
}

function write(path: string, flags: 'wx' | 'a', content: string | Uint8Array, mode = 0o600): void {
  const file = openSync(path, flags, mode)
  try {
    append(file, typeof content === 'string' ? Buffer.from(content) : content)
    fsyncSync(file)
  } finally {
    closeSync(file)
  }
}

function append(file: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; ) at += writeSync(file, bytes, at)
}

/** Mode 0700, with whatever is missing above it. */
export function makePrivateFolder(path: string): void {
  makeDurably(path, 0o700)
}

function makeDurably(path: string, mode: number): void {
  const topmost = makeFolders(path, mode)
  if (topmost !== undefined) syncPath(dirname(topmost))
}

/**
 * With whatever is missing above it. Node's own `recursive` never returns where a folder that is there takes no other one, as `/proc`.
 * @returns the topmost that was made, if any
 */
export function makeFolders(path: string, mode: number): string | undefined {
  const folder = resolve(path)
  if (isFolder(folder)) return undefined
  const above = dirname(folder)
  const isTop = above === folder // a drive of Windows that is not there
  const topmost = isTop || existsSync(above) ? undefined : makeFolders(above, mode)
  try {
    mkdirSync(folder, { mode })
  } catch (error) {
    if (!isFolder(folder)) throw error
    return topmost // somebody else was first
  }
  return topmost ?? folder
}

const isFolder = (path: string) => statSync(path, { throwIfNoEntry: false })?.isDirectory() === true

/** The entries of a folder, or the bytes of a file. */
export function syncPath(path: string): void {
  const file = openSync(path, constants.O_RDONLY)
  try {
    fsyncSync(file)
  } finally {
    closeSync(file)
  }
}
