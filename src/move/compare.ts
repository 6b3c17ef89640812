/**
 * Whether PostgreSQL holds the log: its rows and salts are made leaves again, the leaves a tree, and all of it is compared with the
 * bundles, tiles, edge and head that lie there. Trusts nothing that the copying said; reads nothing of the data folder.
 *
 * An erased row has no salt any more: its leaf is the one in the bundle, if that says what the row says openly. Of events that have
 * left, rows and salts are in archives: their leaves are those in the bundles, which have to give the root like all others; whether an
 * archive has the events of these leaves is told by `verify` of the archive, here as anywhere.
 */

import { COLUMNS, type StoredEvent } from '../event/event.ts'
import { areSameBytes, HASH_BYTES, joinBytes } from '../evidence/encoding.ts'
import {
  commit,
  ERASED_COLUMNS,
  type EventRow,
  formatLeaf,
  isErasedSalt,
  parseLeaf,
  SALT_BYTES,
} from '../evidence/leaf.ts'
import { growTree, type Hash, hashLeaf } from '../evidence/merkle.ts'
import type { TreeHead } from '../evidence/merkle-proof.ts'
import { parseBundle, TILE_WIDTH, tileAt } from '../evidence/tile.ts'
import type { Session } from '../postgres/postgres.ts'
import { readHead } from '../store/postgres-log.ts'
import { type PostgresLogSnapshot, readPostgresLog } from '../store/postgres-log-view.ts'
import { readArchives } from '../store/postgres-retention.ts'
import { leftThrough } from '../store/retention.ts'

export interface ComparedLog extends TreeHead {
  /** Of the tree at the sizes that were asked for. */
  readonly roots: ReadonlyMap<number, Hash>
}

/** The log is not what its rows say; the message says where. */
export class DifferentLog extends Error {
  override readonly name = 'DifferentLog'
}

const BUNDLES_AT_ONCE = 32
const PIECE_ROWS = BUNDLES_AT_ONCE * TILE_WIDTH

/**
 * In one snapshot of the caller's.
 * @param sizes of which the roots are wanted
 * @throws {DifferentLog}
 */
export async function recomputeLog(
  session: Session,
  sizes: readonly number[],
  onCompared: (events: number) => void,
): Promise<ComparedLog> {
  const log = await readPostgresLog(session)
  const left = leftThrough(await readArchives(session)) ?? refuse('what is on record of archives is no range of events')
  const wanted = new Set(sizes)
  const roots = new Map<number, Hash>()
  const tiles = collectTiles()
  const tree = growTree(undefined, tiles.add)
  for (let first = 1, last = 0; first <= log.size; first = last + 1) {
    last = Math.min(first <= left ? left : log.size, first + PIECE_ROWS - 1)
    const bundles = await readBundles(log, first, last)
    for (const entry of first <= left ? bundles.flat() : await checkEntries(session, bundles, first, last)) {
      tree.append(hashLeaf(entry))
      if (wanted.has(tree.size)) roots.set(tree.size, tree.root())
    }
    await compareTiles(log, tiles.take())
    onCompared(last)
  }
  await compareEdge(session, log, tiles.partial())
  const { edge } = await readHead(session)
  if (!areSameBytes(edge, joinBytes(...tree.edge().hashes)))
    throw new DifferentLog('the edge of the head is another one')
  if (!areSameBytes(log.root, tree.root())) throw new DifferentLog('the head has another root than the rows')
  const stored = await session.query<{ n: number }>('SELECT count(*) AS n FROM log_tiles')
  if (stored.rows[0]?.n !== tiles.count() + Math.floor(log.size / TILE_WIDTH))
    throw new DifferentLog('there are tiles beyond the head')
  await refuseRowsElsewhere(session, left, log.size)
  return { size: log.size, root: tree.root(), roots }
}

interface FullTile {
  readonly level: number
  readonly index: number
  readonly bytes: Uint8Array
}

/** The tiles of hashes that a tree gets as it grows. */
function collectTiles() {
  const levels: { index: number; hashes: Hash[] }[] = []
  let full: FullTile[] = []
  let count = 0
  return {
    add(level: number, hash: Hash): void {
      const tile = levels[level] ?? { index: 0, hashes: [] }
      levels[level] = tile
      tile.hashes.push(hash)
      if (tile.hashes.length < TILE_WIDTH) return
      full.push({ level, index: tile.index, bytes: joinBytes(...tile.hashes) })
      levels[level] = { index: tile.index + 1, hashes: [] }
      count++
    },
    /** Full ones since the last time. */
    take(): readonly FullTile[] {
      const taken = full
      full = []
      return taken
    },
    /** Of each level the hashes of the one that is not full. */
    partial: () => levels.map(({ hashes }) => hashes),
    /** Of full ones in all. */
    count: () => count,
  }
}

/** The entries of the bundles that begin with the first event and end with the last, as they are stored. */
async function readBundles(log: PostgresLogSnapshot, first: number, last: number): Promise<Uint8Array[][]> {
  const tiles = []
  for (let index = Math.floor((first - 1) / TILE_WIDTH); index * TILE_WIDTH < last; index++) {
    tiles.push(tileAt('entries', index, log.size) ?? refuse(`the log has no bundle ${index}`))
  }
  const stored = await log.readTiles(tiles).catch(asDifferent)
  return tiles.map(({ index, width }, n) => {
    return (
      parseBundle(stored[n] as Uint8Array, width) ?? refuse(`the bundle of event ${index * TILE_WIDTH + 1} is none`)
    )
  })
}

