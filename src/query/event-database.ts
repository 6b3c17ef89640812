/**
 * A read-only connection to the event database and the statements the queries are made of.
 *
 * Every statement is bounded: by a count, by one chunk, or by a key of which there are few. Reads take snapshots
 * (write-ahead log), so they neither wait for the indexer nor make it wait.
 */
import { DatabaseSync } from 'node:sqlite'
import { COLUMNS, type StoredEvent } from '../event/event.ts'
import {
  addMember,
  CHUNK_IDS,
  type ChunkSet,
  emptySet,
  FACETS,
  type Facet,
  firstIdOf,
  parseSet,
} from '../store/chunk-sets.ts'
import { type Connection, createConnection } from '../store/connection.ts'
import { StoreError } from '../store/event-store.ts'
import { SCHEMA_VERSION, schemaVersion } from '../store/schema.ts'
import type { ChunkPart } from './chunk-streams.ts'
import type { Direction } from './id-streams.ts'

/** Columns of many values with an index of the table's own. */
export const KEY_COLUMNS = ['request_id', 'who', 'ip'] as const
export type KeyColumn = (typeof KEY_COLUMNS)[number]

/** Canonical times (as `toISOString` prints them): start inclusive, end exclusive. */
export interface TimeRange {
  readonly start: string
  readonly end: string
}

export interface ChunkTimes {
  readonly chunk: number
  /** Every row of the chunk lies within the range. */
  readonly isWithin: boolean
}

/** What a summary counts, as an array: that is twice as fast to read as an object. */
export type SummaryRow = [
  date_time: string,
  who: string,
  ip: string,
  action: string,
  severity: string,
  reason_code: string | null,
]

export type EventDatabase = ReturnType<typeof open>

/** Readers wait for nobody but a process that holds the whole database for itself. */
const BUSY_TIMEOUT_MS = 250
const CACHE_KIB = 16 * 1024
const CHUNKS_PER_READ = 64

export function connectToEvents(path: string): Connection<EventDatabase> {
  return createConnection(path, () => open(path))
}

function open(path: string) {
  const db = new DatabaseSync(path, { readOnly: true, timeout: BUSY_TIMEOUT_MS })
  try {
    if (schemaVersion(db) !== SCHEMA_VERSION) {
      throw new StoreError('UNAVAILABLE', 'the event database has not been set up yet')
    }
    db.exec(`PRAGMA cache_size = -${CACHE_KIB}`)
    return { db, ...eventStatements(db), ...keyStatements(db), ...chunkStatements(db) }
  } catch (error) {
    db.close()
    throw error
  }
}

function eventStatements(db: DatabaseSync) {
  const lastId = db.prepare('SELECT max(id) AS id FROM audit_events')
  const event = db.prepare(`SELECT ${COLUMNS.join(', ')} FROM audit_events WHERE id = ?`)
  const summaryRows = db.prepare(
    `SELECT date_time, who, ip, action, severity, reason_code FROM audit_events
     WHERE id BETWEEN ? AND ? AND date_time >= ? AND date_time < ?`,
  )
  summaryRows.setReturnArrays(true)
  const begin = db.prepare('BEGIN')
  const commit = db.prepare('COMMIT')
  return {
    lastId: () => Number(lastId.get()?.id ?? 0),
    event(id: number): StoredEvent | undefined {
      const row = event.get(id)
      return row === undefined ? undefined : ({ ...row } as unknown as StoredEvent)
    },
    summaryRows: (first: number, last: number, { start, end }: TimeRange) =>
      summaryRows.all(first, last, start, end) as unknown as SummaryRow[],
    /** One snapshot for several statements. Keep it short: the write-ahead log cannot start again meanwhile. */
    inSnapshot<R>(work: () => R): R {
      begin.run()
      const result = work() // a throw leaves the transaction to the connection, which rolls it back
      commit.run()
      return result
    },
  }
}

/** Walks along one of the table's indexes, which SQLite keeps in the order (value, id); no row is touched. */
function keyStatements(db: DatabaseSync) {
  const walk = (column: KeyColumn, direction: Direction) => {
    const [compare, order] = direction === 1 ? ['>=', 'ASC'] : ['<=', 'DESC']
    const statement = db.prepare(
      `SELECT id FROM audit_events INDEXED BY idx_audit_${column}
       WHERE ${column} = ? AND id ${compare} ? ORDER BY id ${order} LIMIT ?`,
    )
    statement.setReturnArrays(true)
    return statement
  }
  const walks = new Map(
    KEY_COLUMNS.map(column => [column, { ascending: walk(column, 1), descending: walk(column, -1) }] as const),
  )
  return {
    /** Keys (see id-streams.ts) of the rows that have the value, in walking order from `key` on. */
    keysOf(column: KeyColumn, value: string, direction: Direction, key: number, count: number): number[] {
      const { ascending, descending } = walks.get(column) as NonNullable<ReturnType<typeof walks.get>>
      const rows = (direction === 1 ? ascending : descending).all(value, key * direction, count)
      return rows.map(row => (row as unknown as [number])[0] * direction)
    },
  }
}

function chunkStatements(db: DatabaseSync) {
  const both = (sql: (compare: string, order: string) => string) => ({
    ascending: db.prepare(sql('>=', 'ASC')),
    descending: db.prepare(sql('<=', 'DESC')),
  })
  const facetWalk = both(
    (compare, order) => `SELECT chunk, ids FROM event_facets
      WHERE facet = ? AND value = ? AND chunk ${compare} ? ORDER BY chunk ${order} LIMIT ${CHUNKS_PER_READ}`,
  )
  const timeWalk = both(
    (compare, order) => `SELECT chunk, min_date_time >= ?1 AND max_date_time < ?2 AS is_within FROM event_chunks
      WHERE max_date_time >= ?1 AND min_date_time < ?2 AND chunk ${compare} ?3 ORDER BY chunk ${order} LIMIT ${CHUNKS_PER_READ}`,
  )
  const timeMembers = db.prepare(
    'SELECT id FROM audit_events WHERE id BETWEEN ? AND ? AND date_time >= ? AND date_time < ?',
  )
  timeMembers.setReturnArrays(true)
  return {
    /** The next chunks that hold the value, in walking order from the ordinal on; empty at the end. */
    facetParts(facet: Facet, value: string, direction: Direction, ordinal: number): ChunkPart[] {
      const statement = direction === 1 ? facetWalk.ascending : facetWalk.descending
      const rows = statement.all(FACETS.indexOf(facet), value, ordinal * direction)
      return rows.map(row => ({
        ordinal: Number(row.chunk) * direction,
        members: () => parseSet(row.ids as Uint8Array),
      }))
    },
    /** Chunks that hold a row of the time range, in walking order from `chunk` on; empty at the end. */
    chunksOfTime({ start, end }: TimeRange, direction: Direction, chunk: number): ChunkTimes[] {
      const statement = direction === 1 ? timeWalk.ascending : timeWalk.descending
      const rows = statement.all(start, end, chunk)
      return rows.map(row => ({ chunk: Number(row.chunk), isWithin: row.is_within === 1 }))
    },
    /** The rows of one chunk that lie within the time range. */
    membersOfTime({ start, end }: TimeRange, chunk: number): ChunkSet {
      const first = firstIdOf(chunk)
      const set = emptySet()
      for (const row of timeMembers.all(first, first + CHUNK_IDS - 1, start, end)) {
        addMember(set, (row as unknown as [number])[0] - first)
      }
      return set
    },
  }
}
