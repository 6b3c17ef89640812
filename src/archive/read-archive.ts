/**
 * Reads an archive, a block at a time, once its digest has been found to be the one of its manifest.
 *
 * Whatever does not fit is ARCHIVE_INVALID, naming the file. Nothing of a file is believed before its digest was compared;
 * after that, what is read is still held against the manifest, as the file could change.
 */
import { createHash } from 'node:crypto'
import { closeSync, fstatSync, openSync, readFileSync, readSync } from 'node:fs'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { counted } from '../counted.ts'
import { Refusal } from '../errors.ts'
import type { StoredEvent } from '../event/event.ts'
import { LIMITS } from '../limits.ts'
import { type ArchiveManifest, formatHeader, sha256Of } from './format.ts'
import { startLeafCheck } from './leaf-check.ts'
import { erasedPlaces, parseSalts, type Salts } from './salts.ts'

export interface OpenArchive extends Disposable {
  readonly manifest: ArchiveManifest
  /** The lines of a block, each with its end. @throws {Refusal} ARCHIVE_INVALID */
  blockText(block: number): Buffer
  /** The events of a block, oldest first. @param text its lines, if they were read already. @throws {Refusal} ARCHIVE_INVALID */
  events(block: number, text?: Buffer): StoredEvent[]
}

const PIECE_BYTES = 1024 * 1024

/** Reads the whole file once. @throws {Refusal} ARCHIVE_INVALID */
export function openArchive(directory: string, manifest: ArchiveManifest): OpenArchive {
  const path = join(directory, manifest.file)
  const file = openOrRefuse(path)
  try {
    checkDigest(file, path, manifest)
    if (member(file, path, 0, manifest.header_bytes).toString() !== formatHeader(manifest)) {
      throw invalid(path, 'its header line does not say what its manifest says')
    }
  } catch (error) {
    closeSync(file)
    throw error
  }

  const { blocks } = manifest
  const offsets: number[] = []
  let offset = manifest.header_bytes
  for (const [, bytes] of blocks) {
    offsets.push(offset)
    offset += bytes
  }

  function blockText(block: number): Buffer {
    return member(file, path, offsets[block] as number, (blocks[block] as (typeof blocks)[number])[1])
  }

  return {
    manifest,
    blockText,
    events(block, text = blockText(block)) {
      const [firstId] = blocks[block] as (typeof blocks)[number]
      const nextId = blocks[block + 1]?.[0] ?? manifest.last_id + 1
      const lines = text.toString().split('\n')
      if (lines.pop() !== '' || lines.length !== nextId - firstId) {
        throw invalid(path, `it does not hold the events ${firstId} to ${nextId - 1}`)
      }
      return lines.map((line, n) => parseEvent(line, firstId + n, path))
    },
    [Symbol.dispose]: () => closeSync(file),
  }
}

/** Undefined when the archive has none, as it is older than the log. @throws {Refusal} ARCHIVE_INVALID */
export function readSaltsFile(directory: string, { log, count }: ArchiveManifest): Salts | undefined {
  if (log === undefined) return undefined
  const path = join(directory, log.salts_file)
  closeSync(openOrRefuse(path))
  const bytes = readFileSync(path)
  if (sha256Of(bytes) !== log.salts_sha256) throw invalid(path, 'its digest is not the one of its manifest')
  const salts = parseSalts(bytes, count)
  if (salts === undefined) throw invalid(path, `it does not hold what opens ${counted(count, 'event')}`)
  return salts
}

/** Which events are erased is in the manifest and in the salts, and has to be the same; earlier versions did not say. */
function checkErased(path: string, { log, erased, first_id }: ArchiveManifest, salts: Salts): void {
  if (log?.proof === undefined) return
  const said = (erased ?? []).flatMap(({ ids }) => ids).sort((a, b) => a - b)
  if (
    said.join() !==
    erasedPlaces(salts.salts)
      .map(place => first_id + place)
      .join()
  ) {
    throw invalid(path, 'its manifest does not tell of the events that were erased')
  }
}

/**
 * Reads the whole file twice: the digest, then every event.
 * @throws {Refusal} ARCHIVE_INVALID
 */
export async function checkArchive(
  directory: string,
  manifest: ArchiveManifest,
  afterBlock: (events: number) => Promise<void>,
): Promise<void> {
  const path = join(directory, manifest.file)
  const salts = readSaltsFile(directory, manifest)
  if (salts !== undefined) checkErased(path, manifest, salts)
  const leaves = salts && startLeafCheck(manifest, salts)
  using archive = openArchive(directory, manifest)
  const header = formatHeader(manifest)
  const plain = createHash('sha256').update(header)
  let bytes = Buffer.byteLength(header)
  let [first, last] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]
  for (const block of manifest.blocks.keys()) {
    const text = archive.blockText(block)
    plain.update(text)
    bytes += text.length
    const events = archive.events(block, text)
    for (const event of events) {
      const at = Date.parse(event.date_time)
      first = Math.min(first, at)
      last = Math.max(last, at)
      leaves?.add(event)
    }
    await afterBlock(events.length)
  }
  if (bytes !== manifest.ndjson_bytes || plain.digest('hex') !== manifest.ndjson_sha256) {
    throw invalid(path, 'its events are not those of its manifest')
  }
  if (first !== Date.parse(manifest.first_time) || last !== Date.parse(manifest.last_time)) {
    throw invalid(path, 'its events are of other times than its manifest says')
  }
  if (leaves?.isProven() === false) throw invalid(path, 'its events are not under the checkpoint of its manifest')
}

export function invalid(path: string, why: string): Refusal {
  return new Refusal('ARCHIVE_INVALID', `The archive ${path} is not to be trusted: ${why}.`)
}

function openOrRefuse(path: string): number {
  try {
    return openSync(path, 'r')
  } catch (cause) {
    const { code } = cause as { code?: string }
    throw invalid(path, code === 'ENOENT' ? 'it is missing' : `it cannot be read (${code})`)
  }
}

function checkDigest(file: number, path: string, { bytes, sha256 }: ArchiveManifest): void {
  const { size } = fstatSync(file)
  if (size !== bytes) throw invalid(path, `it has ${size} bytes instead of ${bytes}`)
  const hash = createHash('sha256')
  const piece = Buffer.alloc(PIECE_BYTES)
  for (let at = 0; at < bytes; ) {
    const read = readSync(file, piece, 0, PIECE_BYTES, at)
    if (read === 0) throw invalid(path, 'it became shorter')
    hash.update(piece.subarray(0, read))
    at += read
  }
  if (hash.digest('hex') !== sha256) throw invalid(path, 'its digest is not the one in its manifest')
}

function member(file: number, path: string, offset: number, bytes: number): Buffer {
  const packed = Buffer.alloc(bytes)
  try {
    const read = readSync(file, packed, 0, bytes, offset)
    return gunzipSync(packed.subarray(0, read), { maxOutputLength: LIMITS.archiveBlockBytesMax })
  } catch {
    throw invalid(path, 'a block of it cannot be unpacked')
  }
}

function parseEvent(line: string, id: number, path: string): StoredEvent {
  let event: StoredEvent | undefined
  try {
    event = JSON.parse(line)
  } catch {
    // told below
  }
  if (event?.id !== id) throw invalid(path, `it does not hold the event ${id}`)
  return event
}
