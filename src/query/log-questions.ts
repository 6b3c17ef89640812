/** Questions to the log beside the rows: its tiles, and proofs. Of a size that somebody has signed, which the asker names. */
import { Refusal } from '../errors.ts'
import type { StoredEvent } from '../event/event.ts'
import type { Hash } from '../evidence/merkle.ts'
import { consistencyProof, inclusionProof } from '../evidence/merkle-proof.ts'
import { hashesFromTiles, type Tile, tileAt } from '../evidence/tile.ts'
import type { EventDatabase } from './event-database.ts'

export interface TileRequest {
  readonly tile: Tile
  /** Only tiles of a tree of this size are given: what is beyond it may still change. */
  readonly size: number
}

/** Undefined when the tree has no such tile. A narrower one than it has now is given, too. */
export function readTile({ log }: EventDatabase, { tile, size }: TileRequest): Uint8Array | undefined {
  const there = tileAt(tile.level, tile.index, size)
  return there === undefined || there.width < tile.width ? undefined : log().readTile(tile)
}

export interface EventProof {
  readonly event: StoredEvent
  /** Zeros when the event was erased. */
  readonly salt: Uint8Array
  /** That its leaf is in the tree of the size that was asked for. */
  readonly hashes: readonly Hash[]
}

/** Undefined when there is no such row. @throws {Refusal} NOT_SIGNED_YET */
export function proveEvent(
  database: EventDatabase,
  { id, size }: { id: number; size: number },
): EventProof | undefined {
  const event = database.event(id)
  const log = database.log()
  const salt = log.salt(id)
  if (event === undefined || salt === undefined) return undefined
  if (id > size) throw new Refusal('NOT_SIGNED_YET', undefined, { retryAfterSeconds: 1 })
  return { event, salt, hashes: inclusionProof(id - 1, size, hashesFromTiles(size, log.readTile)) }
}

/** That the tree of `from` entries is the beginning of that of `to`. */
export function proveConsistency({ log }: EventDatabase, { from, to }: { from: number; to: number }): readonly Hash[] {
  return consistencyProof(from, to, hashesFromTiles(to, log().readTile))
}
