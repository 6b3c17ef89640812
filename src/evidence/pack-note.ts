/**
 * The note by which a log says of an evidence pack: this is what was asked for, and these are the files that I made of it.
 *
 *   ev-central evidence pack v1
 *   <origin>
 *   <SHA-256 of manifest.json, hexadecimal>
 *
 * Signed by the last keys of the chain in the pack: where the log has announced an ML-DSA-44 key, by both. It can be nothing else that
 * these sign: the heading, with its spaces, is no origin, so the text is no checkpoint; and it is not the heading of a hand-over.
 */
import { sha256 } from './crypto.ts'
import { formatHex } from './encoding.ts'
import { allKeys, currentKeys, type KeyChain, listKeys, type SigningKey } from './key-chain.ts'
import { formatNote, parseNote, type VerifierKey, verifyNote } from './note.ts'
import { createSignature, createVerifier, noteKeyOf } from './signature.ts'

const HEADING = 'ev-central evidence pack v1'

function formatText(origin: string, manifest: Uint8Array): string {
  return `${HEADING}\n${origin}\n${formatHex(sha256(manifest))}\n`
}

/** @param signers the keys that sign now, Ed25519 first */
export function formatPackNote(origin: string, manifest: Uint8Array, signers: readonly SigningKey[]): string {
  const text = formatText(origin, manifest)
  return formatNote({ text, signatures: signers.map(({ key, sign }) => createSignature(noteKeyOf(key), text, sign)) })
}

/** `other-manifest`: it may be signed, but is about another manifest than this one. */
export type PackNoteVerdict =
  | 'signed'
  | 'malformed'
  | 'other-manifest'
  | 'missing-signature'
  | 'revoked-key'
  | 'wrong-signature'

/** Whether the log signed this manifest. A key that was handed over counts no more, as in checkpoints. */
export function checkPackNote(signed: string, manifest: Uint8Array, chain: KeyChain): PackNoteVerdict {
  const note = parseNote(signed)
  const [heading, origin] = note?.text.split('\n') ?? []
  if (note === undefined || heading !== HEADING || origin === undefined) return 'malformed'
  if (origin !== chain.first.name) return 'wrong-signature'
  const signersAmong = (keys: readonly VerifierKey[]) => {
    const verdict = verifyNote(
      note,
      keys.map(key => createVerifier(noteKeyOf(key))),
    )
    return verdict.isSigned ? verdict.signatures.length : 0
  }
  const due = listKeys(currentKeys(chain))
  const signers = signersAmong(due)
  if (signers === 0) return signersAmong(allKeys(chain)) > 0 ? 'revoked-key' : 'wrong-signature'
  if (signers < due.length) return 'missing-signature'
  return note.text === formatText(origin, manifest) ? 'signed' : 'other-manifest'
}
