/**
 * Sets of ids within a chunk of 1,024, and their stored form.
 *
 * The six documented indexes answer "which rows have this value" but not cheaply "which rows have both", nor anything
 * about reason_code, which has none. For the three columns of few values the store therefore keeps, per chunk and
 * value, the set of ids: 2 to 3 bytes an event, and two conditions become an AND of two bitmaps. Rejected: an index
 * over two columns (the documented table has six) and a row per (value, id) in a table of its own (ten times the size).
 */

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
  const bytes = new DataView(new ArrayBuffer(SET_WORDS * 4))
  let members = 0
  for (let n = memberFrom(set, 0); n !== -1 && members <= LISTED_MAX; n = memberFrom(set, n + 1)) {
    bytes.setUint16(members++ * 2, n, true)
  }
  if (members <= LISTED_MAX) return new Uint8Array(bytes.buffer, 0, members * 2)
  for (let word = 0; word < SET_WORDS; word++) bytes.setUint32(word * 4, set[word] as number, true)
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
