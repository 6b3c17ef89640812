/**
 * Ranges of the log in PostgreSQL, read through one snapshot and checked: rows, entries, hashes and salts in pieces of some
 * bundles, of which the next one is on its way while one is looked at. Memory does not grow with the log.
 *
 *   log_tiles    full tiles of each level, and full bundles of entries as level -1
 *   log_edge     of each level the hashes of the tile that is not full
 *   log_salts    of each batch of rows its salts, and the commitments of those whose bundle was not full then
 *   event_archives   which ids have left: rows, salts and times of these are in archives; tiles and entries stay
 *   event_times  between which times the rows of 1,024 ids are: questions about a time leave the others out
 */
import { HASH_BYTES } from '../../evidence/encoding.ts'
import { SALT_BYTES } from '../../evidence/leaf.ts'
import { ENTRY_BYTES_MAX, TILE_WIDTH, type Tile } from '../../evidence/tile.ts'
import { beginRange } from '../range.ts'
import type { BundleRange, FoundRow, RangeReport, StoredBundle, StoredRows } from '../source.ts'
import type { Finding } from '../verdict.ts'
import type { SnapshotReader } from './postgres-snapshot.ts'
import {
  bytesAt,
  createTextMaker,
  dateTimeAt,
  IS_SMALL,
  idAt,
  numberAt,
  parseTuples,
  ROW_COLUMNS,
  ROW_FIELDS,
  rowAt,
  type Tuples,
} from './postgres-tuples.ts'
import { parentOf } from './readers.ts'

export interface PostgresBundles {
  checkRange(range: BundleRange): Promise<RangeReport>
}

/** Rows of a piece are some megabytes. */
const PIECE_BUNDLES = 16
const CHUNK_IDS = 1_024
const ENTRIES = -1
const BUNDLE_BYTES_MAX = TILE_WIDTH * (2 + ENTRY_BYTES_MAX)
/** A batch that says to have more rows than fit into a value of PostgreSQL has none. */
const BATCH_ROWS_MAX = 2 ** 30 / SALT_BYTES
const DATE_MS_MAX = 8.64e15

/** Partial tiles by level: of one moment, so they are read once. */
export type EdgeTiles = ReadonlyMap<number, { readonly index: number; readonly hashes: Uint8Array }>

export async function readEdge(snapshot: SnapshotReader): Promise<EdgeTiles> {
  const limit = `octet_length(hashes) <= ${TILE_WIDTH * HASH_BYTES}`
  const select = `SELECT level::bigint, tile::bigint, hashes::bytea FROM log_edge WHERE ${limit}`
  const found = parseTuples(await snapshot.copy(select), 3)
  const edge = new Map<number, { readonly index: number; readonly hashes: Uint8Array }>()
  for (let n = 0; n < found.count; n++) {
    edge.set(numberAt(found, n, 0), { index: numberAt(found, n, 1), hashes: aligned(bytesAt(found, n, 2)) })
  }
  return edge
}

/** Full tiles by level and index. */
export async function readTiles(snapshot: SnapshotReader, where: string): Promise<Map<string, Uint8Array>> {
  const select = `SELECT level::bigint, tile::bigint, bytes::bytea FROM log_tiles
    WHERE ${where} AND octet_length(bytes) <= ${BUNDLE_BYTES_MAX}`
  const found = parseTuples(await snapshot.copy(select), 3)
  const tiles = new Map<string, Uint8Array>()
  for (let n = 0; n < found.count; n++) {
    tiles.set(nameOf(numberAt(found, n, 0), numberAt(found, n, 1)), aligned(bytesAt(found, n, 2)))
  }
  return tiles
}

/** Ranges of ids that have left, as the database says; empty where its schema is of before there were any. */
export async function readLeft(snapshot: SnapshotReader): Promise<Ids[]> {
  const [there] = await snapshot.rows("SELECT to_regclass('event_archives') IS NOT NULL AS is")
  if (there?.is !== true) return []
  const rows = await snapshot.rows('SELECT first_id::bigint AS first, last_id::bigint AS last FROM event_archives')
  return rows.map(({ first, last }) => ({ first: Number(first), last: Number(last) }))
}

