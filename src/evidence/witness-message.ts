/**
 * What a log and a witness say to each other (C2SP tlog-witness, "add-checkpoint"): the body of the request, and what an
 * answer means. The body is also how a consistency proof is written down: from the old size to the checkpoint in it.
 */
import { LIMITS } from '../limits.ts'
import { parseSignedCheckpoint } from './checkpoint.ts'
import { formatBase64, parseDecimal } from './encoding.ts'
import type { Hash } from './merkle.ts'
import { type NoteSignature, parseSignatureLines } from './note.ts'
import { parseHashLines } from './proof.ts'

export interface AddCheckpoint {
  /** Of the last checkpoint that the witness signed; 0 when it signed none. */
  readonly oldSize: number
  /** That the tree of the old size is the beginning of the one in the checkpoint. */
  readonly proof: readonly Hash[]
  /** Signed, as the log gave it. */
  readonly checkpoint: string
}

/** @throws {RangeError} when the request would not be read again. */
export function formatAddCheckpoint({ oldSize, proof, checkpoint }: AddCheckpoint): string {
  const text = `${[`old ${oldSize}`, ...proof.map(formatBase64)].join('\n')}\n\n${checkpoint}`
  if (parseAddCheckpoint(text) === undefined) throw new RangeError('this is no add-checkpoint request')
  return text
}

/** Undefined when it is not a request to the letter. Neither signature nor proof are verified. */
export function parseAddCheckpoint(body: string): AddCheckpoint | undefined {
  const end = body.indexOf('\n\n')
  if (body.length > LIMITS.proofCharactersMax || end < 0) return undefined
  const [oldLine = '', ...hashLines] = body.slice(0, end).split('\n')
  const oldSize = oldLine.startsWith('old ') ? parseDecimal(oldLine.slice('old '.length)) : undefined
  const proof = parseHashLines(hashLines)
  const checkpoint = body.slice(end + 2)
  if (oldSize === undefined || proof === undefined || parseSignedCheckpoint(checkpoint) === undefined) return undefined
  return { oldSize, proof, checkpoint }
}

/** The HTTP status of each outcome. A conflict is both another old size and, at the same size, another root. */
export const WITNESS_STATUS = {
  cosigned: 200,
  malformed: 400,
  'unknown-keys': 403,
  'unknown-log': 404,
  conflict: 409,
  'wrong-proof': 422,
} as const
export type WitnessOutcome = keyof typeof WITNESS_STATUS

/** The media type of a conflict that says which size the witness is at. */
export const SIZE_MEDIA_TYPE = 'text/x.tlog.size'

export const formatSize = (size: number) => `${size}\n`

export type WitnessAnswer =
  /** Not verified yet: the witness may have signed with a key that is not known, or wrongly. */
  | { readonly outcome: 'cosigned'; readonly signatures: readonly NoteSignature[] }
  /** `size`: of the last checkpoint that it signed. Without it the roots differ at the same size, and the log is forked. */
  | { readonly outcome: 'conflict'; readonly size?: number }
  | { readonly outcome: Exclude<WitnessOutcome, 'cosigned' | 'conflict'> | 'unexpected' }

/** What an answer says. `unexpected`: a status or a body that the specification does not have; worth another try. */
export function readWitnessAnswer(status: number, contentType: string | null, body: string): WitnessAnswer {
  const unexpected = { outcome: 'unexpected' } as const
  const outcome = Object.entries(WITNESS_STATUS).find(([, known]) => known === status)?.[0] as
    | WitnessOutcome
    | undefined
  if (outcome === 'cosigned') {
    const signatures = body.length <= LIMITS.noteCharactersMax ? parseSignatureLines(body) : undefined
    return signatures === undefined ? unexpected : { outcome, signatures }
  }
  if (outcome !== 'conflict') return { outcome: outcome ?? 'unexpected' }
  if (contentType?.split(';')[0]?.trim().toLowerCase() !== SIZE_MEDIA_TYPE) return { outcome }
  const size = body.endsWith('\n') ? parseDecimal(body.slice(0, -1)) : undefined
  return size === undefined ? unexpected : { outcome, size }
}
