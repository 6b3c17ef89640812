/** The suite that every implementation of the questions is held to: tiles and proofs. */
import assert from 'node:assert/strict'
import test from 'node:test'
import { commit, formatLeaf, isErasedSalt } from '../../src/evidence/leaf.ts'
import { hashLeaf } from '../../src/evidence/merkle.ts'
import { rootHash, verifyConsistency, verifyInclusion } from '../../src/evidence/merkle-proof.ts'
import { formatTilePath, hashesFromTiles, parseBundle, type Tile, tilesFor, tilesOf } from '../../src/evidence/tile.ts'
import { createRandom, NEVER, type QueriedStore, randomEvents } from '../unit/query/event-fixture.ts'

const SIZES = [1, 2, 255, 256, 257, 511, 600, 701]

async function rootOf({ queries }: QueriedStore, size: number): Promise<Uint8Array> {
  const tiles = new Map<string, Uint8Array>()
  for (const tile of tilesFor(size, readHash => rootHash(size, readHash))) {
    tiles.set(formatTilePath(tile), (await queries.tile({ tile, size }, NEVER)) ?? assert.fail(formatTilePath(tile)))
  }
  return rootHash(
    size,
    hashesFromTiles(size, tile => tiles.get(formatTilePath(tile)) as Uint8Array),
  )
}

async function grow(fixture: QueriedStore): Promise<void> {
  const events = randomEvents(SIZES.at(-1) as number, createRandom(40))
  for (const count of [1, 254, 2, 300, 144]) await fixture.append(events.splice(0, count))
}

export function logQuestionsContract(name: string, create: () => Promise<QueriedStore>): void {
  const contract = (title: string, body: (fixture: QueriedStore) => Promise<void>) =>
    test(`${name}: log: ${title}`, async () => {
      await using fixture = await create()
      await body(fixture)
    })

  contract('every event is proven to be in every tree that has it, by its row and salt', async fixture => {
    await grow(fixture)
    for (const size of SIZES) {
      const root = await rootOf(fixture, size)
      for (const id of new Set([1, 2, 128, 255, 256, 257, 512, size])) {
        if (id > size) continue
        const { event, salt, hashes } =
          (await fixture.queries.proof({ id, size }, NEVER)) ?? assert.fail(`no proof of ${id}`)
        assert.deepEqual(event, fixture.rows[id - 1])
        assert.ok(!isErasedSalt(salt))
        const leaf = hashLeaf(formatLeaf(event, commit(salt, event)))
        assert.ok(verifyInclusion(leaf, id - 1, size, hashes, root), `event ${id} in the tree of ${size}`)
      }
    }
    assert.equal(await fixture.queries.proof({ id: 702, size: 701 }, NEVER), undefined)
    await assert.rejects(async () => fixture.queries.proof({ id: 700, size: 600 }, NEVER), { code: 'NOT_SIGNED_YET' })
  })

  contract('each tree is proven to be the beginning of each later one', async fixture => {
    await grow(fixture)
    for (const from of SIZES) {
      for (const to of SIZES.filter(size => size >= from)) {
        const older = { size: from, root: await rootOf(fixture, from) }
        const newer = { size: to, root: await rootOf(fixture, to) }
        assert.ok(verifyConsistency(older, newer, await fixture.queries.consistency({ from, to }, NEVER)))
      }
    }
  })

  contract('bundles hold the entries of the rows, and no tile is beyond the size', async fixture => {
    await grow(fixture)
    const size = 701
    const entries: Uint8Array[] = []
    for (const tile of tilesOf(size)) {
      const bytes = (await fixture.queries.tile({ tile, size }, NEVER)) ?? assert.fail()
      if (tile.level === 'entries') entries.push(...(parseBundle(bytes, tile.width) ?? assert.fail()))
    }
    assert.equal(entries.length, size)
    for (const [n, entry] of entries.entries()) {
      const row = fixture.rows[n] ?? assert.fail()
      const { commitment } = JSON.parse(Buffer.from(entry).toString())
      assert.deepEqual(new Uint8Array(formatLeaf(row, Buffer.from(commitment, 'base64'))), new Uint8Array(entry))
    }
    const beyond: Tile[] = [
      { level: 'entries', index: 2, width: 190 },
      { level: 0, index: 3, width: 1 },
      { level: 1, index: 0, width: 3 },
    ]
    for (const tile of beyond) assert.equal(await fixture.queries.tile({ tile, size }, NEVER), undefined)
  })

  contract('events of a filter come with proofs that hold, page by page', async fixture => {
    await grow(fixture)
    const size = 600
    const root = await rootOf(fixture, size)
    const filter = { severity: ['INFO', 'WARN'] as const }
    const seen: number[] = []
    for (let after: number | null = 0; after !== null; ) {
      const page = await fixture.queries.provenEvents({ filter, after, size, limit: 70 }, NEVER)
      for (const { event, opening, hashes } of page.events) {
        assert.ok('salt' in opening)
        const leaf = hashLeaf(formatLeaf(event, commit(opening.salt, event)))
        assert.ok(verifyInclusion(leaf, event.id - 1, size, hashes, root))
        seen.push(event.id)
      }
      after = page.next
    }
    const expected = fixture.rows.filter(row => row.id <= size && ['INFO', 'WARN'].includes(row.severity))
    assert.deepEqual(
      seen,
      expected.map(row => row.id),
    )
    for (const [through, ids, next] of [
      [9, [], null],
      [11, [10, 11], null],
      [12, [10, 11, 12], null],
      [13, [10, 11, 12], 12],
      [size, [10, 11, 12], 12],
    ] as const) {
      const page = await fixture.queries.provenEvents({ filter: {}, after: 9, size, through, limit: 3 }, NEVER)
      const seen = page.events.map(({ event }) => event.id)
      assert.deepEqual([seen, page.next], [ids, next], `through ${through}`)
    }
    assert.equal(await fixture.queries.count({ filter, through: size, max: 10_000 }, NEVER), expected.length)
    assert.equal(await fixture.queries.count({ filter, through: size, max: 5 }, NEVER), 5)
  })
}
