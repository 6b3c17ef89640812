/** What a database claims of an archive, held against the manifest that lies where it was written to. */
import { createHash } from 'node:crypto'
import { readFileSync, statSync } from 'node:fs'
import { basename, join } from 'node:path'
import { LIMITS } from '../../limits.ts'
import type { ArchiveClaim } from '../source.ts'
import type { ArchiveRow } from './log-database.ts'

const ARCHIVE_NAME = /^events-\d{12,16}-\d{12,16}\.ndjson\.gz$/

/** @param folders in which it may lie; the first that has it counts */
export function claimOf(archive: ArchiveRow, folders: readonly string[]): ArchiveClaim {
  const { number, first, last, file, manifestSha256 } = archive
  const name = basename(file)
  const manifest = name.replace(/\.ndjson\.gz$/, '.manifest.json')
  const found = ARCHIVE_NAME.test(name) ? folders.map(folder => digestOf(join(folder, manifest))) : []
  return { number, first, last, manifestSha256, foundSha256: found.find(digest => digest !== undefined) }
}

function digestOf(manifest: string): string | undefined {
  const found = statSync(manifest, { throwIfNoEntry: false })
  if (found?.isFile() !== true || found.size > LIMITS.archiveManifestBytesMax) return undefined
  return createHash('sha256').update(readFileSync(manifest)).digest('hex')
}
