/** What deviates from the right leaves, in the bundles whose places do not agree: findings, and the rows to be classified. */
import { areSameBytes } from '../evidence/encoding.ts'
import { isErasedSalt, parseLeaf, SALT_BYTES } from '../evidence/leaf.ts'
import type { Hash } from '../evidence/merkle.ts'
import { TILE_WIDTH } from '../evidence/tile.ts'
import { type Candidate, leavesOf, rootFor } from './authority.ts'
import { saltOf } from './bundle.ts'
import type { BadRow } from './classify.ts'
import type { OddBundle } from './source.ts'
import { rootOf } from './subtree.ts'
import type { Finding } from './verdict.ts'

export interface Compared {
  readonly findings: readonly Finding[]
  /** Of files that may be missing after a power loss. */
  readonly lagging: boolean
  readonly bad: readonly BadRow[]
}

const isSame = (a: Hash | undefined, b: Hash | undefined) => a !== undefined && b !== undefined && areSameBytes(a, b)

/** @param syncedSize files above it may be missing, as they are made anew from the rows */
export function compareBundle(odd: OddBundle, right: Candidate, syncedSize: number): Compared {
  const { index, detail, roots, width, lacksParent } = odd
  const firstId = index * TILE_WIDTH + 1
  if (detail === undefined) return { findings: withoutDetail(odd, right), lagging: false, bad: [] }
  const { leaves } = detail
  const truth = leavesOf(right, leaves, odd)
  const target = rootFor(right, odd)
  const bad = badRows(odd, truth)
  const isBad = new Set(bad.map(({ id }) => id))
  const files = [...tileFindings(odd, truth), ...entryFindings(odd, truth).filter(({ at }) => !isBad.has(at.id))]
  if (roots.parent !== undefined && !areSameBytes(roots.parent, target)) {
    files.push({ verdict: 'EDITED', at: { id: firstId }, detail: `The hash above events ${rangeOf(odd)} is another` })
  }
  if (lacksParent) {
    files.push({ verdict: 'DELETED', at: { id: firstId }, detail: `The tile above events ${rangeOf(odd)} is missing` })
  }
  // What a power loss has left of files that were not synced: nothing, or, where the rows are right, anything.
  const isSynced = firstId + width - 1 <= syncedSize
  const findings: Finding[] = files.filter(({ verdict }) => isSynced || (bad.length > 0 && verdict !== 'DELETED'))
  const lagging = findings.length < files.length
  const made = rootOf(truth)
  if (made !== undefined && !areSameBytes(made, target)) {
    // Where the row of each event vouches for its entry, it is one of those that have no row to do so any more.
    const erased = bad.length === 0 ? firstErased(odd) : undefined
    const which = erased === undefined ? 'events' : 'erased among the events'
    const text = `This or another of the ${which} ${rangeOf(odd)}: together they do not make the hash above them`
    findings.push({ verdict: 'EDITED', at: { id: erased ?? firstId }, detail: text })
  }
  if (findings.length + bad.length === 0 && !lagging) {
    // All that there should be is there and right, and something goes on behind it.
    const [fault = 'Its places do not agree'] = detail.faults
    findings.push({ verdict: 'MALFORMED', at: { id: firstId + width }, detail: fault })
  }
  return { findings, lagging, bad }
}

function firstErased({ index, detail }: OddBundle): number | undefined {
  const salts = detail?.salts ?? new Uint8Array()
  for (let n = 0; n * SALT_BYTES < salts.length; n++) {
    const salt = saltOf({ salts }, n)
    if (salt !== undefined && isErasedSalt(salt)) return index * TILE_WIDTH + 1 + n
  }
  return undefined
}

/** One of very many: only whether it is the rows. What is wrong with files alone is told of those before it. */
function withoutDetail(odd: OddBundle, right: Candidate): Finding[] {
  if (!odd.hasRows || isSame(odd.roots.rows, rootFor(right, odd))) return []
  const at = { id: odd.index * TILE_WIDTH + 1 }
  return [{ verdict: 'EDITED', at, detail: `This or another of the events ${rangeOf(odd)} is not that of its leaf` }]
}

const rangeOf = ({ index, width }: OddBundle) => `${index * TILE_WIDTH + 1} to ${index * TILE_WIDTH + width}`

type EventFinding = Finding & { readonly at: { readonly id: number } }

function tileFindings({ index, detail, lacksTile }: OddBundle, truth: readonly (Hash | undefined)[]): EventFinding[] {
  if (detail!.leaves.tile === undefined && !lacksTile) return []
  return firstDifference(index, detail!.leaves.tile, truth, 'Its hash in the tile')
}

function entryFindings({ index, detail }: OddBundle, truth: readonly (Hash | undefined)[]): EventFinding[] {
  return firstDifference(index, detail!.leaves.entries, truth, 'Its entry')
}

function firstDifference(
  index: number,
  leaves: readonly (Hash | undefined)[] | undefined,
  truth: readonly (Hash | undefined)[],
  what: string,
): EventFinding[] {
  const firstId = index * TILE_WIDTH + 1
  if (leaves === undefined) {
    return [{ verdict: 'DELETED', at: { id: firstId }, detail: `${what} and those of its bundle are missing` }]
  }
  const n = leaves.findIndex((leaf, n) => !isSame(leaf, truth[n]))
  if (n < 0) return []
  const at = { id: firstId + n }
  if (leaves[n] === undefined) return [{ verdict: 'DELETED', at, detail: `${what} is missing` }]
  const isMoved =
    leaves.some((leaf, m) => m !== n && isSame(leaf, truth[n])) && truth.some(leaf => isSame(leaf, leaves[n]))
  return [{ verdict: isMoved ? 'REORDERED' : 'EDITED', at, detail: `${what} is another` }]
}

function badRows({ index, detail }: OddBundle, truth: readonly (Hash | undefined)[]): BadRow[] {
  const { leaves, rows, salts, entries } = detail!
  if (leaves.rows === undefined) return []
  const byId = new Map((rows ?? []).map(row => [row.id, row]))
  return leaves.rows.flatMap((leaf, n) => {
    if (isSame(leaf, truth[n])) return []
    const id = index * TILE_WIDTH + 1 + n
    const entry = entries?.[n]
    const parsed = entry !== undefined && isSame(leaves.entries?.[n], truth[n]) ? parseLeaf(entry) : undefined
    return {
      id,
      row: byId.get(id),
      salt: salts === undefined ? undefined : saltOf({ salts }, n),
      leaf: truth[n],
      entry: parsed?.kind === 'leaf' ? parsed.leaf : undefined,
    }
  })
}