export const nameOf = (level: number, index: number) => `${level} ${index}`

/** At the beginning of memory of its own: there it is compared four bytes at a time. */
const aligned = (bytes: Uint8Array = new Uint8Array()) => new Uint8Array(bytes)

/** Of some ids, one after the other. */
export interface Ids {
  readonly first: number
  readonly last: number
}

interface Piece {
  readonly rows: Tuples
  /** Rows that are too large to be fetched. */
  readonly large: readonly number[]
  readonly tiles: ReadonlyMap<string, Uint8Array>
}

/** What is read for all of a range. */
interface Beside {
  readonly salts: Spread
  readonly commitments: Spread
  readonly times: ReadonlyMap<number, (dateTime: string) => boolean>
  /** Of level 1. */
  readonly parents: ReadonlyMap<string, Uint8Array>
}

/**
 * @param left ranges whose rows are in archives
 * @param makeText for whoever has one already: its memory is used again
 */
export function createPostgresBundles(
  snapshot: SnapshotReader,
  edge: EdgeTiles,
  left: readonly Ids[],
  makeText = createTextMaker(),
): PostgresBundles {
  async function readPiece(first: number, end: number, size: number): Promise<Piece> {
    const ids = idsOf(first, end, size)
    const within = `id BETWEEN ${ids.first} AND ${ids.last}`
    const select = `SELECT ${ROW_COLUMNS} FROM audit_events WHERE ${within} AND ${IS_SMALL} ORDER BY id`
    const rows = parseTuples(await snapshot.copy(select), ROW_FIELDS)
    const isWhole = rows.count === ids.last - ids.first + 1
    const large = isWhole
      ? []
      : await snapshot.rows(`SELECT id FROM audit_events WHERE ${within} AND NOT (${IS_SMALL}) ORDER BY id`)
    const tiles = await readTiles(snapshot, `level IN (${ENTRIES}, 0) AND tile BETWEEN ${first} AND ${end - 1}`)
    return { rows, large: large.map(({ id }) => Number(id)), tiles }
  }

  async function readBeside({ first, end, size }: BundleRange): Promise<Beside> {
    const ids = idsOf(first, end, size)
    const salts = createSpread(ids, SALT_BYTES)
    await readSalts(snapshot, ids, salts)
    const partial = { first: size - (size % TILE_WIDTH) + 1, last: Math.min(size, ids.last) }
    const commitments = createSpread(partial, HASH_BYTES)
    if (partial.last >= partial.first) await readCommitments(snapshot, partial, commitments)
    const tile = Math.floor(first / TILE_WIDTH)
    const last = Math.floor((end - 1) / TILE_WIDTH)
    const parents = await readTiles(snapshot, `level = 1 AND tile BETWEEN ${tile} AND ${last}`)
    return { salts, commitments, times: await readTimes(snapshot, ids), parents }
  }

  function bundleOf(
    { rows, large, tiles }: Piece,
    beside: Beside,
    range: BundleRange,
    place: BundlePlace,
  ): StoredBundle {
    const { index, width, from, to } = place
    const firstId = index * TILE_WIDTH + 1

    function readTile({ level, index, width }: Tile): Uint8Array | undefined {
      const partial = width === TILE_WIDTH ? undefined : edge.get(Number(level))
      if (width < TILE_WIDTH) return partial?.index === index ? partial.hashes : undefined
      return (level === 1 ? beside.parents : tiles).get(nameOf(Number(level), index))
    }

    const lastId = firstId + width - 1
    const hasRows = to > from || large.some(id => id >= firstId && id <= lastId)
    const isLeft = !hasRows && left.some(({ first, last }) => first <= firstId && last >= lastId)
    const stored: StoredRows = {
      salts: beside.salts.read(firstId, width),
      commitments: width === TILE_WIDTH ? undefined : beside.commitments.read(firstId, width),
      text: () => (to - from === width ? makeText(rows, from, width) : undefined),
      values() {
        const values = Array.from({ length: to - from }, (_, n) => rowAt(rows, from + n))
        return [...values, ...large.filter(id => id >= firstId && id <= lastId).map(largeRow)]
      },
    }
    const tile = readTile({ level: 0, index, width })
    return {
      index,
      width,
      entries: width === TILE_WIDTH ? tiles.get(nameOf(ENTRIES, index)) : undefined,
      isCut: false,
      tile,
      lacksTile: tile === undefined,
      ...parentOf(index, range.size, readTile),
      rows: isLeft ? undefined : stored,
    }
  }

  return {
    async checkRange(range) {
      const check = beginRange(range)
      const hidden: Finding[] = []
      const beside = await readBeside(range)
      let next = range.first
      const read = () => {
        const first = next
        next = Math.min(range.end, first + PIECE_BUNDLES)
        const piece = readPiece(first, next, range.size)
        piece.catch(() => {}) // it is awaited later
        return { first, end: next, piece }
      }
      for (let reading = next < range.end ? read() : undefined; reading !== undefined; ) {
        const { first, end } = reading
        const piece = await reading.piece
        reading = next < range.end ? read() : undefined
        let row = 0
        for (let index = first; index < end; index++) {
          const from = row
          while (row < piece.rows.count && idAt(piece.rows, row) <= (index + 1) * TILE_WIDTH) row++
          const to = row
          check.add(index, width => bundleOf(piece, beside, range, { index, width, from, to }))
        }
        const outside = firstOutside(piece.rows, beside.times)
        if (outside !== undefined) hidden.push(outside)
      }
      return check.report(hidden)
    },
  }
}

