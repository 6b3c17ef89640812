/** The questions of log-questions.ts, to a log in PostgreSQL: the tiles are fetched first, then everything is worked out from them. */
import { Refusal } from '../errors.ts'
import type { StoredEvent } from '../event/event.ts'
import { isErasedSalt } from '../evidence/leaf.ts'
import type { Hash } from '../evidence/merkle.ts'
import { consistencyProof, inclusionProof, type ReadHash } from '../evidence/merkle-proof.ts'
import { formatTilePath, hashesFromTiles, TILE_WIDTH, type Tile, tileAt, tilesFor } from '../evidence/tile.ts'
import type { Session } from '../postgres/postgres.ts'
import { type PostgresLogSnapshot, readPostgresLog } from '../store/postgres-log-view.ts'
import type { EventPage } from './event-queries.ts'
import {
  commitmentOf,
  type EventProof,
  once,
  type ProvenEvent,
  type ProvenPage,
  type ProvenRequest,
  type TileRequest,
} from './log-questions.ts'

export async function readTileOf(session: Session, { tile, size }: TileRequest): Promise<Uint8Array | undefined> {
  const there = tileAt(tile.level, tile.index, size)
  if (there === undefined || there.width < tile.width) return undefined
  const [bytes] = await (await readPostgresLog(session)).readTiles([tile])
  return bytes
}

export async function proveEventOf(
  session: Session,
  event: StoredEvent | undefined,
  { id, size }: { id: number; size: number },
): Promise<EventProof | undefined> {
  const log = await readPostgresLog(session)
  const salt = await log.salt(id)
  if (event === undefined || salt === undefined) return undefined
  if (id > size) throw new Refusal('NOT_SIGNED_YET', undefined, { retryAfterSeconds: 1 })
  const hashes = await fromTiles(log, size, readHash => inclusionProof(id - 1, size, readHash))
  return { event, salt, hashes }
}

export async function proveConsistencyOf(
  session: Session,
  { from, to }: { from: number; to: number },
): Promise<readonly Hash[]> {
  const log = await readPostgresLog(session)
  return fromTiles(log, to, readHash => consistencyProof(from, to, readHash))
}

/** @param page of the events, oldest first */
export async function proveEventsOf(
  session: Session,
  page: EventPage,
  { size, through = size }: Pick<ProvenRequest, 'size' | 'through'>,
): Promise<ProvenPage> {
  const log = await readPostgresLog(session)
  const last = Math.min(size, through)
  const within = page.events.filter(({ id }) => id <= last)
  const salts = new Map<number, Uint8Array>()
  for (const { id } of within) {
    const salt = await log.salt(id)
    if (salt === undefined) throw new RangeError(`event ${id} has no leaf`)
    salts.set(id, salt)
  }
  const erased = within.filter(({ id }) => isErasedSalt(salts.get(id) as Uint8Array))
  const readEntries = await fetchTiles(
    log,
    erased.map(({ id }) => tileAt('entries', Math.floor((id - 1) / TILE_WIDTH), size) as Tile),
  )
  const proofs = await fromTiles(log, size, readHash => within.map(({ id }) => inclusionProof(id - 1, size, readHash)))
  const events: ProvenEvent[] = within.map((event, n) => {
    const salt = salts.get(event.id) as Uint8Array
    const opening = isErasedSalt(salt) ? { commitment: commitmentOf(event.id, size, readEntries) } : { salt }
    return { event, opening, hashes: proofs[n] as Hash[] }
  })
  const isBeyond = within.length < page.events.length || page.next === null || page.next >= last
  return { events, next: isBeyond ? null : page.next }
}

/** Neighbours have most tiles and hashes in common: each is fetched, and worked out, once. */
async function fromTiles<T>(log: PostgresLogSnapshot, size: number, make: (readHash: ReadHash) => T): Promise<T> {
  const readTile = await fetchTiles(log, tilesFor(size, make))
  const readFromTiles = hashesFromTiles(size, readTile)
  const readOnce = once(
    ({ height, index }: { height: number; index: number }) => readFromTiles(height, index),
    ({ height, index }) => `${height} ${index}`,
  )
  return make((height, index) => readOnce({ height, index }))
}

async function fetchTiles(log: PostgresLogSnapshot, tiles: readonly Tile[]): Promise<(tile: Tile) => Uint8Array> {
  const wanted = [...new Map(tiles.map(tile => [formatTilePath(tile), tile]))]
  const read = await log.readTiles(wanted.map(([, tile]) => tile))
  const fetched = new Map(wanted.map(([path], n) => [path, read[n] as Uint8Array]))
  return tile => fetched.get(formatTilePath(tile)) as Uint8Array
}
