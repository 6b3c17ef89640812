/**
 * Wrapping of charge point keys: AES-256-GCM under a key derived from the key-encryption key.
 *
 * Wrapped form: nonce(12) || ciphertext(32) || tag(16). The associated data is the JSON array [cp_id, key_id, version],
 * so a wrapped key that was moved to another charge point or version in the database does not open.
 */
import { createCipheriv, createDecipheriv, type KeyObject, randomBytes } from 'node:crypto'

export interface KeyOwner {
  readonly cp_id: string
  readonly key_id: string
  readonly version: number
}

const ALGORITHM = 'aes-256-gcm'
const NONCE_BYTES = 12
const TAG_BYTES = 16

export function wrapKey(wrappingKey: KeyObject, key: Uint8Array, owner: KeyOwner): Uint8Array {
  const nonce = randomBytes(NONCE_BYTES)
  const cipher = createCipheriv(ALGORITHM, wrappingKey, nonce, { authTagLength: TAG_BYTES })
  cipher.setAAD(associatedData(owner))
  return Buffer.concat([nonce, cipher.update(key), cipher.final(), cipher.getAuthTag()])
}

/** @throws {Error} it was changed, belongs to another owner, or was wrapped under another key-encryption key */
export function unwrapKey(wrappingKey: KeyObject, wrapped: Uint8Array, owner: KeyOwner): Uint8Array {
  try {
    return openSealed(wrappingKey, wrapped, associatedData(owner))
  } catch (cause) {
    throw new Error('a stored key cannot be unwrapped', { cause })
  }
}

/**
 * Opens nonce(12) || ciphertext || tag(16); also the form of messages.
 * @throws {Error} the tag does not fit, or it is too short to hold one
 */
export function openSealed(key: KeyObject | Uint8Array, sealed: Uint8Array, data: Uint8Array): Uint8Array {
  if (sealed.length < NONCE_BYTES + TAG_BYTES) throw new Error('too short')
  const decipher = createDecipheriv(ALGORITHM, key, nonceOf(sealed), { authTagLength: TAG_BYTES })
  decipher.setAAD(data)
  decipher.setAuthTag(sealed.subarray(sealed.length - TAG_BYTES))
  const opened = decipher.update(sealed.subarray(NONCE_BYTES, sealed.length - TAG_BYTES))
  decipher.final() // throws if the tag is wrong; GCM has no bytes left to give
  return opened
}

export function nonceOf(sealed: Uint8Array): Uint8Array {
  return sealed.subarray(0, NONCE_BYTES)
}

export const SEALED_BYTES_MIN = NONCE_BYTES + TAG_BYTES

function associatedData({ cp_id, key_id, version }: KeyOwner): Uint8Array {
  return Buffer.from(JSON.stringify([cp_id, key_id, version]))
}
