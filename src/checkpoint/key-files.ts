/**
 * The keys that sign checkpoints, as files.
 *
 *   DATA/log-keys/<key id>.pem     private keys (PKCS#8; Ed25519 or ML-DSA-44), mode 0600; never in the log's folder, which others may copy
 *   DATA/log-keys/next             ids of the keys that are to sign from now on, until that is done (`rotate`)
 *   DATA/log-keys/hand-over        their hand-over, signed, until it is on record
 *   LOG/keys                       the key chain (evidence/key-chain.ts): all that others need to know of them
 *
 * Everything is written whole or not at all, and before anybody relies on it. With ML-DSA-44 each Ed25519 key has a second one beside it:
 * made with it, handed over with it, and never without it when a checkpoint is signed. OpenSSL signs with it from 3.5 on; an older one cannot be asked to.
 */
import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  hash,
  type KeyObject,
  randomBytes,
  sign,
} from 'node:crypto'
import { existsSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { Refusal } from '../errors.ts'
import {
  currentKeys,
  formatKeyChain,
  handOver,
  type KeyChain,
  type LogKeys,
  listKeys,
  openHandOver,
  parseKeyChain,
  type SigningKey,
  startKeyChain,
} from '../evidence/key-chain.ts'
import { createVerifierKey, SIGNATURE_TYPE, type VerifierKey } from '../evidence/note.ts'
import { makePrivateFolder, writeWhole } from '../files/whole-file.ts'

export interface KeyFolders {
  /** Of the private keys. */
  readonly keys: string
  /** Of the log. */
  readonly log: string
}

/** What an older log of another origin leaves, in this order, so that a crash in between is seen and gone on with. */
const FILES_OF_ORIGIN = ['checkpoint', 'checkpoints', 'witnessed', 'keys'] as const

const NEXT = 'next'
const HAND_OVER = 'hand-over'

const chainFile = ({ log }: Pick<KeyFolders, 'log'>) => join(log, 'keys')

/** Undefined when there is none yet. @throws {Refusal} LOG_KEYS_UNUSABLE */
export function readKeyChain(folders: Pick<KeyFolders, 'log'>): KeyChain | undefined {
  return keyChainReader(folders)()
}

/** For whoever asks again and again: what was verified is not verified again until the file says something else. */
export function keyChainReader(folders: Pick<KeyFolders, 'log'>): () => KeyChain | undefined {
  const file = chainFile(folders)
  let known: { readonly text: string; readonly chain: KeyChain } | undefined
  return () => {
    if (!existsSync(file)) return undefined
    const text = readFileSync(file, 'utf8')
    if (text === known?.text) return known.chain
    const chain = parseKeyChain(text)
    if (chain === undefined) throw unusable(`${file} does not hold a key chain`)
    known = { text, chain }
    return chain
  }
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

/**
 * The chain, begun with a new key if there is none, or none of this origin: then what was signed under another one is put aside.
 * With ML-DSA-44, the first key signs nothing but the hand-over to two, at size 0, so that both sign the whole log, and is forgotten: it
 * is in no file. Crash before the chain is written: keys that nobody knows.
 */
export function beginKeyChain(folders: KeyFolders, origin?: string, withMlDsa44 = false): KeyChain {
  const known = readKeyChain(folders)
  if (known !== undefined && (origin === undefined || known.first.name === origin)) return known
  if (known !== undefined) putChainAside(folders.log)
  for (const name of [NEXT, HAND_OVER]) rmSync(join(folders.keys, name), { force: true }) // of a chain that is put aside
  const name = origin ?? `ev-central/${randomBytes(8).toString('hex')}`
  const keys = makeKeys(folders, name, withMlDsa44)
  const chain = withMlDsa44 ? announce(readSigningKeys(folders, keys), name) : startKeyChain(keys.ed25519)
  makePrivateFolder(folders.log)
  writeWhole(chainFile(folders), formatKeyChain(chain))
  return chain
}

function announce(pair: readonly SigningKey[], origin: string): KeyChain {
  const first = signingKeyOf(generateKeyPairSync('ed25519').privateKey, origin)
  return handOver(startKeyChain(first.key), 0, [first], pair)
}

/** So that the next start begins a new one. What was signed stays, with the id of the first key behind its names. */
export function putChainAside(log: string): void {
  const chain = readKeyChain({ log })
  if (chain === undefined) return
  for (const name of FILES_OF_ORIGIN) {
    const file = join(log, name)
    if (existsSync(file)) renameSync(file, `${file}.${chain.first.id}`)
  }
}

function makeKeys(folders: KeyFolders, origin: string, withMlDsa44: boolean): LogKeys {
  if (withMlDsa44 && !canSignMlDsa44()) throw unusable('this Node has no ML-DSA-44')
  makePrivateFolder(folders.keys)
  const save = ({ privateKey }: { privateKey: KeyObject }) => {
    const key = verifierKeyOf(privateKey, origin)
    writeWhole(privateFile(folders, key.id), privateKey.export({ type: 'pkcs8', format: 'pem' }).toString())
    return key
  }
  return {
    ed25519: save(generateKeyPairSync('ed25519')),
    mlDsa44: withMlDsa44 ? save(generateKeyPairSync('ml-dsa-44')) : undefined,
  }
}

const privateFile = ({ keys }: Pick<KeyFolders, 'keys'>, id: string) => join(keys, `${id}.pem`)

/** Ed25519 first. @throws {Refusal} LOG_KEYS_UNUSABLE: a private half is not there, or not its own, or this Node cannot use it */
export function readSigningKeys(folders: KeyFolders, keys: LogKeys): readonly SigningKey[] {
  return listKeys(keys).map(key => readSigningKey(folders, key.name, key.id))
}

/** Whether keys were asked for that do not sign yet. */
export function isRotationUnderWay({ keys }: Pick<KeyFolders, 'keys'>): boolean {
  return ['next', 'hand-over'].some(name => existsSync(join(keys, name)))
}

/** The private half of a key (PKCS#8), for whoever keeps it elsewhere. @throws {Refusal} as `readSigningKeys` */
export function readPrivateKey(folders: KeyFolders, { name, id }: VerifierKey): Uint8Array {
  readSigningKey(folders, name, id)
  return parsePrivateKey(privateFile(folders, id)).export({ type: 'pkcs8', format: 'der' })
}

function readSigningKey(folders: KeyFolders, origin: string, id: string): SigningKey {
  const file = privateFile(folders, id)
  if (!existsSync(file)) throw unusable(`the private key ${file} is not there`)
  const signer = signingKeyOf(parsePrivateKey(file), origin)
  if (signer.key.id !== id) throw unusable(`${file} holds another key than its name says`)
  return signer
}

function signingKeyOf(privateKey: KeyObject, origin: string): SigningKey {
  return { key: verifierKeyOf(privateKey, origin), sign: message => sign(null, message, privateKey) }
}

function parsePrivateKey(file: string): KeyObject {
  const text = readFileSync(file, 'utf8')
  try {
    const key = createPrivateKey(text)
    if (key.asymmetricKeyType === 'ed25519' || key.asymmetricKeyType === 'ml-dsa-44') return key
  } catch {} // whatever OpenSSL says of it does not belong into a log
  throw unusable(`${file} holds no private key that this Node can use`)
}

function verifierKeyOf(privateKey: KeyObject, origin: string): VerifierKey {
  const { x, pub } = createPublicKey(privateKey).export({ format: 'jwk' }) as { x?: string; pub?: string }
  const type = pub === undefined ? SIGNATURE_TYPE.ed25519 : SIGNATURE_TYPE.mlDsa44Cosignature
  return createVerifierKey(origin, type, Buffer.from(pub ?? x ?? '', 'base64url'))
}

/**
 * Makes keys and asks for them to sign from now on. Whoever signs does the rest: `takeHandOver`.
 * @param withMlDsa44 otherwise as it is now
 */
export function askForRotation(
  folders: KeyFolders,
  chain: KeyChain,
  withMlDsa44 = currentKeys(chain).mlDsa44 !== undefined,
): LogKeys {
  const keys = makeKeys(folders, chain.first.name, withMlDsa44)
  const ids = listKeys(keys).map(({ id }) => id)
  writeWhole(join(folders.keys, NEXT), ids.join(' '))
  return keys
}

/** Whether one is made and not yet in the chain. Nothing may be signed until it is: it names the size at which the old keys end. */
export function hasHandOver({ keys }: KeyFolders): boolean {
  return existsSync(join(keys, HAND_OVER))
}

/**
 * The hand-over that was asked for, made if it is not yet.
 *
 *   1. the hand-over, signed by all keys      crash before: nothing happened
 *   2. on record in the trail (the caller)    crash before or after: the same hand-over is put on record (again)
 *   3. in the chain (`completeHandOver`)      crash before: step 2 again
 *
 * @param size of the last checkpoint that was signed
 * @returns the signed note; undefined when none was asked for
 */
export function takeHandOver(folders: KeyFolders, chain: KeyChain, size: number): string | undefined {
  const draft = join(folders.keys, HAND_OVER)
  if (existsSync(draft)) return readFileSync(draft, 'utf8')
  const ids = readNext(folders)
  if (ids === undefined) return undefined
  const to = ids.map(id => readSigningKey(folders, chain.first.name, id))
  const note = handOver(chain, size, readSigningKeys(folders, currentKeys(chain)), to).handOvers.at(-1)?.note as string
  writeWhole(draft, note)
  return note
}

function readNext({ keys }: KeyFolders): readonly string[] | undefined {
  const file = join(keys, NEXT)
  return existsSync(file) ? readFileSync(file, 'utf8').split(' ') : undefined
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

/** Step 3. */
export function completeHandOver(folders: KeyFolders, chain: KeyChain, note: string): KeyChain {
  const link = openHandOver(note)
  if (link === undefined) throw unusable('the hand-over is not one')
  const isDone = chain.handOvers.some(done => done.note === note)
  const grown = isDone ? chain : { ...chain, handOvers: [...chain.handOvers, { ...link, note }] }
  if (parseKeyChain(formatKeyChain(grown)) === undefined)
    throw unusable('the hand-over does not follow on the key chain')
  writeWhole(chainFile(folders), formatKeyChain(grown))
  // Asked for meanwhile: the next one.
  if (readNext(folders)?.includes(link.to.ed25519.id)) rmSync(join(folders.keys, NEXT), { force: true })
  rmSync(join(folders.keys, HAND_OVER), { force: true })
  return grown
}

function unusable(why: string): Refusal {
  return new Refusal('LOG_KEYS_UNUSABLE', `The keys of the log cannot be used: ${why}.`)
}
