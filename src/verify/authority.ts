/**
 * Which of the places is right. The same leaves are stored as rows with their salts, as entries, as hashes of leaves and as hashes
 * above these. Each place gives a tree; the one whose root is the signed one is right as a whole, and what deviates from it
 * was changed. A fifth candidate is what most places say of each bundle, for when several were changed in one place each.
 */
import { areSameBytes, HASH_BYTES } from '../evidence/encoding.ts'
import { parseLeaf } from '../evidence/leaf.ts'
import { EMPTY_ROOT, foldEdge, type GrowingTree, growTree, type Hash } from '../evidence/merkle.ts'
import { TILE_WIDTH } from '../evidence/tile.ts'
import { type Leaves, type OddBundle, type RangeReport, WITNESSES, type Witness } from './source.ts'
import { edgeOf, rootOf } from './subtree.ts'

/** A root that somebody vouches for. Later in the list counts more. */
export interface Anchor {
  readonly size: number
  readonly root: Hash
}

export type Candidate = 'most' | Witness
const CANDIDATES: readonly Candidate[] = ['most', ...WITNESSES]

interface Tree {
  readonly grown: GrowingTree
  /** Of levels 2 and above, by level. */
  readonly upper: Hash[][]
  /** By size. */
  readonly roots: Map<number, Hash | undefined>
}

export interface Candidates {
  /** Reports in the order of their bundles. */
  add(report: RangeReport): void
  root(candidate: Candidate, size: number): Hash | undefined
  /** The one that leads to most anchors, the last ones first. */
  choose(anchors: readonly Anchor[]): Candidate
  /** The hashes of full bundles at a level of tiles from 2 on. */
  upper(candidate: Candidate, level: number): readonly Hash[]
  /** The roots of the perfect subtrees of the whole tree; undefined while leaves at its end are missing. */
  edge(candidate: Candidate): readonly Hash[] | undefined
}

/** @param sizes ascending, the whole size among them */
export function createCandidates(size: number, sizes: readonly number[]): Candidates {
  const trees = new Map<Candidate, Tree>(CANDIDATES.map(candidate => [candidate, createTree()]))
  const wantedSizes = new Set(sizes)
  const sizesWithin = Map.groupBy(
    sizes.filter(wanted => wanted % TILE_WIDTH > 0),
    wanted => Math.floor(wanted / TILE_WIDTH),
  )
  for (const { roots } of trees.values()) roots.set(0, EMPTY_ROOT)
  let lastLeaves: Leaves = {}

  function addBundle(index: number, odd: OddBundle | undefined, agreed: Hash, leaves: Leaves | undefined): void {
    if (leaves !== undefined && (index + 1) * TILE_WIDTH > size) lastLeaves = leaves
    for (const [candidate, tree] of trees) {
      for (const wanted of (leaves && sizesWithin.get(index)) ?? []) {
        const edge = edgeOf(leavesOf(candidate, leaves!, odd), wanted % TILE_WIDTH)
        tree.roots.set(wanted, edge && foldEdge([...tree.grown.edge().hashes, ...edge]))
      }
      if ((index + 1) * TILE_WIDTH > size) continue
      tree.grown.append(odd === undefined ? agreed : rootFor(candidate, odd))
      const grown = (index + 1) * TILE_WIDTH
      if (wantedSizes.has(grown)) tree.roots.set(grown, tree.grown.root())
    }
  }

  return {
    add({ first, roots, odd, marked }) {
      const oddBy = new Map(odd.map(bundle => [bundle.index, bundle]))
      const leavesBy = new Map(marked.map(bundle => [bundle.index, bundle.leaves]))
      for (let n = 0; n * HASH_BYTES < roots.length; n++) {
        const agreed = roots.slice(n * HASH_BYTES, (n + 1) * HASH_BYTES)
        addBundle(first + n, oddBy.get(first + n), agreed, leavesBy.get(first + n))
      }
    },
    root: (candidate, wanted) => trees.get(candidate)!.roots.get(wanted),
    choose(anchors) {
      const leadsTo = (candidate: Candidate) => anchors.map(anchor => isRootOf(trees.get(candidate)!, anchor))
      const ranked = CANDIDATES.map(candidate => ({ candidate, leads: leadsTo(candidate) }))
      ranked.sort((a, b) => compareFromEnd(b.leads, a.leads)) // stable: the earlier candidate of equals
      return ranked[0]!.candidate
    },
    upper: (candidate, level) => trees.get(candidate)!.upper[level] ?? [],
    edge(candidate) {
      const edge = edgeOf(leavesOf(candidate, lastLeaves, undefined), size % TILE_WIDTH)
      return edge && [...trees.get(candidate)!.grown.edge().hashes, ...edge]
    },
  }
}

