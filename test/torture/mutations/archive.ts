/** What left as an archive, and what the database says of it. */
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { gunzipSync, gzipSync } from 'node:zlib'
import type { Mutation, Place } from '../log-mutations.ts'
import { spoil } from './database.ts'
import { changeCharacter, flipByte } from './files.ts'

export const ARCHIVED = 1_024

export function fileOf({ path }: Place, suffix: string): string {
  const directory = join(path, 'archive')
  return join(directory, readdirSync(directory).find(name => name.endsWith(suffix))!)
}

export function forArchives(mutation: Mutation): Mutation {
  return place => (place.ground.shape.archives ? mutation(place) : undefined)
}

/** Rewrites the events, and the manifest so that it fits. */
export function rewrite(place: Place, change: (lines: string[]) => string[]): void {
  const [eventsPath, manifestPath] = [fileOf(place, '.ndjson.gz'), fileOf(place, '.manifest.json')]
  const manifest = JSON.parse(readFileSync(manifestPath, 'utf8'))
  const packed = readFileSync(eventsPath)
  const header = packed.subarray(0, manifest.header_bytes)
  const lines = gunzipSync(packed.subarray(manifest.header_bytes)).toString().split('\n').slice(0, -1)
  const block = gzipSync(
    change(lines)
      .map(line => `${line}\n`)
      .join(''),
  )
  const bytes = Buffer.concat([header, block])
  writeFileSync(eventsPath, bytes)
  const sha256 = createHash('sha256').update(bytes).digest('hex')
  writeFileSync(manifestPath, JSON.stringify({ ...manifest, sha256, bytes: bytes.length, blocks: [[1, block.length]] }))
}

const isErased = ({ ground }: Place, id: number) => ground.shape.erased.includes(id)

export function anyId(place: Place): number {
  for (;;) {
    const id = place.random.between(1, ARCHIVED)
    if (!isErased(place, id)) return id
  }
}

export const ARCHIVE_MUTATIONS: Readonly<Record<string, Mutation>> = {
  'archive: a row edited': forArchives(place => {
    const id = anyId(place)
    rewrite(place, lines => lines.with(id - 1, JSON.stringify({ ...JSON.parse(lines[id - 1]!), who: 'nobody' })))
    return { verdicts: ['EDITED'], id, look: 'archive' }
  }),
  'archive: a row dated back': forArchives(place => {
    const id = anyId(place)
    const date_time = '2020-01-01T00:00:00.000Z'
    rewrite(place, lines => lines.with(id - 1, JSON.stringify({ ...JSON.parse(lines[id - 1]!), date_time })))
    return { verdicts: ['BACK_DATED'], id, look: 'archive' }
  }),
  'archive: a row deleted': forArchives(place => {
    const id = place.random.between(1, ARCHIVED)
    rewrite(place, lines => lines.toSpliced(id - 1, 1))
    return { verdicts: ['DELETED'], id, look: 'archive' }
  }),
  'archive: a byte flipped': forArchives(place => {
    const path = fileOf(place, '.ndjson.gz')
    flipByte(path, place.random.between(0, readFileSync(path).length - 1), place.random)
    return { verdicts: ['MALFORMED', 'EDITED'], look: 'archive' }
  }),
  'archive: a salt edited': forArchives(place => {
    const id = anyId(place)
    flipByte(fileOf(place, '.salts'), (id - 1) * 16 + place.random.between(0, 15), place.random)
    return { verdicts: ['EDITED'], id, look: 'archive' }
  }),
  'archive: the manifest edited': forArchives(place => {
    const path = fileOf(place, '.manifest.json')
    writeFileSync(path, changeCharacter(readFileSync(path, 'utf8'), place.random))
    return { verdicts: ['EDITED'] }
  }),
  'archive: a salt destroyed': forArchives(place => {
    const id = anyId(place)
    const path = fileOf(place, '.salts')
    writeFileSync(path, readFileSync(path).fill(0, (id - 1) * 16, id * 16))
    return { verdicts: ['ERASED_WITHOUT_RECORD'], id, look: 'archive' }
  }),
  'archive: not on record in the database': forArchives(place => {
    spoil(place.path, db => db.exec('DELETE FROM event_archives'))
    return { verdicts: ['DELETED'], id: 1 }
  }),
  'archive: another one on record': forArchives(place => {
    spoil(place.path, db =>
      db.exec(
        "UPDATE event_archives SET manifest_sha256 = replace(manifest_sha256, substr(manifest_sha256, 1, 1), 'x')",
      ),
    )
    return { verdicts: ['DELETED', 'EDITED'] }
  }),
}
