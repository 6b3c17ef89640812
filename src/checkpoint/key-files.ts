/**
 * The keys that sign checkpoints, as files.
 *
 *   DATA/log-keys/<key id>.pem     private keys (PKCS#8, Ed25519), mode 0600; never in the log's folder, which others may copy
 *   DATA/log-keys/next             id of the key that is to sign from now on, until that is done (`rotate`)
 *   DATA/log-keys/hand-over        its hand-over, signed, until it is on record
 *   LOG/keys                       the key chain (evidence/key-chain.ts): all that others need to know of them
 *
 * Everything is written whole or not at all, and before anybody relies on it.
 */
import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto'
import { existsSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { Refusal } from '../errors.ts'
import {
  currentKey,
  formatKeyChain,
  handOver,
  type KeyChain,
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

const chainFile = ({ log }: Pick<KeyFolders, 'log'>) => join(log, 'keys')

/** Undefined when there is none yet. @throws {Refusal} LOG_KEYS_UNUSABLE */
export function readKeyChain(folders: Pick<KeyFolders, 'log'>): KeyChain | undefined {
  const file = chainFile(folders)
  if (!existsSync(file)) return undefined
  const chain = parseKeyChain(readFileSync(file, 'utf8'))
  if (chain === undefined) throw unusable(`${file} does not hold a key chain`)
  return chain
}

/**
 * The chain, begun with a new key if there is none, or none of this origin: then what was signed under another one is put aside.
 * Crash before the chain is written: a key that nobody knows.
 */
export function beginKeyChain(folders: KeyFolders, origin?: string): KeyChain {
  const known = readKeyChain(folders)
  if (known !== undefined && (origin === undefined || known.first.name === origin)) return known
  if (known !== undefined) putChainAside(folders.log)
  const chain = startKeyChain(makeKey(folders, origin ?? `ev-central/${randomBytes(8).toString('hex')}`))
  makePrivateFolder(folders.log)
  writeWhole(chainFile(folders), formatKeyChain(chain))
  return chain
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

function makeKey(folders: KeyFolders, origin: string): VerifierKey {
  const { privateKey } = generateKeyPairSync('ed25519')
  const key = verifierKeyOf(privateKey, origin)
  makePrivateFolder(folders.keys)
  writeWhole(join(folders.keys, `${key.id}.pem`), privateKey.export({ type: 'pkcs8', format: 'pem' }).toString())
  return key
}

/** The key that signs now. @throws {Refusal} LOG_KEYS_UNUSABLE: its private half is not there, or not its own */
export function readSigningKey(folders: KeyFolders, chain: KeyChain): SigningKey {
  return signingKey(folders, chain.first.name, currentKey(chain).id)
}

/** The private half of the key that signs now (PKCS#8), for whoever keeps it elsewhere. @throws {Refusal} as `readSigningKey` */
export function readPrivateKey(folders: KeyFolders, chain: KeyChain): Uint8Array {
  const { id } = readSigningKey(folders, chain).key
  const key = createPrivateKey(readFileSync(join(folders.keys, `${id}.pem`), 'utf8'))
  return key.export({ type: 'pkcs8', format: 'der' })
}

/** Whether a key was asked for that does not sign yet. */
export function isRotationUnderWay({ keys }: Pick<KeyFolders, 'keys'>): boolean {
  return ['next', 'hand-over'].some(name => existsSync(join(keys, name)))
}

function signingKey({ keys }: KeyFolders, origin: string, id: string): SigningKey {
  const file = join(keys, `${id}.pem`)
  if (!existsSync(file)) throw unusable(`the private key ${file} is not there`)
  const privateKey = createPrivateKey(readFileSync(file, 'utf8'))
  const key = verifierKeyOf(privateKey, origin)
  if (key.id !== id) throw unusable(`${file} holds another key than its name says`)
  return { key, sign: message => sign(null, message, privateKey) }
}

function verifierKeyOf(privateKey: KeyObject, origin: string): VerifierKey {
  const { x = '' } = createPublicKey(privateKey).export({ format: 'jwk' })
  return createVerifierKey(origin, SIGNATURE_TYPE.ed25519, Buffer.from(x, 'base64url'))
}

/** Makes a key and asks for it to sign from now on. Whoever signs does the rest: `takeHandOver`. */
export function askForRotation(folders: KeyFolders, chain: KeyChain): VerifierKey {
  const key = makeKey(folders, chain.first.name)
  writeWhole(join(folders.keys, 'next'), key.id)
  return key
}

/**
 * The hand-over that was asked for, made if it is not yet.
 *
 *   1. the hand-over, signed by both keys     crash before: nothing happened
 *   2. on record in the trail (the caller)    crash before or after: the same hand-over is put on record (again)
 *   3. in the chain (`completeHandOver`)      crash before: step 2 again
 *
 * @param size of the last checkpoint that was signed
 * @returns the signed note; undefined when none was asked for
 */
export function takeHandOver(folders: KeyFolders, chain: KeyChain, size: number): string | undefined {
  const next = join(folders.keys, 'next')
  const draft = join(folders.keys, 'hand-over')
  if (existsSync(draft)) return readFileSync(draft, 'utf8')
  if (!existsSync(next)) return undefined
  const to = signingKey(folders, chain.first.name, readFileSync(next, 'utf8'))
  const note = handOver(chain, size, readSigningKey(folders, chain), to).handOvers.at(-1)?.note as string
  writeWhole(draft, note)
  return note
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
  rmSync(join(folders.keys, 'next'), { force: true })
  rmSync(join(folders.keys, 'hand-over'), { force: true })
  return grown
}

function unusable(why: string): Refusal {
  return new Refusal('LOG_KEYS_UNUSABLE', `The keys of the log cannot be used: ${why}.`)
}
