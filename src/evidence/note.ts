/**
 * Signed notes and verifier keys (C2SP signed-note): their spelling, and which signatures count. What a signature is over
 * depends on its type: `signature.ts`.
 *
 * Nothing in a note may be used before `verifyNote` said that it is signed by a key that was known before.
 */
import { LIMITS } from '../limits.ts'
import { sha256 } from './crypto.ts'
import { encodeText, formatBase64, formatHex, isNoteText, joinBytes, parseBase64 } from './encoding.ts'

const KEY_ID_BYTES = 4

/** Signature types (signed-note, "Signature types"; tlog-cosignature, "Format"), and the length of their public keys. */
export const SIGNATURE_TYPE = {
  ed25519: 0x01,
  ed25519Cosignature: 0x04,
  mlDsa44Cosignature: 0x06,
  /**
   * ML-DSA-44 over the text of any note, as no assigned type has it: `0x06` signs trees only. 0xff is followed by a name of ours. A key
   * of this type is one of type 0x06 under another id, and is never written as a verifier key of its own.
   */
  mlDsa44Note: 0xff,
} as const
export type SignatureType = (typeof SIGNATURE_TYPE)[keyof typeof SIGNATURE_TYPE]
const PUBLIC_KEY_BYTES: Record<SignatureType, number> = { 1: 32, 4: 32, 6: 1312, 255: 1312 }
const ML_DSA_44_NOTE = 'ev-central/ml-dsa-44'

export interface VerifierKey {
  readonly name: string
  readonly type: SignatureType
  readonly publicKey: Uint8Array
  /** Eight hexadecimal digits. */
  readonly id: string
}

export interface NoteSignature {
  readonly name: string
  readonly keyId: string
  /** What follows the key id: the signature itself, in some types with a time before it. */
  readonly bytes: Uint8Array
}

export interface Note {
  /** Ends with a newline. */
  readonly text: string
  readonly signatures: readonly NoteSignature[]
}

/** @throws {RangeError} for a name that a note cannot hold or a key of the wrong length. */
export function createVerifierKey(name: string, type: SignatureType, publicKey: Uint8Array): VerifierKey {
  if (!isKeyName(name)) throw new RangeError('a key name has no spaces, no control characters and no +')
  if (publicKey.length !== PUBLIC_KEY_BYTES[type]) throw new RangeError('the public key has not the length of its type')
  // Key ID = SHA-256(name || 0x0A || type || public key)[:4] (signed-note, "Signatures").
  const typeName = encodeText(type === SIGNATURE_TYPE.mlDsa44Note ? ML_DSA_44_NOTE : '')
  const digest = sha256(joinBytes(encodeText(`${name}\n`), Uint8Array.of(type), typeName, publicKey))
  return { name, type, publicKey, id: formatHex(digest.subarray(0, KEY_ID_BYTES)) }
}

/** `<name>+<key id>+<base64 of type and public key>`. */
export function formatVerifierKey({ name, type, publicKey, id }: VerifierKey): string {
  return `${name}+${id}+${formatBase64(joinBytes(Uint8Array.of(type), publicKey))}`
}

/** Undefined when the text is no key, is of a type not known here, or has a key id that is not its own. */
export function parseVerifierKey(text: string): VerifierKey | undefined {
  const [, name = '', id = '', base64 = ''] = /^([^+]+)\+([0-9a-f]{8})\+(.+)$/.exec(text) ?? []
  const bytes = parseBase64(base64)
  const type = bytes?.[0]
  if (bytes === undefined || !isKeyType(type) || !isKeyName(name)) return undefined
  if (bytes.length !== 1 + PUBLIC_KEY_BYTES[type]) return undefined
  const key = createVerifierKey(name, type, bytes.subarray(1))
  return key.id === id ? key : undefined
}

/** @throws {RangeError} when the note would not be read again. */
export function formatNote(note: Note): string {
  const text = `${note.text}\n${note.signatures.map(formatSignatureLine).join('')}`
  if (parseNote(text) === undefined) throw new RangeError('the text or a signature does not fit into a note')
  return text
}