/** @returns the leaves as rows and salts say, which are those of the bundles. @throws {DifferentLog} */
async function checkEntries(
  session: Session,
  bundles: readonly (readonly Uint8Array[])[],
  first: number,
  last: number,
): Promise<Uint8Array[]> {
  const rows = await readRows(session, first, last)
  const salts = await readSalts(session, first, last)
  const erased = await readErased(session, first, last)
  return bundles.flat().map((entry, place) => {
    const salt = salts.subarray(place * SALT_BYTES, (place + 1) * SALT_BYTES)
    const own = entryOf(rows[place] as StoredEvent, salt, entry, erased.has(first + place))
    if (areSameBytes(own, entry)) return own
    throw new DifferentLog(`event ${first + place} is another one than its leaf says`)
  })
}

function entryOf(row: EventRow, salt: Uint8Array, stored: Uint8Array, isErased: boolean): Uint8Array {
  if (isErasedSalt(salt) !== isErased)
    throw new DifferentLog(`event ${row.id} is erased, or is not, against what is on record`)
  if (!isErased) return formatLeaf(row, commit(salt, row))
  const isBlank = Object.entries(ERASED_COLUMNS).every(([column, blank]) => row[column as keyof EventRow] === blank)
  const parsed = parseLeaf(stored)
  if (!isBlank || parsed.kind !== 'leaf') throw new DifferentLog(`event ${row.id} was erased, and is not blank`)
  return formatLeaf(row, parsed.leaf.commitment)
}

async function readRows(session: Session, first: number, last: number): Promise<StoredEvent[]> {
  const select = `SELECT ${COLUMNS.join(', ')} FROM audit_events WHERE id BETWEEN $1 AND $2 ORDER BY id`
  const { rows } = await session.query<StoredEvent & Record<string, unknown>>(select, [first, last], 'move: rows')
  if (rows.length !== last - first + 1) throw new DifferentLog(`not all of the events ${first} to ${last} are there`)
  return rows
}

async function readSalts(session: Session, first: number, last: number): Promise<Uint8Array> {
  const select = 'SELECT first_id, salts FROM log_salts WHERE first_id <= $2 AND last_id >= $1 ORDER BY first_id'
  const { rows } = await session.query<{ first_id: number; salts: Uint8Array }>(select, [first, last], 'move: salts')
  const all = joinBytes(...rows.map(({ salts }) => salts))
  const skipped = (first - (rows[0]?.first_id ?? first)) * SALT_BYTES
  const salts = all.subarray(skipped, skipped + (last - first + 1) * SALT_BYTES)
  if (salts.length !== (last - first + 1) * SALT_BYTES)
    throw new DifferentLog(`salts of the events ${first} to ${last} are missing`)
  return salts
}

async function readErased(session: Session, first: number, last: number): Promise<Set<number>> {
  const select = 'SELECT id FROM log_erasures WHERE id BETWEEN $1 AND $2'
  const { rows } = await session.query<{ id: number }>(select, [first, last], 'move: erasures')
  return new Set(rows.map(({ id }) => id))
}

async function compareTiles(log: PostgresLogSnapshot, tiles: readonly FullTile[]): Promise<void> {
  const stored = await log
    .readTiles(tiles.map(({ level, index }) => ({ level, index, width: TILE_WIDTH })))
    .catch(asDifferent)
  const wrong = tiles.find(({ bytes }, n) => !areSameBytes(bytes, stored[n] as Uint8Array))
  if (wrong !== undefined)
    throw new DifferentLog(`tile ${wrong.index} of level ${wrong.level} has other hashes than the rows`)
}

/** Of each level the tile that is not full. */
async function compareEdge(
  session: Session,
  log: PostgresLogSnapshot,
  levels: readonly (readonly Hash[])[],
): Promise<void> {
  for (const [level, hashes] of levels.entries()) {
    if (hashes.length === 0) continue
    const select = 'SELECT hashes FROM log_edge WHERE level = $1'
    const { rows } = await session.query<{ hashes: Uint8Array }>(select, [level])
    const stored = rows[0]?.hashes ?? new Uint8Array()
    if (stored.length !== hashes.length * HASH_BYTES || !areSameBytes(stored, joinBytes(...hashes))) {
      throw new DifferentLog(`the edge of level ${level} has other hashes than the rows, of ${log.size} events`)
    }
  }
}

async function refuseRowsElsewhere(session: Session, left: number, size: number): Promise<void> {
  const beyond = await session.query('SELECT 1 FROM audit_events WHERE id > $1 LIMIT 1', [size])
  if (beyond.rows.length > 0) throw new DifferentLog('there are events beyond the head')
  const rows = await session.query('SELECT 1 FROM audit_events WHERE id <= $1 LIMIT 1', [left])
  if (rows.rows.length > 0) throw new DifferentLog('there are events that have left')
  const salts = await session.query('SELECT 1 FROM log_salts WHERE first_id <= $1 LIMIT 1', [left])
  if (salts.rows.length > 0) throw new DifferentLog('there are salts of events that have left')
}

function asDifferent(error: unknown): never {
  if (error instanceof RangeError) throw new DifferentLog(error.message)
  throw error
}

function refuse(why: string): never {
  throw new DifferentLog(why)
}
