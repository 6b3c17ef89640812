/** Both builders, the one that works in its caller's thread and the one with a thread of its own, are held to the same. */
import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type TestContext } from 'node:test'
import { commit, formatLeaf, SALT_BYTES, SALT_SEED_BYTES, saltsOfSeed } from '../../../src/evidence/leaf.ts'
import { EMPTY_EDGE, hashLeaf } from '../../../src/evidence/merkle.ts'
import { rootHash } from '../../../src/evidence/merkle-proof.ts'
import { hashesFromTiles, parseBundle, TILE_WIDTH } from '../../../src/evidence/tile.ts'
import type { TileFile } from '../../../src/evidence/tile-collector.ts'
import { type LogBuilder, type LogRow, type LogState, openLogBuilder } from '../../../src/log/log-builder.ts'
import { type LogFiles, openLogFiles } from '../../../src/log/log-files.ts'
import { startLogBuilder } from '../../../src/log/log-host.ts'
import { sampleEvent } from '../../contract/event-store.ts'
import { naiveRoot } from '../evidence/naive-tree.ts'

const CREATED_AT = '2026-06-01T00:00:00.000Z'
const EMPTY: LogState = { edge: EMPTY_EDGE, partialTiles: [], syncedSize: 0 }

const rowsFrom = (first: number, count: number): LogRow[] =>
  Array.from({ length: count }, (_, n) => ({ id: first + n, event: sampleEvent(first + n), createdAt: CREATED_AT }))

/** The entries that rows and salts say. */
function entriesOf(rows: readonly LogRow[], salts: Uint8Array): Uint8Array[] {
  return rows.map(({ id, event, createdAt }, n) => {
    const row = { ...event, id, created_at: createdAt }
    return formatLeaf(row, commit(salts.subarray(n * SALT_BYTES, (n + 1) * SALT_BYTES), row))
  })
}

interface Place {
  readonly root: string
  readonly builder: LogBuilder
  readonly files: LogFiles
}

function inOwnFolder(t: TestContext, open: (root: string) => LogBuilder): LogBuilder {
  const root = mkdtempSync(join(tmpdir(), 'evc-log-'))
  const builder = open(root)
  t.after(() => {
    builder.close()
    rmSync(root, { recursive: true })
  })
  return builder
}

for (const [name, open] of [
  ['log builder', openLogBuilder],
  ['log builder in a thread', startLogBuilder],
] as const) {
  const check = (title: string, body: (place: Place) => void) =>
    test(`${name}: ${title}`, () => {
      const root = join(mkdtempSync(join(tmpdir(), 'evc-log-')), 'audit.db-log')
      const builder = open(root)
      const files = openLogFiles(root)
      try {
        body({ root, builder, files })
      } finally {
        files.close()
        builder.close()
        rmSync(join(root, '..'), { recursive: true })
      }
    })

  function add(builder: LogBuilder, rows: readonly LogRow[]) {
    for (const row of rows) builder.add(row)
    return builder.finish()
  }

  check('batches of any size give the tree of their leaves', ({ builder, files }) => {
    builder.resume(EMPTY)
    let entries: Uint8Array[] = []
    for (const count of [1, 254, 1, 1, 300, 700]) {
      const rows = rowsFrom(entries.length + 1, count)
      const growth = add(builder, rows)
      entries = [...entries, ...entriesOf(rows, growth.salts)]
      assert.equal(growth.salts.length, count * SALT_BYTES)
      assert.equal(growth.edge.size, entries.length)
      assert.deepEqual(growth.root, naiveRoot(entries.map(hashLeaf)))
      assert.equal(builder.size, entries.length)
      const read = tileReader(files, growth.partialTiles)
      assert.deepEqual(rootHash(entries.length, hashesFromTiles(entries.length, read)), growth.root)
    }
    for (let bundle = 0; bundle < Math.floor(entries.length / TILE_WIDTH); bundle++) {
      const stored = parseBundle(files.read('entries', bundle) ?? assert.fail(), TILE_WIDTH)
      assert.deepEqual(stored?.map(text), entries.slice(bundle * TILE_WIDTH, (bundle + 1) * TILE_WIDTH).map(text))
    }
    assert.equal(files.read('entries', Math.floor(entries.length / TILE_WIDTH)), undefined)
  })

  check('goes on from a state, over what a batch that was not committed left', ({ builder, files }) => {
    builder.resume(EMPTY)
    const first = add(builder, rowsFrom(1, 300))
    add(builder, rowsFrom(301, 1_000))
    builder.resume(first)
    assert.equal(builder.size, 300)
    const rows = rowsFrom(301, 800)
    const growth = add(builder, rows)
    const entries = [...entriesOf(rowsFrom(1, 300), first.salts), ...entriesOf(rows, growth.salts)]
    assert.deepEqual(growth.root, naiveRoot(entries.map(hashLeaf)))
    assert.deepEqual(
      parseBundle(files.read('entries', 3) ?? assert.fail(), TILE_WIDTH)?.map(text),
      entries.slice(768, 1_024).map(text),
    )
  })

  check('the salts of a full bundle are those of its seed, which nobody is told before', ({ builder }) => {
    builder.resume(EMPTY)
    const first = add(builder, rowsFrom(1, 300))
    assert.equal(first.seeds.length, 1)
    assert.deepEqual(first.salts.slice(0, 256 * SALT_BYTES), saltsOfSeed(first.seeds[0] ?? assert.fail()))
    assert.equal(add(builder, rowsFrom(301, 10)).seeds.length, 0)
    const next = add(builder, rowsFrom(311, 250))
    const ofSecond = saltsOfSeed(next.seeds[0] ?? assert.fail())
    assert.deepEqual(first.salts.slice(256 * SALT_BYTES), ofSecond.slice(0, 44 * SALT_BYTES))
    assert.deepEqual(next.salts.slice(0, 202 * SALT_BYTES), ofSecond.slice(54 * SALT_BYTES))
    builder.resume(first) // as after a start: its seed is gone
    const other = add(builder, rowsFrom(301, 500))
    assert.deepEqual(
      other.seeds.map(seed => seed?.length),
      [undefined, SALT_SEED_BYTES],
    )
    assert.notDeepEqual(other.salts.slice(0, 160), ofSecond.slice(44 * SALT_BYTES, 54 * SALT_BYTES))
    assert.deepEqual(
      other.salts.slice(212 * SALT_BYTES, 468 * SALT_BYTES),
      saltsOfSeed(other.seeds[1] ?? assert.fail()),
    )
  })

  check('is on disk as far as it says, when it is asked', ({ builder }) => {
    builder.resume(EMPTY)
    add(builder, rowsFrom(1, 300))
    assert.equal(builder.sync(), 300)
    assert.equal(add(builder, rowsFrom(301, 1)).syncedSize >= 300, true)
  })

  check('only the commitments of the bundle that is not full are given', ({ builder }) => {
    builder.resume(EMPTY)
    assert.equal(add(builder, rowsFrom(1, 250)).commitments.length, 250 * 32)
    assert.equal(add(builder, rowsFrom(251, 10)).commitments.length, 4 * 32)
    assert.equal(add(builder, rowsFrom(261, 252)).commitments.length, 0)
  })

  check(
    'a folder that cannot be written fails the batch with an error of the file system, and a resume mends it',
    ({ root, builder }) => {
      builder.resume(EMPTY)
      const blocked = openLogFiles(root)
      blocked.write('entries', 0, new Uint8Array(10)) // the folder is there now
      blocked.close()
      const file = join(root, 'entries-000000')
      rmSync(file)
      mkdirSync(file)
      assert.throws(() => add(builder, rowsFrom(1, 256)), { code: 'EISDIR' })
      rmSync(file, { recursive: true })
      builder.resume(EMPTY)
      assert.equal(add(builder, rowsFrom(1, 256)).edge.size, 256)
    },
  )
}

