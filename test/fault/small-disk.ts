/**
 * A data folder, one part of which lies on a disk of a few megabytes that a test can fill up and empty: a tmpfs. Only root
 * may mount one; where that is refused the test is skipped, and says so.
 */
import { execFileSync } from 'node:child_process'
import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'

export interface SmallDisk {
  readonly dataDir: string
  /** Takes all the room that is left. */
  fill(): void
  /** Gives it back. */
  empty(): void
}

/** Undefined, with the test skipped, where mounting is refused. `part`: `journal`, `security`, ... or `.` for all. */
export function dataFolderOnSmallDisk(t: TestContext, part: string, size: string): SmallDisk | undefined {
  const dataDir = mkdtempSync(join(tmpdir(), 'evc-small-disk-'))
  const mounted = join(dataDir, part)
  mkdirSync(mounted, { recursive: true, mode: 0o700 })
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${size},mode=700`, 'tmpfs', mounted], { stdio: 'pipe' })
  } catch {
    rmSync(dataDir, { recursive: true })
    t.skip('a small disk cannot be mounted here: that needs root and a tmpfs')
    return undefined
  }
  t.after(() => {
    execFileSync('umount', ['--lazy', mounted], { stdio: 'pipe' })
    rmSync(dataDir, { recursive: true, force: true })
  })
  const ballast = join(mounted, 'ballast')
  return {
    dataDir,
    fill() {
      const file = openSync(ballast, 'a')
      try {
        for (const bytes of [65_536, 4_096, 1]) takeAll(file, Buffer.alloc(bytes))
      } finally {
        closeSync(file)
      }
    },
    empty: () => rmSync(ballast, { force: true }),
  }
}

function takeAll(file: number, piece: Buffer): void {
  try {
    while (writeSync(file, piece) > 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error
  }
}
