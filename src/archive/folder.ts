/**
 * A folder of archives: which there are, whether their manifests form a chain, and whether they are those that left.
 *
 * A folder may begin with a later archive than the first (older ones were moved away), but must not have gaps, unless the
 * database says that the missing ones were written somewhere else; nor lack the last that were written to it.
 */
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { LIMITS } from '../limits.ts'
import type { ArchiveRecord } from '../store/retention.ts'
import { type ArchiveManifest, MANIFEST_NAME, manifestName, parseManifest, sha256Of } from './format.ts'

export interface FoundArchive {
  readonly manifest: ArchiveManifest
  /** SHA-256 of the manifest. */
  readonly digest: string
}

export interface ArchiveFolder {
  readonly directory: string
  /** In the order in which they left. */
  readonly archives: readonly FoundArchive[]
  /** Sentences. */
  readonly problems: readonly string[]
}

/** @param known the archives that the event database knows of; none when there is no database to ask */
export function readArchiveFolder(directory: string, known: readonly ArchiveRecord[]): ArchiveFolder {
  const names = readdirSync(directory)
  const problems: string[] = []
  const archives: FoundArchive[] = []
  for (const name of names.filter(name => MANIFEST_NAME.test(name)).sort()) {
    const found = readManifest(join(directory, name))
    if (found === undefined || manifestName(found.manifest.file) !== name) {
      problems.push(`${join(directory, name)} is not a manifest that this version writes`)
    } else archives.push(found)
  }
  archives.sort((a, b) => a.manifest.number - b.manifest.number)
  const folder = { directory, archives }
  return {
    ...folder,
    problems: [...problems, ...brokenLinks(folder, known), ...cutOff(folder, known), ...strangers(folder, known)],
  }
}

/** Undefined when there is none, or it is not one of ours. */
export function readManifest(path: string): FoundArchive | undefined {
  const found = statSync(path, { throwIfNoEntry: false })
  if (found?.isFile() !== true || found.size > LIMITS.archiveManifestBytesMax) return undefined
  const bytes = readFileSync(path)
  const manifest = parseManifest(bytes.toString())
  return manifest === undefined ? undefined : { manifest, digest: sha256Of(bytes) }
}

type Folder = Pick<ArchiveFolder, 'directory' | 'archives'>

function* brokenLinks({ directory, archives }: Folder, known: readonly ArchiveRecord[]): Generator<string> {
  for (const [n, { manifest }] of archives.entries()) {
    const before = archives[n - 1]
    if (before === undefined) continue
    const { number, file, previous } = manifest
    const path = join(directory, file)
    if (number === before.manifest.number) yield `${path} has the same number as ${before.manifest.file}`
    else if (number === before.manifest.number + 1) {
      // One that an erasure has written anew since is named as it was before.
      if (![before.digest, ...(before.manifest.replaces ?? [])].includes(previous ?? ''))
        yield `${path} does not follow on ${before.manifest.file}: one of them was changed`
    } else {
      const missing = Array.from(
        { length: number - before.manifest.number - 1 },
        (_, i) => before.manifest.number + 1 + i,
      )
      for (const gone of missing.filter(gone => !isElsewhere(gone, directory, known)))
        yield `archive ${gone} is missing in ${directory}`
    }
  }
}

function isElsewhere(number: number, directory: string, known: readonly ArchiveRecord[]): boolean {
  const archive = known.find(record => record.number === number)
  return archive !== undefined && resolve(dirname(archive.file)) !== resolve(directory)
}

/** The end of a chain can be taken away without breaking a link; only the database knows. */
function* cutOff({ directory, archives }: Folder, known: readonly ArchiveRecord[]): Generator<string> {
  const last = archives.at(-1)?.manifest.number ?? 0
  for (const { number, file } of known) {
    if (number > last && resolve(dirname(file)) === resolve(directory))
      yield `archive ${number} is missing in ${directory}`
  }
}

/** Archives that are not what the database says of them. One that it does not know has not left yet, or was restored since. */
function* strangers({ directory, archives }: Folder, known: readonly ArchiveRecord[]): Generator<string> {
  for (const { manifest, digest } of archives) {
    const record = known.find(({ number }) => number === manifest.number)
    if (record !== undefined && record.manifest_sha256 !== digest) {
      yield `${join(directory, manifest.file)} is not the archive ${record.number} that left the event database`
    }
  }
}
