/**
 * Writes chunks beside the rows they are made of, in the same transaction, as soon as one is complete.
 *
 *   event_chunks   earliest and latest time of each complete chunk: a time range becomes ranges of ids
 *   event_columns  the columns of each (chunk.ts)
 *   event_facets   its sets (chunk-sets.ts)
 *
 * Owns the rows of the chunk that is not complete, in memory; they are read again from the table when the database is
 * not where this left it: another writer went on, or a transaction was rolled back (`forget`).
 */
import type { DatabaseSync } from 'node:sqlite'
import {
  addRow,
  CHUNK_COLUMNS,
  type ChunkBuilder,
  type ChunkRow,
  formatColumns,
  isPacked,
  nextIdOf,
  numberKinds,
  packColumns,
  startChunk,
} from './chunk.ts'
import { CHUNK_IDS, chunkOf, firstIdOf, formatSet } from './chunk-sets.ts'
import { createDictionary, type Dictionary } from './dictionary.ts'

export const CHUNK_TABLES = `
CREATE TABLE event_chunks (chunk INTEGER PRIMARY KEY, min_ms INTEGER NOT NULL, max_ms INTEGER NOT NULL);
CREATE TABLE event_columns (chunk INTEGER PRIMARY KEY, columns BLOB NOT NULL);
CREATE TABLE event_facets (
  facet INTEGER NOT NULL, value TEXT NOT NULL, chunk INTEGER NOT NULL, ids BLOB NOT NULL,
  PRIMARY KEY (facet, value, chunk)
) WITHOUT ROWID;
`

export interface ChunkStore {
  /** Call at the start of a transaction that appends rows behind `lastId`, which are in `table`. */
  resume(lastId: number, table: string): void
  /** Takes the next row. */
  add(row: ChunkRow): void
  /** The transaction was not committed, or may not have been. */
  forget(): void
}

export function createChunkStore(db: DatabaseSync): ChunkStore {
  const write = prepareChunkWriter(db)
  let builder: ChunkBuilder | undefined
  return {
    resume(lastId, table) {
      write.refresh()
      if (builder !== undefined && nextIdOf(builder) === lastId + 1) return
      builder = readChunk(db, chunkOf(lastId + 1), table)
      write.forget()
    },
    add(row) {
      const current = builder as ChunkBuilder
      addRow(current, row)
      write.nameRow(current.count - 1, row)
      if (current.count < CHUNK_IDS) return
      write(current)
      builder = startChunk(current.chunk + 1)
    },
    forget() {
      builder = undefined
      write.forget()
    },
  }
}

/** A chunk as its rows in the table say, complete or not. */
export function readChunk(db: DatabaseSync, chunk: number, table: string): ChunkBuilder {
  const builder = startChunk(chunk)
  const first = firstIdOf(chunk)
  const rows = db.prepare(`SELECT ${CHUNK_COLUMNS} FROM ${table} WHERE id BETWEEN ? AND ? ORDER BY id`)
  for (const row of rows.iterate(first, first + CHUNK_IDS - 1)) addRow(builder, row as unknown as ChunkRow)
  return builder
}

/** Their rows have left. */
export function dropChunks(db: DatabaseSync, first: number, last: number): void {
  for (const table of ['event_chunks', 'event_columns', 'event_facets']) {
    db.prepare(`DELETE FROM ${table} WHERE chunk BETWEEN ? AND ?`).run(first, last)
  }
}

/** Of a version that stored them as they are; those that an earlier step of a migration has made are packed. */
export function packStoredColumns(db: DatabaseSync): void {
  const select = db.prepare('SELECT columns FROM event_columns WHERE chunk = ?')
  const update = db.prepare('UPDATE event_columns SET columns = ? WHERE chunk = ?')
  for (const { chunk } of db.prepare('SELECT chunk FROM event_columns').all()) {
    const columns = select.get(chunk as number)?.columns as Uint8Array
    if (!isPacked(columns)) update.run(packColumns(columns), chunk as number)
  }
}

interface ChunkWriter extends Pick<Dictionary, 'forget'> {
  (complete: ChunkBuilder): void
  /** Looks up the names of row `n` of the chunk to come: 2,000 at once would keep those waiting who wait for the row that completes it. */
  nameRow(n: number, row: Pick<ChunkRow, 'who' | 'ip'>): void
  /** Call at the start of each transaction. */
  refresh(): void
}

/** Prepares the statements once. */
export function prepareChunkWriter(db: DatabaseSync): ChunkWriter {
  const dictionary = createDictionary(db)
  const insertTimes = db.prepare('INSERT OR REPLACE INTO event_chunks VALUES (?, ?, ?)')
  const insertColumns = db.prepare('INSERT OR REPLACE INTO event_columns VALUES (?, ?)')
  const insertSet = db.prepare('INSERT OR REPLACE INTO event_facets VALUES (?, ?, ?, ?)')
  /** Numbers of the chunk to come, as far as `nameRow` was told its rows; else 0, which is no name's. */
  const named = { who: new Uint32Array(CHUNK_IDS), ip: new Uint32Array(CHUNK_IDS) }

  function forgetNumbers(): void {
    named.who.fill(0)
    named.ip.fill(0)
  }

  function complete(numbers: Uint32Array, names: readonly string[]): Uint32Array {
    for (let n = 0; n < CHUNK_IDS; n++) numbers[n] ||= dictionary.nameNumber(names[n] as string)
    return numbers
  }

  function write(chunk: ChunkBuilder): void {
    insertTimes.run(chunk.chunk, chunk.minMs, chunk.maxMs)
    const columns = {
      who: complete(named.who, chunk.who),
      ip: complete(named.ip, chunk.ip),
      kinds: numberKinds(chunk, dictionary.kindNumber),
    }
    insertColumns.run(chunk.chunk, formatColumns(columns, chunk))
    forgetNumbers()
    for (const [facet, sets] of chunk.sets.entries()) {
      for (const [value, set] of sets) insertSet.run(facet, value, chunk.chunk, formatSet(set))
    }
  }
  return Object.assign(write, {
    nameRow(n: number, { who, ip }: Pick<ChunkRow, 'who' | 'ip'>) {
      named.who[n] = dictionary.nameNumber(who)
      named.ip[n] = dictionary.nameNumber(ip)
    },
    refresh() {
      if (dictionary.refresh()) forgetNumbers()
    },
    forget() {
      dictionary.forget()
      forgetNumbers()
    },
  })
}
