/**
 * Compares the events of an archive, in their order, with the log that its manifest says they left: whether their leaves are under
 * its checkpoint. Who signed that, and whether it is the right log, is for `ev-central verify` to judge.
 */
import { parseSignedCheckpoint } from '../evidence/checkpoint.ts'
import { parseBase64Hash } from '../evidence/encoding.ts'
import { type EventRow, formatLeaf } from '../evidence/leaf.ts'
import { type Hash, hashLeaf } from '../evidence/merkle.ts'
import { verifyConsistency } from '../evidence/merkle-proof.ts'
import { growFrom } from '../evidence/range-proof.ts'
import type { ArchiveManifest } from './format.ts'
import { commitmentOf, type Salts } from './salts.ts'

export interface LeafCheck {
  add(event: EventRow): void
  /** Whether all of them together are what was signed. */
  isProven(): boolean
}

/** Undefined when the manifest has no proof to compare with. */
export function startLeafCheck({ log, first_id }: ArchiveManifest, salts: Salts): LeafCheck | undefined {
  if (log?.proof === undefined) return undefined
  const [edge, consistency] = [log.proof.edge, log.proof.consistency].map(hashes => hashes.map(parseBase64Hash))
  const areHashes = (hashes: readonly (Hash | undefined)[] | undefined): hashes is readonly Hash[] =>
    hashes?.every(hash => hash !== undefined) === true
  const signed = parseSignedCheckpoint(log.proof.checkpoint)
  const tree = areHashes(edge) ? growFrom(log.first_index, edge) : undefined
  return {
    add(event) {
      const commitment = commitmentOf(salts, event.id - first_id, event)
      if (commitment !== undefined) tree?.append(hashLeaf(formatLeaf(event, commitment)))
    },
    isProven() {
      if (tree === undefined || signed === undefined || !areHashes(consistency)) return false
      const isWhole = tree.size === log.first_index + log.count
      return isWhole && verifyConsistency({ size: tree.size, root: tree.root() }, signed, consistency)
    },
  }
}
