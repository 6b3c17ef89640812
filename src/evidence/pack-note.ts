/**
 * The note by which a log says of an evidence pack: this is what was asked for, and these are the files that I made of it.
 *
 *   ev-central evidence pack v1
 *   <origin>
 *   <SHA-256 of manifest.json, hexadecimal>
 *
 * Signed by the last key of the chain in the pack. It can be nothing else that this key signs: the heading, with its spaces, is no
 * origin, so the text is no checkpoint; and it is not the heading of a hand-over.
 */
import { sha256 } from './crypto.ts'
import { formatHex } from './encoding.ts'
import { currentKey, type KeyChain, type SigningKey } from './key-chain.ts'
import { formatNote, parseNote, verifyNote } from './note.ts'
import { createSignature, createVerifier } from './signature.ts'

const HEADING = 'ev-central evidence pack v1'

function formatText(origin: string, manifest: Uint8Array): string {
  return `${HEADING}\n${origin}\n${formatHex(sha256(manifest))}\n`
}

export function formatPackNote(manifest: Uint8Array, { key, sign }: SigningKey): string {
  const text = formatText(key.name, manifest)
  return formatNote({ text, signatures: [createSignature(key, text, sign)] })
}

/** `other-manifest`: it may be signed, but is about another manifest than this one. */
export type PackNoteVerdict = 'signed' | 'malformed' | 'other-manifest' | 'revoked-key' | 'wrong-signature'

/** Whether the log signed this manifest. A key that was handed over counts no more, as in checkpoints. */
export function checkPackNote(signed: string, manifest: Uint8Array, chain: KeyChain): PackNoteVerdict {
  const note = parseNote(signed)
  const [heading, origin] = note?.text.split('\n') ?? []
  if (note === undefined || heading !== HEADING || origin === undefined) return 'malformed'
  if (origin !== chain.first.name) return 'wrong-signature'
  const isBy = (keys: readonly KeyChain['first'][]) => verifyNote(note, keys.map(createVerifier)).isSigned
  if (!isBy([currentKey(chain)])) {
    return isBy([chain.first, ...chain.handOvers.map(({ to }) => to)]) ? 'revoked-key' : 'wrong-signature'
  }
  return note.text === formatText(origin, manifest) ? 'signed' : 'other-manifest'
}
