/**
 * What a signature of each type is over, for making and for checking one: Ed25519 over the text (signed-note, "Ed25519
 * signatures"), and the two cosignatures, which hold a time and are over a message made of the checkpoint
 * (tlog-cosignature, "Ed25519 signed message" and "ML-DSA-44 signed message"). An ML-DSA-44 key of a log signs the texts of hand-overs
 * as well; as no text holds a NUL, and the 12th byte of every message of a cosignature is one, neither can be taken for the other.
 * Private keys stay with the caller.
 */
import { parseCheckpoint } from './checkpoint.ts'
import { verifyEd25519, verifyMlDsa44 } from './crypto.ts'
import { encodeText, isCount, joinBytes, uint64 } from './encoding.ts'
import {
  createVerifierKey,
  type NoteSignature,
  SIGNATURE_TYPE,
  type VerifiedSignature,
  type Verifier,
  type VerifierKey,
} from './note.ts'

const TIME_BYTES = 8

/** Signs a message with the private half of a key. */
export type Sign = (message: Uint8Array) => Uint8Array

/**
 * A signature on the text of a note. `time` is in seconds since 1970 and only in cosignatures.
 * @throws {RangeError} when the type signs checkpoints only and the text is none.
 */
export function createSignature(key: VerifierKey, text: string, sign: Sign, time = 0): NoteSignature {
  const message = isCount(time) ? signedMessage(key, text, time) : undefined
  if (message === undefined) throw new RangeError('a cosignature is on a checkpoint, and its time in whole seconds')
  const signature = sign(message)
  const bytes = isTimed(key) ? joinBytes(uint64(time), signature) : signature
  return { name: key.name, keyId: key.id, bytes }
}

export function createVerifier(key: VerifierKey): Verifier {
  const verify = isMlDsa44(key) ? verifyMlDsa44 : verifyEd25519
  return {
    key,
    verify(text, bytes): VerifiedSignature | undefined {
      const time = isTimed(key) ? readTime(bytes) : 0
      const message = time === undefined ? undefined : signedMessage(key, text, time)
      if (time === undefined || message === undefined) return undefined
      const signature = isTimed(key) ? bytes.subarray(TIME_BYTES) : bytes
      if (!verify(key.publicKey, message, signature)) return undefined
      return isTimed(key) ? { key, time } : { key }
    },
  }
}

/** The key by which the owner of this one signs notes that are no checkpoints. */
export function noteKeyOf(key: VerifierKey): VerifierKey {
  return isMlDsa44(key) ? createVerifierKey(key.name, SIGNATURE_TYPE.mlDsa44Note, key.publicKey) : key
}

export function algorithmOf(key: VerifierKey): 'Ed25519' | 'ML-DSA-44' {
  return isMlDsa44(key) ? 'ML-DSA-44' : 'Ed25519'
}

const isMlDsa44 = ({ type }: VerifierKey) =>
  type === SIGNATURE_TYPE.mlDsa44Cosignature || type === SIGNATURE_TYPE.mlDsa44Note

const isTimed = ({ type }: VerifierKey) =>
  type === SIGNATURE_TYPE.ed25519Cosignature || type === SIGNATURE_TYPE.mlDsa44Cosignature

/** Seconds, 64 bits big-endian. A time beyond 2^53 - 1 is in a future that verifiers may refuse, and this one does. */
function readTime(bytes: Uint8Array): number | undefined {
  if (bytes.length < TIME_BYTES) return undefined
  const time = Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0))
  return isCount(time) ? time : undefined
}

function signedMessage(key: VerifierKey, text: string, time: number): Uint8Array | undefined {
  switch (key.type) {
    case SIGNATURE_TYPE.ed25519:
    case SIGNATURE_TYPE.mlDsa44Note:
      return encodeText(text)
    case SIGNATURE_TYPE.ed25519Cosignature:
      return encodeText(`cosignature/v1\ntime ${time}\n${text}`)
    case SIGNATURE_TYPE.mlDsa44Cosignature:
      return cosignedMessage(key.name, time, text)
  }
}

/** The structure `cosigned_message` for a whole tree: its start is 0. Extension lines are not in it. */
function cosignedMessage(cosigner: string, time: number, text: string): Uint8Array | undefined {
  const checkpoint = parseCheckpoint(text)
  const name = lengthPrefixed(cosigner)
  const origin = checkpoint && lengthPrefixed(checkpoint.origin)
  if (checkpoint === undefined || name === undefined || origin === undefined) return undefined
  const label = encodeText('subtree/v1\n\0')
  return joinBytes(label, name, uint64(time), origin, uint64(0), uint64(checkpoint.size), checkpoint.root)
}

/** `opaque<1..2^8-1>`. */
function lengthPrefixed(text: string): Uint8Array | undefined {
  const bytes = encodeText(text)
  return bytes.length >= 1 && bytes.length <= 255 ? joinBytes(Uint8Array.of(bytes.length), bytes) : undefined
}
