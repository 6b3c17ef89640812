/**
 * Reads the rows of a folder of archives: NDJSON in gzip members of a block each, a manifest that says where each begins, and the
 * salts, 16 bytes an event in the order of the ids.
 *
 * Manifests are read for what they say; that they are right is found by comparing (`checkFiles`), and that the rows are right by
 * their leaves. Holds one block at a time.
 */
import { createHash } from 'node:crypto'
import { closeSync, fstatSync, openSync, readdirSync, readFileSync, readSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { SALT_BYTES } from '../../evidence/leaf.ts'
import { TILE_WIDTH } from '../../evidence/tile.ts'
import { LIMITS } from '../../limits.ts'
import type { FoundRow, StoredRows } from '../source.ts'
import type { Finding } from '../verdict.ts'
import { UnreadableSource } from './log-database.ts'

export interface ArchivedRange {
  readonly number: number
  readonly first: number
  readonly last: number
}

export interface ArchiveRows extends Disposable {
  /** In the order of their ids. */
  readonly ranges: readonly ArchivedRange[]
  /** Undefined when no archive here holds the whole bundle. */
  rows(index: number, width: number): StoredRows | undefined
  /** Digests, and the chain of the manifests. */
  checkFiles(): Finding[]
}

interface Manifest {
  readonly number: number
  readonly file: string
  readonly sha256: string
  readonly first_id: number
  readonly last_id: number
  readonly previous: string | null
  readonly header_bytes: number
  readonly blocks: readonly (readonly [firstId: number, bytes: number])[]
  readonly log?: { readonly salts_file: string; readonly salts_sha256: string }
}

interface Archive {
  readonly manifest: Manifest
  readonly digest: string
  readonly events: number
  readonly salts: number | undefined
}

const MANIFEST_NAME = /^events-\d{12,16}-\d{12,16}\.manifest\.json$/
const PIECE_BYTES = 1024 * 1024

/** @throws {UnreadableSource} when a manifest cannot be read, or a file that it names is not there */
export function openArchiveRows(directory: string): ArchiveRows {
  const names = readdirSync(directory).filter(name => MANIFEST_NAME.test(name))
  const archives: Archive[] = []
  const undo = new DisposableStack()
  try {
    for (const name of names) archives.push(openArchive(directory, name, undo))
  } catch (error) {
    undo.dispose()
    throw error
  }
  archives.sort((a, b) => a.manifest.first_id - b.manifest.first_id)
  let unpacked: { readonly archive: Archive; readonly block: number; readonly rows: readonly FoundRow[] } | undefined

  function rowsOfBlock(archive: Archive, block: number): readonly FoundRow[] {
    if (unpacked?.archive !== archive || unpacked.block !== block) {
      unpacked = { archive, block, rows: readBlock(archive, block) }
    }
    return unpacked.rows
  }

  return {
    ranges: archives.map(({ manifest }) => ({
      number: manifest.number,
      first: manifest.first_id,
      last: manifest.last_id,
    })),
    rows(index, width) {
      const [first, last] = [index * TILE_WIDTH + 1, index * TILE_WIDTH + width]
      const archive = archives.find(({ manifest }) => manifest.first_id <= first && manifest.last_id >= last)
      if (archive === undefined) return undefined
      return {
        salts: readSalts(archive, first, width),
        commitments: undefined,
        text: () => undefined,
        values: () =>
          blocksOf(archive.manifest, first, last).flatMap(block =>
            rowsOfBlock(archive, block).filter(({ id }) => id >= first && id <= last),
          ),
      }
    },
    checkFiles: () => archives.flatMap((archive, n) => [...faultsOf(archive, archives[n - 1])]),
    [Symbol.dispose]: () => undo.dispose(),
  }
}

function openArchive(directory: string, name: string, undo: DisposableStack): Archive {
  const path = join(directory, name)
  if (statSync(path).size > LIMITS.archiveManifestBytesMax) throw new UnreadableSource(`${name} is too large`)
  const bytes = readFileSync(path)
  const manifest = parseManifest(bytes.toString())
  if (manifest === undefined) throw new UnreadableSource(`${name} is no manifest`)
  const open = (file: string) => {
    try {
      return undo.adopt(openSync(join(directory, file), 'r'), closeSync)
    } catch (cause) {
      throw new UnreadableSource(`${file} cannot be read`, { cause })
    }
  }
  return {
    manifest,
    digest: createHash('sha256').update(bytes).digest('hex'),
    events: open(manifest.file),
    salts: manifest.log === undefined ? undefined : open(manifest.log.salts_file),
  }
}

/** What is needed of it, with the types that are needed; names of files without folders. */
function parseManifest(text: string): Manifest | undefined {
  try {
    const manifest: Manifest = JSON.parse(text)
    const { number, file, sha256, first_id, last_id, previous, header_bytes, blocks, log } = manifest
    const isName = (name: unknown) => typeof name === 'string' && /^[\w.-]+$/.test(name) && !name.startsWith('.')
    const isCount = (value: unknown) => Number.isSafeInteger(value) && Number(value) > 0
    const areFiles =
      isName(file) && (log === undefined || (isName(log.salts_file) && typeof log.salts_sha256 === 'string'))
    const areCounts = [number, first_id, last_id, header_bytes, ...blocks.flat()].every(isCount)
    const areTexts = typeof sha256 === 'string' && (previous === null || typeof previous === 'string')
    return areFiles && areCounts && areTexts && blocks[0]?.[0] === first_id ? manifest : undefined
  } catch {
    return undefined
  }
}

function blocksOf({ blocks }: Manifest, first: number, last: number): number[] {
  return [...blocks.keys()].filter(
    n => blocks[n]![0] <= last && (blocks[n + 1]?.[0] ?? Number.POSITIVE_INFINITY) > first,
  )
}

function readBlock({ manifest, events }: Archive, block: number): FoundRow[] {
  const before = manifest.blocks.slice(0, block).reduce((sum, [, bytes]) => sum + bytes, manifest.header_bytes)
  const packed = readAt(events, before, manifest.blocks[block]![1])
  const lines = gunzipSync(packed, { maxOutputLength: LIMITS.archiveBlockBytesMax }).toString().split('\n')
  return lines.slice(0, -1).map(line => JSON.parse(line) as FoundRow)
}

function readSalts({ manifest, salts }: Archive, first: number, width: number): Uint8Array {
  if (salts === undefined) return new Uint8Array()
  return readAt(salts, (first - manifest.first_id) * SALT_BYTES, width * SALT_BYTES)
}

function readAt(file: number, position: number, length: number): Uint8Array {
  const bytes = new Uint8Array(Math.max(0, Math.min(length, fstatSync(file).size - position)))
  return bytes.subarray(0, readSync(file, bytes, 0, bytes.length, position))
}

function* faultsOf({ manifest, events, salts }: Archive, before: Archive | undefined): Generator<Finding> {
  const at = { part: `archive ${manifest.number}` }
  if (digestOf(events) !== manifest.sha256) {
    yield { verdict: 'EDITED', at, detail: `The digest of ${manifest.file} is not the one in its manifest` }
  }
  if (salts === undefined) {
    yield { verdict: 'UNVERIFIABLE', at, detail: 'It has no salts, so that its rows cannot be compared with the log' }
  } else if (digestOf(salts) !== manifest.log!.salts_sha256) {
    yield { verdict: 'EDITED', at, detail: 'The digest of its salts is not the one in its manifest' }
  }
  if (before?.manifest.number === manifest.number - 1 && manifest.previous !== before.digest) {
    yield { verdict: 'EDITED', at, detail: 'Its manifest does not follow on the one before: one of them was changed' }
  }
}

function digestOf(file: number): string {
  const hash = createHash('sha256')
  const piece = new Uint8Array(PIECE_BYTES)
  for (let at = 0; ; ) {
    const read = readSync(file, piece, 0, PIECE_BYTES, at)
    if (read === 0) return hash.digest('hex')
    hash.update(piece.subarray(0, read))
    at += read
  }
}
