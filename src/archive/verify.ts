/**
 * Re-reads every archive of a folder against its manifest, the manifests against each other, and both against what the
 * event database knows, if there is one. Changes nothing.
 */
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { Refusal } from '../errors.ts'
import type { ArchiveRecord } from '../store/retention.ts'
import { readArchiveFolder } from './folder.ts'
import type { ArchiveManifest } from './format.ts'
import { checkArchive } from './read-archive.ts'

export interface VerifiedFolder {
  /** Those that are whole and unchanged. */
  readonly sound: readonly ArchiveManifest[]
  /** Sentences, one for each thing that is wrong; none when all is well. */
  readonly problems: readonly string[]
}

/** @param onBlock called after each block, with how many events have been read, of how many */
export async function verifyArchives(
  directory: string,
  known: readonly ArchiveRecord[],
  onBlock: (done: number, total: number) => void = () => {},
): Promise<VerifiedFolder> {
  const { archives, problems: found } = readArchiveFolder(directory, known)
  const problems = [...found, ...unfinished(directory)]
  const total = archives.reduce((sum, { manifest }) => sum + manifest.count, 0)
  const sound: ArchiveManifest[] = []
  let done = 0
  for (const { manifest } of archives) {
    try {
      await checkArchive(directory, manifest, async events => {
        done += events
        onBlock(done, total)
      })
      sound.push(manifest)
    } catch (error) {
      if (!(error instanceof Refusal)) throw error
      problems.push(error.message)
    }
  }
  return { sound, problems }
}

/** Files without a manifest: the segment of such a one has not left, or its manifest was lost. */
function* unfinished(directory: string): Generator<string> {
  const names = new Set(readdirSync(directory))
  for (const name of [...names].sort()) {
    if (!name.endsWith('.ndjson.gz') || names.has(name.replace(/\.ndjson\.gz$/, '.manifest.json'))) continue
    yield `${join(directory, name)} has no manifest`
  }
}