interface BundlePlace {
  readonly index: number
  readonly width: number
  /** Its rows are these, from one to before the other. */
  readonly from: number
  readonly to: number
}

function idsOf(first: number, end: number, size: number): Ids {
  return { first: first * TILE_WIDTH + 1, last: Math.min(end * TILE_WIDTH, size) }
}

/** A row of which there is an id only: it is there, and not what was logged. */
function largeRow(id: number): FoundRow {
  const undefinedRow = {
    date_time: undefined,
    who: undefined,
    ip: undefined,
    action: undefined,
    description: undefined,
  }
  const others = { severity: undefined, reason_code: undefined, request_id: undefined, endpoint: undefined }
  const last = { http_method: undefined, status_code: undefined, metadata_json: undefined, created_at: undefined }
  return { id, ...undefinedRow, ...others, ...last }
}

/** Values of one length for each of some ids, as batches bring them: the later batch counts, as it does for the service. */
interface Spread {
  put(id: number, values: Uint8Array): void
  /** As many as there are without a gap. */
  read(firstId: number, count: number): Uint8Array
}

function createSpread({ first, last }: Ids, valueBytes: number): Spread {
  const count = Math.max(0, last - first + 1)
  const bytes = new Uint8Array(count * valueBytes)
  const isThere = new Uint8Array(count)
  return {
    put(id, values) {
      const from = id - first
      const whole = Math.min(Math.floor(values.length / valueBytes), count - from)
      if (from < 0 || whole <= 0) return
      bytes.set(values.subarray(0, whole * valueBytes), from * valueBytes)
      isThere.fill(1, from, from + whole)
    },
    read(firstId, wanted) {
      const from = firstId - first
      let to = from
      while (to < from + wanted && isThere[to] === 1) to++
      return bytes.subarray(from * valueBytes, to * valueBytes)
    },
  }
}

