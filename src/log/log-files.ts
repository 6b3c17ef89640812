/**
 * The log's full tiles on disk: packs of 256 tiles of a level. A tile that is there never changes.
 *
 *   tiles-<level>-<pack>    the hashes of the tiles of level 1 and above, 8,192 bytes a tile
 *   entries-<pack>          where each of the 256 bundles ends (32 bits, big-endian, from the beginning of the file), then
 *                           the bundles, each compressed by itself (Zstandard, RFC 8878)
 *
 * Why compressed: leaves are alike but for their commitments; an entry takes 44 bytes instead of 240, for half a microsecond.
 *
 * Why not level 0: those are the hashes of the entries, 32 bytes an event, and are made of them when somebody reads one, in a third
 * of a millisecond. The hash of each bundle is in the tile of level 1 above it.
 *
 * Why packs: measured, making a file for each tile and each bundle cost as much time as hashing what is in it, and syncing
 * them ten times that. The layout of C2SP tlog-tiles is what the HTTP door and `ev-central mirror` show.
 *
 * Tiles are written in the order of their level, and to their place at once: until the head in the database is beyond one nobody
 * is shown it, and whoever goes on from there writes it again. Synchronous; mode 0600, the folder 0700. Owns the files it has
 * open: the one of each level that was written last, and the one that was read last.
 */
