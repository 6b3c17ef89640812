/**
 * What a witness must never forget, and its spelling in the file `state`: its own key and, of each log, the keys and the last
 * checkpoint it cosigned. One line of JSON:
 *
 *   {"v":1,"witness":"<verifier key>","logs":[{"keys":"<key chain>","checkpoint":"<signed note>"},...]}
 *
 * The file needs no checksum: its checkpoints are signed by the log and by the witness itself, and hand-overs by all of their keys. What is
 * not this, to the letter and with every signature right, is no state.
 */
import { parseJsonObject } from '../evidence/encoding.ts'
import { formatKeyChain, type KeyChain, openByChain, parseKeyChain } from '../evidence/key-chain.ts'
import type { TreeHead } from '../evidence/merkle-proof.ts'
import {
  formatVerifierKey,
  type NoteSignature,
  parseNote,
  parseVerifierKey,
  type VerifierKey,
} from '../evidence/note.ts'
import { createVerifier } from '../evidence/signature.ts'

export interface WitnessState {
  readonly key: VerifierKey
  /** By origin. Logs that it was never shown anything of are not in it. */
  readonly logs: ReadonlyMap<string, LogState>
}

export interface LogState {
  readonly keys: KeyChain
  /** Undefined until the first one. */
  readonly last: Cosigned | undefined
}

/** The last checkpoint that was cosigned. */
export interface Cosigned extends TreeHead {
  /** Seconds since 1970. */
  readonly time: number
  /** The checkpoint with the signature of the log and that of the witness. */
  readonly note: string
  /** That of the witness. */
  readonly signature: NoteSignature
}

const VERSION = 1

export function formatState({ key, logs }: WitnessState): string {
  const entries = [...logs.values()].map(({ keys, last }) => ({
    keys: formatKeyChain(keys),
    checkpoint: last?.note ?? null,
  }))
  return `${JSON.stringify({ v: VERSION, witness: formatVerifierKey(key), logs: entries })}\n`
}

export function parseState(text: string): WitnessState | undefined {
  const { witness, logs } = parseJsonObject(text) ?? {}
  const key = typeof witness === 'string' ? parseVerifierKey(witness) : undefined
  if (key === undefined || !Array.isArray(logs)) return undefined
  const parsed = logs.map((log: unknown) => parseLog(log, key))
  if (!parsed.every(log => log !== undefined)) return undefined
  const state = { key, logs: new Map(parsed.map(log => [log.keys.first.name, log])) }
  return formatState(state) === text ? state : undefined
}

function parseLog(value: unknown, witness: VerifierKey): LogState | undefined {
  const { keys: chain, checkpoint } = { ...(value as Record<string, unknown> | null) }
  const keys = typeof chain === 'string' ? parseKeyChain(chain) : undefined
  if (keys === undefined) return undefined
  if (checkpoint === null) return { keys, last: undefined }
  const last = typeof checkpoint === 'string' ? readCosigned(checkpoint, keys, witness) : undefined
  return last && { keys, last }
}

function readCosigned(note: string, keys: KeyChain, witness: VerifierKey): Cosigned | undefined {
  const opened = openByChain(note, keys, [createVerifier(witness)])
  const signature = parseNote(note)?.signatures.at(-1)
  const time = opened.isTrusted ? opened.cosignatures[0]?.time : undefined
  if (!opened.isTrusted || time === undefined || signature?.keyId !== witness.id) return undefined
  return { size: opened.checkpoint.size, root: opened.checkpoint.root, time, note, signature }
}
