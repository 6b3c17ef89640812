import assert from 'node:assert/strict'
import test from 'node:test'
import fc from 'fast-check'
import {
  formatBundle,
  formatTilePath,
  hashesFromTiles,
  parseBundle,
  parseHashTile,
  parseTilePath,
  type Tile,
  tileAt,
  tilesOf,
} from '../../../src/evidence/tile.ts'
import { createLog, numberedEntries } from './log-under-test.ts'

const paths = (tiles: Iterable<Tile>) => [...tiles].map(formatTilePath)

test('tile paths: the spelling of the specification', () => {
  const expected: [string, Tile][] = [
    ['tile/0/000', { level: 0, index: 0, width: 256 }],
    ['tile/0/000.p/1', { level: 0, index: 0, width: 1 }],
    ['tile/0/x001/000', { level: 0, index: 1000, width: 256 }],
    ['tile/entries/x001/x234/067', { level: 'entries', index: 1_234_067, width: 256 }],
    ['tile/entries/x001/x234/067.p/255', { level: 'entries', index: 1_234_067, width: 255 }],
  ]
  for (const [path, tile] of expected) {
    assert.equal(formatTilePath(tile), path)
    assert.deepEqual(parseTilePath(path), tile)
  }
})

test('tile paths: every other spelling is refused', () => {
  for (const path of [
    '',
    'tile/0',
    'tile/0/',
    '/tile/0/000',
    'tile/0/000/',
    'tile/0/0',
    'tile/0/00',
    'tile/0/0000',
    'tile/0/x000',
    'tile/0/x000/000',
    'tile/0/x000/001',
    'tile/0/001/000',
    'tile/0/x001/x000',
    'tile/0/X001/000',
    'tile/00/000',
    'tile/-1/000',
    'tile/7/000',
    'tile/64/000',
    'tile/6/999',
    'tile/data/000',
    'tile/Entries/000',
    'tile/entries/000.p/',
    'tile/entries/000.p/0',
    'tile/entries/000.p/00',
    'tile/entries/000.p/01',
    'tile/entries/000.p/256',
    'tile/entries/000.p/1/',
    'tile/entries/000.P/1',
    'tile/entries/000p/1',
    'tile/entries/../000',
    'tile/0/000\n',
    'tile/0/x999/x999/x999/x999/x999/999',
    'tile/0/x001/x001/x001/x001/x001/x001/001',
    'tile/0/\u0660\u0660\u0660',
  ]) {
    assert.equal(parseTilePath(path), undefined, path)
  }
})

test('tile paths: what is formatted is parsed again, whatever the tile', () => {
  const level = fc.oneof(fc.constant('entries' as const), fc.integer({ min: 0, max: 2 }))
  const tile = fc.record({ level, index: fc.nat(2 ** 28), width: fc.integer({ min: 1, max: 256 }) })
  fc.assert(fc.property(tile, it => assert.deepEqual(parseTilePath(formatTilePath(it)), { ...it })))
})

test('tiles of a size: those of the specification for 70,000 and 256', () => {
  const all = paths(tilesOf(70_000))
  assert.equal(all.filter(path => /^tile\/0\/\d{3}$/.test(path)).length, 273)
  assert.equal(all.filter(path => /^tile\/entries\/\d{3}$/.test(path)).length, 273)
  assert.deepEqual(
    all.filter(path => !/^tile\/(?:0|entries)\/\d{3}$/.test(path)),
    ['tile/entries/273.p/112', 'tile/0/273.p/112', 'tile/1/000', 'tile/1/001.p/17', 'tile/2/000.p/1'],
  )
  assert.deepEqual(paths(tilesOf(256)), ['tile/entries/000', 'tile/0/000', 'tile/1/000.p/1'])
  assert.deepEqual(paths(tilesOf(1)), ['tile/entries/000.p/1', 'tile/0/000.p/1'])
  assert.deepEqual(paths(tilesOf(0)), [])
  assert.deepEqual(paths(tilesOf(300, 300)), [])
  assert.deepEqual(paths(tilesOf(257, 255)), [
    'tile/entries/000',
    'tile/entries/001.p/1',
    'tile/0/000',
    'tile/0/001.p/1',
    'tile/1/000.p/1',
  ])
  assert.equal(tileAt(0, 1, 256), undefined)
})

test('tiles while a log grows: in any batches, what is written is what a tree of the size has new', () => {
  const batches = fc.array(fc.integer({ min: 0, max: 600 }), { maxLength: 5 })
  fc.assert(
    fc.property(batches, sizes => {
      const log = createLog()
      for (const batch of sizes) {
        const before = new Set(log.tiles.keys())
        const { size } = log.tree
        log.append(numberedEntries(batch, size))
        const written = [...log.tiles.keys()].filter(path => !before.has(path)).sort()
        assert.deepEqual(written, paths(tilesOf(log.tree.size, size)).sort())
      }
      const whole = createLog(numberedEntries(log.tree.size))
      for (const [path, bytes] of whole.tiles) assert.deepEqual(log.tiles.get(path), bytes, path)
    }),
    { numRuns: 40 },
  )
})

test('entry bundles: lengths are 16 bits big-endian, and an entry may be empty', () => {
  const entries = [Uint8Array.of(1, 2, 3), new Uint8Array(0), new Uint8Array(258).fill(9)]
  const bundle = formatBundle(entries)
  assert.deepEqual([...bundle.subarray(0, 9)], [0, 3, 1, 2, 3, 0, 0, 1, 2])
  assert.deepEqual(parseBundle(bundle, 3), entries)
})

test('entry bundles: at the limits, and beyond them', () => {
  const longest = new Uint8Array(65_535).fill(1)
  assert.deepEqual(parseBundle(formatBundle([longest]), 1), [longest])
  assert.throws(() => formatBundle([new Uint8Array(65_536)]), RangeError)
  assert.equal(parseBundle(formatBundle(numberedEntries(256)), 256)?.length, 256)
  assert.throws(() => formatBundle(numberedEntries(257)), RangeError)
  assert.throws(() => formatBundle([]), RangeError)
})

test('entry bundles: cut, continued, or of another width they are refused', () => {
  const bundle = formatBundle(numberedEntries(3))
  for (let length = 0; length < bundle.length; length++) {
    assert.equal(parseBundle(bundle.subarray(0, length), 3), undefined, `cut at ${length}`)
  }
  assert.equal(parseBundle(Uint8Array.of(...bundle, 0), 3), undefined)
  assert.equal(parseBundle(bundle, 2), undefined)
  assert.equal(parseBundle(bundle, 4), undefined)
})

test('hash tiles: a tile that has not the width of its name is refused', () => {
  const tile = new Uint8Array(64)
  assert.equal(parseHashTile(tile, 2)?.length, 2)
  for (const width of [0, 1, 3]) assert.equal(parseHashTile(tile, width), undefined)
  assert.throws(() => hashesFromTiles(3, () => tile)(0, 0), RangeError)
  assert.throws(() => hashesFromTiles(2, () => tile)(0, 2), RangeError, 'beyond the tree')
  assert.throws(() => hashesFromTiles(3, () => new Uint8Array(96))(1, 1), RangeError, 'not complete yet')
})
