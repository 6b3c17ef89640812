/** What a path or URL holds, and its verdict: what the command line and the package export call. */
import { existsSync, readdirSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { isPostgresUrl } from '../../postgres/postgres-url.ts'
import { verifyEvidencePack } from '../evidence-pack.ts'
import type { EvidenceSource } from '../source.ts'
import { type Report, type Trust, unreadableReport, type VerifyOptions, verify } from '../verify.ts'
import { openArchive } from './archive.ts'
import { verifyAlone } from './archive-alone.ts'
import { openDataFolder, type SourceOptions } from './data-folder.ts'
import { isUnpackedPack, readPack } from './evidence-pack.ts'
import { UnreadableSource } from './log-database.ts'
import { openMirror } from './mirror.ts'
import { openPostgresTrail } from './postgres-trail.ts'
import { databaseOf, logOf } from './readers.ts'

export type PathKind = 'data folder' | 'PostgreSQL' | 'mirror' | 'archive' | 'evidence pack'

/** Undefined when it is none of these. A file is taken for an evidence pack, whatever is in it. */
export function kindOf(path: string): PathKind | undefined {
  if (isPostgresUrl(path)) return 'PostgreSQL'
  const found = statSync(path, { throwIfNoEntry: false })
  if (found?.isFile() === true) return 'evidence pack'
  if (found?.isDirectory() !== true) return undefined
  if (existsSync(databaseOf(path)) || existsSync(join(logOf(path), 'checkpoint'))) return 'data folder'
  if (readdirSync(path).some(name => name.endsWith('.manifest.json'))) return 'archive'
  if (isUnpackedPack(path)) return 'evidence pack'
  return existsSync(join(path, 'checkpoint')) || existsSync(join(path, 'tile')) ? 'mirror' : undefined
}

export interface VerifyPathOptions extends VerifyOptions, SourceOptions {
  /** For an archive: a mirror or data folder of the log that its events left. */
  readonly tiles?: string | undefined
}

/**
 * Verifies a data folder, a PostgreSQL by its URL, a mirror, a folder of archives or an evidence pack. What cannot be read is a verdict
 * too: MALFORMED.
 * @throws {RangeError} when the path, or that of the tiles, is none of these
 * @throws {PostgresError} the server cannot be reached
 */
export async function verifyPath(path: string, trust: Trust = {}, options: VerifyPathOptions = {}): Promise<Report> {
  try {
    const kind = kindOf(path)
    if (kind === undefined)
      throw new RangeError(`${nameOf(path)} is no data folder, no mirror, no folder of archives and no evidence pack`)
    if (kind === 'evidence pack') return await verifyEvidencePack(readPack(path), trust, options)
    if (kind === 'PostgreSQL') {
      await using source = await openPostgresTrail(path, options)
      return await verify(source, trust, options)
    }
    if (kind !== 'archive') {
      await using source = await openLog(path, kind, options)
      return await verify(source, trust, options)
    }
    const tiles = options.tiles ?? tilesBeside(path)
    if (tiles === undefined) return verifyAlone(path, trust, options.onProgress)
    const log = await openLog(tiles, tiles === path ? 'mirror' : kindOf(tiles), { ...options, workers: 0 })
    await using source = await openArchive(path, log, tiles)
    return await verify(source, trust, options)
  } catch (error) {
    if (error instanceof UnreadableSource) return unreadableReport(capitalised(error.message))
    throw error
  }
}

/** In a URL there may be a password. */
const nameOf = (path: string) => (path.includes('://') ? 'this URL' : path)

function openLog(path: string, kind: PathKind | undefined, options: SourceOptions): Promise<EvidenceSource> {
  if (kind === 'data folder') return openDataFolder(path, options)
  if (kind === 'mirror') return openMirror(path, options)
  throw new RangeError(`${nameOf(path)} is no data folder and no mirror`)
}

/** An archive may lie with a mirror, or in its data folder. */
function tilesBeside(path: string): string | undefined {
  if (existsSync(join(path, 'checkpoint'))) return path
  return existsSync(databaseOf(dirname(path))) ? dirname(path) : undefined
}

const capitalised = (text: string) => text.charAt(0).toUpperCase() + text.slice(1)
