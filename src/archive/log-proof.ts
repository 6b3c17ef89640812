/**
 * What an archive says of the log that its events left: their salts, what was erased of them, and the proof that they are under a
 * signed checkpoint. So whoever has the archive and the key of the log needs nothing else of ours to verify it.
 *
 * Reads the log's files, and the database in snapshots of a moment; changes nothing. Of a PostgreSQL: postgres-trail.ts.
 */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { DatabaseSync } from 'node:sqlite'
import { Refusal } from '../errors.ts'
import { formatBase64 } from '../evidence/encoding.ts'
import { openByChain, parseKeyChain } from '../evidence/key-chain.ts'
import { parseLeaf } from '../evidence/leaf.ts'
import { type Hash, TILE_HEIGHT } from '../evidence/merkle.ts'
import type { ReadHash } from '../evidence/merkle-proof.ts'
import { rangeProof } from '../evidence/range-proof.ts'
import { hashesFromTiles, parseBundle, TILE_WIDTH, tileAt } from '../evidence/tile.ts'
import { openLogFiles } from '../log/log-files.ts'
import { erasuresIn } from '../store/erasures.ts'
import { readSalts } from '../store/log-store.ts'
import { type LogSnapshot, openLogView } from '../store/log-view.ts'
import type { SealedSegment } from '../store/retention.ts'
import type { ArchivedErasure, ArchiveProof } from './format.ts'
import { erasedPlaces, type Salts } from './salts.ts'

export interface SignedLog {
  readonly size: number
  readonly checkpoint: string
  readonly keys: string
}

/**
 * The newest checkpoint and the keys of a data folder. `unsigned` when there are keys, and what they signed last cannot be used;
 * undefined when the log has no keys, as nobody signs it.
 */
export function readSignedLog(root: string): SignedLog | 'unsigned' | undefined {
  // The checkpoint first: a key that signs from now on is in the chain before it signs.
  const checkpoint = readIfThere(join(root, 'checkpoint'))
  const keys = readIfThere(join(root, 'keys'))
  if (keys === undefined) return undefined
  return (checkpoint !== undefined && signedLogOf(checkpoint, keys)) || 'unsigned'
}

/** Undefined: these keys did not sign it. */
export function signedLogOf(checkpoint: string, keys: string): SignedLog | undefined {
  const chain = parseKeyChain(keys)
  const opened = chain && openByChain(checkpoint, chain)
  return opened?.isTrusted === true ? { size: opened.checkpoint.size, checkpoint, keys } : undefined
}

const readIfThere = (path: string) => (existsSync(path) ? readFileSync(path, 'utf8') : undefined)

export interface LogPart extends Salts {
  readonly erased: readonly ArchivedErasure[]
  readonly proof: ArchiveProof | undefined
}

/**
 * Of a data folder.
 * @param root of the log's files
 * @param signed covers the segment; undefined: there is no proof to be had
 * @throws {Refusal} ARCHIVE_FAILED: the log is not that of the segment
 */
export function readLogPart(
  db: DatabaseSync,
  segment: SealedSegment,
  { root, signed }: { readonly root: string; readonly signed: SignedLog | undefined },
): LogPart {
  const files = openLogFiles(root)
  try {
    return openLogView(db, files).inSnapshot(log => {
      const salts = readSalts(db, segment.firstId, segment.lastId)
      const blank = erasedPlaces(salts).map(place => segment.firstId + place)
      const commitments = new Map(blank.map(id => [id - segment.firstId, loggedCommitment(log, id)]))
      const erased = groupErasures(erasuresIn(db, segment.firstId, segment.lastId), blank)
      const proof = signed && proofOf(hashesFromTiles(signed.size, log.readTile), segment, signed)
      return { salts, commitments, erased, proof }
    })
  } catch (error) {
    if (error instanceof RangeError) throw failed(error.message)
    throw error
  } finally {
    files.close()
  }
}

function loggedCommitment(log: LogSnapshot, id: number): Hash {
  const bundle = tileAt('entries', Math.floor((id - 1) / TILE_WIDTH), log.size)
  return commitmentIn(bundle && log.readTile(bundle), bundle?.width ?? 0, id)
}

/** By its entry: it cannot be computed any more. @throws {Refusal} ARCHIVE_FAILED */
export function commitmentIn(bundle: Uint8Array | undefined, width: number, id: number): Hash {
  const entries = bundle && parseBundle(bundle, width)
  const parsed = parseLeaf(entries?.[(id - 1) % TILE_WIDTH] ?? new Uint8Array())
  if (parsed.kind !== 'leaf') throw failed(`the entry of event ${id}, which was erased, cannot be read`)
  return parsed.leaf.commitment
}

/** @param erasures of the segment @param blank ids without a salt. @throws {Refusal} ARCHIVE_FAILED */
export function groupErasures(
  erasures: readonly { readonly id: number; readonly tombstone: number }[],
  blank: readonly number[],
): ArchivedErasure[] {
  const tombstones = new Map(erasures.map(({ id, tombstone }) => [id, tombstone]))
  const unknown = blank.find(id => !tombstones.has(id))
  if (unknown !== undefined) throw failed(`event ${unknown} has no salt, and no event says that it was erased`)
  const groups = Map.groupBy(blank, id => tombstones.get(id) as number)
  return [...groups].map(([event, ids]) => ({ event, ids })).sort((a, b) => a.event - b.event)
}

/** @param readHash of the tree that was signed. @throws {RangeError} it has not all that is needed */
export function proofOf(readHash: ReadHash, { firstId, lastId }: SealedSegment, signed: SignedLog): ArchiveProof {
  const { edge, consistency } = rangeProof(firstId - 1, lastId, signed.size, readHash)
  const first = (firstId - 1) / TILE_WIDTH
  const bundles = Array.from({ length: lastId / TILE_WIDTH - first }, (_, n) => readHash(TILE_HEIGHT, first + n))
  return {
    bundles: bundles.map(formatBase64),
    edge: edge.map(formatBase64),
    consistency: consistency.map(formatBase64),
    checkpoint: signed.checkpoint,
    keys: signed.keys,
  }
}

export const failed = (why: string) => new Refusal('ARCHIVE_FAILED', `The segment cannot be archived: ${why}.`)
