/**
 * Ascending streams of keys, which can be skipped forward, and their intersection.
 *
 * A key is an id when walking oldest first, and the negated id when walking newest first, so nothing here knows the
 * direction. The intersection leapfrogs: each stream is asked for its first key at or after the furthest any other has
 * reached, so the work is bounded by the rarest condition and not by the number of rows.
 */
export const END = Number.POSITIVE_INFINITY

export type Direction = 1 | -1

export interface KeyStream {
  /** The first key at or after this one, END when there is none. Never asked for less than it was asked before. */
  seek(key: number): number
}

export interface Deadline {
  passed(): boolean
}

/** Thrown by a walk that ran out of time: everything before `key` has been examined. */
export class OutOfTime extends Error {
  readonly key: number
  constructor(key: number) {
    super('the query ran out of time')
    this.key = key
  }
}

/** Keys `first` to `last`, all of them. */
export function rangeStream(first: number, last: number): KeyStream {
  return {
    seek(key) {
      return key > last ? END : Math.max(key, first)
    },
  }
}

const BATCH_MIN = 4
const BATCH_MAX = 1_024

/**
 * Keys that are read in batches: small after a jump, doubling while they are read one after the other.
 * @param read at most `count` keys in order, the first at or after `key`.
 */
export function batchedStream(read: (key: number, count: number) => number[]): KeyStream {
  let batch: number[] = []
  let next = 0
  let size = BATCH_MIN
  let isLast = false
  return {
    seek(key) {
      while (next < batch.length && (batch[next] as number) < key) next++
      if (next < batch.length) return batch[next] as number
      if (isLast) return END
      const first = batch[0] ?? key
      const last = batch.at(-1) ?? key
      const isJump = key - last > last - first + 1
      size = isJump ? BATCH_MIN : Math.min(size * 2, BATCH_MAX)
      batch = read(key, size)
      next = 0
      isLast = batch.length < size
      return batch[0] ?? END
    },
  }
}

export const STEPS_BETWEEN_CLOCK_READS = 32

/**
 * Keys that are in all of the streams; the one expected to have the fewest comes first.
 * @throws {OutOfTime} from `seek`, after some progress
 */
export function intersection(streams: readonly KeyStream[], deadline: Deadline): KeyStream {
  let steps = 0
  return {
    seek(key) {
      for (let candidate = key; ; ) {
        if (++steps % STEPS_BETWEEN_CLOCK_READS === 0 && deadline.passed()) throw new OutOfTime(candidate)
        let furthest = candidate
        for (const stream of streams) {
          furthest = stream.seek(candidate)
          if (furthest > candidate) break
        }
        if (furthest === END) return END
        if (furthest === candidate) return candidate
        candidate = furthest
      }
    },
  }
}
