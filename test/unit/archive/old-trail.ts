/** An archived trail, for the tests of what was archived and of what finds it. */
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { archiveSegments } from '../../../src/archive/archive.ts'
import { temporaryFolder } from '../../cli/command-line.ts'
import { archiveFolder, pathsOf, writeOldTrail } from '../../harness/old-trail.ts'
import { auditRows } from '../../harness/rows.ts'

export const FUTURE = Date.UTC(2036, 0, 1)

export async function oldTrail(t: TestContext, count: number) {
  const data = join(temporaryFolder(t), 'data')
  const rows = await writeOldTrail(data, count)
  const run = (beforeMs = FUTURE) => archiveSegments({ ...pathsOf(data), beforeMs, actor: 'test' })
  return { data, rows, run, directory: archiveFolder(data), database: pathsOf(data).store.path }
}

/** The stored rows, as plain objects. */
export const rowsIn = (data: string, where?: string) => auditRows(data, where).map(row => ({ ...row }))

export const namesOf = (directory: string) => readdirSync(directory).sort()
/** Archives and manifests. */
export const searchedIn = (directory: string) => namesOf(directory).filter(name => !name.endsWith('.salts'))