import {
  closeSync,
  constants,
  existsSync,
  fstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readSync,
  rmSync,
  writeSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { constants as zlib, zstdCompressSync, zstdDecompressSync } from 'node:zlib'
import { HASH_BYTES } from '../evidence/encoding.ts'
import { hashBundle, TILE_WIDTH, type TileLevel } from '../evidence/tile.ts'
import { syncPath } from '../files/whole-file.ts'

export interface LogFiles {
  /** A full tile, or a full bundle; one of level 0 is not kept. @throws an error of the file system */
  write(level: TileLevel, index: number, bytes: Uint8Array): void
  /** Undefined when there is none, or it is torn. */
  read(level: TileLevel, index: number): Uint8Array | undefined
  /** What was written since the last call and may not survive a power loss: files, then the folders of their names. */
  takeUnsynced(): string[]
  close(): void
}

export const TILES_PER_PACK = 256
const TILE_BYTES = TILE_WIDTH * HASH_BYTES
const END_BYTES = 4
const HEADER_BYTES = TILES_PER_PACK * END_BYTES
/** Higher ones take longer and save a tenth of a byte an entry. */
const COMPRESSION = { params: { [zlib.ZSTD_c_compressionLevel]: 1 } }
/** A bundle of the largest entries there can be; compressed ones are shorter, or by a few bytes longer. */
const BUNDLE_BYTES_MAX = TILE_WIDTH * (2 + 65_535)
/** Most have about 61,000 bytes, which are unpacked at once then. */
const PIECE_BYTES = 64 * 1024

interface Pack {
  readonly path: string
  readonly file: number
}

/** @param root of the log; made with the first tile. */
export function openLogFiles(root: string): LogFiles {
  const written = new Map<TileLevel, Pack>()
  let reading: Pack | undefined
  const unsynced = new Set<string>()
  const unsyncedFolders = new Set<string>()

  function packToWrite(level: TileLevel, index: number): Pack {
    const path = packPath(root, level, index)
    const known = written.get(level)
    if (known?.path === path) return known
    if (mkdirSync(root, { recursive: true, mode: 0o700 }) !== undefined) unsyncedFolders.add(dirname(root))
    const file = openSync(path, constants.O_RDWR | constants.O_CREAT, 0o600)
    if (known !== undefined) closeSync(known.file)
    unsyncedFolders.add(root)
    const pack = { path, file }
    written.set(level, pack)
    return pack
  }

  function packToRead(level: TileLevel, index: number): Pack | undefined {
    const path = packPath(root, level, index)
    if (written.get(level)?.path === path) return written.get(level)
    if (reading?.path === path) return reading
    try {
      const file = openSync(path, constants.O_RDONLY)
      if (reading !== undefined) closeSync(reading.file)
      reading = { path, file }
      return reading
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
      throw error
    }
  }

  function read(level: TileLevel, index: number): Uint8Array<ArrayBuffer> | undefined {
    if (level === 0) {
      const bundle = read('entries', index)
      const hashes = bundle && hashBundle(bundle, TILE_WIDTH)
      giveBack(bundle)
      return hashes
    }
    const pack = packToRead(level, index)
    const place = index % TILES_PER_PACK
    if (pack === undefined) return undefined
    if (level !== 'entries') return readAt(pack.file, place * TILE_BYTES, TILE_BYTES)
    const start = startOf(pack.file, place)
    const length = readEnd(pack.file, place) - start
    const bytes = length > 0 && length <= BUNDLE_BYTES_MAX ? readAt(pack.file, start, length) : undefined
    const bundle = bytes && decompress(bytes)
    giveBack(bytes)
    return bundle
  }

  return {
    read,
    write(level, index, bytes) {
      if (level === 0) return
      const { path, file } = packToWrite(level, index)
      const place = index % TILES_PER_PACK
      unsynced.add(path)
      if (level !== 'entries') {
        writeAll(file, bytes, place * TILE_BYTES)
        return
      }
      const start = startOf(file, place)
      const compressed = zstdCompressSync(bytes, COMPRESSION)
      const end = new DataView(new ArrayBuffer(END_BYTES))
      end.setUint32(0, start + compressed.length)
      writeAll(file, compressed, start)
      writeAll(file, new Uint8Array(end.buffer), place * END_BYTES)
    },
    takeUnsynced() {
      const paths = [...unsynced, ...unsyncedFolders]
      unsynced.clear()
      unsyncedFolders.clear()
      return paths
    },
    close() {
      for (const { file } of [...written.values(), ...(reading === undefined ? [] : [reading])]) closeSync(file)
      written.clear()
      reading = undefined
    },
  }
}

function packPath(root: string, level: TileLevel, index: number): string {
  const number = String(Math.floor(index / TILES_PER_PACK)).padStart(6, '0')
  return join(root, level === 'entries' ? `entries-${number}` : `tiles-${level}-${number}`)
}

/**
 * Puts full bundles on disk, whoever wrote them: before what they could be made anew of is destroyed.
 * @param indexes of those that have to be there after a power loss; one that is not full is in no file.
 */
export function syncBundles(root: string, indexes: Iterable<number>): void {
  const paths = new Set<string>()
  for (const index of indexes) paths.add(packPath(root, 'entries', index))
  const there = [...paths].filter(path => existsSync(path))
  for (const path of there) syncPath(path)
  if (there.length > 0) for (const path of [root, dirname(root)]) syncPath(path)
}

/** @returns bytes that have a buffer of their own. */
function decompress(bytes: Uint8Array): Uint8Array<ArrayBuffer> | undefined {
  try {
    const options = { maxOutputLength: BUNDLE_BYTES_MAX, chunkSize: PIECE_BYTES }
    const unpacked = zstdDecompressSync(bytes, options)
    const { buffer, byteOffset, length } = unpacked
    // One piece, or all of them joined. What Node takes from its pool for small ones is part of a larger buffer.
    const isOwn = buffer.byteLength === PIECE_BYTES || buffer.byteLength === length
    return isOwn ? new Uint8Array(buffer, byteOffset, length) : new Uint8Array(unpacked)
  } catch {
    return undefined // torn, or changed
  }
}

/**
 * Frees bytes that have a buffer of their own, which are empty then. Left to the garbage collector, what lies outside of its heap has it
 * collect all of the heap after every hundred proofs.
 */
function giveBack(bytes: Uint8Array<ArrayBuffer> | undefined): void {
  bytes?.buffer.transfer(0)
}

const startOf = (file: number, place: number) => (place === 0 ? HEADER_BYTES : readEnd(file, place - 1))

/** 0 when it was not written yet. */
function readEnd(file: number, place: number): number {
  const bytes = readAt(file, place * END_BYTES, END_BYTES)
  return bytes === undefined ? 0 : new DataView(bytes.buffer, bytes.byteOffset).getUint32(0)
}

function readAt(file: number, position: number, length: number): Uint8Array<ArrayBuffer> | undefined {
  if (position + length > fstatSync(file).size) return undefined
  const bytes = new Uint8Array(length)
  for (let at = 0; at < length; ) {
    const read = readSync(file, bytes, at, length - at, position + at)
    if (read === 0) return undefined
    at += read
  }
  return bytes
}

function writeAll(file: number, bytes: Uint8Array, position: number): void {
  for (let at = 0; at < bytes.length; ) at += writeSync(file, bytes, at, bytes.length - at, position + at)
}

/** The packs that hold anything of the entries from this size on, and those of higher levels. */
export function packsFrom(root: string, size: number): string[] {
  const first = Math.floor(size / (TILES_PER_PACK * TILE_WIDTH))
  return readdirSync(root)
    .filter(name => {
      const [, level, number] = /^(?:tiles-(\d)|entries)-(\d{6})$/.exec(name) ?? []
      return number !== undefined && (Number(level ?? 0) > 0 || Number(number) >= first)
    })
    .map(name => join(root, name))
}

/** Of a version that kept the tiles of level 0. */
export function removeLeafTiles(root: string): void {
  if (!existsSync(root)) return
  for (const name of readdirSync(root)) if (/^tiles-0-\d{6}$/.test(name)) rmSync(join(root, name), { force: true })
}
