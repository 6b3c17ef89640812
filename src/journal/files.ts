/**
 * Everything the journal does to the disk that can fail and matters: one small interface, so that a test can make each
 * operation fail before or after it reached the disk. `write` and `sync` are the hot path, hence callbacks.
 */
import * as fs from 'node:fs'
import { copyFile, mkdir, rename, truncate, unlink } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { promisify } from 'node:util'

export type Done = (error: NodeJS.ErrnoException | null) => void
export type Written = (error: NodeJS.ErrnoException | null, bytes: number) => void

export interface Files {
  /** May write fewer bytes than asked, without an error. */
  write(fd: number, buffer: Buffer, offset: number, length: number, position: number, done: Written): void
  /** As `write`, but what is written is on stable storage when it is done, as after `sync`. One operation instead of two. */
  writeThrough(fd: number, buffer: Buffer, offset: number, length: number, position: number, done: Written): void
  /** Data, and the metadata needed to read it back, are on stable storage. */
  sync(fd: number, done: Done): void
  /** Write-only and empty, mode 0600. */
  create(path: string): Promise<number>
  /** Write-only, keeping what is in it. */
  edit(path: string): Promise<number>
  close(fd: number): Promise<void>
  rename(from: string, to: string): Promise<void>
  unlink(path: string): Promise<void>
  truncate(path: string, bytes: number): Promise<void>
  /** Never over an existing file. */
  copy(from: string, to: string): Promise<void>
  /** `sync` of a file or folder by its path; for a folder, its entries. */
  syncPath(path: string): Promise<void>
  /** Makes the folder, mode 0700, with its parents, durably. Nothing if it is there. */
  createDirectory(path: string): Promise<void>
}

/** A journal may come from elsewhere (`adopt`), and a link in it would lead to another file. Windows has no such flag. */
const { O_WRONLY, O_CREAT, O_TRUNC, O_DSYNC, O_NOFOLLOW = 0 } = fs.constants

const openFile = promisify(fs.open)
const closeFile = promisify(fs.close)
const syncFile = promisify(fs.fsync)

/** By the descriptor of a file that was made, one of the same file whose writes go through to the disk. */
const throughOf = new Map<number, number>()

export const nodeFiles: Files = {
  write: (fd, buffer, offset, length, position, done) => fs.write(fd, buffer, offset, length, position, done),
  writeThrough(fd, buffer, offset, length, position, done) {
    fs.write(throughOf.get(fd) ?? fd, buffer, offset, length, position, done)
  },
  sync: (fd, done) => fs.fdatasync(fd, done),
  async create(path) {
    const fd = await openFile(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0o600)
    try {
      throughOf.set(fd, await openFile(path, O_WRONLY | O_DSYNC | O_NOFOLLOW))
    } catch (error) {
      await closeFile(fd)
      throw error
    }
    return fd
  },
  edit: path => openFile(path, O_WRONLY | O_NOFOLLOW),
  async close(fd) {
    const through = throughOf.get(fd)
    throughOf.delete(fd)
    if (through !== undefined) await closeFile(through)
    await closeFile(fd)
  },
  rename,
  unlink,
  truncate,
  copy: (from, to) => copyFile(from, to, fs.constants.COPYFILE_EXCL),
  syncPath,
  async createDirectory(path) {
    const topmost = await mkdir(path, { recursive: true, mode: 0o700 })
    if (topmost === undefined) return
    for (let made = resolve(path); made.length >= topmost.length; made = dirname(made)) await syncPath(dirname(made))
  },
}

async function syncPath(path: string): Promise<void> {
  const fd = await openFile(path, 'r')
  try {
    await syncFile(fd)
  } finally {
    await closeFile(fd)
  }
}
