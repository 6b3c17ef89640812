/**
 * The keys that sign the checkpoints of a log in PostgreSQL: made by whoever needs them first, wrapped with the key-encryption key of all
 * instances, and the same for each of them from then on.
 *
 * What changes here is one transaction, under the lock of all signers (SIGN_LOCK): new keys, the hand-over in the chain, and the event
 * that tells of it. So nothing can be cut off half-way, and whoever signs next reads the chain under the same lock.
 */
import {
  currentKeys,
  formatKeyChain,
  type KeyChain,
  type LogKeys,
  listKeys,
  type SigningKey,
} from '../evidence/key-chain.ts'
import type { VerifierKey } from '../evidence/note.ts'
import type { Session } from '../postgres/postgres.ts'
import {
  beginChain,
  chainParser,
  extendChain,
  makeKeys,
  type OwnKey,
  openOwnKey,
  signHandOver,
  unusable,
} from './signing-keys.ts'

/** Wraps private keys for the database. `name` is bound to what is wrapped: another one does not open it. */
export interface KeyWrap {
  wrap(key: Uint8Array, name: string): Uint8Array
  /** @throws {Error} it was changed, has another name, or was wrapped with another key-encryption key */
  unwrap(wrapped: Uint8Array, name: string): Uint8Array
}

/** @throws {Refusal} LOG_KEYS_UNUSABLE */
export async function readSharedChain(session: Session): Promise<KeyChain | undefined> {
  const { rows } = await session.query<{ chain: string }>('SELECT chain FROM log_key_chain')
  return sharedChainParser()(rows[0]?.chain)
}

/** For whoever reads the table again and again (`chainParser`). */
export function sharedChainParser(): (text: string | null | undefined) => KeyChain | undefined {
  const parse = chainParser('the table log_key_chain')
  return text => (text == null ? undefined : parse(text))
}

/** @throws {Refusal} LOG_KEYS_UNUSABLE: the log has another origin than is asked for */
export function refuseOtherOrigin({ first }: KeyChain, origin: string | undefined): void {
  if (origin !== undefined && first.name !== origin)
    throw unusable(`EVC_LOG_ORIGIN is not the origin of this log, ${first.name}`)
}

/** Into empty tables, under the lock. @throws {Refusal} LOG_KEYS_UNUSABLE: this Node has no ML-DSA-44 */
export async function beginSharedChain(
  session: Session,
  keys: KeyWrap,
  { origin, withMlDsa44 }: { readonly origin: string | undefined; readonly withMlDsa44: boolean },
): Promise<KeyChain> {
  const { chain, made } = beginChain(origin, withMlDsa44)
  await keepMade(session, keys, made)
  await session.query('INSERT INTO log_key_chain (chain) VALUES ($1)', [formatKeyChain(chain)])
  return chain
}

/**
 * Other keys, to sign what is larger than `size`; under the lock.
 * @returns the chain from now on; the signed note is the last of it
 * @throws {Refusal} LOG_KEYS_UNUSABLE
 */
export async function handOverShared(
  session: Session,
  keys: KeyWrap,
  chain: KeyChain,
  { size, withMlDsa44 }: { readonly size: number; readonly withMlDsa44: boolean },
): Promise<{ readonly chain: KeyChain; readonly note: string }> {
  const from = await readSharedKeys(session, keys, currentKeys(chain))
  const made = makeKeys(chain.first.name, withMlDsa44)
  const note = signHandOver(chain, size, from, made)
  const grown = extendChain(chain, note)
  await keepMade(session, keys, made)
  await session.query('SELECT evc_append_hand_over($1)', [lineOf(note)])
  return { chain: grown, note }
}

/** Of the key chain (evidence/key-chain.ts). */
const lineOf = (note: string) => `${JSON.stringify({ hand_over: note })}\n`

async function keepMade(session: Session, keys: KeyWrap, made: readonly OwnKey[]): Promise<void> {
  for (const { key, privateKey } of made)
    await keepSharedKey(session, keys, key.id, privateKey.export({ type: 'pkcs8', format: 'der' }))
}

/** @param privateKey PKCS#8 */
export async function keepSharedKey(session: Session, keys: KeyWrap, id: string, privateKey: Uint8Array) {
  await session.query('INSERT INTO log_keys VALUES ($1, $2)', [id, Buffer.from(keys.wrap(privateKey, id))])
}

/**
 * All that have to sign together, Ed25519 first.
 * @throws {Refusal} LOG_KEYS_UNUSABLE: one is not there, or not its own, or cannot be unwrapped, or this Node cannot use it
 */
export async function readSharedKeys(session: Session, keys: KeyWrap, wanted: LogKeys): Promise<readonly SigningKey[]> {
  const found: SigningKey[] = []
  for (const key of listKeys(wanted)) found.push(await readSharedKey(session, keys, key))
  return found
}

async function readSharedKey(session: Session, keys: KeyWrap, key: VerifierKey): Promise<SigningKey> {
  const found = await session.query<{ wrapped: Buffer }>('SELECT wrapped FROM log_keys WHERE id = $1', [key.id])
  const wrapped = found.rows[0]?.wrapped
  if (wrapped === undefined) throw unusable(`the private key ${key.id} is not in the table log_keys`)
  const der = Buffer.from(unwrap(keys, wrapped, key.id))
  return openOwnKey({ key: der, type: 'pkcs8', format: 'der' }, key, `the row ${key.id} of the table log_keys`)
}

function unwrap(keys: KeyWrap, wrapped: Uint8Array, id: string): Uint8Array {
  try {
    return keys.unwrap(wrapped, id)
  } catch {
    throw unusable(`the private key ${id} cannot be unwrapped with this EVC_KEY_ENCRYPTION_KEY`)
  }
}
