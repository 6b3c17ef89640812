/**
 * ML-DSA-44 (FIPS 204) by a package, for browsers, and for a Node without it: whether a checkpoint is valid must not depend on
 * what runs the verifier. Pure signing mode, empty context string.
 */
import { ml_dsa44 } from '@noble/post-quantum/ml-dsa.js'

export function verifyByPackage(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean {
  try {
    return ml_dsa44.verify(signature, message, publicKey)
  } catch {
    return false // not 1,312 or not 2,420 bytes
  }
}
