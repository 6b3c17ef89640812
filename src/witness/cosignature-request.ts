/**
 * One attempt to have a checkpoint cosigned by one witness (C2SP tlog-witness, "add-checkpoint"), the side of the log. What the
 * witness has to be told first, an older size or a hand-over of the log's key, is part of the attempt. Keeps no state.
 */
import { decodeText, joinBytes } from '../evidence/encoding.ts'
import type { Hash } from '../evidence/merkle.ts'
import type { NoteSignature, Verifier } from '../evidence/note.ts'
import {
  formatAddCheckpoint,
  readWitnessAnswer,
  SIZE_MEDIA_TYPE,
  type WitnessAnswer,
  type WitnessOutcome,
} from '../evidence/witness-message.ts'
import { LIMITS } from '../limits.ts'

/** Why there is no cosignature. docs/witness.md says what each means. */
export type WitnessFault =
  | Exclude<WitnessOutcome, 'cosigned' | 'conflict'>
  | 'unreachable'
  | 'timeout'
  | 'unexpected'
  | 'no-proof'
  | 'ahead'
  | 'forked'
  | 'wrong-cosignature'
  | 'time-ahead'

export interface CosignatureRequest {
  /** Where the witness is. */
  readonly url: string
  readonly verifier: Verifier
  readonly checkpoint: { readonly signed: string; readonly text: string; readonly size: number }
  /** What the witness is thought to have cosigned last; 0 when that is not known. */
  readonly oldSize: number
  readonly readProof: ReadProof
  readonly readHandOvers: ReadHandOvers
  readonly fetch: typeof fetch
  /** Ends the attempt. */
  readonly signal: AbortSignal
  readonly clock: () => number
}

/** The consistency proof between two sizes. */
export type ReadProof = (from: number, to: number) => readonly Hash[] | Promise<readonly Hash[]>
/** The signed notes by which the keys of the log were handed over, oldest first. */
export type ReadHandOvers = () => readonly string[] | Promise<readonly string[]>

export type CosignatureResult =
  | { readonly isCosigned: true; readonly signature: NoteSignature; readonly time: number }
  | { readonly isCosigned: false; readonly fault: WitnessFault }

/** It may have to be told the size, and the keys, and the size again as another process of the log was faster. */
const ROUNDS_MAX = 4

/** Never rejects. */
export async function requestCosignature(request: CosignatureRequest): Promise<CosignatureResult> {
  try {
    return await negotiate(request)
  } catch (error) {
    if (error instanceof ProofUnavailable) return failed('no-proof')
    return failed(isTimeout(request.signal) ? 'timeout' : 'unreachable')
  }
}

async function negotiate(request: CosignatureRequest): Promise<CosignatureResult> {
  const { checkpoint } = request
  let { oldSize } = request
  let hasShownKeys = false
  for (let round = 0; round < ROUNDS_MAX; round++) {
    const answer = await addCheckpoint(request, oldSize)
    if (answer.outcome === 'cosigned') return verify(answer.signatures, request)
    if (answer.outcome === 'conflict') {
      if (answer.size === undefined) return failed('forked')
      if (answer.size > checkpoint.size) return failed('ahead')
      oldSize = answer.size
    } else if (answer.outcome === 'unknown-keys' && !hasShownKeys) {
      hasShownKeys = true
      if (!(await showHandOvers(request))) return failed('unknown-keys')
    } else {
      return failed(answer.outcome)
    }
  }
  return failed('unexpected')
}

async function addCheckpoint(request: CosignatureRequest, oldSize: number): Promise<WitnessAnswer> {
  const { checkpoint, readProof } = request
  const isProofDue = oldSize > 0 && oldSize < checkpoint.size
  const proof = isProofDue ? await proofOf(readProof, oldSize, checkpoint.size) : []
  const body = formatAddCheckpoint({ oldSize, proof, checkpoint: checkpoint.signed })
  const { status, contentType, text } = await post(request, 'add-checkpoint', body)
  return readWitnessAnswer(status, contentType, text)
}

class ProofUnavailable extends Error {}

async function proofOf(readProof: ReadProof, from: number, to: number): Promise<readonly Hash[]> {
  try {
    return await readProof(from, to)
  } catch (cause) {
    throw new ProofUnavailable('there is no proof', { cause })
  }
}

/** Whether the witness knows more than before. Those of other makers have no such address, and are configured by hand. */
async function showHandOvers(request: CosignatureRequest): Promise<boolean> {
  let isAccepted = false
  for (const note of await request.readHandOvers()) {
    const { status } = await post(request, 'add-hand-over', note)
    isAccepted ||= status === 200
  }
  return isAccepted
}

async function post({ url, fetch, signal }: CosignatureRequest, path: string, body: string) {
  const response = await fetch(`${url.replace(/\/+$/, '')}/${path}`, {
    method: 'POST',
    body,
    headers: { 'content-type': 'text/plain; charset=utf-8', accept: `text/plain, ${SIZE_MEDIA_TYPE}` },
    redirect: 'manual',
    signal,
  })
  return {
    status: response.status,
    contentType: response.headers.get('content-type'),
    text: await readText(response),
  }
}

/** Empty when it is too large or not UTF-8; nothing of the protocol is. */
async function readText(response: Response): Promise<string> {
  const pieces: Uint8Array[] = []
  let bytes = 0
  for await (const piece of response.body ?? []) {
    bytes += piece.length
    if (bytes > LIMITS.bodyBytesMax) return '' // leaving the loop cancels the rest
    pieces.push(piece)
  }
  return decodeText(joinBytes(...pieces)) ?? ''
}

/** The cosignature of the known key. Those of others are ignored, a wrong one of it is none. */
function verify(
  signatures: readonly NoteSignature[],
  { verifier, checkpoint, clock }: CosignatureRequest,
): CosignatureResult {
  const signature = signatures.find(line => isBy(verifier, line))
  const time = signature && verifier.verify(checkpoint.text, signature.bytes)?.time
  if (signature === undefined || time === undefined) return failed('wrong-cosignature')
  if (time * 1_000 > clock() + LIMITS.cosignatureAheadMsMax) return failed('time-ahead')
  return { isCosigned: true, signature, time }
}

/** Whether it says so; that it is true remains to be verified. */
export function isBy({ key }: Verifier, { name, keyId }: NoteSignature): boolean {
  return name === key.name && keyId === key.id
}

function failed(fault: WitnessFault): CosignatureResult {
  return { isCosigned: false, fault }
}

function isTimeout({ aborted, reason }: AbortSignal): boolean {
  return aborted && (reason as Error | undefined)?.name === 'TimeoutError'
}
