/**
 * The journal's disk, in the hands of a test: each operation is done, and reported, when the test says so; it fails when the
 * test says so; and the process can be killed or the power cut at any moment.
 *
 * Files are real. What the disk may forget is booked: bytes behind the last fsync of a file, names since the last fsync of
 * the folder. A killed process leaves all that was done; a power cut leaves of a file's unsynced bytes all, none, a part, or
 * zeros in their place, and of the folder's changes those before some moment, as a file system with a log does. A failed
 * fsync makes nothing durable.
 */
import * as fs from 'node:fs'
import type { Files } from '../../src/journal/files.ts'
import type { Random } from './random.ts'

/** `half`: half of a write is done, then it fails. `short`: half is done, and no error reported. Both are `before` for the rest. */
export type FaultKind = 'before' | 'after' | 'half' | 'short'
export interface Fault {
  readonly kind: FaultKind
  readonly code: 'EIO' | 'ENOSPC'
}

export interface ModelDisk {
  /** For a process that starts now. */
  start(): Files
  /** Names of the operations begun so far. */
  readonly operations: readonly string[]
  /** Whether and how the operation of this number fails. */
  fault: (number: number) => Fault | undefined
  /** Called before the operation of this number is begun. */
  onOperation: (number: number) => void
  pending(): number
  /** Does one of those that are under way, and reports it. */
  complete(random: Random): void
  /** Nothing is done or reported any more. The folder is left as a crash of that kind leaves it. */
  crash(kind: 'kill' | 'power cut', random: Random): void
}

interface Operation {
  /** Not done yet. At a crash it may be done in part. */
  work(part?: number): void
  report(error: NodeJS.ErrnoException | null): void
}

