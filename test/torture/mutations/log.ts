/** What the log keeps beside the rows: salts, commitments, entries, tiles, head, erasures. */
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { DatabaseSync } from 'node:sqlite'
import { zstdCompressSync, zstdDecompressSync } from 'node:zlib'
import { dataFolder } from '../../../src/service/data-folder.ts'
import { logRoot, readBundleSalts } from '../../../src/store/log-store.ts'
import type { Mutation, Place } from '../log-mutations.ts'
import { spoil } from './database.ts'
import { cut, flipByte } from './files.ts'
import { isErased } from './rows.ts'

const HEADER_BYTES = 1_024

export const rootOf = (path: string) => logRoot(dataFolder(path).auditDatabase)

const bundleOf = (id: number) => Math.floor((id - 1) / 256)
const placeOf = (id: number) => (id - 1) % 256

/** An id of a full bundle. */
function idWithEntry({ ground: { size }, random }: Place): number | undefined {
  const full = size - (size % 256)
  return full === 0 ? undefined : random.between(1, full)
}

function idInPartialBundle({ ground: { size }, random }: Place): number | undefined {
  return size % 256 === 0 ? undefined : random.between(size - (size % 256) + 1, size)
}

/** Not erased, and with its row in the database. */
function idWithSalt({ ground, random }: Place): number | undefined {
  for (let tries = 0; tries < 50; tries++) {
    const id = random.between(ground.firstId, ground.size)
    if (!isErased(ground, id)) return id
  }
  return undefined
}

function changeCommitments(path: string, id: number, change: (bytes: Uint8Array) => Uint8Array) {
  spoil(path, db => {
    const row = db.prepare('SELECT commitments FROM log_bundles WHERE bundle = ?').get(bundleOf(id))
    const changed = change(row?.commitments as Uint8Array)
    db.prepare('UPDATE log_bundles SET commitments = ? WHERE bundle = ?').run(changed, bundleOf(id))
  })
}

/** As they are once a row of the bundle was erased: each by itself. */
function changeSalts({ path, ground }: Place, id: number, change: (salts: Uint8Array) => Uint8Array) {
  spoil(path, db => {
    const rows = Math.min(256, ground.size - bundleOf(id) * 256)
    const changed = change(readBundleSalts(db, bundleOf(id))!.slice(0, rows * 16))
    db.prepare('UPDATE log_bundles SET salts = ?, seed = NULL WHERE bundle = ?').run(changed, bundleOf(id))
  })
}

function flip(bytes: Uint8Array, at: number, { random }: Place): Uint8Array {
  bytes[at] = bytes[at]! ^ (1 << random.between(0, 7))
  return bytes
}

const packOf = (path: string) => join(rootOf(path), 'entries-000000')

/** The bundles of the pack, unpacked. */
function bundlesIn(path: string): Uint8Array[] {
  const pack = readFileSync(packOf(path))
  const bundles: Uint8Array[] = []
  for (let start = HEADER_BYTES; bundles.length < 256; ) {
    const end = pack.readUInt32BE(bundles.length * 4)
    if (end === 0) break
    bundles.push(zstdDecompressSync(pack.subarray(start, end)))
    start = end
  }
  return bundles
}

/** Changes the bytes of an entry, or of the length before it, and packs its bundle again. */
function changeEntry(path: string, id: number, change: (bundle: Buffer, at: number, length: number) => void): void {
  const bundles = bundlesIn(path)
  const bundle = Buffer.from(bundles[bundleOf(id)]!)
  let at = 0
  for (let n = 0; n < placeOf(id); n++) at += 2 + bundle.readUInt16BE(at)
  change(bundle, at, bundle.readUInt16BE(at))
  bundles[bundleOf(id)] = bundle
  const packed = bundles.map(bytes => zstdCompressSync(bytes))
  const header = Buffer.alloc(HEADER_BYTES)
  let end = HEADER_BYTES
  for (const [n, { length }] of packed.entries()) {
    end += length
    header.writeUInt32BE(end, n * 4)
  }
  writeFileSync(packOf(path), Buffer.concat([header, ...packed]))
}

/** Where the packed bytes of a bundle are. */
function packedAt(path: string, bundle: number) {
  const pack = readFileSync(packOf(path))
  const start = bundle === 0 ? HEADER_BYTES : pack.readUInt32BE((bundle - 1) * 4)
  return { start, end: pack.readUInt32BE(bundle * 4) }
}

function seedOf(db: DatabaseSync, bundle: number): Uint8Array | undefined {
  const seed = db.prepare('SELECT seed FROM log_bundles WHERE bundle = ?').get(bundle)?.seed
  return seed instanceof Uint8Array ? seed : undefined
}

