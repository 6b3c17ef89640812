/**
 * Reads the full tiles of a log out of its packs (log/log-files.ts): `tiles-<level>-<pack>` holds 256 tiles of 8,192 bytes, from level 1
 * on, `entries-<pack>` the ends of 256 bundles in 32 bits each, then these, each compressed by itself (Zstandard). Whatever is missing or
 * cut is undefined, or as short as it is.
 */
import { closeSync, openSync, readFileSync, readSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { constants as zlib, zstdDecompressSync } from 'node:zlib'
import { HASH_BYTES } from '../../evidence/encoding.ts'
import { ENTRY_BYTES_MAX, TILE_WIDTH, type TileLevel } from '../../evidence/tile.ts'

export interface PackFiles extends Disposable {
  readTile(level: number, index: number): Uint8Array | undefined
  /** The entries of a bundle; `isCut` when the file ends before they do, or they cannot be unpacked: then those that can. */
  readBundle(index: number): { readonly bytes: Uint8Array; readonly isCut: boolean } | undefined
}

const TILES_PER_PACK = 256
const TILE_BYTES = TILE_WIDTH * HASH_BYTES
const END_BYTES = 4
const HEADER_BYTES = TILES_PER_PACK * END_BYTES
const BUNDLE_BYTES_MAX = TILE_WIDTH * (2 + ENTRY_BYTES_MAX)
/** Most bundles have about 61,000 bytes. What fits into one piece is unpacked at once, which takes half the time. */
const PIECE_BYTES = 96 * 1024

interface OpenPack {
  readonly path: string
  /** Undefined when there is none. */
  readonly file: number | undefined
}

/** Keeps the pack of each level open that was read last. */
export function openPackFiles(root: string): PackFiles {
  const open = new Map<TileLevel, OpenPack>()

  function packOf(level: TileLevel, index: number): number | undefined {
    const number = String(Math.floor(index / TILES_PER_PACK)).padStart(6, '0')
    const path = join(root, level === 'entries' ? `entries-${number}` : `tiles-${level}-${number}`)
    const known = open.get(level)
    if (known?.path === path) return known.file
    if (known?.file !== undefined) closeSync(known.file)
    const isThere = statSync(path, { throwIfNoEntry: false })?.isFile() === true
    const pack = { path, file: isThere ? openSync(path, 'r') : undefined }
    open.set(level, pack)
    return pack.file
  }

  return {
    readTile(level, index) {
      const file = packOf(level, index)
      if (file === undefined) return undefined
      const bytes = readAt(file, (index % TILES_PER_PACK) * TILE_BYTES, TILE_BYTES)
      return bytes.length === 0 ? undefined : bytes
    },
    readBundle(index) {
      const file = packOf('entries', index)
      const place = index % TILES_PER_PACK
      if (file === undefined) return undefined
      const start = place === 0 ? HEADER_BYTES : endOf(file, place - 1)
      const length = endOf(file, place) - start
      if (length <= 0 || length > BUNDLE_BYTES_MAX) return undefined
      const packed = readAt(file, start, length)
      return packed.length === 0 ? undefined : unpack(packed, packed.length < length)
    },
    [Symbol.dispose]() {
      for (const { file } of open.values()) if (file !== undefined) closeSync(file)
      open.clear()
    },
  }
}

function unpack(packed: Uint8Array, isCut: boolean): { bytes: Uint8Array; isCut: boolean } {
  try {
    const bytes = zstdDecompressSync(packed, {
      maxOutputLength: BUNDLE_BYTES_MAX,
      chunkSize: PIECE_BYTES,
      ...(isCut ? { finishFlush: zlib.ZSTD_e_flush } : {}),
    })
    return { bytes, isCut }
  } catch {
    return { bytes: new Uint8Array(), isCut: true }
  }
}

function endOf(file: number, place: number): number {
  const bytes = readAt(file, place * END_BYTES, END_BYTES)
  return bytes.length < END_BYTES ? 0 : new DataView(bytes.buffer, bytes.byteOffset).getUint32(0)
}

/** Fewer bytes where the file ends before. @param length bounded, whatever a file says */
function readAt(file: number, position: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length)
  let at = 0
  while (at < bytes.length) {
    const read = readSync(file, bytes, at, bytes.length - at, position + at)
    if (read === 0) break
    at += read
  }
  return bytes.subarray(0, at)
}

/** A text file beside the tiles; undefined when there is none. @throws {RangeError} when it is larger than it may be */
export function readTextFile(path: string, bytesMax: number): string | undefined {
  const found = statSync(path, { throwIfNoEntry: false })
  if (found?.isFile() !== true) return undefined
  if (found.size > bytesMax) throw new RangeError(`${path} has more than ${bytesMax} bytes`)
  return readFileSync(path, 'utf8')
}
