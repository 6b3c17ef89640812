/**
 * Writes a sealed segment as an archive. Its rows do not change, so they are read a block at a time, each in a moment's
 * snapshot: neither the indexer nor its checkpoints wait for us.
 *
 *   1. the events, as a draft: synced, renamed      a crash after it: an archive without manifest, written again
 *   2. the salts, likewise                          the same
 *   3. the manifest, likewise                       a finished archive
 */
import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { writePieces, writeWhole } from '../files/whole-file.ts'
import type { SealedSegment } from '../store/retention.ts'
import {
  type ArchiveManifest,
  type ArchiveRange,
  archiveName,
  type Block,
  formatHeader,
  formatManifest,
  manifestName,
  saltsName,
  sha256Of,
} from './format.ts'
import type { LogPart } from './log-proof.ts'
import { packEvents } from './pack-events.ts'
import { formatSalts } from './salts.ts'
import type { LeavingTrail } from './trail.ts'

/** Called between blocks: to show how far it is, and to let others have the processor. */
export type AfterBlock = (events: number) => Promise<void>

export function rangeOf({ firstId, lastId, firstTime, lastTime }: SealedSegment): ArchiveRange {
  return {
    first_id: firstId,
    last_id: lastId,
    count: lastId - firstId + 1,
    first_time: firstTime,
    last_time: lastTime,
  }
}

/** @throws {Refusal} ARCHIVE_FAILED: the rows are not those that the segment should have. */
export async function writeArchive(options: {
  readonly trail: Pick<LeavingTrail, 'blocks'>
  readonly segment: SealedSegment
  readonly directory: string
  readonly number: number
  readonly previous: string | null
  readonly logPart: LogPart
  readonly afterBlock: AfterBlock
}): Promise<ArchiveManifest> {
  const { trail, segment, directory, number, previous, logPart, afterBlock } = options
  const range = rangeOf(segment)
  const file = archiveName(range)
  const events = packEvents()
  const blocks: Block[] = []
  let header_bytes = 0
  await writePieces(join(directory, file), async append => {
    const add = (text: string): number => {
      const member = events.add(Buffer.from(text))
      append(member)
      return member.length
    }
    header_bytes = add(formatHeader(range))
    for await (const { firstId, text, count } of trail.blocks(segment)) {
      blocks.push([firstId, add(text)])
      await afterBlock(count)
    }
  })
  const salts = formatSalts(logPart)
  const { erased, proof } = logPart
  writeWhole(join(directory, saltsName(file)), salts)
  const manifest: ArchiveManifest = {
    ...range,
    number,
    file,
    ...events.totals(),
    archived_at: new Date().toISOString(),
    previous,
    header_bytes,
    log: {
      salts_file: saltsName(file),
      salts_sha256: sha256Of(salts),
      first_index: segment.firstId - 1,
      count: range.count,
      ...(proof === undefined ? {} : { proof }),
    },
    ...(erased.length === 0 ? {} : { erased }),
    blocks,
  }
  writeWhole(join(directory, manifestName(file)), formatManifest(manifest))
  return manifest
}

/** Digest of what an archive of the segment's rows unpacks to. */
export async function digestOfRows(
  { blocks }: Pick<LeavingTrail, 'blocks'>,
  segment: SealedSegment,
  afterBlock: AfterBlock,
): Promise<string> {
  const plain = createHash('sha256').update(formatHeader(rangeOf(segment)))
  for await (const { text, count } of blocks(segment)) {
    plain.update(text)
    await afterBlock(count)
  }
  return plain.digest('hex')
}