const anyOf = (bundle: number): [number, number] => [bundle * 256 + 1, bundle * 256 + 256]

/** Without its row, which has left or was erased, an entry is known by the hash of its bundle only. */
function placeOfEntry({ ground }: Place, id: number): number | [number, number] {
  return id < ground.firstId || isErased(ground, id) ? anyOf(bundleOf(id)) : id
}

export const LOG_MUTATIONS: Readonly<Record<string, Mutation>> = {
  'salt: edited'(place) {
    const id = idWithSalt(place)
    if (id === undefined) return undefined
    changeSalts(place, id, salts => flip(salts, placeOf(id) * 16 + place.random.between(0, 15), place))
    return { verdicts: ['EDITED'], id }
  },
  'seed: edited'(place) {
    const id = idWithSalt(place)
    const seed = id && spoil(place.path, db => seedOf(db, bundleOf(id)))
    if (!seed) return undefined
    const changed = flip(seed, place.random.between(0, 31), place)
    spoil(place.path, db => db.prepare('UPDATE log_bundles SET seed = ? WHERE bundle = ?').run(changed, bundleOf(id)))
    return { verdicts: ['EDITED'], id: bundleOf(id) * 256 + 1 }
  },
  'salt: destroyed'(place) {
    const id = idWithSalt(place)
    if (id === undefined) return undefined
    changeSalts(place, id, salts => salts.fill(0, placeOf(id) * 16, placeOf(id) * 16 + 16))
    return { verdicts: ['ERASED_WITHOUT_RECORD'], id }
  },
  'salts: cut'(place) {
    const id = idWithSalt(place)
    if (id === undefined) return undefined
    changeSalts(place, id, salts => salts.slice(0, placeOf(id) * 16 + place.random.between(0, 15)))
    return { verdicts: ['EDITED'], id }
  },
  'salts: row deleted'(place) {
    const id = idWithSalt(place)
    if (id === undefined) return undefined
    spoil(place.path, db => db.exec(`DELETE FROM log_bundles WHERE bundle = ${bundleOf(id)}`))
    const isPartial = bundleOf(id) === bundleOf(place.ground.size) && place.ground.size % 256 > 0
    return { verdicts: isPartial ? ['EDITED', 'DELETED'] : ['EDITED'], id: bundleOf(id) * 256 + 1 }
  },
  'commitment: edited'(place) {
    const id = idInPartialBundle(place)
    if (id === undefined) return undefined
    const at = placeOf(id) * 32 + place.random.between(0, 31)
    changeCommitments(place.path, id, commitments => flip(commitments, at, place))
    return { verdicts: ['EDITED'], id }
  },
  'erasure: not recorded'(place) {
    if (place.ground.tombstone === undefined) return undefined
    const inside = place.ground.shape.erased.filter(id => id >= place.ground.firstId)
    if (inside.length === 0) return undefined
    const id = place.random.pick(inside)
    spoil(place.path, db => db.exec(`DELETE FROM log_erasures WHERE id = ${id}`))
    return { verdicts: ['ERASED_WITHOUT_RECORD'], id }
  },
  'erasure: recorded of another event'(place) {
    const id = idWithSalt(place)
    const { tombstone } = place.ground
    if (id === undefined || tombstone === undefined) return undefined
    spoil(place.path, db => db.exec(`INSERT INTO log_erasures VALUES (${id}, ${tombstone})`))
    return { verdicts: ['ERASED_WITHOUT_RECORD'], id }
  },
  'erasure: another tombstone'(place) {
    if (place.ground.tombstone === undefined) return undefined
    const id = place.random.pick(place.ground.shape.erased)
    spoil(place.path, db => db.exec(`UPDATE log_erasures SET tombstone = ${place.ground.firstId} WHERE id = ${id}`))
    return { verdicts: ['ERASED_WITHOUT_RECORD'], id }
  },
  'entry: edited'(place) {
    const id = idWithEntry(place)
    if (id === undefined) return undefined
    changeEntry(place.path, id, (bundle, at, length) =>
      flip(bundle, at + 2 + place.random.between(0, length - 1), place),
    )
    return { verdicts: ['EDITED'], id: placeOfEntry(place, id) }
  },
  'entry: another length'(place) {
    const id = idWithEntry(place)
    if (id === undefined) return undefined
    changeEntry(place.path, id, (bundle, at) => flip(bundle, at + place.random.between(0, 1), place))
    return { verdicts: ['EDITED', 'DELETED'], id: placeOfEntry(place, id) }
  },
  'entries: packed bytes edited'(place) {
    const id = idWithEntry(place)
    if (id === undefined) return undefined
    const { start, end } = packedAt(place.path, bundleOf(id))
    const before = bundlesIn(place.path)[bundleOf(id)]!
    flipByte(packOf(place.path), place.random.between(start, end - 1), place.random)
    if (isStill(place.path, bundleOf(id), before)) return undefined // a bit that says nothing
    return { verdicts: ['EDITED', 'DELETED'], id: anyOf(bundleOf(id)) }
  },
  'entries: another end in the header'(place) {
    const id = idWithEntry(place)
    if (id === undefined) return undefined
    const at = bundleOf(id) * 4 + place.random.between(0, 3)
    flipByte(packOf(place.path), at, place.random)
    const first = bundleOf(id) * 256 + 1
    return { verdicts: ['EDITED', 'DELETED', 'MALFORMED'], id: [first, first + 256] }
  },
  'entries: file cut'(place) {
    const id = idWithEntry(place)
    if (id === undefined) return undefined
    const { start, end } = packedAt(place.path, bundleOf(id))
    cut(packOf(place.path), place.random.between(start, end - 1))
    return { verdicts: ['DELETED'], id: anyOf(bundleOf(id)) }
  },
  'entries: file gone': place => removeFile(place, 'entries-000000'),
  'edge: leaf hash edited'(place) {
    const id = idInPartialBundle(place)
    if (id === undefined) return undefined
    changeEdge(place, 0, placeOf(id))
    return { verdicts: ['EDITED'], id }
  },
  'edge: bundle hash edited'(place) {
    const id = idWithEntry(place)
    if (id === undefined) return undefined
    changeEdge(place, 1, bundleOf(id))
    return { verdicts: ['EDITED'], id: bundleOf(id) * 256 + 1 }
  },
  'edge: level gone'(place) {
    const levels = spoil(place.path, db => db.prepare('SELECT level FROM log_edge').all()).map(({ level }) =>
      Number(level),
    )
    if (levels.length === 0) return undefined
    const level = place.random.pick(levels)
    spoil(place.path, db => db.exec(`DELETE FROM log_edge WHERE level = ${level}`))
    return { verdicts: ['DELETED'], id: level === 0 ? bundleOf(place.ground.size) * 256 + 1 : 1 }
  },
  'head: root edited'(place) {
    changeHead(place, 'root')
    return { verdicts: ['EDITED'] }
  },
  'head: edge edited'(place) {
    changeHead(place, 'edge')
    return { verdicts: ['EDITED'] }
  },
  'head: smaller'(place) {
    spoil(place.path, db => db.exec('UPDATE log_head SET size = size - 1'))
    return { verdicts: ['TRUNCATED', 'INSERTED', 'MALFORMED'], id: place.ground.size }
  },
  'head: larger'(place) {
    spoil(place.path, db => db.exec('UPDATE log_head SET size = size + 1'))
    const { size } = place.ground
    // At the end of a bundle, the one that the head says goes on is not there at all.
    return { verdicts: ['TRUNCATED', 'DELETED'], id: size + 1 }
  },
  'head: gone'(place) {
    spoil(place.path, db => db.exec('DELETE FROM log_head'))
    return { verdicts: ['TRUNCATED', 'INSERTED'], id: [1, place.ground.firstId] }
  },
}

function isStill(path: string, bundle: number, bytes: Uint8Array): boolean {
  try {
    return Buffer.compare(bundlesIn(path)[bundle]!, bytes) === 0
  } catch {
    return false
  }
}

function removeFile(place: Place, name: string) {
  const path = join(rootOf(place.path), name)
  if (!existsSync(path)) return undefined
  rmSync(path)
  return { verdicts: ['DELETED'], id: 1 } as const
}

function changeEdge(place: Place, level: number, index: number): void {
  spoil(place.path, db => {
    const hashes = db.prepare('SELECT hashes FROM log_edge WHERE level = ?').get(level)?.hashes as Uint8Array
    const changed = flip(hashes, index * 32 + place.random.between(0, 31), place)
    db.prepare('UPDATE log_edge SET hashes = ? WHERE level = ?').run(changed, level)
  })
}

function changeHead(place: Place, column: 'root' | 'edge'): void {
  spoil(place.path, db => {
    const bytes = db.prepare(`SELECT ${column} FROM log_head`).get()?.[column] as Uint8Array
    const changed = flip(bytes, place.random.between(0, bytes.length - 1), place)
    db.prepare(`UPDATE log_head SET ${column} = ?`).run(changed)
  })
}
