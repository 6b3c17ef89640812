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

const PROBED_MIN = 16
const PROBED_MAX = 512
/** From one stream to the other: by then it is known which of two conditions is the rarer one. */
const STEPS_BEFORE_PROBING = 8
const MUCH_RARER = 4

/**
 * Keys that are in both streams. Where the other one is much rarer, its keys are looked up many at a time instead of asking `keys` for
 * the next one behind each of them: a tenth of the time.
 * @param among those of these keys that `keys` has, in their order
 * @throws {OutOfTime} from `seek`, after some progress
 */
export function probedIntersection(
  keys: KeyStream,
  others: KeyStream,
  among: (keys: readonly number[]) => number[],
  deadline: Deadline,
): KeyStream {
  /** How often the others went beyond `keys`, how far, and how far it went beyond them then. */
  let [steps, jumped, stepped] = [0, 0, 0]
  let found: number[] = []
  let next = 0
  /** All below it were looked up. */
  let examined = Number.NEGATIVE_INFINITY
  let size = PROBED_MIN

  function seekOthers(key: number): number {
    try {
      return others.seek(key)
    } catch (error) {
      // The chunk it came to may begin before the key: what was found there is not to be found again.
      throw error instanceof OutOfTime ? new OutOfTime(Math.max(error.key, key)) : error
    }
  }

  /** The next of the others' keys; fewer when time is up. */
  function candidatesFrom(key: number): number[] {
    const candidates: number[] = []
    try {
      for (let at = seekOthers(key); at !== END; at = seekOthers(at + 1)) {
        candidates.push(at)
        if (candidates.length === size) break
      }
    } catch (error) {
      if (!(error instanceof OutOfTime) || candidates.length === 0) throw error
    }
    return candidates
  }

  /** The first of the next candidates that is in both; undefined when none is, and `examined` says how far that is known. */
  function probe(key: number): number | undefined {
    const candidates = candidatesFrom(key)
    found = among(candidates)
    next = 0
    examined = candidates.length === 0 ? END : (candidates.at(-1) as number) + 1
    // Not that frequent here, perhaps: asked step by step, until that is known again.
    if (size === PROBED_MAX && found.length === 0) [steps, jumped, stepped, size] = [0, 0, 0, PROBED_MIN]
    else size = Math.min(size * 2, PROBED_MAX)
    return found[0]
  }

  /** The first from `key` on that is in both; undefined when that is not known yet, and `examined` says how far it is. */
  function step(key: number): number | undefined {
    const at = keys.seek(key)
    if (key === examined) stepped += at - key
    const other = at === END ? END : seekOthers(at)
    if (other === END || other === at) return other
    steps++
    jumped += other - at
    examined = other
    return undefined
  }

  return {
    seek(key) {
      while (next < found.length && (found[next] as number) < key) next++
      if (next < found.length) return found[next] as number
      for (let from = Math.max(key, examined), turns = 1; from !== END; from = examined, turns++) {
        const isRarer = steps >= STEPS_BEFORE_PROBING && jumped > MUCH_RARER * stepped
        const both = isRarer ? probe(from) : step(from)
        if (both !== undefined) return both
        const isTimeToLook = examined !== END && (isRarer || turns % STEPS_BETWEEN_CLOCK_READS === 0)
        if (isTimeToLook && deadline.passed()) throw new OutOfTime(examined)
      }
      return END
    },
  }
}

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
