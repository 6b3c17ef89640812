/** A mirror: the public files of the log alone. */
import { existsSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { formatTilePath, tileAt, tilesOf } from '../../../src/evidence/tile.ts'
import type { Mutation, Place } from '../log-mutations.ts'
import { changeCharacter, cut, flipByte } from './files.ts'

const isThere = ({ mirror }: Place) => existsSync(mirror)

function anyTile({ ground, mirror, random }: Place, level: number | 'entries') {
  const tiles = [...tilesOf(ground.size)].filter(tile => tile.level === level)
  if (tiles.length === 0) return undefined
  const tile = random.pick(tiles)
  return { tile, path: join(mirror, formatTilePath(tile)) }
}

export const MIRROR_MUTATIONS: Readonly<Record<string, Mutation>> = {
  'mirror: entry edited'(place) {
    const found = isThere(place) ? anyTile(place, 'entries') : undefined
    if (found === undefined) return undefined
    const bytes = readFileSync(found.path)
    const n = place.random.between(0, found.tile.width - 1)
    let at = 0
    for (let entry = 0; entry < n; entry++) at += 2 + bytes.readUInt16BE(at)
    flipByte(found.path, at + 2 + place.random.between(0, bytes.readUInt16BE(at) - 1), place.random)
    return { verdicts: ['EDITED'], id: found.tile.index * 256 + n + 1, look: 'mirror' }
  },
  'mirror: leaf hash edited'(place) {
    const found = isThere(place) ? anyTile(place, 0) : undefined
    if (found === undefined) return undefined
    const at = place.random.between(0, found.tile.width * 32 - 1)
    flipByte(found.path, at, place.random)
    return { verdicts: ['EDITED'], id: found.tile.index * 256 + Math.floor(at / 32) + 1, look: 'mirror' }
  },
  'mirror: bundle hash edited'(place) {
    const found = isThere(place) ? anyTile(place, 1) : undefined
    if (found === undefined) return undefined
    const at = place.random.between(0, found.tile.width * 32 - 1)
    flipByte(found.path, at, place.random)
    return { verdicts: ['EDITED'], id: Math.floor(at / 32) * 256 + 1, look: 'mirror' }
  },
  'mirror: a file gone'(place) {
    const level = place.random.pick(['entries', 0, 1] as const)
    const found = isThere(place) ? anyTile(place, level) : undefined
    if (found === undefined) return undefined
    rmSync(found.path)
    return { verdicts: ['DELETED'], id: level === 1 ? 1 : found.tile.index * 256 + 1, look: 'mirror' }
  },
  'mirror: a tile cut'(place) {
    const found = isThere(place) ? anyTile(place, 0) : undefined
    if (found === undefined) return undefined
    const bytes = place.random.between(0, statSync(found.path).size - 1)
    cut(found.path, bytes)
    return { verdicts: ['DELETED'], id: found.tile.index * 256 + Math.floor(bytes / 32) + 1, look: 'mirror' }
  },
  'mirror: two entries exchanged'(place) {
    const { ground, random, mirror } = place
    const tile = isThere(place) ? tileAt('entries', 0, ground.size) : undefined
    if (tile === undefined || tile.width < 2) return undefined
    const path = join(mirror, formatTilePath(tile))
    const bytes = readFileSync(path)
    const entries: Buffer[] = []
    for (let at = 0; at < bytes.length; ) {
      const end = at + 2 + bytes.readUInt16BE(at)
      entries.push(bytes.subarray(at, end))
      at = end
    }
    const a = random.between(0, tile.width - 2)
    const b = random.between(a + 1, tile.width - 1)
    ;[entries[a], entries[b]] = [entries[b]!, entries[a]!]
    writeFileSync(path, Buffer.concat(entries))
    return { verdicts: ['REORDERED'], id: a + 1, look: 'mirror' }
  },
  'mirror: checkpoint edited'(place) {
    if (!isThere(place)) return undefined
    const path = join(place.mirror, 'checkpoint')
    writeFileSync(path, changeCharacter(readFileSync(path, 'utf8'), place.random))
    return { verdicts: ['WRONG_KEY', 'MALFORMED'], look: 'mirror' }
  },
}
