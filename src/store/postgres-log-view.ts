/** The log in PostgreSQL as one snapshot shows it (log-view.ts is the same for SQLite): head, tiles and bundles, salts. Read-only. */
import { SALT_BYTES } from '../evidence/leaf.ts'
import type { TreeHead } from '../evidence/merkle-proof.ts'
import { countAt, TILE_WIDTH, type Tile } from '../evidence/tile.ts'
import type { Session } from '../postgres/postgres.ts'
import { beginning } from './log-view.ts'
import { levelNumber, readHead, readPartialBundle, readPartialTiles } from './postgres-log.ts'

export interface PostgresLogSnapshot extends TreeHead {
  /**
   * Tiles of the tree, also of one of an earlier size: a partial tile is the beginning of what there is.
   * @throws {RangeError} when the tree has no such tile, or it cannot be read.
   */
  readTiles(tiles: readonly Tile[]): Promise<Uint8Array[]>
  /** The salt of a row, zeros when it was erased; undefined when there is no such row. */
  salt(id: number): Promise<Uint8Array | undefined>
}

const SELECT_TILES = `SELECT level, tile, bytes FROM log_tiles
  JOIN unnest($1::smallint[], $2::bigint[]) AS wanted (level, tile) USING (level, tile)`
const SELECT_SALT = `SELECT substring(salts FROM (($1 - first_id) * ${SALT_BYTES} + 1)::integer FOR ${SALT_BYTES}) AS salt
  FROM (SELECT * FROM log_salts WHERE first_id <= $1 ORDER BY first_id DESC LIMIT 1) AS batch WHERE last_id >= $1`

/** In a transaction of the caller's that sees one snapshot. */
export async function readPostgresLog(session: Session): Promise<PostgresLogSnapshot> {
  const { size, root } = await readHead(session)
  let partial: ReturnType<typeof readPartialTiles> | undefined

  const isFull = ({ level, index }: Tile) => (index + 1) * TILE_WIDTH <= countAt(level, size)

  /** By level and index. */
  async function readFull(tiles: readonly Tile[]): Promise<Map<string, Uint8Array>> {
    if (tiles.length === 0) return new Map()
    const wanted = [tiles.map(({ level }) => levelNumber(level)), tiles.map(({ index }) => index)]
    const { rows } = await session.query<{ level: number; tile: number; bytes: Uint8Array }>(
      SELECT_TILES,
      wanted,
      'log: tiles',
    )
    return new Map(rows.map(({ level, tile, bytes }) => [`${level} ${tile}`, bytes]))
  }

  async function partialTile({ level, index }: Tile): Promise<Uint8Array | undefined> {
    if (level === 'entries') return (await readPartialBundle(session, size))?.bytes
    partial ??= readPartialTiles(session, size)
    return (await partial).find(({ tile }) => tile.level === level && tile.index === index)?.bytes
  }

  return {
    size,
    root,
    async readTiles(tiles) {
      const full = await readFull(tiles.filter(isFull))
      const read: Uint8Array[] = []
      for (const tile of tiles) {
        const { level, index, width } = tile
        const there = Math.min(TILE_WIDTH, countAt(level, size) - index * TILE_WIDTH)
        const stored = isFull(tile) ? full.get(`${levelNumber(level)} ${index}`) : await partialTile(tile)
        const cut = there < width ? undefined : stored && beginning(level, stored, there, width)
        if (cut === undefined) throw new RangeError(`tile ${index} of level ${level} is not there`)
        read.push(cut)
      }
      return read
    },
    async salt(id) {
      const { rows } = await session.query<{ salt: Uint8Array }>(SELECT_SALT, [id], 'log: a salt')
      return rows[0]?.salt
    },
  }
}