/** `— <name> <base64 of key id and signature>`, with its newline (signed-note, "Format"). */
export function formatSignatureLine({ name, keyId, bytes }: NoteSignature): string {
  return `\u2014 ${name} ${formatBase64(joinBytes(parseHex(keyId), bytes))}\n`
}

/** Undefined when it is not a note to the letter, or exceeds the limits on notes. */
export function parseNote(text: string): Note | undefined {
  if (text.length > LIMITS.noteCharactersMax || !isNoteText(text)) return undefined
  const end = text.lastIndexOf('\n\n')
  if (end < 0) return undefined
  const signatures = parseSignatureLines(text.slice(end + 2))
  return signatures && { text: text.slice(0, end + 1), signatures }
}

/** Signature lines as they stand in a note and in the answer of a witness: at least one. */
export function parseSignatureLines(text: string): NoteSignature[] | undefined {
  if (!text.endsWith('\n')) return undefined
  const lines = text.slice(0, -1).split('\n')
  if (lines.length > LIMITS.noteSignaturesMax) return undefined
  const signatures = lines.map(parseSignatureLine)
  return signatures.every(signature => signature !== undefined) ? signatures : undefined
}

function parseSignatureLine(line: string): NoteSignature | undefined {
  const [, name = '', base64 = ''] = /^\u2014 (\S+) ([A-Za-z0-9+/=]+)$/u.exec(line) ?? []
  const bytes = parseBase64(base64)
  if (bytes === undefined || bytes.length <= KEY_ID_BYTES || !isKeyName(name)) return undefined
  return { name, keyId: formatHex(bytes.subarray(0, KEY_ID_BYTES)), bytes: bytes.subarray(KEY_ID_BYTES) }
}

/** A key that is known, and how its signatures are checked. `createVerifier` of `signature.ts` makes one of a key. */
export interface Verifier {
  readonly key: VerifierKey
  /** Undefined when the signature is wrong. */
  verify(text: string, signature: Uint8Array): VerifiedSignature | undefined
}

export interface VerifiedSignature {
  readonly key: VerifierKey
  /** Of a cosignature: when it was made, in seconds since 1970; 0 when it does not say. */
  readonly time?: number
}

export type NoteVerdict =
  /** Each known key that signed, once. */
  | { readonly isSigned: true; readonly signatures: readonly VerifiedSignature[] }
  | { readonly isSigned: false; readonly reason: 'unknown-keys' | 'wrong-signature' }

/**
 * Which known keys signed the note. Signatures of unknown keys are ignored, also where they share a name or an id with a
 * known one; one wrong signature of a known key refuses the note (signed-note, "Signatures").
 */
export function verifyNote(note: Note, verifiers: readonly Verifier[]): NoteVerdict {
  const signatures = new Map<VerifierKey, VerifiedSignature>()
  for (const { name, keyId, bytes } of note.signatures) {
    const verifier = verifiers.find(({ key }) => key.name === name && key.id === keyId)
    if (verifier === undefined) continue
    const verified = verifier.verify(note.text, bytes)
    if (verified === undefined) return { isSigned: false, reason: 'wrong-signature' }
    if (!signatures.has(verifier.key)) signatures.set(verifier.key, verified)
  }
  if (signatures.size === 0) return { isSigned: false, reason: 'unknown-keys' }
  return { isSigned: true, signatures: [...signatures.values()] }
}

function isKeyName(name: string): boolean {
  const isShort = name.length >= 1 && name.length <= LIMITS.keyNameCharactersMax
  return isShort && name.isWellFormed() && !/[\p{White_Space}\0-\x1f+]/u.test(name)
}

/** Of those that a verifier key is written with. */
function isKeyType(type: number | undefined): type is SignatureType {
  return type !== undefined && type !== SIGNATURE_TYPE.mlDsa44Note && type in PUBLIC_KEY_BYTES
}

function parseHex(digits: string): Uint8Array {
  return Uint8Array.from(digits.match(/../g) ?? [], byte => Number.parseInt(byte, 16))
}
