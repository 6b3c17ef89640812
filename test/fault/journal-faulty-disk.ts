/**
 * A disk that fails when told to, and can lose its power.
 *
 * Writes, renames and so on are real; an fsync is only booked (a test has no platter to look at), so that a power cut can
 * be played: `cutPower` reduces the folder to what had been fsynced. Each operation has a number; the plan says which of
 * them fail, and whether that happens before or after it reached the disk. It also watches a promise of the journal: after
 * a failed write or fsync the same file is never written or fsynced again.
 */
import { fstatSync, readdirSync, rmSync, statSync, truncateSync } from 'node:fs'
import { join } from 'node:path'
import { type Files, nodeFiles } from '../../src/journal/files.ts'

/** `half`: half of a write reached the disk, then it failed. `short`: half is written, and no error reported. */
export type FaultKind = 'before' | 'after' | 'half' | 'short'

export interface Plan {
  /** Numbers of the operations that fail: from `first`, `count` of them. */
  first: number
  count: number
  kind: FaultKind
  code: string
}

export interface FaultyDisk {
  readonly files: Files
  /** Names of the operations so far, in order. */
  readonly operations: string[]
  readonly violations: string[]
  plan: Plan | undefined
  /** How many operations have failed. */
  faults: number
  cutPower(directory: string): void
}

/** What a write that goes through comes down to, so that either half of it can be made to fail. */
export function writeAndSync(
  files: Files,
  ...[fd, buffer, offset, length, position, done]: Parameters<Files['write']>
) {
  files.write(fd, buffer, offset, length, position, (error, bytes) => {
    if (error !== null) done(error, 0)
    else files.sync(fd, failure => done(failure, failure === null ? bytes : 0))
  })
}

export function createFaultyDisk(): FaultyDisk {
  const disk: FaultyDisk = { files: {} as Files, operations: [], violations: [], plan: undefined, faults: 0, cutPower }
  const pathOf = new Map<number, string>()
  const givenUp = new Set<number>()
  const syncedBytes = new Map<string, number>()
  let unsyncedNames: string[] = []

  function faultNow(operation: string): FaultKind | undefined {
    const number = disk.operations.push(operation) - 1
    const { plan } = disk
    if (plan === undefined || number < plan.first || number >= plan.first + plan.count) return undefined
    disk.faults++
    return (plan.kind === 'half' || plan.kind === 'short') && operation !== 'write' ? 'before' : plan.kind
  }

  const error = () => Object.assign(new Error('told to fail'), { code: disk.plan?.code ?? 'EIO' })

  function watch(fd: number, operation: string): void {
    if (givenUp.has(fd)) disk.violations.push(`${operation} of ${pathOf.get(fd)} after a failure`)
  }

  async function perform<T>(operation: string, work: () => Promise<T>): Promise<T> {
    const fault = faultNow(operation)
    if (fault === 'before') throw error()
    const result = await work()
    if (fault === 'after') throw error()
    return result
  }

  function book(path: string, bytes: number): void {
    syncedBytes.set(path, Math.max(bytes, syncedBytes.get(path) ?? 0))
  }

  function cutPower(directory: string): void {
    for (const path of unsyncedNames) rmSync(path, { force: true })
    for (const name of readdirSync(directory)) {
      const path = join(directory, name)
      const bytes = syncedBytes.get(path) ?? 0
      if (statSync(path).size > bytes) truncateSync(path, bytes)
    }
  }

  Object.assign(disk.files, {
    write(fd, buffer, offset, length, position, done) {
      watch(fd, 'write')
      const fault = faultNow('write')
      if (fault !== undefined && fault !== 'short') givenUp.add(fd)
      if (fault === 'before') {
        setImmediate(() => done(error(), 0))
        return
      }
      const portion = fault === 'half' || fault === 'short' ? Math.ceil(length / 2) : length
      nodeFiles.write(fd, buffer, offset, portion, position, (failure, bytes) => {
        if (fault === undefined || fault === 'short') done(failure, bytes)
        else done(error(), 0)
      })
    },
    writeThrough(...operation) {
      writeAndSync(disk.files, ...operation)
    },
    sync(fd, done) {
      watch(fd, 'sync')
      const fault = faultNow('sync')
      const bytes = fstatSync(fd).size
      if (fault !== undefined) givenUp.add(fd)
      setImmediate(() => {
        if (fault !== 'before') book(pathOf.get(fd) as string, bytes)
        done(fault === undefined ? null : error())
      })
    },
    create: path =>
      perform('create', async () => {
        const fd = await nodeFiles.create(path)
        givenUp.delete(fd)
        pathOf.set(fd, path)
        syncedBytes.delete(path)
        return fd
      }),
    edit: path =>
      perform('edit', async () => {
        const fd = await nodeFiles.edit(path)
        givenUp.delete(fd)
        pathOf.set(fd, path)
        return fd
      }),
    close: fd => perform('close', () => nodeFiles.close(fd)),
    rename: (from, to) =>
      perform('rename', async () => {
        await nodeFiles.rename(from, to)
        syncedBytes.set(to, syncedBytes.get(from) ?? 0)
        for (const [fd, path] of pathOf) if (path === from) pathOf.set(fd, to)
        unsyncedNames.push(to)
      }),
    unlink: path => perform('unlink', () => nodeFiles.unlink(path)),
    truncate: (path, bytes) =>
      perform('truncate', async () => {
        await nodeFiles.truncate(path, bytes)
        syncedBytes.set(path, Math.min(bytes, syncedBytes.get(path) ?? bytes))
      }),
    copy: (from, to) => perform('copy', () => nodeFiles.copy(from, to)),
    syncPath: path =>
      perform('syncPath', async () => {
        if (statSync(path).isDirectory()) unsyncedNames = []
        else book(path, statSync(path).size)
      }),
    createDirectory: path => perform('createDirectory', () => nodeFiles.createDirectory(path)),
  } satisfies Files)
  return disk
}
