/**
 * What happened to rows that are not those of their leaves: edited, deleted, inserted, put in another order, dated back, cut off,
 * hidden. Told apart by where the content of each such row was logged, and where the content of each such leaf is now:
 *
 *   the row is another leaf's, and the leaf is in another row    reordered
 *   the row is another leaf's, and the leaf is in no row         deleted: the rows behind it moved up
 *   the row is no leaf's, and the leaf is in another row         inserted: the rows behind it moved down
 *   neither                                                      edited, or dated back if it is only the times
 *
 * Salts may have been moved along with their rows or not.
 */
import { areSameBytes } from '../evidence/encoding.ts'
import { commit, isErasedSalt, type Leaf } from '../evidence/leaf.ts'
import type { Hash } from '../evidence/merkle.ts'
import { hashOfErased, hashOfRow, isEventRow } from './bundle.ts'
import type { FoundRow, RowsOverview } from './source.ts'
import type { Finding } from './verdict.ts'

/** A row that is not the one of its leaf. */
export interface BadRow {
  readonly id: number
  /** Undefined: there is none. */
  readonly row: FoundRow | undefined
  readonly salt: Uint8Array | undefined
  readonly leaf: Hash | undefined
  /** What the leaf says, if its entry is still there. */
  readonly entry: Leaf | undefined
}

/** Each of these is compared with each. */
const COMPARED_MAX = 48
const FINDINGS_MAX = 1_000

/** @param bad in the order of their ids */
export function classifyRows(bad: readonly BadRow[], rows: RowsOverview): Finding[] {
  const findings: Finding[] = []
  const claimed = new Set(rows.erasures.map(({ id }) => id))
  const hiddenTold = new Set<unknown>()

  for (const [n, { id, row, salt, entry }] of bad.entries()) {
    if (findings.length >= FINDINGS_MAX) break
    const at = { id }
    const others = othersOf(bad, n)
    const hidden = row === undefined ? rows.hidden.find(({ first, last }) => id >= first && id <= last) : undefined
    if (hidden !== undefined) {
      if (!hiddenTold.has(hidden)) findings.push({ verdict: 'HIDDEN', at, detail: hidden.detail })
      hiddenTold.add(hidden)
      continue
    }
    if (row === undefined && id > rows.lastId) {
      findings.push({ verdict: 'TRUNCATED', at, detail: 'Its row and all behind it are gone' })
      break
    }
    if (row === undefined) {
      findings.push({ verdict: 'DELETED', at, detail: 'There is no row of this id' })
      continue
    }
    if (salt !== undefined && isErasedSalt(salt) && !claimed.has(id)) continue // told as an erasure without record
    const isElsewhere = others.some(other => isContentOf(row, salt, other))
    const hasMoved = others.some(other => other.row !== undefined && isContentOf(other.row, other.salt, bad[n]!))
    if (isElsewhere && hasMoved) {
      findings.push({ verdict: 'REORDERED', at, detail: 'Its row is the one of another event' })
    } else if (isElsewhere) {
      findings.push({ verdict: 'DELETED', at, detail: 'Its row is gone, and those behind it moved up' })
      break
    } else if (hasMoved) {
      findings.push({ verdict: 'INSERTED', at, detail: 'Its row is a new one, and those behind it moved down' })
      break
    } else findings.push({ ...editOf(row, salt, entry), at })
  }
  return findings
}

function othersOf(bad: readonly BadRow[], n: number): readonly BadRow[] {
  const near = bad.slice(Math.max(0, n - 2), n + 3)
  return [...new Set([...near, ...bad.slice(0, COMPARED_MAX)])].filter(other => other !== bad[n])
}

/** Whether a row is what was logged at another place, but for its id. */
function isContentOf(row: FoundRow, salt: Uint8Array | undefined, there: BadRow): boolean {
  if (there.leaf === undefined) return false
  if (there.entry !== undefined && !isSamePublic(row, there.entry)) return false
  const moved = { ...row, id: there.id }
  if (there.entry !== undefined && [there.salt, salt].some(tried => tried !== undefined && isErasedSalt(tried))) {
    const hash = hashOfErased(moved, there.entry.commitment)
    if (hash !== undefined && areSameBytes(hash, there.leaf)) return true
  }
  return [there.salt, salt].some(tried => {
    const hash = hashOfRow(moved, tried)
    return hash !== undefined && areSameBytes(hash, there.leaf!)
  })
}

const PUBLIC_BUT_TIMES = ['action', 'severity', 'reason_code', 'status_code'] as const
const TIMES = ['date_time', 'created_at'] as const

function isSamePublic(row: FoundRow, entry: Leaf): boolean {
  return [...PUBLIC_BUT_TIMES, ...TIMES].every(column => row[column] === entry[column])
}

function editOf(
  row: FoundRow,
  salt: Uint8Array | undefined,
  entry: Leaf | undefined,
): Pick<Finding, 'verdict' | 'detail'> {
  if (!isEventRow(row)) return { verdict: 'EDITED', detail: 'A column of its row has a value of another type' }
  if (salt === undefined) return { verdict: 'EDITED', detail: 'Its salt is missing' }
  if (entry === undefined) return { verdict: 'EDITED', detail: 'Its row and salt do not make its leaf' }
  const changed = PUBLIC_BUT_TIMES.filter(column => row[column] !== entry[column])
  const times = TIMES.filter(column => row[column] !== entry[column])
  const isPrivateSame = isErasedSalt(salt) || areSameBytes(commit(salt, row), entry.commitment)
  const isEarlier = times.some(column => Date.parse(row[column]) < Date.parse(entry[column]))
  if (isPrivateSame && changed.length === 0 && isEarlier) {
    return { verdict: 'BACK_DATED', detail: `Of its row ${times.join(' and ')} differs` }
  }
  const columns = [...changed, ...times].join(', ')
  if (columns === '') return { verdict: 'EDITED', detail: 'Its salt or a column behind its commitment differs' }
  return {
    verdict: 'EDITED',
    detail: `Of its row ${columns} differs${isPrivateSame ? '' : ', and what is committed to'}`,
  }
}
