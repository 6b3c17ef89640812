/**
 * Proofs that an event is in the log, verified without the log (C2SP tlog-proof): index, inclusion proof and signed
 * checkpoint in one text. The extra data of ours is the disclosure of a row: its 14 columns and its salt, so that the
 * proof alone says what happened. A proof that was given away keeps its worth when the row is erased.
 */
import { LIMITS } from '../limits.ts'
import {
  type Checkpoint,
  type CheckpointFault,
  openCheckpoint,
  parseSignedCheckpoint,
  type TrustedLog,
} from './checkpoint.ts'
import {
  areSameBytes,
  decodeText,
  encodeText,
  formatBase64,
  parseBase64,
  parseBase64Hash,
  parseDecimal,
  parseJsonObject,
} from './encoding.ts'
import {
  commit,
  ERASED_COLUMNS,
  type EventRow,
  formatLeaf,
  formatPrivate,
  formatPublic,
  isEventRow,
  SALT_BYTES,
} from './leaf.ts'
import { type Hash, hashLeaf } from './merkle.ts'
import { verifyInclusion } from './merkle-proof.ts'
import type { VerifiedSignature } from './note.ts'

const FIRST_LINE = 'c2sp.org/tlog-proof@v1'
const DISCLOSURE_VERSION = 1

export interface Proof {
  /** Of the entry in the log: the id of the row - 1. */
  readonly index: number
  /** From the sibling of the leaf up. */
  readonly hashes: readonly Hash[]
  /** Signed, as the log gave it. */
  readonly checkpoint: string
  /** Not authenticated by anything: to be believed only as far as the leaf commits to it. */
  readonly extra?: Uint8Array
}

/** @throws {RangeError} when the proof would not be read again. */
export function formatProof({ index, hashes, checkpoint, extra }: Proof): string {
  const lines = [FIRST_LINE, ...(extra ? [`extra ${formatBase64(extra)}`] : []), `index ${index}`]
  const text = `${[...lines, ...hashes.map(formatBase64)].join('\n')}\n\n${checkpoint}`
  if (parseProof(text) === undefined) throw new RangeError('this is no proof')
  return text
}

/** Undefined when it is not a proof to the letter (tlog-proof, "Format"). Whether it proves anything is another question. */
export function parseProof(text: string): Proof | undefined {
  const end = text.indexOf('\n\n')
  if (text.length > LIMITS.proofCharactersMax || end < 0) return undefined
  const [first, ...lines] = text.slice(0, end).split('\n')
  const extra = lines[0]?.startsWith('extra ') ? parseBase64(lines.shift()!.slice('extra '.length)) : null
  const [indexLine = '', ...hashLines] = lines
  const index = indexLine.startsWith('index ') ? parseDecimal(indexLine.slice('index '.length)) : undefined
  const hashes = parseHashLines(hashLines)
  const checkpoint = text.slice(end + 2)
  if (first !== FIRST_LINE || index === undefined || hashes === undefined) return undefined
  if (extra === undefined || extra?.length === 0 || parseSignedCheckpoint(checkpoint) === undefined) return undefined
  return extra === null ? { index, hashes, checkpoint } : { index, hashes, checkpoint, extra }
}

/** Hashes in base64, one a line; undefined when one is not, or there are more than a proof can have. */
export function parseHashLines(lines: readonly string[]): Hash[] | undefined {
  if (lines.length > LIMITS.proofHashesMax) return undefined
  const hashes = lines.map(parseBase64Hash)
  return hashes.every(hash => hash !== undefined) ? hashes : undefined
}

/** A row and what opens its commitment. Personal data: only for whoever may read the row. */
export interface Disclosure {
  readonly salt: Uint8Array
  readonly row: EventRow
}

/** Canonical JSON (RFC 8785) of `{"private":{...},"public":{...},"salt":"<base64>","v":1}`. */
export function formatDisclosure({ salt, row }: Disclosure): Uint8Array {
  if (salt.length !== SALT_BYTES) throw new RangeError(`a salt has ${SALT_BYTES} bytes`)
  const columns = `"private":${formatPrivate(row)},"public":${formatPublic(row)}`
  return encodeText(`{${columns},"salt":"${formatBase64(salt)}","v":${DISCLOSURE_VERSION}}`)
}

/** `unknown-version`: written by a later version of the software. */
export function parseDisclosure(extra: Uint8Array): Disclosure | 'malformed' | 'unknown-version' {
  const fields = parseJsonObject(decodeText(extra))
  if (fields === undefined || !Number.isSafeInteger(fields.v) || Number(fields.v) < 1) return 'malformed'
  if (fields.v !== DISCLOSURE_VERSION) return 'unknown-version'
  const salt = parseBase64(String(fields.salt))
  const row = { ...Object(fields.private), ...Object(fields.public) }
  if (!isEventRow(row) || salt?.length !== SALT_BYTES) return 'malformed'
  const disclosure = { salt, row }
  return areSameBytes(formatDisclosure(disclosure), extra) ? disclosure : 'malformed'
}

export type ProofFault =
  | CheckpointFault
  /** The disclosed row is not the one that the proof is of: its id says another leaf. */
  | 'other-row'
  /** The proof has no disclosure, so its leaf cannot be computed. */
  | 'not-disclosed'
  | 'unknown-version'
  /** The proof does not lead from this leaf to the root of the checkpoint. */
  | 'not-included'

export type ProofVerdict =
  | {
      readonly isProven: true
      readonly row: EventRow
      readonly checkpoint: Checkpoint
      readonly cosignatures: readonly VerifiedSignature[]
    }
  | { readonly isProven: false; readonly reason: ProofFault }

/**
 * Verifies that the disclosed row is in a log whose checkpoint is signed, and answers with it: all 14 columns, proven.
 * Whether a row that one has is that row, `compareRows` says.
 */
export function verifyProof(text: string, trusted: TrustedLog): ProofVerdict {
  const proof = parseProof(text)
  if (proof === undefined) return refused('malformed')
  if (proof.extra === undefined) return refused('not-disclosed')
  const disclosure = parseDisclosure(proof.extra)
  if (disclosure === 'malformed' || disclosure === 'unknown-version') return refused(disclosure)

  const { salt, row } = disclosure
  if (proof.index !== row.id - 1) return refused('other-row')
  const opened = openCheckpoint(proof.checkpoint, trusted)
  if (!opened.isTrusted) return refused(opened.reason)
  const { checkpoint, cosignatures } = opened
  const leafHash = hashLeaf(formatLeaf(row, commit(salt, row)))
  if (!verifyInclusion(leafHash, proof.index, checkpoint.size, proof.hashes, checkpoint.root))
    return refused('not-included')
  return { isProven: true, row, checkpoint, cosignatures }
}

/**
 * How a row that is at hand compares with the proven one. `erased`: its public columns are the proven ones, its private ones
 * were blanked since, as an erasure leaves them.
 */
export function compareRows(proven: EventRow, row: EventRow): 'same' | 'erased' | 'other' {
  if (formatPublic(proven) !== formatPublic(row)) return 'other'
  if (formatPrivate(proven) === formatPrivate(row)) return 'same'
  return formatPrivate(row) === formatPrivate(ERASED_COLUMNS) ? 'erased' : 'other'
}

function refused(reason: ProofFault) {
  return { isProven: false, reason } as const
}
