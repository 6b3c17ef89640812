/**
 * How the secrets of charge points are made, stored and checked.
 *
 *   generated   64 hex digits (256 bits)   hmac-sha256$<salt>$<mac>            checked in microseconds
 *   chosen      16..256 characters         scrypt$<N>$<r>$<p>$<salt>$<hash>    checked in tens of milliseconds
 *
 * Salt, mac and hash are base64url. Both are keyed with the deployment's key-encryption key, so a stolen database alone
 * cannot be searched. What has no hash to be checked against is checked against a decoy: the same work, always wrong.
 * Owns the decoys, the scrypt queue and the cache of chosen secrets that were right, as HMACs under a key of this process.
 */
import { createHmac, createSecretKey, type KeyObject, randomBytes, timingSafeEqual } from 'node:crypto'
import { createRecencyMap } from '../audit/recency-map.ts'
import { LIMITS } from '../limits.ts'
import { deriveKey } from './derived-keys.ts'
import { createScryptQueue, type ScryptCost } from './scrypt-queue.ts'
import type { ChargePointRecord, CredentialKind } from './security-state.ts'

export interface StoredCredentials {
  readonly credential_kind: CredentialKind
  readonly credential_hash: string
}

export interface Credentials {
  generate(): { credentials: string; stored: StoredCredentials }
  /** Takes a scrypt. @throws {Refusal} OVERLOADED */
  hashChosen(cpId: string, secret: string): Promise<StoredCredentials>
  /** Always the same work, whatever the record is or whether there is one. */
  isRightGenerated(record: ChargePointRecord | undefined, secret: string): boolean
  /** One scrypt, whatever the record is or whether there is one; none if the cache knows the secret. @throws {Refusal} OVERLOADED */
  isRightChosen(record: ChargePointRecord | undefined, secret: string): Promise<boolean>
}

const GENERATED_BYTES = 32
const SALT_BYTES = 16
const HASH_BYTES = 32
const SCRYPT_COST: ScryptCost = { N: 2 ** 14, r: 8, p: 1 }

export function createCredentials(keyEncryptionKey: Uint8Array): Credentials {
  const generatedKey = deriveKey(keyEncryptionKey, 'charge-point-credentials')
  const chosenKey = deriveKey(keyEncryptionKey, 'chosen-credentials')
  const cacheKey = createSecretKey(randomBytes(HASH_BYTES))
  const queue = createScryptQueue()
  /** By cp_id and stored hash, so a changed secret has no entry and the old one is never asked for again. */
  const cache = createRecencyMap<Uint8Array>(LIMITS.credentialCacheEntriesMax)
  const decoyGenerated = formatGenerated(generatedKey, randomBytes(GENERATED_BYTES).toString('hex'))
  const decoyChosen = formatChosen(SCRYPT_COST, randomBytes(SALT_BYTES), randomBytes(HASH_BYTES))

  const pepper = (secret: string) => createHmac('sha256', chosenKey).update(secret).digest()
  const cacheDigest = (secret: string) => createHmac('sha256', cacheKey).update(secret).digest()

  return {
    generate() {
      const credentials = randomBytes(GENERATED_BYTES).toString('hex')
      const credential_hash = formatGenerated(generatedKey, credentials)
      return { credentials, stored: { credential_kind: 'generated', credential_hash } }
    },

    async hashChosen(cpId, secret) {
      const salt = randomBytes(SALT_BYTES)
      const hash = await queue.derive(pepper(secret), salt, HASH_BYTES, SCRYPT_COST)
      const credential_hash = formatChosen(SCRYPT_COST, salt, hash)
      cache.touch(cacheName(cpId, credential_hash), () => cacheDigest(secret))
      return { credential_kind: 'chosen', credential_hash }
    },

    isRightGenerated(record, secret) {
      const isGenerated = record?.credential_kind === 'generated'
      const { salt, mac } = parseGenerated(isGenerated ? record.credential_hash : decoyGenerated)
      const isEqual = timingSafeEqual(generatedMac(generatedKey, salt, secret), mac)
      return isEqual && isGenerated
    },

    async isRightChosen(record, secret) {
      const isChosen = record?.credential_kind === 'chosen'
      const stored = isChosen ? record.credential_hash : decoyChosen
      const name = cacheName(record?.cp_id ?? '', stored)
      const digest = cacheDigest(secret)
      const cached = cache.peek(name)
      if (cached !== undefined && timingSafeEqual(cached, digest)) return true
      const { cost, salt, hash } = parseChosen(stored)
      const isEqual = timingSafeEqual(await queue.derive(pepper(secret), salt, hash.length, cost), hash)
      if (!isEqual || !isChosen) return false
      cache.touch(name, () => digest)
      return true
    },
  }
}

const cacheName = (cpId: string, stored: string) => `${cpId} ${stored}`

function generatedMac(key: KeyObject, salt: Uint8Array, secret: string): Uint8Array {
  return createHmac('sha256', key).update(salt).update(secret).digest()
}

function formatGenerated(key: KeyObject, secret: string): string {
  const salt = randomBytes(SALT_BYTES)
  return `hmac-sha256$${encode(salt)}$${encode(generatedMac(key, salt, secret))}`
}

function parseGenerated(stored: string): { salt: Uint8Array; mac: Uint8Array } {
  const [scheme, salt, mac, ...rest] = stored.split('$')
  if (scheme !== 'hmac-sha256' || salt === undefined || mac === undefined || rest.length > 0) throw malformed()
  return { salt: decode(salt, SALT_BYTES), mac: decode(mac, HASH_BYTES) }
}

function formatChosen({ N, r, p }: ScryptCost, salt: Uint8Array, hash: Uint8Array): string {
  return `scrypt$${N}$${r}$${p}$${encode(salt)}$${encode(hash)}`
}

function parseChosen(stored: string): { cost: ScryptCost; salt: Uint8Array; hash: Uint8Array } {
  const match = /^scrypt\$(\d{1,7})\$(\d{1,2})\$(\d{1,2})\$([\w-]{22})\$([\w-]{43})$/.exec(stored)
  if (match === null) throw malformed()
  const [, N, r, p, salt = '', hash = ''] = match
  return {
    cost: { N: Number(N), r: Number(r), p: Number(p) },
    salt: decode(salt, SALT_BYTES),
    hash: decode(hash, HASH_BYTES),
  }
}

function encode(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64url')
}

function decode(text: string, length: number): Uint8Array {
  const bytes = Buffer.from(text, 'base64url')
  if (bytes.length !== length) throw malformed()
  return bytes
}

/** Never repeats what is stored. */
function malformed(): Error {
  return new Error('a stored credential hash is malformed')
}
