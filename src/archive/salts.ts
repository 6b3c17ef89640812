/**
 * What opens the leaves of an archive's events, as a file: 16 bytes of salt for each event, in the order of the ids, zeros where it
 * was erased; then, in the same order, for each of those zeros the 32 bytes of the commitment, which cannot be computed any
 * more. Pure.
 */
import { HASH_BYTES, joinBytes } from '../evidence/encoding.ts'
import { commit, ERASED_COLUMNS, type EventRow, formatPrivate, isErasedSalt, SALT_BYTES } from '../evidence/leaf.ts'
import type { Hash } from '../evidence/merkle.ts'

export interface Salts {
  /** 16 bytes each. */
  readonly salts: Uint8Array
  /** By place in the file: of those whose salt is zeros. */
  readonly commitments: ReadonlyMap<number, Hash>
}

export function formatSalts({ salts, commitments }: Salts): Uint8Array {
  const behind = erasedPlaces(salts).map(place => commitments.get(place))
  return behind.every(commitment => commitment !== undefined) ? joinBytes(salts, ...behind) : salts
}

/** Undefined when the file is not that of so many events. Archives of earlier versions have no commitments. */
export function parseSalts(bytes: Uint8Array, count: number): Salts | undefined {
  const salts = bytes.subarray(0, count * SALT_BYTES)
  const rest = bytes.subarray(count * SALT_BYTES)
  if (salts.length !== count * SALT_BYTES) return undefined
  if (rest.length === 0) return { salts, commitments: new Map() }
  const places = erasedPlaces(salts)
  if (rest.length !== places.length * HASH_BYTES) return undefined
  return {
    salts,
    commitments: new Map(places.map((place, n) => [place, rest.slice(n * HASH_BYTES, (n + 1) * HASH_BYTES)])),
  }
}

export const saltAt = (salts: Uint8Array, place: number) => salts.subarray(place * SALT_BYTES, (place + 1) * SALT_BYTES)

/** Places whose salt is zeros. */
export function erasedPlaces(salts: Uint8Array): number[] {
  const places: number[] = []
  for (let place = 0; place * SALT_BYTES < salts.length; place++) {
    if (salts[place * SALT_BYTES] === 0 && isErasedSalt(saltAt(salts, place))) places.push(place)
  }
  return places
}

const ERASED_PRIVATE = formatPrivate(ERASED_COLUMNS)

/** What the leaf of an event commits to; undefined when it is erased and not blank, or nothing says what it was. */
export function commitmentOf({ salts, commitments }: Salts, place: number, row: EventRow): Hash | undefined {
  const salt = saltAt(salts, place)
  if (!isErasedSalt(salt)) return commit(salt, row)
  return formatPrivate(row) === ERASED_PRIVATE ? commitments.get(place) : undefined
}
