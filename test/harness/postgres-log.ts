/** The oracle of the tests on PostgreSQL: reads everything by SQL of its own and works the log out again from the rows. */
import assert from 'node:assert/strict'
import pg from 'pg'
import { COLUMNS, type StoredEvent } from '../../src/event/event.ts'
import { joinBytes } from '../../src/evidence/encoding.ts'
import { commit, formatLeaf, SALT_BYTES } from '../../src/evidence/leaf.ts'
import { growTree, hashLeaf } from '../../src/evidence/merkle.ts'
import { formatBundle, TILE_WIDTH } from '../../src/evidence/tile.ts'

/**
 * Ids without gaps from 1; every row its leaf; head, edge, tiles and bundles those of the tree over the leaves.
 * @returns the rows
 */
export async function assertLogOfRows(url: string): Promise<StoredEvent[]> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY')
    const select = async (sql: string) => (await client.query(sql)).rows
    const rows = (await select(`SELECT ${COLUMNS.join(', ')} FROM audit_events ORDER BY id`)).map(row => ({
      ...row,
      id: Number(row.id),
      status_code: row.status_code === null ? null : Number(row.status_code),
    })) as StoredEvent[]
    for (const [n, row] of rows.entries()) assert.equal(row.id, n + 1, 'ids are gapless')

    const batches = await select('SELECT first_id, last_id, salts FROM log_salts ORDER BY first_id')
    let covered = 0
    for (const { first_id, last_id, salts } of batches) {
      assert.equal(Number(first_id), covered + 1)
      covered = Number(last_id)
      assert.equal(salts.length, (covered - Number(first_id) + 1) * SALT_BYTES)
    }
    assert.equal(covered, rows.length, 'every row has a salt')
    const salts: Uint8Array = Buffer.concat(batches.map(batch => batch.salts))

    const levels: Uint8Array[][] = []
    const tree = growTree(undefined, (level, hash) => {
      levels[level] ??= []
      levels[level].push(hash)
    })
    const entries = rows.map((row, n) => {
      const entry = formatLeaf(row, commit(salts.subarray(n * SALT_BYTES, (n + 1) * SALT_BYTES), row))
      tree.append(hashLeaf(entry))
      return entry
    })
    const [head] = await select('SELECT size, root, edge FROM log_head')
    assert.equal(Number(head?.size), rows.length)
    assert.deepEqual(new Uint8Array(head?.root), new Uint8Array(tree.root()), 'the root is that of the rows')
    assert.deepEqual(new Uint8Array(head?.edge), joinBytes(...tree.edge().hashes))

    const expected = new Map<string, Uint8Array>()
    for (let bundle = 0; (bundle + 1) * TILE_WIDTH <= entries.length; bundle++) {
      expected.set(`-1 ${bundle}`, formatBundle(entries.slice(bundle * TILE_WIDTH, (bundle + 1) * TILE_WIDTH)))
    }
    for (const [level, hashes] of levels.entries()) {
      for (let tile = 0; (tile + 1) * TILE_WIDTH <= hashes.length; tile++) {
        expected.set(`${level} ${tile}`, joinBytes(...hashes.slice(tile * TILE_WIDTH, (tile + 1) * TILE_WIDTH)))
      }
      const partial = hashes.slice(hashes.length - (hashes.length % TILE_WIDTH))
      if (partial.length === 0) continue
      const [edge] = await select(`SELECT hashes FROM log_edge WHERE level = ${level}`)
      assert.deepEqual(new Uint8Array(edge?.hashes), joinBytes(...partial), `the edge of level ${level}`)
    }
    const tiles = await select('SELECT level, tile, bytes FROM log_tiles')
    assert.deepEqual(tiles.map(({ level, tile }) => `${level} ${tile}`).sort(), [...expected.keys()].sort())
    for (const { level, tile, bytes } of tiles) {
      assert.ok(Buffer.from(expected.get(`${level} ${tile}`) ?? []).equals(bytes), `tile ${level} ${tile}`)
    }
    return rows
  } finally {
    await client.end()
  }
}
