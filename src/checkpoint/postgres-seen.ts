/**
 * What a process knows to be signed of a log in PostgreSQL, beside what the database says of that: a table can be emptied, and a
 * server restored. Owns the newest checkpoint that was read or signed here, and proven to be of this log.
 */
import { counted } from '../counted.ts'
import { parseSignedCheckpoint } from '../evidence/checkpoint.ts'
import { areSameBytes } from '../evidence/encoding.ts'
import { formatKeyChain, type KeyChain, openByChain } from '../evidence/key-chain.ts'
import { EMPTY_ROOT } from '../evidence/merkle.ts'
import type { TreeHead } from '../evidence/merkle-proof.ts'
import { type Outcome, refuse } from './outcome.ts'
import type { Last, Stored } from './postgres-checkpoints.ts'

export interface Seen extends TreeHead {
  /** Whether it is of the log with these keys. */
  isOf(chain: KeyChain): boolean
}

export interface SeenCheckpoint {
  now(): Seen | undefined
  /** Once it is committed: what was never committed, nobody was shown. */
  see(proven: Seen, note: string): void
}

export const DAMAGED = 'the newest row of log_checkpoints is not a checkpoint of this log'

/**
 * @param kept what an earlier process signed or saw
 * @param keep told of a larger one than before, whoever signed it
 */
export function createSeen(kept: string | undefined, keep: (note: string) => void): SeenCheckpoint {
  let seen = kept === undefined ? undefined : seenBefore(kept)
  return {
    now: () => seen,
    see(proven, note) {
      if (proven.size > (seen?.size ?? 0)) keep(note)
      seen = proven
    },
  }
}

/**
 * What the database says was signed last, if it goes on from what was seen.
 * @param seen before that was read, as what was seen meanwhile need not be in it
 */
export function soundLast({ chain, last }: Stored, seen: Seen | undefined): Last | Outcome {
  if (last === 'damaged') return refuse('CHECKPOINT_DAMAGED', DAMAGED)
  if (seen === undefined) return last
  if (chain === undefined) return refuse('FORKED', 'the log has no keys any more')
  if (last.size < seen.size) {
    return refuse(
      'ROLLED_BACK',
      `${counted(seen.size, 'event was signed', 'events were signed')}, and the newest checkpoint is of ${last.size}`,
    )
  }
  if (!seen.isOf(chain)) return refuse('FORKED', 'the log has other keys than before')
  const isOther = last.size === seen.size && !areSameBytes(last.root, seen.root)
  return isOther ? refuse('FORKED', `another checkpoint of ${counted(seen.size, 'event')} was signed before`) : last
}

export function seenOf(chain: KeyChain, { size, root }: TreeHead): Seen {
  const keys = formatKeyChain(chain)
  return { size, root, isOf: grown => formatKeyChain(grown).startsWith(keys) } // a chain of keys only grows
}

/** What is no checkpoint is of no log. */
function seenBefore(note: string): Seen {
  const { size, root } = parseSignedCheckpoint(note) ?? { size: 0, root: EMPTY_ROOT }
  return { size, root, isOf: chain => openByChain(note, chain).isTrusted }
}
