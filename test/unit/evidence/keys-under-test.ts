/** Key pairs for notes, fresh for each run. */
import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import { createVerifierKey, SIGNATURE_TYPE, type SignatureType, type VerifierKey } from '../../../src/evidence/note.ts'
import { createVerifier, type Sign } from '../../../src/evidence/signature.ts'

export interface KeyUnderTest {
  readonly key: VerifierKey
  readonly verifier: ReturnType<typeof createVerifier>
  readonly sign: Sign
}

export function createKey(name: string, type: SignatureType = SIGNATURE_TYPE.ed25519): KeyUnderTest {
  const isMlDsa = type === SIGNATURE_TYPE.mlDsa44Cosignature || type === SIGNATURE_TYPE.mlDsa44Note
  const pair = isMlDsa ? generateKeyPairSync('ml-dsa-44') : generateKeyPairSync('ed25519')
  const key = createVerifierKey(name, type, rawPublicKey(pair.publicKey, isMlDsa ? 'pub' : 'x'))
  return { key, verifier: createVerifier(key), sign: message => Uint8Array.from(sign(null, message, pair.privateKey)) }
}

function rawPublicKey(key: KeyObject, field: 'pub' | 'x'): Uint8Array {
  const jwk: Record<string, unknown> = { ...key.export({ format: 'jwk' }) }
  return Uint8Array.from(Buffer.from(String(jwk[field]), 'base64url'))
}
