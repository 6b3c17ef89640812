/**
 * The key that signs the checkpoints of a log in PostgreSQL: made by the instance that needs it first, wrapped with the
 * key-encryption key of all instances, and the same for each of them from then on.
 */
import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto'
import { Refusal } from '../errors.ts'
import {
  currentKeys,
  formatKeyChain,
  type KeyChain,
  parseKeyChain,
  type SigningKey,
  startKeyChain,
} from '../evidence/key-chain.ts'
import { createVerifierKey, SIGNATURE_TYPE, type VerifierKey } from '../evidence/note.ts'
import type { Session } from '../postgres/postgres.ts'

/** Wraps private keys for the database. `name` is bound to what is wrapped: another one does not open it. */
export interface KeyWrap {
  wrap(key: Uint8Array, name: string): Uint8Array
  /** @throws {Error} it was changed, has another name, or was wrapped with another key-encryption key */
  unwrap(wrapped: Uint8Array, name: string): Uint8Array
}

/** @throws {Refusal} LOG_KEYS_UNUSABLE */
export async function readSharedChain(session: Session): Promise<KeyChain | undefined> {
  const text = (await session.query<{ chain: string }>('SELECT chain FROM log_key_chain')).rows[0]?.chain
  if (text === undefined) return undefined
  const chain = parseKeyChain(text)
  if (chain === undefined) throw unusable('the table log_key_chain does not hold a key chain')
  return chain
}

/**
 * The chain, begun with a new key if there is none. Key and chain are one transaction, of whoever holds the lock.
 * @throws {Refusal} LOG_KEYS_UNUSABLE: also when the log has another origin than is asked for
 */
export async function beginSharedChain(session: Session, keys: KeyWrap, origin: string | undefined): Promise<KeyChain> {
  const known = await readSharedChain(session)
  if (known !== undefined && origin !== undefined && known.first.name !== origin) {
    throw unusable(`EVC_LOG_ORIGIN is not the origin of this log, ${known.first.name}`)
  }
  if (known !== undefined) return known
  const { privateKey } = generateKeyPairSync('ed25519')
  const key = verifierKeyOf(privateKey, origin ?? `ev-central/${randomBytes(8).toString('hex')}`)
  const chain = startKeyChain(key)
  const der = privateKey.export({ type: 'pkcs8', format: 'der' })
  await session.query('INSERT INTO log_keys VALUES ($1, $2)', [key.id, Buffer.from(keys.wrap(der, key.id))])
  await session.query('INSERT INTO log_key_chain (chain) VALUES ($1)', [formatKeyChain(chain)])
  return chain
}

/**
 * The key that signs: Ed25519, and no second one. A chain that has announced an ML-DSA-44 key is not signed for at all, as one signature
 * where two are due is taken for a forgery.
 * @throws {Refusal} LOG_KEYS_UNUSABLE
 */
export async function readSharedKey(session: Session, keys: KeyWrap, chain: KeyChain): Promise<SigningKey> {
  const { ed25519: key, mlDsa44 } = currentKeys(chain)
  if (mlDsa44 !== undefined) throw unusable('the log has announced an ML-DSA-44 key, and PostgreSQL holds none')
  const { id, name } = key
  const found = await session.query<{ wrapped: Buffer }>('SELECT wrapped FROM log_keys WHERE id = $1', [id])
  const wrapped = found.rows[0]?.wrapped
  if (wrapped === undefined) throw unusable(`the private key ${id} is not in the table log_keys`)
  const privateKey = openKey(keys, wrapped, id)
  if (verifierKeyOf(privateKey, name).id !== id) throw unusable(`the table log_keys holds another key as ${id}`)
  return { key, sign: message => sign(null, message, privateKey) }
}

function openKey(keys: KeyWrap, wrapped: Uint8Array, id: string): KeyObject {
  try {
    return createPrivateKey({ key: Buffer.from(keys.unwrap(wrapped, id)), type: 'pkcs8', format: 'der' })
  } catch {
    throw unusable(`the private key ${id} cannot be unwrapped with this EVC_KEY_ENCRYPTION_KEY`)
  }
}

function verifierKeyOf(privateKey: KeyObject, origin: string): VerifierKey {
  const { x = '' } = createPublicKey(privateKey).export({ format: 'jwk' })
  return createVerifierKey(origin, SIGNATURE_TYPE.ed25519, Buffer.from(x, 'base64url'))
}

function unusable(why: string): Refusal {
  return new Refusal('LOG_KEYS_UNUSABLE', `The keys of the log cannot be used: ${why}.`)
}
