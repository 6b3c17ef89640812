/**
 * Whether everything in a data folder agrees: the event database with itself (store/check-store.ts), and with the journal.
 * Changes nothing.
 */
import { existsSync } from 'node:fs'
import { checkStore } from '../store/check-store.ts'
import type { DataFolder } from './data-folder.ts'

export interface Report {
  /** Sentences; none when all is well. */
  readonly problems: readonly string[]
}

export interface CheckOptions {
  readonly folder: DataFolder
  readonly onProgress?: (done: number, total: number) => void
}

export function checkAll({ folder, onProgress }: CheckOptions): Report {
  const problems: string[] = []
  if (existsSync(folder.auditDatabase)) problems.push(...checkStore(folder.auditDatabase, onProgress))
  return { problems }
}
