/**
 * SHA-256, SHAKE256, Ed25519 and ML-DSA-44 for Node. `crypto-browser.ts` has the same exports for browsers; a bundler takes it instead of
 * this file by the field `browser` of package.json. One contract suite holds both to the same answers.
 *
 * This is the only file of the folder that may import from Node.
 */
import { createHash, createPublicKey, hash, verify } from 'node:crypto'
import { createRequire } from 'node:module'

const DIGEST_BYTES = 32
const ML_DSA_44_KEY_BYTES = 1_312
const ML_DSA_44_SIGNATURE_BYTES = 2_420
const require = createRequire(import.meta.url)

/**
 * SHA-256 (FIPS 180-4). The digest leaves OpenSSL as a string of 32 characters: measured in Node 26, that and the loop take
 * a quarter of the time of a Buffer, whose memory lies outside of the heap.
 */
export function sha256(data: Uint8Array): Uint8Array {
  const digest = new Uint8Array(DIGEST_BYTES)
  sha256Into(data, digest, 0)
  return digest
}

/** The digest to a place of a larger array: where very many are made, an array for each takes longer than this loop. */
export function sha256Into(data: Uint8Array, target: Uint8Array, at: number): void {
  const characters = hash('sha256', data, 'latin1')
  for (let i = 0; i < DIGEST_BYTES; i++) target[at + i] = characters.charCodeAt(i)
}

/** The digest as standard base64, with its padding. */
export function sha256Base64(data: Uint8Array): string {
  return hash('sha256', data, 'base64')
}

/** SHAKE256 (FIPS 202), so many bytes of it. */
export function shake256(data: Uint8Array, outputLength: number): Uint8Array {
  return new Uint8Array(createHash('shake256', { outputLength }).update(data).digest())
}

/** Ed25519 (RFC 8032, section 5.1.7). False for whatever is not a valid signature; keys have 32 bytes, signatures 64. */
export function verifyEd25519(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean {
  try {
    const x = Buffer.from(publicKey).toString('base64url')
    const key = createPublicKey({ format: 'jwk', key: { kty: 'OKP', crv: 'Ed25519', x } })
    return verify(null, message, key, signature)
  } catch {
    return false // not 32 bytes
  }
}

/**
 * ML-DSA-44 (FIPS 204, algorithm 3), in the pure mode and with an empty context. Measured
 * in Node 26, OpenSSL takes an eighth of the time of the package; where it lacks the algorithm, the package answers the same: whether
 * a checkpoint is valid must not depend on what runs the verifier.
 */
export function verifyMlDsa44(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean {
  try {
    const jwk = { kty: 'AKP', alg: 'ML-DSA-44', pub: Buffer.from(publicKey).toString('base64url') }
    return verify(null, message, createPublicKey({ format: 'jwk', key: jwk }), signature)
  } catch {
    const isWhole = publicKey.length === ML_DSA_44_KEY_BYTES && signature.length === ML_DSA_44_SIGNATURE_BYTES
    return isWhole && verifyByPackage(publicKey, message, signature)
  }
}

/** Loaded when it is needed: it takes 18 ms and 7 MB in each thread, nearly all of which never do. */
function verifyByPackage(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean {
  const { ml_dsa44 }: typeof import('@noble/post-quantum/ml-dsa.js') = require('@noble/post-quantum/ml-dsa.js')
  return ml_dsa44.verify(signature, message, publicKey)
}