test('log builder in a thread: a state that cannot be gone on from fails the batch at once, and a resume mends it', t => {
  const builder = inOwnFolder(t, startLogBuilder)
  builder.resume({ ...EMPTY, edge: { size: 1, hashes: [] } })
  const [row = assert.fail()] = rowsFrom(2, 1)
  builder.add(row)
  assert.throws(() => builder.finish(), { message: 'the edge does not fit its size' })
  builder.resume(EMPTY)
  builder.add({ ...row, id: 1 })
  assert.equal(builder.finish().edge.size, 1)
})

test('log builder: a batch may have more rows than a call has arguments', t => {
  const builder = inOwnFolder(t, openLogBuilder)
  const [{ event } = assert.fail()] = rowsFrom(1, 1)
  const count = 150_000 // such as the rows of a database that has no log yet
  builder.resume(EMPTY)
  for (let id = 1; id <= count; id++) builder.add({ id, event, createdAt: CREATED_AT })
  assert.equal(builder.finish().salts.length, count * SALT_BYTES)
})

test('log files: are for the owner only, and a pack ends where the next begins', () => {
  const root = join(mkdtempSync(join(tmpdir(), 'evc-log-')), 'log')
  const files = openLogFiles(root)
  try {
    const bundle = (index: number) => new Uint8Array(100 + (index % 50)).fill(index % 256)
    for (let index = 0; index < 600; index++) files.write('entries', index, bundle(index))
    for (const index of [0, 255, 256, 511, 512, 599]) assert.deepEqual(files.read('entries', index), bundle(index))
    assert.equal(files.read('entries', 600), undefined)
    assert.equal(files.read('entries', 768), undefined)
    assert.equal(statSync(join(root, 'entries-000001')).mode & 0o777, 0o600)
    assert.equal(statSync(root).mode & 0o777, 0o700)
    files.write('entries', 599, bundle(77))
    assert.deepEqual(files.read('entries', 599), bundle(77), 'the last one, written again')
  } finally {
    files.close()
    rmSync(join(root, '..'), { recursive: true })
  }
})

const text = (entry: Uint8Array) => new TextDecoder().decode(entry)

function tileReader(files: LogFiles, partialTiles: readonly TileFile[]) {
  return ({ level, index, width }: TileFile['tile']) => {
    if (width === TILE_WIDTH) return files.read(level, index) ?? assert.fail(`tile ${level}/${index}`)
    return (
      partialTiles.find(({ tile }) => tile.level === level && tile.index === index)?.bytes ?? assert.fail('partial')
    )
  }
}
