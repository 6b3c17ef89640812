/**
 * The chunks (store/chunk.ts): those that are complete from their tables, the one that still grows from its rows.
 *
 * Owns, in memory, the earliest and latest time of every complete chunk (16 bytes each: they never change) and the rows of
 * the growing one, of which only the new are read at each `refresh`, the start of every snapshot.
 */
import type { DatabaseSync, StatementSync } from 'node:sqlite'
import { Refusal } from '../errors.ts'
import {
  addRow,
  CHUNK_COLUMNS,
  type ChunkBuilder,
  type ChunkColumns,
  type ChunkRow,
  nextIdOf,
  parseColumns,
  startChunk,
} from '../store/chunk.ts'
import {
  addMember,
  CHUNK_IDS,
  type ChunkSet,
  chunkOf,
  emptySet,
  FACETS,
  type Facet,
  firstIdOf,
  parseSet,
} from '../store/chunk-sets.ts'
import type { ChunkPart } from './chunk-streams.ts'
import type { Direction } from './id-streams.ts'

/** Epoch milliseconds: start inclusive, end exclusive. */
export interface TimeRange {
  readonly startMs: number
  readonly endMs: number
}

export interface ChunkTimes {
  readonly chunk: number
  readonly minMs: number
  readonly maxMs: number
}

export interface ChunkReader {
  /** @param isAnew the chunks known before may have left, or rows were erased. */
  refresh(lastId: number, table: string, isAnew: boolean): void
  /** The chunk that is not complete. */
  growing(): ChunkBuilder
  /** The next chunks that hold the value, at most so many, in walking order from the ordinal on; empty at the end. */
  facetParts(facet: Facet, value: string, direction: Direction, ordinal: number, count: number): ChunkPart[]
  /** Chunks that hold a row of the time range, in walking order from the ordinal on. */
  chunksOfTime(range: TimeRange, direction: Direction, ordinal: number): IteratorObject<ChunkTimes>
  /** The rows of one chunk that lie within the time range. @throws {Refusal} as `columns` */
  membersOfTime(range: TimeRange, chunk: number): ChunkSet
  /**
   * Of a complete one.
   * @throws {Refusal} STORE_UNAVAILABLE: they are missing or damaged, and whatever is said without them would be wrong.
   */
  columns(chunk: number): ChunkColumns
}

/** Of a chunk that has left: in no range. */
const GONE: ChunkTimes = { chunk: -1, minMs: Number.POSITIVE_INFINITY, maxMs: Number.NEGATIVE_INFINITY }

export function createChunkReader(db: DatabaseSync): ChunkReader {
  // As three lists, in half the time of rows: ten million events have ten thousand chunks, and the first question waits for them.
  const selectTimes = db.prepare(
    `SELECT json_group_array(chunk) AS chunks, json_group_array(min_ms) AS minima, json_group_array(max_ms) AS maxima
     FROM (SELECT * FROM event_chunks WHERE chunk >= ? ORDER BY chunk)`,
  )
  const selectColumns = db.prepare('SELECT columns FROM event_columns WHERE chunk = ?')
  const facetWalk = (compare: string, order: string) =>
    db.prepare(
      `SELECT chunk, ids FROM event_facets
       WHERE facet = ? AND value = ? AND chunk ${compare} ? ORDER BY chunk ${order} LIMIT ?`,
    )
  const ascending = facetWalk('>=', 'ASC')
  const descending = facetWalk('<=', 'DESC')
  let complete: ChunkTimes[] = []
  let growing = startChunk(0)
  let rowsBehind: { readonly table: string; readonly statement: StatementSync } | undefined

  function readNewRows(lastId: number, table: string): void {
    if (growing.chunk !== chunkOf(lastId + 1) || nextIdOf(growing) > lastId + 1)
      growing = startChunk(chunkOf(lastId + 1))
    if (nextIdOf(growing) === lastId + 1) return
    if (rowsBehind?.table !== table) {
      const sql = `SELECT ${CHUNK_COLUMNS} FROM ${table} WHERE id BETWEEN ? AND ? ORDER BY id`
      rowsBehind = { table, statement: db.prepare(sql) }
    }
    for (const row of rowsBehind.statement.all(nextIdOf(growing), lastId)) addRow(growing, row as unknown as ChunkRow)
  }

  function readNewTimes(): void {
    if (complete.length >= growing.chunk) return
    const { chunks, minima, maxima } = selectTimes.get(complete.length) as Record<string, string>
    const [minMs, maxMs] = [JSON.parse(minima as string) as number[], JSON.parse(maxima as string) as number[]]
    for (const [n, chunk] of (JSON.parse(chunks as string) as number[]).entries()) {
      while (complete.length < chunk) complete.push(GONE)
      complete.push({ chunk, minMs: minMs[n] as number, maxMs: maxMs[n] as number })
    }
    while (complete.length < growing.chunk) complete.push(GONE)
  }

  function columns(chunk: number): ChunkColumns {
    const stored = selectColumns.get(chunk)?.columns as Uint8Array | undefined
    const found = stored && parseColumns(stored)
    if (found !== undefined) return found
    throw new Refusal('STORE_UNAVAILABLE', `What is kept of event ${firstIdOf(chunk)} and those after it is damaged.`)
  }

  return {
    growing: () => growing,
    columns,
    refresh(lastId, table, isAnew) {
      if (isAnew || complete.length > chunkOf(lastId + 1)) complete = []
      if (isAnew) growing = startChunk(chunkOf(lastId + 1)) // rows of it may have been erased
      readNewRows(lastId, table)
      readNewTimes()
    },
    facetParts(facet, value, direction, ordinal, count) {
      const set = growing.sets[FACETS.indexOf(facet)]?.get(value)
      const last = growing.chunk * direction
      const newest: ChunkPart[] = set === undefined || last < ordinal ? [] : [{ ordinal: last, members: () => set }]
      if (direction === -1 && newest.length > 0) return newest
      const rows = (direction === 1 ? ascending : descending).all(
        FACETS.indexOf(facet),
        value,
        ordinal * direction,
        count,
      )
      if (rows.length === 0) return direction === 1 ? newest : []
      return rows.map(row => ({
        ordinal: Number(row.chunk) * direction,
        members: () => parseSet(row.ids as Uint8Array),
      }))
    },
    *chunksOfTime({ startMs, endMs }, direction, ordinal) {
      const first = direction === 1 ? Math.max(0, ordinal) : Math.min(growing.chunk, -ordinal)
      for (let chunk = first; chunk >= 0 && chunk <= growing.chunk; chunk += direction) {
        const times = chunk === growing.chunk ? growing : (complete[chunk] as ChunkTimes)
        if (times.maxMs >= startMs && times.minMs < endMs) yield times
      }
    },
    membersOfTime({ startMs, endMs }, chunk) {
      const set = emptySet()
      const times = chunk === growing.chunk ? growing.times : columns(chunk).times
      const base = chunk === growing.chunk ? 0 : (complete[chunk] as ChunkTimes).minMs
      const count = chunk === growing.chunk ? growing.count : CHUNK_IDS
      for (let n = 0; n < count; n++) {
        const ms = base + (times[n] as number)
        if (ms >= startMs && ms < endMs) addMember(set, n)
      }
      return set
    },
  }
}
