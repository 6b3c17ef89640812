/** The oracle of the tests on PostgreSQL: reads everything by SQL of its own and works the log out again from the rows. */
import assert from 'node:assert/strict'
import pg from 'pg'
import { COLUMNS, type StoredEvent } from '../../src/event/event.ts'
import { HASH_BYTES, joinBytes } from '../../src/evidence/encoding.ts'
import { commit, ERASED_COLUMNS, formatLeaf, isErasedSalt, parseLeaf, SALT_BYTES } from '../../src/evidence/leaf.ts'
import { growTree, hashLeaf } from '../../src/evidence/merkle.ts'
import { formatBundle, parseBundle, TILE_WIDTH } from '../../src/evidence/tile.ts'

type Select = (sql: string) => Promise<pg.QueryResultRow[]>

/** Of the rows that were erased: what nothing else can be made of any more. */
async function erasedCommitments(select: Select): Promise<Map<number, Uint8Array>> {
  const erased = await select(`SELECT e.id, t.bytes, s.first_id, s.last_id, s.commitments FROM log_erasures e
    JOIN log_salts s ON e.id BETWEEN s.first_id AND s.last_id
    LEFT JOIN log_tiles t ON t.level = -1 AND t.tile = (e.id - 1) / ${TILE_WIDTH}`)
  return new Map(erased.map(row => [Number(row.id), commitmentOf(row)]))
}

/** From the bundle, or, where that is not full, from the end of the commitments that came with the batch. */
function commitmentOf({ id, bytes, last_id, commitments }: pg.QueryResultRow): Uint8Array {
  if (bytes === null) {
    const at = commitments.length - (Number(last_id) - Number(id) + 1) * HASH_BYTES
    return commitments.subarray(at, at + HASH_BYTES)
  }
  const entries = parseBundle(bytes, TILE_WIDTH) ?? assert.fail()
  const parsed = parseLeaf(entries[(Number(id) - 1) % TILE_WIDTH] as Uint8Array)
  assert.equal(parsed.kind, 'leaf')
  return parsed.leaf.commitment
}

/**
 * Ids without gaps from 1; every row its leaf; head, edge, tiles and bundles those of the tree over the leaves.
 * @returns the rows
 */
export async function assertLogOfRows(url: string): Promise<StoredEvent[]> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY')
    const select: Select = async sql => (await client.query(sql)).rows
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
    const erased = await erasedCommitments(select)
    const entries = rows.map((row, n) => {
      const salt = salts.subarray(n * SALT_BYTES, (n + 1) * SALT_BYTES)
      const commitment = erased.get(row.id)
      assert.equal(commitment !== undefined, isErasedSalt(salt), `the salt of ${row.id}`)
      if (commitment !== undefined) assert.deepEqual({ ...row, ...ERASED_COLUMNS }, row, `${row.id} is blank`)
      const entry = formatLeaf(row, commitment ?? commit(salt, row))
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

/** Tables and indexes of the schema, and what is kept beside them (TOAST), whose files show the text. */
export async function relationsHolding(url: string, text: string): Promise<string[]> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    await client.query('CHECKPOINT') // the files are what memory has
    const { rows } = await client.query(
      `WITH of_schema AS (
         SELECT oid, reltoastrelid FROM pg_class WHERE relnamespace = 'public'::regnamespace
       ), with_toast AS (
         SELECT oid FROM of_schema
         UNION SELECT reltoastrelid FROM of_schema WHERE reltoastrelid <> 0
         UNION SELECT indexrelid FROM pg_index JOIN of_schema ON indrelid = reltoastrelid
       )
       SELECT oid::regclass::text AS name FROM with_toast WHERE pg_relation_filepath(oid) IS NOT NULL
       AND position(convert_to($1, 'UTF8') IN pg_read_binary_file(pg_relation_filepath(oid))) > 0 ORDER BY 1`,
      [text],
    )
    return rows.map(({ name }) => name)
  } finally {
    await client.end()
  }
}
