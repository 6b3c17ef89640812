/**
 * Other keys for the log's checkpoints, asked for on the command line: one, or two where an ML-DSA-44 key signs, too. A service that runs
 * hands over by itself, within a second or two; without one it is done here, in the same steps (checkpoint/key-files.ts), under the lock
 * of the data folder.
 */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { system } from '../audit/events.ts'
import {
  askForRotation,
  completeHandOver,
  hasHandOver,
  type KeyFolders,
  readKeyChain,
  takeHandOver,
  wasSigned,
} from '../checkpoint/key-files.ts'
import { handOverDetails } from '../checkpoint/signing-keys.ts'
import { createContext } from '../context/context.ts'
import { Refusal } from '../errors.ts'
import { parseSignedCheckpoint } from '../evidence/checkpoint.ts'
import { currentKey, type KeyChain, type LogKeys } from '../evidence/key-chain.ts'
import { type DataFolder, lockDataFolder } from './data-folder.ts'
import { putOnRecord } from './put-on-record.ts'

const POLL_MS = 100
const SERVICE_MS_MAX = 10_000

export interface Rotation {
  readonly keys: LogKeys
  /** False: the running service has not taken it over yet; it will. */
  readonly isDone: boolean
}

/** @throws {Refusal} LOG_KEYS_UNUSABLE: there is no key to hand over from */
export async function rotateKey(folder: DataFolder): Promise<Rotation> {
  const folders = keyFolders(folder)
  const chain = readKeyChain(folders)
  if (chain === undefined)
    throw new Refusal(
      'LOG_KEYS_UNUSABLE',
      'The log has no key yet; the first start makes one, or `ev-central key generate`.',
    )
  const lock = tryLock(folder)
  if (lock === undefined) {
    const keys = askForRotation(folders, chain)
    return { keys, isDone: await isTaken(folders, keys) }
  }
  try {
    if (hasHandOver(folders)) await handOver(folder) // one that was cut off
    const keys = askForRotation(folders, readKeyChain(folders) ?? chain)
    await handOver(folder)
    return { keys, isDone: true }
  } finally {
    lock.leaveAsFound()
    lock[Symbol.dispose]()
  }
}

export const keyFolders = ({ logKeys, log }: DataFolder): KeyFolders => ({ keys: logKeys, log })

async function handOver(folder: DataFolder): Promise<void> {
  const folders = keyFolders(folder)
  const chain = readKeyChain(folders)
  const note = chain && takeHandOver(folders, chain, signedSize(folders, chain))
  if (chain === undefined || note === undefined) return
  await putOnRecord(folder, system('LOG_KEY_ROTATED', createContext(), handOverDetails(note)))
  completeHandOver(folders, chain, note)
}

function signedSize(folders: KeyFolders, chain: KeyChain): number {
  const file = join(folders.log, 'checkpoint')
  if (!existsSync(file)) {
    if (!wasSigned(folders, chain)) return 0
    throw new Refusal('LOG_KEYS_UNUSABLE', `${file} is gone, and checkpoints of this log were signed: put it back.`)
  }
  const checkpoint = parseSignedCheckpoint(readFileSync(file, 'utf8'))
  if (checkpoint === undefined) throw new Refusal('LOG_KEYS_UNUSABLE', `${file} is not a checkpoint.`)
  return checkpoint.size
}

function tryLock(folder: DataFolder) {
  try {
    return lockDataFolder(folder)
  } catch (error) {
    if (error instanceof Refusal && error.code === 'DATA_FOLDER_IN_USE') return undefined
    throw error
  }
}

async function isTaken(folders: KeyFolders, { ed25519 }: LogKeys): Promise<boolean> {
  for (const until = performance.now() + SERVICE_MS_MAX; performance.now() < until; await sleep(POLL_MS)) {
    const chain = readKeyChain(folders)
    if (chain !== undefined && currentKey(chain).id === ed25519.id) return true
  }
  return false
}
