/** How often each name was seen, by its number in the dictionary, and which were seen most. */
import { LIMITS } from '../limits.ts'

export interface Tallied {
  /** Number of the name. */
  readonly name: number
  readonly count: number
  readonly failures: number
}

export interface Tally {
  /** @param failures how many of the `count` events are one. */
  add(name: number, count: number, failures: number): void
  /** Most events first, of equal count the lower number first. */
  top(): Tallied[]
  /** The same by failures; those without one are left out. */
  topFailed(): Tallied[]
}

/**
 * Exact, in 8 bytes a name, up to `summaryNamesMax` names. Beyond that the rarest are forgotten from time to time, so
 * whoever invents names can neither fill the memory nor displace a frequent one.
 */
export function createTally(namesMax: number): Tally {
  return namesMax <= LIMITS.summaryNamesMax ? denseTally(namesMax) : sparseTally()
}

function denseTally(namesMax: number): Tally {
  const counts = new Uint32Array(namesMax)
  const failed = new Uint32Array(namesMax)
  return {
    add(name, count, failures) {
      counts[name] = (counts[name] as number) + count
      failed[name] = (failed[name] as number) + failures
    },
    top: () => topOf(counts).map(tallied),
    topFailed: () => topOf(failed).map(tallied),
  }

  function tallied(name: number): Tallied {
    return { name, count: counts[name] as number, failures: failed[name] as number }
  }
}

export function sparseTally(namesKept: number = LIMITS.summaryNamesMax / 8): Tally {
  const counts = new Map<number, number>()
  const failed = new Map<number, number>()

  function forgetRarest(): void {
    for (let few = 1; counts.size > namesKept / 2; few *= 2) {
      for (const [name, count] of counts) {
        if (count > few) continue
        counts.delete(name)
        failed.delete(name)
      }
    }
  }

  return {
    add(name, count, failures) {
      if (counts.size >= namesKept && !counts.has(name)) forgetRarest()
      counts.set(name, (counts.get(name) ?? 0) + count)
      if (failures > 0) failed.set(name, (failed.get(name) ?? 0) + failures)
    },
    top: () => topBy(({ count }) => count),
    topFailed: () => topBy(({ failures }) => failures),
  }

  function topBy(weight: (tallied: Tallied) => number): Tallied[] {
    const tallied = [...counts]
      .sort(([a], [b]) => a - b)
      .map(([name, count]) => ({ name, count, failures: failed.get(name) ?? 0 }))
    return topOf(tallied.map(weight)).map(place => tallied[place] as Tallied)
  }
}

/**
 * The places of the largest weights: of equal weight the first, 0 is never among them. A loop that does nothing else, as most of the first
 * summary after a start is spent before such a loop is compiled.
 */
function topOf(weights: ArrayLike<number>): number[] {
  const top: number[] = []
  let least = 0
  for (let place = 0; place < weights.length; place++) {
    if ((weights[place] as number) > least) least = insert(top, weights, place)
  }
  return top
}

/** @returns what the next weight has to be larger than */
function insert(top: number[], weights: ArrayLike<number>, place: number): number {
  const weightAt = (rank: number) => weights[top[rank] as number] as number
  let rank = top.length
  while (rank > 0 && weightAt(rank - 1) < (weights[place] as number)) rank--
  top.splice(rank, 0, place)
  if (top.length > LIMITS.summaryTopMax) top.pop()
  return top.length < LIMITS.summaryTopMax ? 0 : weightAt(top.length - 1)
}
