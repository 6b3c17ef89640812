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
/** Of a walk from one key to the next: by then it is known which of two conditions is the rarer one. */
const STEPS_BEFORE_PROBING = 8
const MUCH_RARER = 4

/**
 * Those keys of a stream that another condition may have, too. Where that one is much rarer, its keys are looked up many at a time
 * instead of asking the stream for the next one behind each of them: a tenth of the time.
 * @param others what the intersection asks for besides, as a stream of its own
 * @param among those of these keys that the stream has, in their order
 * @throws {OutOfTime} from `seek`, after some progress
 */
export function probedStream(
  keys: KeyStream,
  others: KeyStream,
  among: (keys: readonly number[]) => number[],
  deadline: Deadline,
): KeyStream {
  let last: number | undefined
  let steps = 0
  /** How far the others went beyond this stream, and it beyond them. */
  let [jumped, stepped] = [0, 0]
  let found: number[] = []
  let next = 0
  let size = PROBED_MIN

  function step(key: number): number {
    const at = keys.seek(key)
    if (last !== undefined && key > last + 1) {
      steps++
      jumped += key - last
      stepped += at - key
    }
    last = at
    return at
  }

  /** The next of the others' keys; fewer when time is up. */
  function candidatesFrom(key: number): number[] {
    const candidates: number[] = []
    try {
      for (let at = others.seek(key); at !== END; at = others.seek(at + 1)) {
        candidates.push(at)
        if (candidates.length === size) break
      }
    } catch (error) {
      if (!(error instanceof OutOfTime)) throw error
      // How far there are none. The chunk it came to may begin before the key: what was found there is not to be found again.
      if (candidates.length === 0) throw new OutOfTime(Math.max(error.key, key))
    }
    return candidates
  }

  return {
    seek(key) {
      while (next < found.length && (found[next] as number) < key) next++
      if (next < found.length) return found[next] as number
      let from = key
      while (steps >= STEPS_BEFORE_PROBING && jumped > MUCH_RARER * stepped) {
        const candidates = candidatesFrom(from)
        if (candidates.length === 0) return END
        found = among(candidates)
        next = 0
        const isLarge = size === PROBED_MAX
        size = Math.min(size * 2, PROBED_MAX)
        if (found.length > 0) return found[0] as number
        from = (candidates.at(-1) as number) + 1
        if (deadline.passed()) throw new OutOfTime(from)
        // Not that frequent here: asked as before, until that is known again.
        if (isLarge) [steps, jumped, stepped, size, last] = [0, 0, 0, PROBED_MIN, undefined]
      }
      return step(from)
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
