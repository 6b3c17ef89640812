/**
 * Reads the rows of a folder of archives: NDJSON in gzip members of a block each, a manifest that says where each begins and what
 * proves them, and the salts: 16 bytes an event in the order of the ids, then 32 bytes of commitment for each that is zeros.
 *
 * Manifests are read for what they say; that they are right is found by comparing (`checkFiles`), and that the rows are right by
 * their leaves. Holds one block at a time.
 */
import { createHash } from 'node:crypto'
import { closeSync, fstatSync, openSync, readdirSync, readFileSync, readSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { HASH_BYTES } from '../../evidence/encoding.ts'
import { isErasedSalt, SALT_BYTES } from '../../evidence/leaf.ts'
import { TILE_WIDTH } from '../../evidence/tile.ts'
import { LIMITS } from '../../limits.ts'
import type { FoundRow, StoredRows } from '../source.ts'
import type { Finding } from '../verdict.ts'
import { UnreadableSource } from './log-database.ts'

export interface ArchivedRange {
  readonly number: number
  readonly first: number
  readonly last: number
  /** SHA-256 of the manifest, hexadecimal. */
  readonly digest: string
  readonly erasures: readonly { readonly event: number; readonly ids: readonly number[] }[]
  /** Undefined when the manifest has none. */
  readonly proof: StoredProof | undefined
}

/** Hashes in base64. Whether they are is for the check to see. */
export interface StoredProof {
  /** The roots of every 256 leaves. */
  readonly bundles: readonly string[]
  /** Of the tree before the range, the roots of its perfect subtrees. */
  readonly edge: readonly string[]
  /** Of the tree that ends with the range with that of the checkpoint. */
  readonly consistency: readonly string[]
  readonly checkpoint: string
  readonly keys: string
}

export interface ArchiveRows extends Disposable {
  /** In the order of their ids. */
  readonly ranges: readonly ArchivedRange[]
  /** Undefined when no archive here holds the whole bundle. */
  rows(index: number, width: number): StoredRows | undefined
  /** That of an event whose salt is gone, if it is there. */
  commitment(id: number): Uint8Array | undefined
  /** Digests, the chain of the manifests, archives missing between others, and events that are in no block they belong to. */
  checkFiles(): Finding[]
  /** What an auditor should know of them and what is not wrong. */
  readonly notes: readonly string[]
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
  readonly replaces?: readonly string[]
  readonly erased?: ArchivedRange['erasures']
  readonly log?: { readonly salts_file: string; readonly salts_sha256: string; readonly proof?: StoredProof }
}

interface Archive {
  readonly manifest: Manifest
  readonly digest: string
  readonly events: number
  readonly salts: number | undefined
}

const MANIFEST_NAME = /^events-\d{12,16}-\d{12,16}\.manifest\.json$/
const EVENTS_NAME = /^events-\d{12,16}-\d{12,16}\.ndjson\.gz$/
const PIECE_BYTES = 1024 * 1024

/** @throws {UnreadableSource} when a manifest cannot be read, or a file that it names is not there */
export function openArchiveRows(directory: string): ArchiveRows {
  const all = readdirSync(directory)
  const names = all.filter(name => MANIFEST_NAME.test(name))
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

  let opened: { readonly archive: Archive; readonly commitments: ReadonlyMap<number, Uint8Array> } | undefined

  function rowsOfBlock(archive: Archive, block: number): readonly FoundRow[] {
    if (unpacked?.archive !== archive || unpacked.block !== block) {
      unpacked = { archive, block, rows: readBlock(archive, block) }
    }
    return unpacked.rows
  }

  return {
    ranges: archives.map(({ manifest, digest }) => ({
      number: manifest.number,
      first: manifest.first_id,
      last: manifest.last_id,
      digest,
      erasures: manifest.erased ?? [],
      proof: manifest.log?.proof,
    })),
    commitment(id) {
      const archive = archives.find(({ manifest }) => manifest.first_id <= id && manifest.last_id >= id)
      if (archive === undefined) return undefined
      if (opened?.archive !== archive) opened = { archive, commitments: readCommitments(archive) }
      return opened.commitments.get(id)
    },
    rows(index, width) {
      const [first, last] = [index * TILE_WIDTH + 1, index * TILE_WIDTH + width]
      const archive = archives.find(({ manifest }) => manifest.first_id <= first && manifest.last_id >= last)
      if (archive === undefined) return undefined
      return {
        salts: readSalts(archive, first, width),
        commitments: undefined,
        areArchived: true,
        text: () => undefined,
        values: () =>
          blocksOf(archive.manifest, first, last).flatMap(block =>
            rowsOfBlock(archive, block).filter(({ id }) => id >= first && id <= last),
          ),
      }
    },
    notes: [...untoldNotes(all, archives)],
    checkFiles: () => archives.flatMap((archive, n) => [...faultsOf(archive, archives[n - 1])]),
    [Symbol.dispose]: () => undo.dispose(),
  }
}

/** As a crash leaves them, or whoever took a manifest away. */
function* untoldNotes(names: readonly string[], archives: readonly Archive[]): Generator<string> {
  const untold = names.filter(
    name => EVENTS_NAME.test(name) && !archives.some(({ manifest }) => manifest.file === name),
  )
  if (untold.length > 0) yield `no manifest tells of these files, which were not looked at: ${untold.join(', ')}`
}

function openArchive(directory: string, name: string, undo: DisposableStack): Archive {
  const path = join(directory, name)
  if (statSync(path).size > LIMITS.archiveManifestBytesMax) throw new UnreadableSource(`the file ${name} is too large`)
  const bytes = readFileSync(path)
  const manifest = parseManifest(bytes.toString())
  if (manifest === undefined) throw new UnreadableSource(`the file ${name} is no manifest`)
  const [first, last] = name.match(/\d+/g)!.map(Number)
  if (first !== manifest.first_id || last !== manifest.last_id) {
    throw new UnreadableSource(`the file ${name} is the manifest of other events than its name says`)
  }
  const open = (file: string) => {
    try {
      if (!statSync(join(directory, file)).isFile()) throw new Error('it is no file')
      return undo.adopt(openSync(join(directory, file), 'r'), closeSync)
    } catch (cause) {
      throw new UnreadableSource(`the file ${file} is missing or cannot be read`, { cause })
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
    const { replaces = [], erased = [] } = manifest
    const isName = (name: unknown) => typeof name === 'string' && /^[\w.-]+$/.test(name) && !name.startsWith('.')
    const isCount = (value: unknown) => Number.isSafeInteger(value) && Number(value) > 0
    const areFiles =
      isName(file) && (log === undefined || (isName(log.salts_file) && typeof log.salts_sha256 === 'string'))
    const areCounts = [number, first_id, last_id, header_bytes, ...blocks.flat()].every(isCount)
    const isText = (value: unknown) => typeof value === 'string'
    const areTexts = [sha256, ...replaces].every(isText) && (previous === null || isText(previous))
    const isRange = (first_id - 1) % TILE_WIDTH === 0 && last_id % TILE_WIDTH === 0 && last_id > first_id
    const areErasures = erased.flatMap(({ event, ids }) => [event, ...ids]).every(isCount)
    const isSound = areFiles && areCounts && areTexts && isRange && areErasures && blocks[0]?.[0] === first_id
    return isSound && isProof(log?.proof) ? manifest : undefined
  } catch {
    return undefined
  }
}

function isProof(proof: StoredProof | undefined): boolean {
  if (proof === undefined) return true
  const { bundles, edge, consistency, checkpoint, keys } = proof
  const areLists = [bundles, edge, consistency].every(list => list.every(hash => typeof hash === 'string'))
  return areLists && typeof checkpoint === 'string' && typeof keys === 'string'
}

function blocksOf({ blocks }: Manifest, first: number, last: number): number[] {
  return [...blocks.keys()].filter(
    n => blocks[n]![0] <= last && (blocks[n + 1]?.[0] ?? Number.POSITIVE_INFINITY) > first,
  )
}

function readBlock(archive: Archive, block: number): FoundRow[] {
  return linesOf(archive, block).map(line => JSON.parse(line) as FoundRow)
}

function linesOf({ manifest, events }: Archive, block: number): string[] {
  const before = manifest.blocks.slice(0, block).reduce((sum, [, bytes]) => sum + bytes, manifest.header_bytes)
  const packed = readAt(events, before, manifest.blocks[block]![1])
  const lines = gunzipSync(packed, { maxOutputLength: LIMITS.archiveBlockBytesMax }).toString().split('\n')
  return lines.slice(0, -1)
}

/** No bundle asks for these. That a block can be read at all is told with its rows. */
function* straysIn(archive: Archive): Generator<Finding> {
  const { blocks, last_id } = archive.manifest
  for (const [n, [first]] of blocks.entries()) {
    const next = blocks[n + 1]?.[0] ?? last_id + 1
    for (const line of tryLines(archive, n)) {
      const id = Number(/^\{"id":(-?[0-9]+),/.exec(line)?.[1] ?? first)
      if (id >= first && id < next) continue
      yield {
        verdict: 'INSERTED',
        at: { id },
        detail: `It is in archive ${archive.manifest.number}, among other events`,
      }
    }
  }
}

function tryLines(archive: Archive, block: number): string[] {
  try {
    return linesOf(archive, block)
  } catch {
    return []
  }
}

function readSalts({ manifest, salts }: Archive, first: number, width: number): Uint8Array {
  if (salts === undefined) return new Uint8Array()
  return readAt(salts, (first - manifest.first_id) * SALT_BYTES, width * SALT_BYTES)
}

/** Behind the salts, in the order of the events that have none: by id. */
function readCommitments({ manifest, salts }: Archive): ReadonlyMap<number, Uint8Array> {
  const commitments = new Map<number, Uint8Array>()
  const count = manifest.last_id - manifest.first_id + 1
  const bytes = salts === undefined ? new Uint8Array() : readAt(salts, 0, fstatSync(salts).size)
  let at = count * SALT_BYTES
  for (let n = 0; n < count && at < bytes.length; n++) {
    if (bytes[n * SALT_BYTES] !== 0 || !isErasedSalt(bytes.subarray(n * SALT_BYTES, (n + 1) * SALT_BYTES))) continue
    const commitment = bytes.subarray(at, at + HASH_BYTES)
    if (commitment.length === HASH_BYTES) commitments.set(manifest.first_id + n, commitment)
    at += HASH_BYTES
  }
  return commitments
}

function readAt(file: number, position: number, length: number): Uint8Array {
  const bytes = new Uint8Array(Math.max(0, Math.min(length, fstatSync(file).size - position)))
  return bytes.subarray(0, readSync(file, bytes, 0, bytes.length, position))
}

function* faultsOf(archive: Archive, before: Archive | undefined): Generator<Finding> {
  const { manifest, events, salts } = archive
  const at = { part: `archive ${manifest.number}` }
  if (digestOf(events) !== manifest.sha256) {
    yield { verdict: 'EDITED', at, detail: `The digest of ${manifest.file} is not the one in its manifest` }
  }
  if (salts === undefined) {
    yield { verdict: 'UNVERIFIABLE', at, detail: 'It has no salts, so that its rows cannot be compared with the log' }
  } else if (digestOf(salts) !== manifest.log!.salts_sha256) {
    yield { verdict: 'EDITED', at, detail: 'The digest of its salts is not the one in its manifest' }
  }
  if (before !== undefined && before.manifest.last_id + 1 < manifest.first_id) {
    const id = before.manifest.last_id + 1
    const detail = `It left with an archive between ${before.manifest.number} and ${manifest.number} that is not here`
    yield { verdict: 'UNVERIFIABLE', at: { id }, detail }
  }
  const digests = before === undefined ? [] : [before.digest, ...(before.manifest.replaces ?? [])]
  if (before?.manifest.number === manifest.number - 1 && !digests.includes(manifest.previous ?? '')) {
    yield { verdict: 'EDITED', at, detail: 'Its manifest does not follow on the one before: one of them was changed' }
  }
  yield* straysIn(archive)
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
