/**
 * Events with their proofs, for evidence packs, also of those that have left as archives: rows and salts from there, hashes from the
 * log, whose tiles stay. To whoever asks, it looks as if nothing had left.
 *
 * Reads a block of 1,024 events at a time, and each archive once to compare its digest before the first of its events is shown. An
 * archive that is not where it was written to is left out, and its number told. Owns the archive it has open.
 */
import { existsSync } from 'node:fs'
import { dirname } from 'node:path'
import type { StoredEvent } from '../event/event.ts'
import { isErasedSalt } from '../evidence/leaf.ts'
import type { Hash } from '../evidence/merkle.ts'
import { inclusionProof } from '../evidence/merkle-proof.ts'
import type { Opening } from '../evidence/pack.ts'
import { formatTilePath, hashesFromTiles, tilesFor } from '../evidence/tile.ts'
import type { EventFilter, EventQueries } from '../query/event-queries.ts'
import type { ProvenEvent, ProvenPage, ProvenRequest } from '../query/log-questions.ts'
import type { ArchiveRecord } from '../store/retention.ts'
import { readManifest } from './folder.ts'
import { type ArchiveManifest, manifestName } from './format.ts'
import { invalid, type OpenArchive, openArchive, readSaltsFile } from './read-archive.ts'
import { type Salts, saltAt } from './salts.ts'
import { condition, overlaps } from './search.ts'

export interface ProvenArchives extends Pick<EventQueries, 'event' | 'count' | 'provenEvents'>, Disposable {
  /**
   * Numbers of the archives that are not at hand and may have events of this filter, ascending. Also of those that have left
   * since: asked at the end, whatever may have been left out of what was read is among them.
   */
  missing(filter: EventFilter): Promise<number[]>
}

/** @param readKnown the archives that the event database says have left by now */
export async function withArchives(
  queries: Pick<EventQueries, 'event' | 'count' | 'provenEvents' | 'tile'>,
  readKnown: () => Promise<readonly ArchiveRecord[]>,
): Promise<ProvenArchives> {
  const known = await readKnown()
  const there = known.filter(({ file }) => existsSync(file)).sort((a, b) => a.first_id - b.first_id)
  const isThere = ({ number }: ArchiveRecord) => there.some(record => record.number === number)
  let opened: OpenedArchive | undefined

  function open(record: ArchiveRecord): OpenedArchive {
    if (opened?.record === record) return opened
    opened?.archive[Symbol.dispose]()
    opened = undefined
    opened = openRecord(record)
    return opened
  }

  /** As many as are wanted of one block, or to its end. */
  async function archived(record: ArchiveRecord, request: ProvenRequest): Promise<ProvenPage> {
    const { filter, after, size, limit } = request
    if (!overlaps(record, filter)) return { events: [], next: record.last_id < size ? record.last_id : null }
    const archive = open(record)
    const isWanted = condition(filter)
    const found: StoredEvent[] = []
    let last = after
    for (const event of eventsFrom(archive, after + 1)) {
      if (event.id > size || found.length === limit) break
      last = event.id
      if (isWanted(event)) found.push(event)
    }
    const hashes = await proofsOf(found, size)
    const events = found.map((event, n): ProvenEvent => {
      return { event, opening: openingOf(archive, event.id), hashes: hashes[n] as readonly Hash[] }
    })
    return { events, next: last < size ? last : null }
  }

  async function proofsOf(events: readonly StoredEvent[], size: number): Promise<(readonly Hash[])[]> {
    const wanted = tilesFor(size, readHash => events.map(({ id }) => inclusionProof(id - 1, size, readHash)))
    const tiles = new Map<string, Uint8Array | undefined>()
    for (const tile of wanted) tiles.set(formatTilePath(tile), await queries.tile({ tile, size }))
    const readHash = hashesFromTiles(size, tile => tiles.get(formatTilePath(tile)) ?? new Uint8Array())
    return events.map(({ id }) => inclusionProof(id - 1, size, readHash))
  }

  return {
    async missing(filter) {
      const left = await readKnown()
      return left.filter(record => !isThere(record) && overlaps(record, filter)).map(({ number }) => number)
    },
    count: queries.count,
    async event(id) {
      const record = there.find(({ first_id, last_id }) => id >= first_id && id <= last_id)
      if (record === undefined) return queries.event(id)
      return eventsFrom(open(record), id)[0]
    },
    async provenEvents(request) {
      const next = request.after + 1
      if (next > request.size) return { events: [], next: null }
      const record = there.find(({ last_id }) => last_id >= next)
      if (record === undefined) return queries.provenEvents(request)
      if (next >= record.first_id) return archived(record, request)
      const through = record.first_id - 1
      const page = await queries.provenEvents({ ...request, through })
      return page.next === null && through < request.size ? { ...page, next: through } : page
    },
    [Symbol.dispose]: () => opened?.archive[Symbol.dispose](),
  }
}

interface OpenedArchive {
  readonly record: ArchiveRecord
  readonly manifest: ArchiveManifest
  readonly archive: OpenArchive
  readonly salts: Salts
  /** The block that was read last. */
  block: { readonly number: number; readonly events: readonly StoredEvent[] } | undefined
}

/** @throws {Refusal} ARCHIVE_INVALID */
function openRecord(record: ArchiveRecord): OpenedArchive {
  const { file } = record
  const found = readManifest(manifestName(file))
  if (found?.digest !== record.manifest_sha256) throw invalid(file, 'its manifest is not the one that is on record')
  const { manifest } = found
  const salts = readSaltsFile(dirname(file), manifest)
  if (salts === undefined) throw invalid(file, 'it has no salts, so that its events cannot be proven')
  return { record, manifest, archive: openArchive(dirname(file), manifest), salts, block: undefined }
}

/** The events of the block that holds this id, from it on. */
function eventsFrom(opened: OpenedArchive, id: number): readonly StoredEvent[] {
  const number = opened.manifest.blocks.findLastIndex(([firstId]) => firstId <= id)
  if (opened.block?.number !== number) opened.block = { number, events: opened.archive.events(number) }
  return opened.block.events.filter(event => event.id >= id)
}

function openingOf({ record, manifest, salts }: OpenedArchive, id: number): Opening {
  const place = id - manifest.first_id
  const salt = saltAt(salts.salts, place)
  if (!isErasedSalt(salt)) return { salt }
  const commitment = salts.commitments.get(place)
  if (commitment === undefined) throw invalid(record.file, `it has nothing that opens event ${id}, which was erased`)
  return { commitment }
}
