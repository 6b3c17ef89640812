/**
 * A bounded map of subjects (addresses, charge points) that keeps the ones that come back.
 *
 * Two generations: a subject seen once is a newcomer, one seen again is kept. Newcomers are evicted first, oldest
 * first, so a flood of 100,000 addresses that each try once pushes out other newcomers, never the attacker we count.
 * Every operation is O(1).
 */
export interface RecencyMap<V> {
  /** The value, made by `create` if the subject is new; either way it is now the most recent one. */
  touch(subject: string, create: () => V): V
  peek(subject: string): V | undefined
  delete(subject: string): void
  readonly size: number
}

export function createRecencyMap<V>(entriesMax: number): RecencyMap<V> {
  const newcomers = createGeneration<V>(Math.ceil(entriesMax / 2))
  const kept = createGeneration<V>(Math.floor(entriesMax / 2))

  return {
    touch(subject, create) {
      const known = kept.entries.get(subject) ?? newcomers.entries.get(subject)
      if (known === undefined) {
        const value = create()
        newcomers.add(subject, value)
        return value
      }
      newcomers.entries.delete(subject)
      kept.entries.delete(subject) // added again, so that insertion order is recency
      kept.add(subject, known)
      return known
    },
    peek: subject => kept.entries.get(subject) ?? newcomers.entries.get(subject),
    delete(subject) {
      newcomers.entries.delete(subject)
      kept.entries.delete(subject)
    },
    get size() {
      return newcomers.entries.size + kept.entries.size
    },
  }
}

/** Insertion-ordered entries, the oldest leaving when there are too many. */
function createGeneration<V>(entriesMax: number) {
  const entries = new Map<string, V>()
  // One iterator for all evictions: a new one would walk over the places of all entries deleted before.
  let oldest = entries.keys()
  return {
    entries,
    add(subject: string, value: V): void {
      entries.set(subject, value)
      if (entries.size <= entriesMax) return
      let next = oldest.next()
      if (next.done) {
        oldest = entries.keys()
        next = oldest.next()
      }
      if (!next.done) entries.delete(next.value)
    },
  }
}
