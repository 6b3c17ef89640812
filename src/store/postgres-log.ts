/**
 * The log in PostgreSQL: what its builder goes on from, and what a batch adds, in the transaction of the rows. Tiles and bundles
 * are rows here, so that every instance reads those that any other wrote.
 *
 * Owns nothing between transactions. The head moves by compare-and-swap under its own row lock: of two that go on from the same
 * size one is refused by the lock or, if that ever failed, by the size and by the keys of the tiles.
 */
import { HASH_BYTES } from '../evidence/encoding.ts'
import { type EventRow, formatLeaf } from '../evidence/leaf.ts'
import { formatBundle, parseHashTile, TILE_WIDTH, type TileLevel, tileAt } from '../evidence/tile.ts'
import type { TileFile } from '../evidence/tile-collector.ts'
import type { LogGrowth, LogState } from '../log/log-builder.ts'
import type { Session } from '../postgres/postgres.ts'
import { StoreError } from './event-store.ts'

export interface PostgresLogHead {
  readonly size: number
  readonly root: Uint8Array
  readonly edge: Uint8Array
}

/** Entry bundles in `log_tiles.level`. */
const ENTRIES = -1

export const levelNumber = (level: TileLevel) => (level === 'entries' ? ENTRIES : level)

const HEAD = 'SELECT size, root, edge FROM log_head'

/** Waits for whoever appends; nobody else does until this transaction ends. */
export const lockHead = (session: Session) => selectHead(session, `${HEAD} FOR UPDATE`)

export const readHead = (session: Session) => selectHead(session, HEAD)

async function selectHead(session: Session, sql: string): Promise<PostgresLogHead> {
  const { rows } = await session.query<{ size: number; root: Uint8Array; edge: Uint8Array }>(sql, [], sql)
  if (rows[0] === undefined) throw new StoreError('FOREIGN', 'the log has no head')
  return rows[0]
}

/** What a builder goes on from. */
export async function readLogState(session: Session, { size, edge }: PostgresLogHead): Promise<LogState> {
  const hashes = parseHashTile(edge, edge.length / HASH_BYTES) ?? []
  const bundle = await readPartialBundle(session, size)
  const partialTiles = [...(await readPartialTiles(session, size)), ...(bundle === undefined ? [] : [bundle])]
  return { edge: { size, hashes }, partialTiles, syncedSize: size }
}

/** Of each level of hashes the tile that is not full; a row of a tile that is full by now says nothing. */
export async function readPartialTiles(session: Session, size: number): Promise<TileFile[]> {
  const sql = 'SELECT level, tile, hashes FROM log_edge ORDER BY level'
  const { rows } = await session.query<{ level: number; tile: number; hashes: Uint8Array }>(sql, [], sql)
  return rows
    .map(({ level, tile, hashes }) => ({
      tile: { level, index: tile, width: hashes.length / HASH_BYTES },
      bytes: hashes,
    }))
    .filter(({ tile }) => tileAt(tile.level, tile.index, size)?.width === tile.width)
}

/** The bundle that is not full, as its rows and commitments say; undefined when the last one is full. */
export async function readPartialBundle(session: Session, size: number): Promise<TileFile | undefined> {
  const index = Math.floor(size / TILE_WIDTH)
  const width = size % TILE_WIDTH
  if (width === 0) return undefined
  const firstId = index * TILE_WIDTH + 1
  const selectRows = `SELECT id, date_time, action, severity, reason_code, status_code, created_at FROM audit_events
    WHERE id BETWEEN $1 AND $2 ORDER BY id`
  const { rows } = await session.query<EventRow>(selectRows, [firstId, size], 'log: rows of a bundle')
  const selectCommitments = 'SELECT commitments FROM log_salts WHERE first_id <= $2 AND last_id >= $1 ORDER BY first_id'
  const added = await session.query<{ commitments: Buffer }>(selectCommitments, [firstId, size], 'log: commitments')
  const commitments = Buffer.concat(added.rows.map(row => row.commitments))
  if (rows.length !== width || commitments.length !== width * HASH_BYTES) {
    throw new StoreError('FOREIGN', `the log has ${size} entries, and not all of the rows are there`)
  }
  const entries = rows.map((row, n) => formatLeaf(row, commitments.subarray(n * HASH_BYTES, (n + 1) * HASH_BYTES)))
  return { tile: { level: 'entries', index, width }, bytes: formatBundle(entries) }
}

const MOVE = `
WITH salts AS (
  INSERT INTO log_salts SELECT $1::bigint, $2::bigint, $3::bytea, $4::bytea WHERE octet_length($3::bytea) > 0
), edge AS (
  INSERT INTO log_edge SELECT * FROM unnest($5::smallint[], $6::bigint[], $7::bytea[])
  ON CONFLICT (level) DO UPDATE SET tile = excluded.tile, hashes = excluded.hashes
)
UPDATE log_head SET size = $2, root = $8, edge = $9 WHERE size = $1::bigint - 1`

/**
 * @param before size of the log under the batch
 * @param growth without salts when its rows have left: they took these along
 * @throws {StoreError} FOREIGN when the head is not there any more
 */
export async function writeGrowth(session: Session, before: number, growth: LogGrowth): Promise<void> {
  const { fullTiles = [], partialTiles, edge, root, salts, commitments } = growth
  if (fullTiles.length > 0) {
    await session.copy('COPY log_tiles (level, tile, bytes) FROM STDIN (FORMAT binary)', formatTiles(fullTiles))
  }
  const partial = partialTiles.filter(({ tile }) => tile.level !== 'entries')
  const { rowCount } = await session.query(
    MOVE,
    [
      before + 1,
      edge.size,
      Buffer.from(salts),
      Buffer.from(commitments),
      partial.map(({ tile }) => tile.level),
      partial.map(({ tile }) => tile.index),
      partial.map(({ bytes }) => Buffer.from(bytes)),
      Buffer.from(root),
      Buffer.concat(edge.hashes),
    ],
    'log: move the head',
  )
  if (rowCount !== 1) throw new StoreError('FOREIGN', `the head of the log is not at ${before} any more`)
}

/** PostgreSQL's documentation of COPY, "Binary Format". */
const COPY_HEADER = Buffer.from('PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0', 'latin1')
const COPY_TRAILER = Buffer.from([0xff, 0xff])
const FIELDS_BYTES = 2 + 4 + 2 + 4 + 8 + 4

function formatTiles(tiles: readonly TileFile[]): Uint8Array {
  const parts: Uint8Array[] = [COPY_HEADER]
  for (const { tile, bytes } of tiles) {
    const fields = new DataView(new ArrayBuffer(FIELDS_BYTES))
    fields.setInt16(0, 3)
    fields.setInt32(2, 2)
    fields.setInt16(6, levelNumber(tile.level))
    fields.setInt32(8, 8)
    fields.setBigInt64(12, BigInt(tile.index))
    fields.setInt32(20, bytes.length)
    parts.push(new Uint8Array(fields.buffer), bytes)
  }
  return Buffer.concat([...parts, COPY_TRAILER])
}