export function createModelDisk(): ModelDisk {
  const operations: string[] = []
  let underWay: Operation[] = []
  let alive = 0
  const pathOf = new Map<number, string>()
  const syncedBytes = new Map<string, number>()
  /** What files were before a truncation that no fsync covers. */
  const longer = new Map<string, Buffer>()
  /** How to undo the changes of the folder that no fsync covers, oldest first. */
  let undos: (() => void)[] = []

  const disk: ModelDisk = {
    start: () => filesOf(++alive),
    operations,
    fault: () => undefined,
    onOperation: () => {},
    pending: () => underWay.length,
    complete(random) {
      const [operation] = underWay.splice(random.between(0, underWay.length - 1), 1)
      if (operation === undefined) return
      let error: unknown = null
      try {
        operation.work()
      } catch (thrown) {
        error = thrown
      }
      operation.report(error as NodeJS.ErrnoException | null)
    },
    crash(kind, random) {
      alive++
      for (const operation of underWay) if (random.chance(0.5)) attempt(() => operation.work(random.next()))
      underWay = []
      for (const fd of pathOf.keys()) attempt(() => fs.closeSync(fd))
      pathOf.clear()
      if (kind === 'power cut') forget(random)
    },
  }

  function begin(
    life: number,
    name: string,
    work: (part: number) => void,
    report: Operation['report'],
    isWrite = false,
  ): void {
    if (life === alive) disk.onOperation(operations.length)
    if (life !== alive) return
    const number = operations.push(name) - 1
    const fault = disk.fault(number)
    const kind = fault !== undefined && !isWrite && fault.kind !== 'after' ? 'before' : fault?.kind
    underWay.push({
      work(part = 1) {
        if (kind === 'before') throw told(fault)
        work(kind === 'half' || kind === 'short' ? part / 2 : part)
        if (kind === 'after' || kind === 'half') throw told(fault)
      },
      report,
    })
  }

  function perform<T>(life: number, name: string, work: () => T): Promise<T> {
    return new Promise((resolve, reject) => {
      let result: T
      begin(
        life,
        name,
        () => {
          result = work()
        },
        error => (error === null ? resolve(result) : reject(error)),
      )
    })
  }

  function book(path: string, bytes: number): void {
    syncedBytes.set(path, Math.max(bytes, syncedBytes.get(path) ?? 0))
    longer.delete(path)
  }

  function forget(random: Random): void {
    const kept = random.between(0, undos.length)
    for (const undo of undos.slice(kept).reverse()) attempt(undo)
    for (const [path, bytes] of longer) if (random.chance(0.5) && fs.existsSync(path)) fs.writeFileSync(path, bytes)
    for (const [path, synced] of syncedBytes) {
      const size = fs.statSync(path, { throwIfNoEntry: false })?.size ?? 0
      if (size <= synced) continue
      const cut = random.between(synced, size)
      const how = random.pick(['all', 'none', 'part', 'part', 'zeros'] as const)
      if (how === 'none') fs.truncateSync(path, synced)
      if (how === 'part') fs.truncateSync(path, cut)
      if (how === 'zeros') {
        const bytes = fs.readFileSync(path)
        fs.writeFileSync(path, bytes.fill(0, cut))
      }
    }
    undos = []
    longer.clear()
    syncedBytes.clear() // what is there now is on the disk
  }

  const filesOf = (life: number): Files => ({
    write(fd, buffer, offset, length, position, done) {
      let bytes = 0
      begin(
        life,
        'write',
        part => {
          bytes = fs.writeSync(fd, buffer, offset, Math.ceil(length * part), position)
        },
        error => done(error, error === null ? bytes : 0),
        true,
      )
    },
    writeThrough(fd, buffer, offset, length, position, done) {
      let bytes = 0
      begin(
        life,
        'writeThrough',
        part => {
          bytes = fs.writeSync(fd, buffer, offset, Math.ceil(length * part), position)
        },
        error => {
          if (error === null) book(pathOf.get(fd) as string, position + bytes)
          done(error, error === null ? bytes : 0)
        },
        true,
      )
    },
    sync(fd, done) {
      if (life !== alive) return
      const size = fs.fstatSync(fd).size
      begin(life, 'sync', () => book(pathOf.get(fd) as string, size), done)
    },
    create: path =>
      perform(life, 'create', () => {
        const before = fs.existsSync(path) ? fs.readFileSync(path) : undefined
        const fd = fs.openSync(path, 'w', 0o600)
        pathOf.set(fd, path)
        syncedBytes.set(path, 0)
        undos.push(() => (before === undefined ? fs.rmSync(path) : fs.writeFileSync(path, before)))
        return fd
      }),
    edit: path =>
      perform(life, 'edit', () => {
        const fd = fs.openSync(path, fs.constants.O_WRONLY)
        pathOf.set(fd, path)
        return fd
      }),
    close: fd =>
      perform(life, 'close', () => {
        fs.closeSync(fd)
        pathOf.delete(fd)
      }),
    rename: (from, to) =>
      perform(life, 'rename', () => {
        const before = fs.existsSync(to) ? fs.readFileSync(to) : undefined
        const beforeSynced = syncedBytes.get(to)
        fs.renameSync(from, to)
        move(from, to)
        undos.push(() => {
          fs.renameSync(to, from)
          move(to, from)
          if (before !== undefined) fs.writeFileSync(to, before)
          if (beforeSynced !== undefined) syncedBytes.set(to, beforeSynced)
        })
      }),
    unlink: path =>
      perform(life, 'unlink', () => {
        const before = fs.readFileSync(path)
        fs.unlinkSync(path)
        undos.push(() => fs.writeFileSync(path, before))
      }),
    truncate: (path, bytes) =>
      perform(life, 'truncate', () => {
        const before = fs.readFileSync(path)
        fs.truncateSync(path, bytes)
        longer.set(path, before)
        syncedBytes.set(path, Math.min(bytes, syncedBytes.get(path) ?? bytes))
      }),
    copy: (from, to) =>
      perform(life, 'copy', () => {
        fs.copyFileSync(from, to, fs.constants.COPYFILE_EXCL)
        syncedBytes.set(to, 0)
        undos.push(() => fs.rmSync(to))
      }),
    syncPath: path =>
      perform(life, 'syncPath', () => {
        if (fs.statSync(path).isDirectory()) undos = []
        else book(path, fs.statSync(path).size)
      }),
    createDirectory: path =>
      perform(life, 'createDirectory', () => fs.mkdirSync(path, { recursive: true })).then(() => {}),
  })

  function move(from: string, to: string): void {
    syncedBytes.set(to, syncedBytes.get(from) ?? 0)
    syncedBytes.delete(from)
    for (const [fd, path] of pathOf) if (path === from) pathOf.set(fd, to)
  }

  return disk
}

function told(fault: Fault | undefined): NodeJS.ErrnoException {
  return Object.assign(new Error('told to fail'), { code: fault?.code ?? 'EIO' })
}

/** What the crash itself does to the folder may meet a file that is gone already. */
function attempt(work: () => unknown): void {
  try {
    work()
  } catch {
    // nothing to do then
  }
}
