/**
 * The folder of a witness:
 *
 *   lock.db   held by the process that uses it
 *   state     what it has cosigned (witness-state.ts), written whole or not at all
 *   key.pem   the private half of its key (PKCS#8, Ed25519), mode 0600
 *
 * A witness that forgot what it cosigned would cosign a fork. So a state that is damaged or gone is never begun anew: the folder is
 * refused. For the same reason `state` is written before `key.pem`: a key without a state is one whose state was lost.
 */
import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { Refusal } from '../errors.ts'
import { createVerifierKey, formatVerifierKey, SIGNATURE_TYPE, type VerifierKey } from '../evidence/note.ts'
import type { Sign } from '../evidence/signature.ts'
import { holdFile } from '../files/held-file.ts'
import { makePrivateFolder, writeWhole } from '../files/whole-file.ts'
import { formatState, parseState, type WitnessState } from './witness-state.ts'

export interface WitnessFolder extends Disposable {
  readonly path: string
  /** As it was when the folder was opened. */
  readonly state: WitnessState
  readonly sign: Sign
  /** @throws when it may or may not be on disk; either is found by the next start */
  write(state: WitnessState): void
}

/**
 * Takes the folder for this process, and begins a witness in it when there is none.
 * @param name of the key of a new witness; of an old one it has to be the same, or left out
 * @throws {Refusal} DATA_FOLDER_IN_USE, WITNESS_STATE_DAMAGED, VALIDATION_FAILED
 */
export function openWitnessFolder(path: string, name?: string): WitnessFolder {
  const root = resolve(path)
  makePrivateFolder(root)
  using undo = new DisposableStack()
  const busy = `Another witness uses the folder ${root}; stop that one first.`
  undo.use(holdFile(join(root, 'lock.db'), cause => new Refusal('DATA_FOLDER_IN_USE', busy, { cause })))
  const state = readState(root) ?? begin(root, name)
  if (name !== undefined && name !== state.key.name) {
    throw new Refusal('VALIDATION_FAILED', `The witness in ${root} has another name already: ${state.key.name}.`)
  }
  const privateKey = readPrivateKey(root, state.key)
  const held = undo.move()
  return {
    path: root,
    state,
    sign: message => sign(null, message, privateKey),
    write: next => writeWhole(stateFile(root), formatState(next)),
    [Symbol.dispose]: () => held.dispose(),
  }
}

const stateFile = (root: string) => join(root, 'state')
const keyFile = (root: string) => join(root, 'key.pem')

/** Undefined when no witness was begun here, or so little that it cannot have cosigned anything. */
function readState(root: string): WitnessState | undefined {
  const hasKey = existsSync(keyFile(root))
  if (!existsSync(stateFile(root))) {
    if (hasKey) throw damaged(`${stateFile(root)} is gone, but ${keyFile(root)} is there`)
    return undefined
  }
  const state = parseState(readFileSync(stateFile(root), 'utf8'))
  if (state === undefined) throw damaged(`${stateFile(root)} is damaged`)
  if (!hasKey && state.logs.size > 0) throw damaged(`${keyFile(root)} is gone`)
  return hasKey ? state : undefined
}

/** Crash between the files: a state without a key and without logs, which the next start replaces. */
function begin(root: string, name = `ev-central-witness/${randomBytes(8).toString('hex')}`): WitnessState {
  const { privateKey } = generateKeyPairSync('ed25519')
  const state = { key: verifierKeyOf(privateKey, name), logs: new Map() }
  writeWhole(stateFile(root), formatState(state))
  writeWhole(keyFile(root), privateKey.export({ type: 'pkcs8', format: 'pem' }).toString())
  return state
}

function readPrivateKey(root: string, key: VerifierKey): KeyObject {
  try {
    const privateKey = createPrivateKey(readFileSync(keyFile(root), 'utf8'))
    if (formatVerifierKey(verifierKeyOf(privateKey, key.name)) === formatVerifierKey(key)) return privateKey
  } catch (cause) {
    throw damaged(`${keyFile(root)} cannot be read as a private key`, cause)
  }
  throw damaged(`${keyFile(root)} is not the key of ${stateFile(root)}`)
}

function verifierKeyOf(privateKey: KeyObject, name: string): VerifierKey {
  const { x = '' } = createPublicKey(privateKey).export({ format: 'jwk' })
  return createVerifierKey(name, SIGNATURE_TYPE.ed25519Cosignature, Uint8Array.from(Buffer.from(x, 'base64url')))
}

function damaged(what: string, cause?: unknown): Refusal {
  const detail = `This witness cannot know what it has cosigned: ${what}. Never put an older copy back; begin a new witness in another folder.`
  return new Refusal('WITNESS_STATE_DAMAGED', detail, { cause })
}
