/** Questions to the log beside the rows: its tiles, and proofs. Of a size that somebody has signed, which the asker names. */
import { Refusal } from '../errors.ts'
import type { StoredEvent } from '../event/event.ts'
import { isErasedSalt, parseLeaf } from '../evidence/leaf.ts'
import type { Hash } from '../evidence/merkle.ts'
import { consistencyProof, inclusionProof, type ReadHash } from '../evidence/merkle-proof.ts'
import type { Opening } from '../evidence/pack.ts'
import { formatTilePath, parseBundle, TILE_WIDTH, type Tile, tileAt } from '../evidence/tile.ts'
import type { EventDatabase } from './event-database.ts'
import type { EventFilter } from './event-queries.ts'
import { type Deadline, END, OutOfTime } from './id-streams.ts'
import { planWalk } from './planner.ts'
import { walkEvents } from './walk.ts'

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
  return { event, salt, hashes: inclusionProof(id - 1, size, database.hashes(log, size)) }
}

/** That the tree of `from` entries is the beginning of that of `to`. */
export function proveConsistency(database: EventDatabase, { from, to }: { from: number; to: number }): readonly Hash[] {
  return consistencyProof(from, to, database.hashes(database.log(), to))
}

export interface ProvenRequest {
  readonly filter: EventFilter
  /** Only ids above this one, and up to `size`: the tree that the proofs are for. */
  readonly after: number
  readonly size: number
  /** Only ids up to this one, if it is less. */
  readonly through?: number
  readonly limit: number
}

export interface ProvenEvent {
  readonly event: StoredEvent
  readonly opening: Opening
  readonly hashes: readonly Hash[]
}

export interface ProvenPage {
  readonly events: readonly ProvenEvent[]
  /** Where to go on (`after`), or null at the end. */
  readonly next: number | null
}

/** Events with their proofs, oldest first. */
export function proveEvents(database: EventDatabase, request: ProvenRequest, deadline: Deadline): ProvenPage {
  const { filter, after, size, through = size, limit } = request
  const last = Math.min(size, through)
  const page = walkEvents(database, { filter, after, limit, order: 'asc' }, deadline)
  const log = database.log()
  // Neighbours have most hashes in common, and the bundle of those that are erased.
  const readBundle = once(log.readTile, formatTilePath)
  const readFromTiles = database.hashes(log, size)
  const readOnce = once(
    ({ height, index }: { height: number; index: number }) => readFromTiles(height, index),
    ({ height, index }) => `${height} ${index}`,
  )
  const readHash: ReadHash = (height, index) => readOnce({ height, index })
  const events: ProvenEvent[] = []
  for (const event of page.events) {
    if (event.id > last) return { events, next: null }
    const salt = log.salt(event.id)
    if (salt === undefined) throw new RangeError(`event ${event.id} has no leaf`)
    const opening = isErasedSalt(salt) ? { commitment: commitmentOf(event.id, size, readBundle) } : { salt }
    events.push({ event, opening, hashes: inclusionProof(event.id - 1, size, readHash) })
  }
  return { events, next: page.next !== null && page.next < last ? page.next : null }
}

/** The same answers, each worked out once. */
export function once<Asked>(answer: (asked: Asked) => Uint8Array, nameOf: (asked: Asked) => string) {
  const known = new Map<string, Uint8Array>()
  return (asked: Asked): Uint8Array => {
    const name = nameOf(asked)
    const found = known.get(name) ?? answer(asked)
    known.set(name, found)
    return found
  }
}

/** What the leaf of an erased event commits to, from its entry: it cannot be computed any more. */
export function commitmentOf(id: number, size: number, readEntries: (tile: Tile) => Uint8Array): Hash {
  const bundle = tileAt('entries', Math.floor((id - 1) / TILE_WIDTH), size)
  const entries = bundle && parseBundle(readEntries(bundle), bundle.width)
  const parsed = parseLeaf(entries?.[(id - 1) % TILE_WIDTH] ?? new Uint8Array())
  if (parsed.kind !== 'leaf') throw new RangeError(`the entry of event ${id} cannot be read`)
  return parsed.leaf.commitment
}

export interface CountRequest {
  readonly filter: EventFilter
  /** Only ids up to this one. */
  readonly through: number
  /** More are not counted. */
  readonly max: number
}

/** @throws {Refusal} QUERY_TIMEOUT */
export function countEvents(database: EventDatabase, request: CountRequest, deadline: Deadline): number {
  const { filter, through, max } = request
  const last = Math.min(through, database.lastId())
  const keys = planWalk(database, filter, { direction: 1, first: 1, last }, deadline)
  let count = 0
  try {
    for (let key = keys.seek(1); key !== END && count < max; key = keys.seek(key + 1)) {
      if (++count % KEYS_BETWEEN_CLOCK_READS === 0 && deadline.passed()) throw new OutOfTime(key)
    }
  } catch (error) {
    if (error instanceof OutOfTime) throw new Refusal('QUERY_TIMEOUT')
    throw error
  }
  return count
}

const KEYS_BETWEEN_CLOCK_READS = 1_024
