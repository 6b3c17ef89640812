/** The twin of `crypto.ts` for browsers, synchronous where WebCrypto is not: the same exports, the same answers. */
import { ed25519 } from '@noble/curves/ed25519.js'
import { sha256 as nobleSha256 } from '@noble/hashes/sha2.js'
import { shake256 as nobleShake256 } from '@noble/hashes/sha3.js'
import { ml_dsa44 } from '@noble/post-quantum/ml-dsa.js'
import { formatBase64 } from './encoding.ts'

export function sha256(data: Uint8Array): Uint8Array {
  return nobleSha256(data)
}

export function sha256Into(data: Uint8Array, target: Uint8Array, at: number): void {
  target.set(nobleSha256(data), at)
}

export function sha256Base64(data: Uint8Array): string {
  return formatBase64(nobleSha256(data))
}

export function shake256(data: Uint8Array, outputLength: number): Uint8Array {
  return nobleShake256(data, { dkLen: outputLength })
}

/**
 * `zip215: false`: points and scalars have one spelling (RFC 8032), as in OpenSSL. The two can differ only on a signature
 * that the owner of the key crafted for it with points of small order, which the multiplication by 8 here would clear.
 */
export function verifyEd25519(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean {
  try {
    return ed25519.verify(signature, message, publicKey, { zip215: false })
  } catch {
    return false // not 32 or not 64 bytes
  }
}

export function verifyMlDsa44(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean {
  try {
    return ml_dsa44.verify(signature, message, publicKey)
  } catch {
    return false // not 1,312 or not 2,420 bytes
  }
}
