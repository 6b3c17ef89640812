/** Repeatable chance for the simulation: the same seed, the same story. Nothing secret may come from here. */

export interface Random {
  /** A whole number from 0 to `below` - 1. */
  below(below: number): number
  bytes(count: number): Buffer
  pick<T>(from: readonly T[]): T
}

/** xorshift32 (Marsaglia 2003). */
export function createRandom(seed: number): Random {
  let state = (Math.imul(seed, 0x9e3779b1) ^ 0x5bd1e995) >>> 0 || 1
  const next = () => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    state >>>= 0
    return state
  }
  const below = (limit: number) => Math.floor((next() / 2 ** 32) * limit)
  return {
    below,
    bytes: count => Buffer.from(Array.from({ length: count }, () => below(256))),
    pick: from => from[below(from.length)] as (typeof from)[number],
  }
}
