/** How the bundles of a source are read, named in a way that can be sent to a worker. */
import { join } from 'node:path'
import { HASH_BYTES } from '../../evidence/encoding.ts'
import type { Hash } from '../../evidence/merkle.ts'
import { TILE_WIDTH, type Tile, tileAt } from '../../evidence/tile.ts'
import type { BundleReader } from '../range.ts'
import { type ArchiveRows, openArchiveRows } from './archive-rows.ts'
import { createIndexCheck } from './indexes.ts'
import { type LogDatabase, openLogDatabase } from './log-database.ts'
import { openPackFiles } from './pack-files.ts'
import { openTileFiles } from './tile-files.ts'

export type ReaderSpec =
  | { readonly kind: 'data folder'; readonly path: string }
  | { readonly kind: 'mirror'; readonly path: string }
  /** An archive beside the log that it left. */
  | { readonly kind: 'archive'; readonly path: string; readonly log: ReaderSpec }

export interface OpenReader extends BundleReader, Disposable {
  /** A hash tile; undefined when it is missing. */
  readTile(tile: Tile): Uint8Array | undefined
  /** Readers of one source that say the same here see the same. */
  readonly fingerprint: string
}

export const databaseOf = (folder: string) => join(folder, 'audit', 'audit.db')
export const logOf = (folder: string) => `${databaseOf(folder)}-log`

export function openReader(spec: ReaderSpec): OpenReader {
  switch (spec.kind) {
    case 'data folder':
      return openDataFolderReader(openLogDatabase(databaseOf(spec.path)), spec.path)
    case 'mirror':
      return openMirrorReader(spec.path)
    case 'archive':
      return withArchive(openReader(spec.log), openArchiveRows(spec.path))
  }
}

export function openDataFolderReader(database: LogDatabase, path: string): OpenReader {
  const packs = openPackFiles(logOf(path))

  /** Full ones are in the packs, the others in the database, unless they have become full since. Of level 0 full ones are not kept. */
  function readTile({ level, index, width }: Tile): Uint8Array | undefined {
    if (level === 'entries' || (level === 0 && width === TILE_WIDTH)) return undefined
    const edge = width === TILE_WIDTH ? undefined : database.edgeTile(level)
    return edge?.index === index ? edge.hashes : packs.readTile(level, index)
  }

  return {
    fingerprint: database.fingerprint,
    readTile,
    read(index, width, size) {
      const isFull = width === TILE_WIDTH
      const entries = isFull ? packs.readBundle(index) : undefined
      const tile = readTile({ level: 0, index, width })
      return {
        index,
        width,
        entries: entries?.bytes,
        isCut: entries?.isCut === true,
        tile,
        lacksTile: tile === undefined && !isFull,
        ...parentOf(index, size, readTile),
        rows: database.rows(index, width),
      }
    },
    hidden: createIndexCheck(database),
    [Symbol.dispose]() {
      packs[Symbol.dispose]()
      database[Symbol.dispose]()
    },
  }
}

function openMirrorReader(path: string): OpenReader {
  const files = openTileFiles(path)
  return {
    fingerprint: '',
    readTile: files.read,
    read(index, width, size) {
      const tile = files.read({ level: 0, index, width })
      return {
        index,
        width,
        entries: files.read({ level: 'entries', index, width }),
        isCut: false,
        tile,
        lacksTile: tile === undefined,
        ...parentOf(index, size, files.read),
        rows: undefined,
      }
    },
    hidden: () => [],
    [Symbol.dispose]: () => {},
  }
}

/** The rows that an archive holds, in the place of those that are not in the log any more. */
function withArchive(log: OpenReader, archive: ArchiveRows): OpenReader {
  return {
    ...log,
    read(index, width, size) {
      const stored = log.read(index, width, size)
      return { ...stored, rows: archive.rows(index, width) ?? stored.rows }
    },
    [Symbol.dispose]() {
      archive[Symbol.dispose]()
      log[Symbol.dispose]()
    },
  }
}

/** The hash of a full bundle, from the tile above it. The tile that was read last is kept, as neighbours ask for the same. */
export function parentOf(index: number, size: number, readTile: (tile: Tile) => Uint8Array | undefined) {
  const tile = tileAt(1, Math.floor(index / TILE_WIDTH), size)
  const place = index % TILE_WIDTH
  if (tile === undefined || place >= tile.width) return { parent: undefined, lacksParent: false }
  const parent: Hash | undefined = readTile(tile)?.subarray(place * HASH_BYTES, (place + 1) * HASH_BYTES)
  return parent?.length === HASH_BYTES ? { parent, lacksParent: false } : { parent: undefined, lacksParent: true }
}
