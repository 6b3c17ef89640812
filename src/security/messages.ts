/**
 * Encrypted messages of charge points: base64 of nonce(12) || ciphertext || tag(16), AES-256-GCM, cp_id as associated
 * data. A message is accepted once: its nonce is on disk before the answer goes out. What does not open, or comes again,
 * is an incident. The plaintext is not kept.
 */
import type { Audit } from '../audit/audit.ts'
import { ERRORS, Refusal } from '../errors.ts'
import { INCIDENT } from '../event/catalogue.ts'
import { LIMITS } from '../limits.ts'
import { nonceOf, openSealed, SEALED_BYTES_MIN } from './key-wrap.ts'
import type { Keys } from './keys.ts'
import type { Security } from './security.ts'
import type { SecurityState } from './security-state.ts'

type Cause = 'authentication_tag' | 'repeated_nonce'

export function createMessages(deps: {
  state: Pick<SecurityState, 'useNonce'>
  audit: Pick<Audit, 'incident'>
  keys: Pick<Keys, 'open'>
}): Security['messages'] {
  const { state, audit, keys } = deps

  function tampered(cpId: string, keyVersion: number, cause: Cause): Refusal {
    audit.incident(cpId, undefined, INCIDENT.TAMPERING_DETECTED, {
      description: `Tampering detected in a message of CP ${cpId}: ${cause}`,
      statusCode: ERRORS.TAMPERING_DETECTED.status,
      metadata: { cause, key_version: keyVersion },
    })
    return new Refusal('TAMPERING_DETECTED')
  }

  return {
    async accept(cpId, payload) {
      const sealed = parsePayload(payload)
      const found = await keys.open(cpId)
      if (found === undefined) throw new Refusal('KEY_NOT_FOUND')
      const { info, key } = found
      try {
        openSealed(key, sealed, Buffer.from(cpId))
      } catch {
        throw tampered(cpId, info.version, 'authentication_tag')
      }
      // After the tag: only whoever has the key can use up its nonces.
      const verdict = await state.useNonce(info.key_id, nonceOf(sealed), LIMITS.messageNoncesPerKeyMax)
      if (verdict === 'repeated') throw tampered(cpId, info.version, 'repeated_nonce')
      if (verdict === 'exhausted') throw new Refusal('KEY_EXHAUSTED')
      if (verdict === 'gone') throw new Refusal('KEY_NOT_FOUND')
      return { accepted: true, cp_id: cpId, key_version: info.version }
    },
  }
}

function parsePayload(payload: string): Uint8Array {
  if (payload.length > LIMITS.messageCharactersMax) throw invalid('maxLength')
  const sealed = parseBase64(payload)
  if (sealed === undefined) throw invalid('base64')
  if (sealed.length < SEALED_BYTES_MIN) throw invalid('minLength')
  return sealed
}

function invalid(rule: string): Refusal {
  return new Refusal('VALIDATION_FAILED', undefined, { violations: [{ field: 'payload', rule }] })
}

/** Base64 of RFC 4648 section 4 in its one canonical spelling: padded, no spaces, unused bits zero. Undefined if not. */
export function parseBase64(text: string): Uint8Array | undefined {
  const bytes = Buffer.from(text, 'base64')
  return bytes.toString('base64') === text ? bytes : undefined
}
