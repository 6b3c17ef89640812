/**
 * Streams of chunks (1,024 ids each) with the set of ids meant in each, and how they are combined.
 *
 * Conditions on columns of few values and on time are combined here, 1,024 ids at a time by AND and OR of bitmaps,
 * before anything looks at single ids. Chunks come in walking order; their ordinal is the chunk number, negated when
 * walking newest first, so that it ascends as keys do (id-streams.ts).
 */
import {
  CHUNK_IDS,
  type ChunkSet,
  chunkOf,
  emptySet,
  firstIdOf,
  memberBack,
  memberFrom,
  SET_WORDS,
} from '../store/chunk-sets.ts'
import {
  type Deadline,
  type Direction,
  END,
  type KeyStream,
  OutOfTime,
  STEPS_BETWEEN_CLOCK_READS,
} from './id-streams.ts'

export interface ChunkPart {
  readonly ordinal: number
  /** The ids meant; all of the chunk's when undefined. Asked for only when needed, as it may cost a read. */
  members(): ChunkSet | undefined
}

export interface ChunkStream {
  /** The first part at or after this ordinal, undefined at the end. Never asked for less than before. */
  seek(ordinal: number): ChunkPart | undefined
}

const PARTS_MIN = 2
const PARTS_MAX = 64

/**
 * Parts that are read several at once: few after a jump, doubling while they are read one after the other.
 * @param read at most `count` parts, the first at or after the ordinal; empty at the end.
 */
export function storedChunks(read: (ordinal: number, count: number) => ChunkPart[]): ChunkStream {
  let parts: ChunkPart[] = []
  let next = 0
  let count = PARTS_MIN
  let isEnd = false
  return {
    seek(ordinal) {
      while (!isEnd) {
        while (next < parts.length && (parts[next] as ChunkPart).ordinal < ordinal) next++
        if (next < parts.length) return parts[next]
        const first = parts[0]?.ordinal ?? ordinal
        const last = parts.at(-1)?.ordinal ?? ordinal
        const isJump = ordinal - last > last - first + 1
        count = isJump ? PARTS_MIN : Math.min(count * 2, PARTS_MAX)
        parts = read(ordinal, count)
        next = 0
        isEnd = parts.length === 0
      }
      return undefined
    },
  }
}

/** Ids that are in any of the streams. */
export function chunkUnion(streams: readonly ChunkStream[]): ChunkStream {
  if (streams.length === 1) return streams[0] as ChunkStream
  return {
    seek(ordinal) {
      const parts = streams.map(stream => stream.seek(ordinal)).filter(part => part !== undefined)
      if (parts.length === 0) return undefined
      const first = Math.min(...parts.map(part => part.ordinal))
      const sets = parts.filter(part => part.ordinal === first)
      return { ordinal: first, members: () => anyOf(sets) }
    },
  }
}

/**
 * Ids that are in all of the streams, the one expected to have the fewest first. A part may turn out to be empty.
 * @throws {OutOfTime} from `seek`, after some progress
 */
export function chunkIntersection(
  streams: readonly ChunkStream[],
  direction: Direction,
  deadline: Deadline,
): ChunkStream {
  let steps = 0
  return {
    seek(ordinal) {
      for (let candidate = ordinal; ; ) {
        if (++steps % STEPS_BETWEEN_CLOCK_READS === 0 && deadline.passed()) {
          throw new OutOfTime(firstKeyOf(candidate, direction))
        }
        const parts: ChunkPart[] = []
        for (const stream of streams) {
          const part = stream.seek(candidate)
          if (part === undefined) return undefined
          parts.push(part)
          if (part.ordinal > candidate) break
        }
        const last = parts.at(-1) as ChunkPart
        if (last.ordinal === candidate) {
          return { ordinal: candidate, members: () => allOf(parts) }
        }
        candidate = last.ordinal
      }
    },
  }
}

function anyOf(parts: readonly ChunkPart[]): ChunkSet | undefined {
  const result = emptySet()
  for (const part of parts) {
    const set = part.members()
    if (set === undefined) return undefined
    for (let i = 0; i < SET_WORDS; i++) result[i] = (result[i] as number) | (set[i] as number)
  }
  return result
}

/** Stops at the first that leaves nothing, so that the sets after it are not fetched. */
function allOf(parts: readonly ChunkPart[]): ChunkSet | undefined {
  if (parts.length === 1) return parts[0]?.members()
  let result: ChunkSet | undefined
  for (const part of parts) {
    const set = part.members()
    if (set === undefined) continue
    if (result === undefined) result = set.slice()
    else for (let i = 0; i < SET_WORDS; i++) result[i] = (result[i] as number) & (set[i] as number)
    if (result.every(word => word === 0)) return result
  }
  return result
}

/** The ids of the chunks, one by one. */
export function keysOfChunks(chunks: ChunkStream, direction: Direction): KeyStream {
  let part: ChunkPart | undefined
  let set: ChunkSet | undefined
  return {
    seek(key) {
      for (let at = key; ; ) {
        const ordinal = chunkOf(at * direction) * direction
        if (part === undefined || part.ordinal < ordinal) {
          part = chunks.seek(ordinal)
          if (part === undefined) return END
          set = part.members()
        }
        at = Math.max(at, firstKeyOf(part.ordinal, direction))
        const found = firstMember(set, at, part.ordinal * direction, direction)
        if (found !== END) return found
        at = firstKeyOf(part.ordinal + 1, direction)
      }
    },
  }
}

/** The first key of a chunk in walking order. */
function firstKeyOf(ordinal: number, direction: Direction): number {
  const first = firstIdOf(ordinal * direction)
  return direction === 1 ? first : -(first + CHUNK_IDS - 1)
}

function firstMember(set: ChunkSet | undefined, key: number, chunk: number, direction: Direction): number {
  if (set === undefined) return key
  const base = firstIdOf(chunk)
  const n = key * direction - base
  const found = direction === 1 ? memberFrom(set, n) : memberBack(set, n)
  return found === -1 ? END : (base + found) * direction
}
