/**
 * The tokens of charge points: JWT (RFC 7519) signed with HS256; one algorithm, one issuer, one audience, every claim
 * required, so `none`, foreign keys and tokens for something else are all just invalid.
 *
 * They are read by `jose`, which is strict with what a stranger sends, and made by `fast-jwt`. `jose` signs by WebCrypto, in another
 * thread: each login would wait for that, and for a core, and two cores would answer a sixth less of them.
 *
 * A token carries the charge point's token version: raising that one number makes every token issued so far worthless.
 */
import { randomUUIDv7 } from 'node:crypto'
import { createSigner } from 'fast-jwt'
import * as errors from 'jose/errors'
import { jwtVerify } from 'jose/jwt/verify'
import { REASON } from '../event/catalogue.ts'
import { LIMITS } from '../limits.ts'
import { deriveKey } from './derived-keys.ts'

const ALGORITHM = 'HS256'
const TYPE = 'JWT'
const ISSUER = 'ev-central'
const AUDIENCE = 'charge-point'
/**
 * Base64url has other spellings of the same signature (padding, whitespace, bits at the end that count for nothing), which `jose`
 * reads; a token has the one it was issued with. The last of the 43 characters holds four bits of the 256.
 */
const ISSUED = /^[\w-]+\.[\w-]+\.[\w-]{42}[AEIMQUYcgkosw048]$/

export interface ReadToken {
  readonly cpId: string
  readonly version: number
  /** Seconds, more than 0. */
  readonly expiresIn: number
}

export interface UnreadableToken {
  readonly reason: typeof REASON.EXPIRED_TOKEN | typeof REASON.INVALID_TOKEN
  /** Known only if the signature was right. */
  readonly cpId: string | undefined
}

export interface Tokens {
  issue(cpId: string, version: number): { token: string; expiresIn: number }
  /** Never rejects. Says who signed it and when it ends, not whether its charge point still exists. */
  read(token: string): Promise<ReadToken | UnreadableToken>
}

export function createTokens(options: { tokenSecret: Uint8Array; ttlSeconds: number }): Tokens {
  const { tokenSecret, ttlSeconds } = options
  const secret = deriveKey(tokenSecret, 'charge-point-tokens')
  const key = secret.toCryptoKey({ name: 'HMAC', hash: 'SHA-256' }, false, ['verify'])
  const sign = createSigner({
    key: secret.export(),
    algorithm: ALGORITHM,
    iss: ISSUER,
    aud: AUDIENCE,
    expiresIn: ttlSeconds * 1000,
  })
  const rules = {
    algorithms: [ALGORITHM],
    typ: TYPE,
    issuer: ISSUER,
    audience: AUDIENCE,
    requiredClaims: ['sub', 'jti', 'ver', 'iat', 'exp'],
  }

  return {
    issue(cpId, version) {
      const token = sign({ sub: cpId, ver: version, jti: randomUUIDv7() })
      return { token, expiresIn: ttlSeconds }
    },

    async read(token) {
      if (token.length > LIMITS.tokenCharactersMax || !ISSUED.test(token)) {
        return { reason: REASON.INVALID_TOKEN, cpId: undefined }
      }
      try {
        const { payload } = await jwtVerify(token, key, rules)
        const { sub: cpId, ver: version, exp = 0 } = payload
        if (typeof cpId !== 'string' || typeof version !== 'number') {
          return { reason: REASON.INVALID_TOKEN, cpId: undefined }
        }
        return { cpId, version, expiresIn: Math.max(1, exp - Math.floor(Date.now() / 1000)) }
      } catch (error) {
        if (!(error instanceof errors.JWTExpired)) return { reason: REASON.INVALID_TOKEN, cpId: undefined }
        return { reason: REASON.EXPIRED_TOKEN, cpId: error.payload.sub }
      }
    },
  }
}
