/** The verifier of the project, run here: the service only gives the proof and the keys, and is believed in nothing else. */
import { parseSignedCheckpoint } from '../../../src/evidence/checkpoint.ts'
import { formatBase64 } from '../../../src/evidence/encoding.ts'
import { keyOfSize, openByChain, parseKeyChain } from '../../../src/evidence/key-chain.ts'
import { formatVerifierKey } from '../../../src/evidence/note.ts'
import { compareRows, type ProofFault, parseProof, verifyProof } from '../../../src/evidence/proof.ts'
import { createVerifier } from '../../../src/evidence/signature.ts'
import { apiText, Problem } from '../api.ts'
import type { StoredEvent } from '../model.ts'
import { number } from '../text.ts'

export interface ProofOutcome {
  readonly isProven: boolean
  readonly sentence: string
  readonly details: readonly string[]
}

const FAULTS: Readonly<Record<ProofFault, string>> = {
  malformed: 'The proof cannot be read: it was changed, or cut.',
  'other-origin': 'The checkpoint is of another log.',
  'unknown-keys': 'The checkpoint is not signed by the key of the log.',
  'wrong-signature': 'The signature of the checkpoint is wrong.',
  'missing-signature': 'The checkpoint lacks the second signature that the log has announced.',
  'other-row': 'The proof is of another event.',
  'not-disclosed': 'The event was erased: what it said cannot be proven any more.',
  'unknown-version': 'The proof was written by a later version than this page knows.',
  'not-included': 'The proof does not lead to the signed checkpoint: the event or the proof was changed.',
}

const SIGNED_TRIES = 2
const PINNED = 'evc-first-log-key'

/** @throws {Problem} when proof or keys cannot be had */
export async function checkProof(event: StoredEvent): Promise<ProofOutcome> {
  const [proof, keys] = await Promise.all([proofText(event.id), apiText('/evidence/keys')])
  const chain = parseKeyChain(keys)
  if (chain === undefined) return refused('The keys of the log do not form a chain.')
  const size = sizeOf(parseProof(proof)?.checkpoint ?? '')
  if (size === undefined) return refused(FAULTS.malformed)
  const key = keyOfSize(chain, size)
  const opened = openByChain(parseProof(proof)?.checkpoint ?? '', chain)
  if (!opened.isTrusted) return refused(FAULTS[opened.reason])
  const verdict = verifyProof(proof, { origin: chain.first.name, log: [createVerifier(key)] })
  if (!verdict.isProven) return refused(FAULTS[verdict.reason])
  if (compareRows(verdict.row, event) !== 'same') {
    return refused('What is logged is not what is shown here: the row was changed after it was logged.')
  }
  const { checkpoint } = verdict
  return {
    isProven: true,
    sentence: `Verified in your browser against checkpoint ${number(checkpoint.size)}.`,
    details: [
      `Leaf ${number(event.id - 1)} of ${number(checkpoint.size)}, root ${formatBase64(checkpoint.root)}`,
      `Signed by ${formatVerifierKey(key)}${opened.signatures.length > 1 ? ', and with ML-DSA-44' : ''}`,
      pinned(formatVerifierKey(chain.first)),
    ],
  }
}

/** A new event is signed within a second or so; the service waits for that, at most five, and is asked once more. */
async function proofText(id: number): Promise<string> {
  for (let tries = 1; ; tries++) {
    try {
      return await apiText(`/audit/events/${id}/proof`)
    } catch (error) {
      if (!(error instanceof Problem) || error.code !== 'NOT_SIGNED_YET' || tries === SIGNED_TRIES) throw error
      await new Promise(resolve => setTimeout(resolve, (error.retryAfterSeconds ?? 1) * 1_000))
    }
  }
}

/** Of a checkpoint as it lies on the server now, for the page of the evidence. */
export async function checkCheckpoint(): Promise<ProofOutcome> {
  const [note, keys] = await Promise.all([apiText('/checkpoint'), apiText('/evidence/keys')])
  const chain = parseKeyChain(keys)
  const size = sizeOf(note)
  if (chain === undefined || size === undefined) return refused('The checkpoint or the keys cannot be read.')
  const opened = openByChain(note, chain)
  if (!opened.isTrusted) return refused(FAULTS[opened.reason])
  return {
    isProven: true,
    sentence: `The signature of checkpoint ${number(size)} is right.`,
    details: [`Root ${formatBase64(opened.checkpoint.root)}`, pinned(formatVerifierKey(chain.first))],
  }
}

function sizeOf(note: string): number | undefined {
  return parseSignedCheckpoint(note)?.size
}

/** A log that got another first key behind one's back would be another log: said, so that somebody asks why. */
function pinned(first: string): string {
  const known = localStorage.getItem(PINNED)
  localStorage.setItem(PINNED, known ?? first)
  if (known === null)
    return 'The first key of this log was not known in this browser before; compare it with one you were given.'
  return known === first
    ? 'The log begins with the same key as at earlier checks in this browser.'
    : 'ATTENTION: the log begins with another key than at earlier checks in this browser.'
}

function refused(sentence: string): ProofOutcome {
  return { isProven: false, sentence, details: [] }
}
