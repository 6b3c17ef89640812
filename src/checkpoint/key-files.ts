/**
 * The keys that sign checkpoints, as files.
 *
 *   DATA/log-keys/<key id>.pem     private keys (PKCS#8; Ed25519 or ML-DSA-44), mode 0600; never in the log's folder, which others may copy
 *   DATA/log-keys/next             ids of the keys that are to sign from now on, until that is done (`rotate`)
 *   DATA/log-keys/hand-over        their hand-over, signed, until it is on record
 *   LOG/keys                       the key chain (evidence/key-chain.ts): all that others need to know of them
 *
 * Everything is written whole or not at all, and before anybody relies on it.
 */
import { existsSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import {
  currentKeys,
  formatKeyChain,
  type KeyChain,
  type LogKeys,
  listKeys,
  openHandOver,
  type SigningKey,
} from '../evidence/key-chain.ts'
import type { VerifierKey } from '../evidence/note.ts'
import { makePrivateFolder, writeWhole } from '../files/whole-file.ts'
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

/** For whoever asks again and again (`chainParser`). */
export function keyChainReader(folders: Pick<KeyFolders, 'log'>): () => KeyChain | undefined {
  const file = chainFile(folders)
  const parse = chainParser(file)
  return () => (existsSync(file) ? parse(readFileSync(file, 'utf8')) : undefined)
}

/**
 * The chain, begun with a new key if there is none, or none of this origin: then what was signed under another one is put aside.
 * Crash before the chain is written: keys that nobody knows.
 */
export function beginKeyChain(folders: KeyFolders, origin?: string, withMlDsa44 = false): KeyChain {
  const known = readKeyChain(folders)
  if (known !== undefined && (origin === undefined || known.first.name === origin)) return known
  if (known !== undefined) putChainAside(folders.log)
  for (const name of [NEXT, HAND_OVER]) rmSync(join(folders.keys, name), { force: true }) // of a chain that is put aside
  const { chain, made } = beginChain(origin, withMlDsa44)
  saveKeys(folders, made)
  makePrivateFolder(folders.log)
  writeWhole(chainFile(folders), formatKeyChain(chain))
  return chain
}

/**
 * Whether checkpoints of this chain were signed, where the newest one is not there to say so: others are written after it, and a key
 * hands over from it on.
 */
export function wasSigned({ log }: Pick<KeyFolders, 'log'>, { handOvers }: KeyChain): boolean {
  const others = ['checkpoints', 'witnessed'].some(name => existsSync(join(log, name)))
  return others || handOvers.some(({ size }) => size > 0)
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

function saveKeys(folders: KeyFolders, made: readonly OwnKey[]): void {
  makePrivateFolder(folders.keys)
  for (const { key, privateKey } of made)
    writeWhole(privateFile(folders, key.id), privateKey.export({ type: 'pkcs8', format: 'pem' }).toString())
}

const privateFile = ({ keys }: Pick<KeyFolders, 'keys'>, id: string) => join(keys, `${id}.pem`)

/** Ed25519 first. @throws {Refusal} LOG_KEYS_UNUSABLE: a private half is not there, or not its own, or this Node cannot use it */
export function readSigningKeys(folders: KeyFolders, keys: LogKeys): readonly SigningKey[] {
  return listKeys(keys).map(key => readOwnKey(folders, key))
}

/** Whether keys were asked for that do not sign yet. */
export function isRotationUnderWay({ keys }: Pick<KeyFolders, 'keys'>): boolean {
  return [NEXT, HAND_OVER].some(name => existsSync(join(keys, name)))
}

/** The private half of a key (PKCS#8), for whoever keeps it elsewhere. @throws {Refusal} as `readSigningKeys` */
export function readPrivateKey(folders: KeyFolders, key: VerifierKey): Uint8Array {
  return readOwnKey(folders, key).privateKey.export({ type: 'pkcs8', format: 'der' })
}

function readOwnKey(folders: KeyFolders, key: Pick<VerifierKey, 'name' | 'id'>): OwnKey {
  const file = privateFile(folders, key.id)
  if (!existsSync(file)) throw unusable(`the private key ${file} is not there`)
  return openOwnKey(readFileSync(file, 'utf8'), key, file)
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
  const made = makeKeys(chain.first.name, withMlDsa44)
  saveKeys(folders, made)
  writeWhole(join(folders.keys, NEXT), made.map(({ key }) => key.id).join(' '))
  const [ed25519, mlDsa44] = made.map(({ key }) => key)
  return { ed25519: ed25519 as VerifierKey, mlDsa44 }
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
  const to = ids.map(id => readOwnKey(folders, { name: chain.first.name, id }))
  const note = signHandOver(chain, size, readSigningKeys(folders, currentKeys(chain)), to)
  writeWhole(draft, note)
  return note
}

function readNext({ keys }: KeyFolders): readonly string[] | undefined {
  const file = join(keys, NEXT)
  return existsSync(file) ? readFileSync(file, 'utf8').split(' ') : undefined
}

/** Step 3. */
export function completeHandOver(folders: KeyFolders, chain: KeyChain, note: string): KeyChain {
  const isDone = chain.handOvers.some(done => done.note === note)
  const grown = isDone ? chain : extendChain(chain, note)
  writeWhole(chainFile(folders), formatKeyChain(grown))
  // Asked for meanwhile: the next one.
  const taken = openHandOver(note)?.to.ed25519.id ?? ''
  if (readNext(folders)?.includes(taken)) rmSync(join(folders.keys, NEXT), { force: true })
  rmSync(join(folders.keys, HAND_OVER), { force: true })
  return grown
}
