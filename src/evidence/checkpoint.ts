/**
 * Checkpoints (C2SP tlog-checkpoint): the text of one, and opening a signed one.
 */
import { LIMITS } from '../limits.ts'
import { formatBase64, isCount, isNoteText, parseBase64Hash, parseDecimal } from './encoding.ts'
import type { Hash } from './merkle.ts'
import { parseNote, type VerifiedSignature, type Verifier, verifyNote } from './note.ts'

export interface Checkpoint {
  /** Which log. Equal to the name of the key that signs. */
  readonly origin: string
  readonly size: number
  readonly root: Hash
  /** Lines that nobody audits; ours have none. */
  readonly extensions: readonly string[]
}

/** @throws {RangeError} when the checkpoint would not be read again. */
export function formatCheckpoint({ origin, size, root, extensions }: Checkpoint): string {
  const text = [origin, size, formatBase64(root), ...extensions].map(line => `${line}\n`).join('')
  if (!isCount(size) || parseCheckpoint(text) === undefined) throw new RangeError('this is no checkpoint')
  return text
}

/** Undefined when it is not a checkpoint to the letter (tlog-checkpoint, "Note text"), or larger than numbers are exact. */
export function parseCheckpoint(text: string): Checkpoint | undefined {
  if (!text.endsWith('\n') || !isNoteText(text)) return undefined
  const lines = text.slice(0, -1).split('\n')
  const [origin = '', sizeLine = '', rootLine = '', ...extensions] = lines
  if (lines.some(line => line === '') || origin.length > LIMITS.keyNameCharactersMax) return undefined
  if (extensions.length > LIMITS.checkpointExtensionLinesMax) return undefined
  const size = parseDecimal(sizeLine)
  const root = parseBase64Hash(rootLine)
  return size === undefined || root === undefined ? undefined : { origin, size, root, extensions }
}

/** What a signed checkpoint says, whoever signed it: nothing to believe. Undefined when it is none, to the letter. */
export function parseSignedCheckpoint(signed: string): Checkpoint | undefined {
  const note = parseNote(signed)
  return note && parseCheckpoint(note.text)
}

/** Whose checkpoints to believe. */
export interface TrustedLog {
  readonly origin: string
  /** Keys of the log; a checkpoint needs the signature of at least one. */
  readonly log: readonly Verifier[]
  /** Keys of witnesses; how many have to sign is for the caller to say. */
  readonly witnesses?: readonly Verifier[]
}

export type OpenedCheckpoint =
  | {
      readonly isTrusted: true
      readonly checkpoint: Checkpoint
      readonly signatures: readonly VerifiedSignature[]
      readonly cosignatures: readonly VerifiedSignature[]
    }
  | { readonly isTrusted: false; readonly reason: CheckpointFault }

export type CheckpointFault =
  | 'malformed'
  | 'other-origin'
  | 'unknown-keys'
  | 'wrong-signature'
  /** One key of the log signed it, and another one that had to did not (key-chain.ts). */
  | 'missing-signature'

/** Reads a signed checkpoint and verifies who signed it. A witness alone is not enough. */
export function openCheckpoint(signed: string, { origin, log, witnesses = [] }: TrustedLog): OpenedCheckpoint {
  const note = parseNote(signed)
  const checkpoint = note && parseCheckpoint(note.text)
  if (note === undefined || checkpoint === undefined) return { isTrusted: false, reason: 'malformed' }
  if (checkpoint.origin !== origin) return { isTrusted: false, reason: 'other-origin' }
  const verdict = verifyNote(note, [...log, ...witnesses])
  if (!verdict.isSigned) return { isTrusted: false, reason: verdict.reason }
  const isOfLog = ({ key }: VerifiedSignature) => log.some(verifier => verifier.key === key)
  const signatures = verdict.signatures.filter(isOfLog)
  const cosignatures = verdict.signatures.filter(signature => !isOfLog(signature))
  if (signatures.length === 0) return { isTrusted: false, reason: 'unknown-keys' }
  return { isTrusted: true, checkpoint, signatures, cosignatures }
}
