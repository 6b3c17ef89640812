/**
 * Keys that sign checkpoints, as Node has them: made, and opened from their private halves. Where these are kept, and what becomes of
 * them, is said in key-files.ts and postgres-keys.ts.
 *
 * With ML-DSA-44 each Ed25519 key has a second one beside it: made with it, handed over with it, and never without it when a checkpoint is
 * signed. OpenSSL signs with it from 3.5 on; an older one cannot be asked to.
 */
import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  hash,
  type KeyObject,
  type PrivateKeyInput,
  randomBytes,
  sign,
} from 'node:crypto'
import { Refusal } from '../errors.ts'
import { formatCheckpoint } from '../evidence/checkpoint.ts'
import {
  formatKeyChain,
  handOver,
  type KeyChain,
  openHandOver,
  parseKeyChain,
  type SigningKey,
  startKeyChain,
} from '../evidence/key-chain.ts'
import type { TreeHead } from '../evidence/merkle-proof.ts'
import { createVerifierKey, formatNote, SIGNATURE_TYPE, type VerifierKey } from '../evidence/note.ts'
import { createSignature } from '../evidence/signature.ts'

/** Made here, or opened from its private half. */
export interface OwnKey extends SigningKey {
  readonly privateKey: KeyObject
}

/** Whether this Node can make and use ML-DSA-44 keys: since 24.7, and only with an OpenSSL from 3.5 on. */
export function canSignMlDsa44(): boolean {
  try {
    generateKeyPairSync('ml-dsa-44')
    return true
  } catch {
    return false
  }
}

/** Ed25519 first. @throws {Refusal} LOG_KEYS_UNUSABLE: this Node has no ML-DSA-44 */
export function makeKeys(origin: string, withMlDsa44: boolean): readonly OwnKey[] {
  if (withMlDsa44 && !canSignMlDsa44()) throw unusable('this Node has no ML-DSA-44')
  const pairs = [generateKeyPairSync('ed25519'), ...(withMlDsa44 ? [generateKeyPairSync('ml-dsa-44')] : [])]
  return pairs.map(({ privateKey }) => ownKeyOf(privateKey, origin))
}

/**
 * A new log's chain, and the keys that sign for it. With ML-DSA-44, the first key signs nothing but the hand-over to two, at size 0, so
 * that both sign the whole log, and is forgotten: it is not among those given back.
 * @param origin left out: made up
 */
export function beginChain(
  origin: string | undefined,
  withMlDsa44: boolean,
): { readonly chain: KeyChain; readonly made: readonly OwnKey[] } {
  const name = origin ?? `ev-central/${randomBytes(8).toString('hex')}`
  const made = makeKeys(name, withMlDsa44)
  if (!withMlDsa44) return { chain: startKeyChain((made[0] as OwnKey).key), made }
  const first = ownKeyOf(generateKeyPairSync('ed25519').privateKey, name)
  return { chain: handOver(startKeyChain(first.key), 0, [first], made), made }
}

/** A checkpoint of this tree, with a signature of each. */
export function signCheckpoint(origin: string, head: TreeHead, signers: readonly SigningKey[], timeMs: number): string {
  const text = formatCheckpoint({ origin, size: head.size, root: head.root, extensions: [] })
  const time = Math.floor(timeMs / 1_000)
  return formatNote({ text, signatures: signers.map(signer => createSignature(signer.key, text, signer.sign, time)) })
}

/** The note by which the keys that sign now hand over to others, at this size. Both Ed25519 first. */
export function signHandOver(
  chain: KeyChain,
  size: number,
  from: readonly SigningKey[],
  to: readonly SigningKey[],
): string {
  return handOver(chain, size, from, to).handOvers.at(-1)?.note as string
}

/**
 * The chain with a signed hand-over at its end.
 * @throws {Refusal} LOG_KEYS_UNUSABLE: it does not follow, or there were too many
 */
export function extendChain(chain: KeyChain, note: string): KeyChain {
  const link = openHandOver(note)
  const grown = link && { ...chain, handOvers: [...chain.handOvers, { ...link, note }] }
  if (grown === undefined || parseKeyChain(formatKeyChain(grown)) === undefined)
    throw unusable('the hand-over does not follow on the key chain')
  return grown
}

/**
 * For whoever reads a stored chain again and again: what was verified is not verified again until it says something else.
 * What is given back throws {Refusal} LOG_KEYS_UNUSABLE.
 * @param place where it is stored, for the refusal
 */
export function chainParser(place: string): (text: string) => KeyChain {
  let known: { readonly text: string; readonly chain: KeyChain } | undefined
  return text => {
    if (text === known?.text) return known.chain
    const chain = parseKeyChain(text)
    if (chain === undefined) throw unusable(`${place} does not hold a key chain`)
    known = { text, chain }
    return chain
  }
}

/** What the trail says of a hand-over. Two ML-DSA-44 keys and their signatures would not fit into an event: then it has a digest. */
export function handOverDetails(note: string): {
  readonly description: string
  readonly metadata: Record<string, unknown>
} {
  const { from, to } = openHandOver(note) ?? {}
  const description = 'Another key signs the checkpoints of the log from now on'
  if (to?.mlDsa44 === undefined && from?.mlDsa44 === undefined)
    return { description, metadata: { note: note.split('\n') } }
  const beside = to?.mlDsa44 === undefined ? 'and no ML-DSA-44 key any more' : 'and an ML-DSA-44 key beside it'
  return { description: `${description}, ${beside}`, metadata: { note_sha256: hash('sha256', note) } }
}

/**
 * @param stored the private half (PKCS#8)
 * @param place where it is stored, for the refusal
 * @throws {Refusal} LOG_KEYS_UNUSABLE: it is not that of the key, or this Node cannot use it
 */
export function openOwnKey(
  stored: string | PrivateKeyInput,
  { name, id }: Pick<VerifierKey, 'name' | 'id'>,
  place: string,
): OwnKey {
  const privateKey = openPrivateKey(stored)
  if (privateKey === undefined) throw unusable(`${place} holds no private key that this Node can use`)
  const own = ownKeyOf(privateKey, name)
  if (own.key.id !== id) throw unusable(`${place} holds another key than its name says`)
  return own
}

/** Whatever OpenSSL says of one that it cannot use does not belong into a log. */
function openPrivateKey(stored: string | PrivateKeyInput): KeyObject | undefined {
  try {
    const key = createPrivateKey(stored)
    return key.asymmetricKeyType === 'ed25519' || key.asymmetricKeyType === 'ml-dsa-44' ? key : undefined
  } catch {
    return undefined
  }
}

function ownKeyOf(privateKey: KeyObject, origin: string): OwnKey {
  return { key: verifierKeyOf(privateKey, origin), sign: message => sign(null, message, privateKey), privateKey }
}

function verifierKeyOf(privateKey: KeyObject, origin: string): VerifierKey {
  const { x, pub } = createPublicKey(privateKey).export({ format: 'jwk' }) as { x?: string; pub?: string }
  const type = pub === undefined ? SIGNATURE_TYPE.ed25519 : SIGNATURE_TYPE.mlDsa44Cosignature
  return createVerifierKey(origin, type, Buffer.from(pub ?? x ?? '', 'base64url'))
}

export function unusable(why: string): Refusal {
  return new Refusal('LOG_KEYS_UNUSABLE', `The keys of the log cannot be used: ${why}.`)
}
