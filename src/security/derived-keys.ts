/**
 * One given secret, many keys: HKDF-SHA256 (RFC 5869) with a purpose as info, so that no key ever serves two ends and
 * none can be computed from another.
 */
import { createSecretKey, hkdfSync, type KeyObject } from 'node:crypto'

export type KeyPurpose =
  | 'charge-point-credentials'
  | 'chosen-credentials'
  | 'admin-keys'
  | 'key-wrap'
  | 'charge-point-tokens'
  | 'key-check'
  | 'log-signing-keys'

export function deriveKey(secret: Uint8Array, purpose: KeyPurpose): KeyObject {
  return createSecretKey(new Uint8Array(hkdfSync('sha256', secret, '', `ev-central ${purpose} v1`, 32)))
}
