/**
 * Which checkpoint is shown to others: the newest that as many witnesses cosigned as the quorum asks for. Signing goes on every second and
 * waits for nobody, so the newest signed one mostly has no cosignatures yet, and an auditor who wants them would never see one.
 *
 *   witnessed   as long as the witnesses follow: a few seconds behind what is signed
 *   signed      the newest signed one: without a quorum, before the first that reaches it, and when what was signed has waited for
 *               longer than `witnessedWaitMsMax`; readiness says so
 *
 * Whatever is shown is never smaller than what was shown before. Owns what was shown last, in memory.
 */
import { parseSignedCheckpoint } from '../evidence/checkpoint.ts'
import { LIMITS } from '../limits.ts'
import type { WitnessClient } from '../witness/client.ts'

export function createShownCheckpoint(deps: {
  /** The newest signed note. */
  readonly newest: () => string | undefined
  readonly witnesses: Pick<WitnessClient, 'witnessed' | 'status'>
  /** A witnessed one that was kept by the process before; asked once, when there is a signed one. */
  readonly readKept: () => string | undefined
}): () => string | undefined {
  const { newest, witnesses, readKept } = deps
  let kept: { readonly note: string | undefined } | undefined
  let shown: { readonly note: string; readonly size: number } | undefined

  return () => {
    const signed = newest()
    if (signed === undefined) return undefined
    kept ??= { note: readKept() }
    const isLate = witnesses.status().waitingMs > LIMITS.witnessedWaitMsMax
    const note = (isLate ? undefined : (witnesses.witnessed() ?? kept.note)) ?? signed
    if (note === shown?.note) return note
    const size = sizeOf(note)
    if (size >= (shown?.size ?? 0)) shown = { note, size }
    return shown?.note
  }
}

/** Of the tree, as a note says; 0 when it says none. */
export function sizeOf(note: string): number {
  return parseSignedCheckpoint(note)?.size ?? 0
}