function createTree(): Tree {
  const upper: Hash[][] = []
  // Its leaves are the roots of bundles, so its level 1 is the log's level 2.
  const grown = growTree(undefined, (level, hash) => {
    if (level === 0) return
    upper[level + 1] ??= []
    upper[level + 1]!.push(hash)
  })
  return { grown, upper, roots: new Map() }
}

function isRootOf({ roots }: Tree, { size, root }: Anchor): boolean {
  const own = roots.get(size)
  return own !== undefined && areSameBytes(own, root)
}

function compareFromEnd(a: readonly boolean[], b: readonly boolean[]): number {
  for (let n = a.length - 1; n >= 0; n--) if (a[n] !== b[n]) return Number(a[n]) - Number(b[n])
  return 0
}

const MISSING = new Uint8Array(HASH_BYTES)

/** What a candidate says of a bundle that its places do not agree on; what most say where it says nothing itself. */
export function rootFor(candidate: Candidate, { roots }: OddBundle): Hash {
  const own = candidate === 'most' ? undefined : roots[candidate]
  return own ?? mostOf(WITNESSES.map(witness => roots[witness])) ?? MISSING
}

/** The leaves of a bundle as the candidate has them, or else those that lead to its root, or else what most say of each. */
export function leavesOf(
  candidate: Candidate,
  leaves: Leaves,
  odd: OddBundle | undefined,
): readonly (Hash | undefined)[] {
  const vectors = [leaves.rows, leaves.entries, leaves.tile].filter(vector => vector !== undefined)
  if (odd === undefined && candidate !== 'most') {
    const own = candidate === 'parent' ? undefined : leaves[candidate]
    if (own?.every(leaf => leaf !== undefined)) return own
  }
  if (odd !== undefined) {
    const wanted = rootFor(candidate, odd)
    const right = vectors.find(vector => {
      const root = rootOf(vector)
      return root !== undefined && areSameBytes(root, wanted)
    })
    if (right !== undefined) return right
  }
  const said = (vector: readonly (Hash | undefined)[], n: number) =>
    vector === leaves.entries && !isEntryOfItsPlace(odd, n) ? undefined : vector[n]
  return (vectors[0] ?? []).map((_, n) => mostOf(vectors.map(vector => said(vector, n))))
}

/** Behind an entry whose length was changed the others are cut anywhere, and say nothing. */
function isEntryOfItsPlace(odd: OddBundle | undefined, n: number): boolean {
  const entry = odd?.detail?.entries?.[n]
  if (odd === undefined || entry === undefined) return true
  const parsed = parseLeaf(entry)
  return parsed.kind === 'leaf' ? parsed.leaf.id === odd.index * TILE_WIDTH + 1 + n : parsed.kind === 'unknown-version'
}

/** The most frequent one; of equals, the later one: what is further from whoever edits rows. */
function mostOf(hashes: readonly (Hash | undefined)[]): Hash | undefined {
  let most: Hash | undefined
  let count = 0
  for (const hash of hashes) {
    if (hash === undefined) continue
    const same = hashes.filter(other => other !== undefined && areSameBytes(other, hash)).length
    if (same >= count) {
      most = hash
      count = same
    }
  }
  return most
}
