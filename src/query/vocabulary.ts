/**
 * The dictionaries of the chunk columns (store/dictionary.ts), read-only, for the length of one question. Names and kinds
 * of rows whose chunk is not complete may not be in them yet; they get numbers behind the last one, for this question.
 */
import type { Kind } from '../store/chunk.ts'
import { CHUNK_IDS } from '../store/chunk-sets.ts'
import type { EventDatabase } from './event-database.ts'

export interface KnownKind extends Kind {
  readonly number: number
}

export interface Vocabulary {
  /** One more than the highest number a name can have. */
  readonly namesMax: number
  readonly kindsMax: number
  nameNumber(name: string): number
  kindNumber(kind: Kind): number
  name(number: number): string
  /** By kind: 1 where the condition holds. */
  kindFlags(holds: (kind: KnownKind) => boolean): Uint8Array
  /** Counts of kinds, added up by a name of theirs; kinds without one are left out. */
  sumKinds(counts: ArrayLike<number>, nameOf: (kind: KnownKind) => string | null): Record<string, number>
}

export function createVocabulary({ db, growing }: Pick<EventDatabase, 'db' | 'growing'>): Vocabulary {
  const selectNumber = db.prepare('SELECT number FROM event_names WHERE name = ?')
  const selectName = db.prepare('SELECT name FROM event_names WHERE number = ?')
  const lastName = Number(db.prepare('SELECT max(number) AS number FROM event_names').get()?.number ?? 0)
  const kinds = db
    .prepare('SELECT number, action, severity, reason_code AS reason FROM event_kinds')
    .all() as unknown as KnownKind[]
  const newNames: string[] = []
  const numbers = new Map<string, number>()

  function numberNow(name: string): number {
    const known = selectNumber.get(name)?.number
    return known === undefined ? lastName + newNames.push(name) : Number(known)
  }

  const isSame = (a: Kind, b: Kind) => a.action === b.action && a.severity === b.severity && a.reason === b.reason
  let lastKind = Math.max(0, ...kinds.map(kind => kind.number))
  for (const { action, severity, reason } of growing().kindsFound) {
    const kind = { action, severity, reason }
    if (!kinds.some(known => isSame(known, kind))) kinds.push({ ...kind, number: ++lastKind })
  }

  return {
    // The chunk's names, and the three that a summary asks for by name.
    namesMax: lastName + 2 * CHUNK_IDS + 3 + 1,
    kindsMax: lastKind + 1,
    nameNumber(name) {
      let number = numbers.get(name)
      if (number === undefined) {
        number = numberNow(name)
        numbers.set(name, number)
      }
      return number
    },
    kindNumber: kind => (kinds.find(known => isSame(known, kind)) as KnownKind).number,
    name: number => newNames[number - lastName - 1] ?? String(selectName.get(number)?.name),
    kindFlags(holds) {
      const flags = new Uint8Array(lastKind + 1)
      for (const kind of kinds) if (holds(kind)) flags[kind.number] = 1
      return flags
    },
    sumKinds(counts, nameOf) {
      const sums = new Map<string, number>()
      for (const kind of kinds) {
        const count = counts[kind.number] as number
        const name = nameOf(kind)
        if (count > 0 && name !== null) sums.set(name, (sums.get(name) ?? 0) + count)
      }
      return Object.fromEntries(sums)
    },
  }
}
