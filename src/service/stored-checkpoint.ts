/**
 * Which checkpoint a command takes that is not the service: by the same rules as `shown-checkpoint.ts`, from what is kept of the log. How
 * long the witnesses have been behind is not kept; it is how long ago the first event that they have not seen was stored, as
 * that is signed a second later.
 */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type KeyFolders, readKeyChain } from '../checkpoint/key-files.ts'
import { type KeyChain, openByChain } from '../evidence/key-chain.ts'
import { createVerifier } from '../evidence/signature.ts'
import { LIMITS } from '../limits.ts'
import type { Settings } from '../settings/settings.ts'
import { sizeOf } from './shown-checkpoint.ts'

type WitnessSettings = Pick<Settings, 'witnesses' | 'witnessQuorum'>

export interface StoredCheckpoint {
  readonly note: string
  /**
   *   signed       no cosignatures are wanted
   *   witnessed    it has as many as are wanted; it need not be the newest signed one
   *   unwitnessed  it has not, and is the newest signed one: none has yet, or the witnesses are late
   */
  readonly kind: 'signed' | 'witnessed' | 'unwitnessed'
}

/** What is kept of a log that was signed. */
export interface StoredNotes {
  /** The newest; undefined before the first. */
  readonly newest: string | undefined
  /** The newest that was kept as witnessed. */
  readonly witnessed: string | undefined
  readonly chain: KeyChain | undefined
}

/** The witnessed one first, so that it is never ahead of the newest; a key that signs from now on is in the chain before it signs. */
export function readStoredNotes(folders: Pick<KeyFolders, 'log'>): StoredNotes {
  const witnessed = readNote(folders, 'witnessed')
  const newest = readNote(folders, 'checkpoint')
  return { newest, witnessed, chain: readKeyChain(folders) }
}

/**
 * @param storedAt when an event was stored, ISO-8601; undefined when it is not there
 * @returns undefined before the first
 */
export async function chooseCheckpoint(
  stored: StoredNotes,
  settings: WitnessSettings,
  storedAt: (id: number) => Promise<string | undefined>,
): Promise<StoredCheckpoint | undefined> {
  const { newest } = stored
  if (newest === undefined) return undefined
  if (settings.witnesses.length === 0 || settings.witnessQuorum === 0) return { note: newest, kind: 'signed' }
  if (isWitnessed(newest, stored, settings)) return { note: newest, kind: 'witnessed' }
  const witnessed = witnessedOf(stored, settings)
  if (witnessed === undefined || sizeOf(witnessed) > sizeOf(newest)) return { note: newest, kind: 'unwitnessed' }
  const waitedMs = Date.now() - Date.parse((await storedAt(sizeOf(witnessed) + 1)) ?? '')
  const isInTime = waitedMs <= LIMITS.witnessedWaitMsMax // not when it is unknown
  return isInTime ? { note: witnessed, kind: 'witnessed' } : { note: newest, kind: 'unwitnessed' }
}

/** The file `witnessed`, if it is of this log and has as many cosignatures as are wanted now. */
export function readWitnessed(folders: Pick<KeyFolders, 'log'>, settings: WitnessSettings): string | undefined {
  return witnessedOf(readStoredNotes(folders), settings)
}

function witnessedOf(stored: StoredNotes, settings: WitnessSettings): string | undefined {
  const { witnessed } = stored
  return witnessed !== undefined && isWitnessed(witnessed, stored, settings) ? witnessed : undefined
}

function readNote({ log }: Pick<KeyFolders, 'log'>, name: 'checkpoint' | 'witnessed'): string | undefined {
  const file = join(log, name)
  return existsSync(file) ? readFileSync(file, 'utf8') : undefined
}

function isWitnessed(note: string, { chain }: StoredNotes, { witnesses, witnessQuorum }: WitnessSettings): boolean {
  if (chain === undefined) return false
  const cosigners = witnesses.map(({ key }) => createVerifier(key))
  const opened = openByChain(note, chain, cosigners)
  return opened.isTrusted && opened.cosignatures.length >= witnessQuorum
}
