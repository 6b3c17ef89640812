/**
 * Sets of ids within a chunk of 1,024, and the table rows they become.
 *
 * The six documented indexes answer "which rows have this value" but not cheaply "which rows have both", nor anything
 * about reason_code, which has none. For the three columns of few values the store therefore keeps, per chunk and
 * value, the set of ids: 2 to 3 bytes an event, and two conditions become an AND of two bitmaps. Rejected: an index
 * over two columns (D2 names the six) and a row per (value, id) in a table of its own (ten times the size).
 */
import type { DatabaseSync } from 'node:sqlite'
import type { AuditEvent } from '../event/event.ts'

export const CHUNK_IDS = 1024

/** The columns that have such sets; a row of event_facets holds the position in this list. */
export const FACETS = ['action', 'severity', 'reason_code'] as const
export type Facet = (typeof FACETS)[number]

/** Bit n stands for the n-th id of the chunk. */
export type ChunkSet = Uint32Array

export const SET_WORDS = CHUNK_IDS / 32
/** Fewer members than this are written as a list, which is then the shorter of the two forms. */
const LISTED_MAX = (SET_WORDS * 4) / 2 - 1

export const chunkOf = (id: number) => Math.floor((id - 1) / CHUNK_IDS)
export const firstIdOf = (chunk: number) => chunk * CHUNK_IDS + 1

export const emptySet = (): ChunkSet => new Uint32Array(SET_WORDS)

export function addMember(set: ChunkSet, n: number): void {
  const word = n >>> 5
  set[word] = (set[word] as number) | (1 << (n & 31))
}

/** The lowest member at or above `n`, or -1. */
export function memberFrom(set: ChunkSet, n: number): number {
  if (n >= CHUNK_IDS) return -1
  let word = n >>> 5
  let bits = ((set[word] as number) & (-1 << (n & 31))) >>> 0
  while (bits === 0) {
    if (++word >= SET_WORDS) return -1
    bits = set[word] as number
  }
  return word * 32 + 31 - Math.clz32(bits & -bits)
}

/** The highest member at or below `n`, or -1. */
export function memberBack(set: ChunkSet, n: number): number {
  if (n < 0) return -1
  let word = n >>> 5
  let bits = ((set[word] as number) & (-1 >>> (31 - (n & 31)))) >>> 0
  while (bits === 0) {
    if (--word < 0) return -1
    bits = set[word] as number
  }
  return word * 32 + 31 - Math.clz32(bits)
}

/** Up to 63 members: 2 bytes each, little-endian, ascending. More: the bitmap, 128 bytes, little-endian words. */
export function formatSet(set: ChunkSet): Uint8Array {
  const members: number[] = []
  for (let n = memberFrom(set, 0); n !== -1; n = memberFrom(set, n + 1)) members.push(n)
  const isListed = members.length <= LISTED_MAX
  const bytes = new DataView(new ArrayBuffer(isListed ? members.length * 2 : SET_WORDS * 4))
  if (isListed) for (const [i, n] of members.entries()) bytes.setUint16(i * 2, n, true)
  else for (const [i, word] of set.entries()) bytes.setUint32(i * 4, word, true)
  return new Uint8Array(bytes.buffer)
}

export function parseSet(bytes: Uint8Array): ChunkSet {
  const set = emptySet()
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (bytes.byteLength === SET_WORDS * 4) {
    for (let i = 0; i < SET_WORDS; i++) set[i] = view.getUint32(i * 4, true)
  } else {
    for (let i = 0; i + 1 < bytes.byteLength; i += 2) addMember(set, view.getUint16(i, true) % CHUNK_IDS)
  }
  return set
}

export interface ChunkWriter {
  /** Takes one written row; ids ascend. */
  add(id: number, event: AuditEvent): void
  /** Writes what is left. The caller's transaction makes it one with the rows. */
  flush(): void
}

/** Prepares the statements once; the result is called at the start of each transaction. */
export function prepareChunkWriter(db: DatabaseSync): () => ChunkWriter {
  const upsertTimes = db.prepare(
    `INSERT INTO event_chunks (chunk, min_date_time, max_date_time) VALUES (?, ?, ?)
     ON CONFLICT (chunk) DO UPDATE SET min_date_time = min(min_date_time, excluded.min_date_time),
                                       max_date_time = max(max_date_time, excluded.max_date_time)`,
  )
  const selectSet = db.prepare('SELECT ids FROM event_facets WHERE facet = ? AND value = ? AND chunk = ?')
  const upsertSet = db.prepare(
    `INSERT INTO event_facets (facet, value, chunk, ids) VALUES (?, ?, ?, ?)
     ON CONFLICT (facet, value, chunk) DO UPDATE SET ids = excluded.ids`,
  )

  function writeSet(facet: number, value: string, chunk: number, set: ChunkSet): void {
    const known = selectSet.get(facet, value, chunk)?.ids as Uint8Array | undefined
    if (known !== undefined) for (const [i, word] of parseSet(known).entries()) set[i] = (set[i] as number) | word
    upsertSet.run(facet, value, chunk, formatSet(set))
  }

  return () => {
    let chunk = -1
    let earliest = ''
    let latest = ''
    const sets = FACETS.map(() => new Map<string, ChunkSet>())

    function flush(): void {
      if (chunk === -1) return
      upsertTimes.run(chunk, earliest, latest)
      for (const [facet, byValue] of sets.entries()) {
        for (const [value, set] of byValue) writeSet(facet, value, chunk, set)
        byValue.clear()
      }
      chunk = -1
    }

    return {
      flush,
      add(id, event) {
        if (chunkOf(id) !== chunk) {
          flush()
          chunk = chunkOf(id)
          earliest = event.date_time
          latest = event.date_time
        }
        if (event.date_time < earliest) earliest = event.date_time
        if (event.date_time > latest) latest = event.date_time
        for (let facet = 0; facet < FACETS.length; facet++) {
          const value = event[FACETS[facet] as Facet]
          if (value === null) continue
          const byValue = sets[facet] as Map<string, ChunkSet>
          let set = byValue.get(value)
          if (set === undefined) {
            set = emptySet()
            byValue.set(value, set)
          }
          addMember(set, (id - 1) % CHUNK_IDS)
        }
      },
    }
  }
}
