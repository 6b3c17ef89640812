/**
 * Which checkpoint a command takes that is not the service: by the same rules as `shown-checkpoint.ts`, from the files of the log. How
 * long the witnesses have been behind is not in a file; it is how long ago the first event that they have not seen was stored, as
 * that is signed a second later.
 */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type KeyFolders, readKeyChain } from '../checkpoint/key-files.ts'
import { parseCheckpoint } from '../evidence/checkpoint.ts'
import { openByChain } from '../evidence/key-chain.ts'
import { parseNote } from '../evidence/note.ts'
import { createVerifier } from '../evidence/signature.ts'
import { LIMITS } from '../limits.ts'
import type { Settings } from '../settings/settings.ts'

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

/**
 * @param storedAt when an event was stored, ISO-8601; undefined when it is not there
 * @returns undefined before the first
 */
export async function readShownCheckpoint(
  folders: Pick<KeyFolders, 'log'>,
  settings: WitnessSettings,
  storedAt: (id: number) => Promise<string | undefined>,
): Promise<StoredCheckpoint | undefined> {
  const witnessed = readWitnessed(folders, settings) // first, so that it is never ahead of the newest
  const newest = readNote(folders, 'checkpoint')
  if (newest === undefined) return undefined
  if (settings.witnesses.length === 0 || settings.witnessQuorum === 0) return { note: newest, kind: 'signed' }
  if (isWitnessed(newest, folders, settings)) return { note: newest, kind: 'witnessed' }
  if (witnessed === undefined || sizeOf(witnessed) > sizeOf(newest)) return { note: newest, kind: 'unwitnessed' }
  const waitedMs = Date.now() - Date.parse((await storedAt(sizeOf(witnessed) + 1)) ?? '')
  const isInTime = waitedMs <= LIMITS.witnessedWaitMsMax // not when it is unknown
  return isInTime ? { note: witnessed, kind: 'witnessed' } : { note: newest, kind: 'unwitnessed' }
}

/** The file `witnessed`, if it is of this log and has as many cosignatures as are wanted now. */
export function readWitnessed(folders: Pick<KeyFolders, 'log'>, settings: WitnessSettings): string | undefined {
  const note = readNote(folders, 'witnessed')
  return note !== undefined && isWitnessed(note, folders, settings) ? note : undefined
}

function readNote({ log }: Pick<KeyFolders, 'log'>, name: 'checkpoint' | 'witnessed'): string | undefined {
  const file = join(log, name)
  return existsSync(file) ? readFileSync(file, 'utf8') : undefined
}

function isWitnessed(
  note: string,
  folders: Pick<KeyFolders, 'log'>,
  { witnesses, witnessQuorum }: WitnessSettings,
): boolean {
  const chain = readKeyChain(folders)
  if (chain === undefined) return false
  const cosigners = witnesses.map(({ key }) => createVerifier(key))
  const opened = openByChain(note, chain, cosigners)
  return opened.isTrusted && opened.cosignatures.length >= witnessQuorum
}

function sizeOf(note: string): number {
  return parseCheckpoint(parseNote(note)?.text ?? '')?.size ?? 0
}