/** Batches that may hold something of these ids; what of them is not as it should be is told in postgres-reach.ts. */
const batchesOf = ({ first, last }: Ids) => `first_id BETWEEN greatest(1, coalesce((SELECT max(first_id) FROM log_salts
    WHERE first_id <= ${first}), 1)) AND ${last} AND last_id >= ${first} AND last_id - first_id::float8 < ${BATCH_ROWS_MAX}`

async function readSalts(snapshot: SnapshotReader, ids: Ids, salts: Spread): Promise<void> {
  const from = `greatest(first_id, ${ids.first})`
  const skipped = `${SALT_BYTES} * (${from} - first_id)`
  const wanted = `${SALT_BYTES} * greatest(0, least(last_id, ${ids.last}) - ${from} + 1)`
  const slice = `substring(salts::bytea FROM (${skipped} + 1)::integer FOR (${wanted})::integer)`
  const select = `SELECT ${from}::bigint, ${slice} FROM log_salts WHERE ${batchesOf(ids)} ORDER BY first_id`
  const found = parseTuples(await snapshot.copy(select), 2)
  for (let n = 0; n < found.count; n++) salts.put(numberAt(found, n, 0), bytesAt(found, n, 1) ?? new Uint8Array())
}

/** A batch has those of its last rows. */
async function readCommitments(snapshot: SnapshotReader, ids: Ids, commitments: Spread): Promise<void> {
  const limit = `octet_length(commitments) <= ${TILE_WIDTH * HASH_BYTES}`
  const select = `SELECT last_id::bigint, commitments::bytea FROM log_salts WHERE ${batchesOf(ids)} AND ${limit} ORDER BY first_id`
  const found = parseTuples(await snapshot.copy(select), 2)
  for (let n = 0; n < found.count; n++) {
    const values = bytesAt(found, n, 1) ?? new Uint8Array()
    commitments.put(numberAt(found, n, 0) - Math.floor(values.length / HASH_BYTES) + 1, values)
  }
}

/** Of each chunk, whether a question about the time of a row would look there; of chunks without times it does. */
async function readTimes(snapshot: SnapshotReader, { first, last }: Ids): Promise<Beside['times']> {
  const chunkOf = (id: number) => Math.floor((id - 1) / CHUNK_IDS)
  const found = await snapshot.rows(
    `SELECT chunk, left(min_time, 64) AS min, left(max_time, 64) AS max FROM event_times
     WHERE chunk BETWEEN ${chunkOf(first)} AND ${chunkOf(last)}`,
  )
  return new Map(found.map(({ chunk, min, max }) => [Number(chunk), withinTimes(String(min), String(max))]))
}

/** Texts of the usual form are in the order of their times; what is no time is told as an edited row. */
function withinTimes(min: string, max: string): (dateTime: string) => boolean {
  const [minMs, maxMs] = [Date.parse(min), Date.parse(max)]
  const [first, last] = [spell(minMs), spell(maxMs)]
  return dateTime => {
    if (dateTime.length === first.length && dateTime.endsWith('Z') && dateTime >= first && dateTime <= last) return true
    const ms = Date.parse(dateTime)
    return !(ms < minMs) && !(ms > maxMs)
  }
}

const spell = (ms: number) => (Math.abs(ms) <= DATE_MS_MAX ? new Date(ms).toISOString() : '')

function firstOutside(rows: Tuples, times: Beside['times']): Finding | undefined {
  let chunk = -1
  let isWithin: ((dateTime: string) => boolean) | undefined
  for (let n = 0; n < rows.count; n++) {
    const id = idAt(rows, n)
    const own = Math.floor((id - 1) / CHUNK_IDS)
    if (own !== chunk) isWithin = times.get(own)
    chunk = own
    const dateTime = isWithin === undefined ? undefined : dateTimeAt(rows, n)
    if (dateTime === undefined || isWithin!(dateTime)) continue
    return {
      verdict: 'HIDDEN',
      at: { id },
      detail: 'Its time is not within those that event_times has of its 1,024 ids',
    }
  }
  return undefined
}
