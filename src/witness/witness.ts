/**
 * A witness (C2SP tlog-witness): somebody else who says that a log has one history.
 *
 * Promise: of each log it cosigns one line of trees, each proven to be the beginning of the next; never two of one size, never a
 * smaller one after a larger one, not even across a crash. Its times do not go back either. Nothing leaves before it is on disk.
 *
 *   1. the request is read, the log's signature checked   crash: nothing
 *   2. compared with the last tree cosigned               crash: nothing
 *   3. cosigned, the new state written and fsynced        crash: a tree that is taken for cosigned, and that nobody saw cosigned;
 *                                                         the log asks again and gets it
 *   4. answered                                           -
 *
 * A write that fails may have happened or not: nothing is answered, and the next request is compared with what was answered before.
 * Synchronous throughout, so there is no moment between 2 and 3 at which another request could be looked at.
 *
 * Owns the state of its folder. Must not depend on anything of the service whose log it watches.
 */
import type { Logger } from 'pino'
import { Refusal } from '../errors.ts'
import type { Checkpoint } from '../evidence/checkpoint.ts'
import { sha256 } from '../evidence/crypto.ts'
import { areSameBytes, encodeText } from '../evidence/encoding.ts'
import {
  allKeys,
  formatKeyChain,
  type HandOver,
  type KeyChain,
  keysOfSize,
  listKeys,
  openByChain,
  openHandOver,
  parseKeyChain,
  startKeyChain,
} from '../evidence/key-chain.ts'
import { EMPTY_ROOT } from '../evidence/merkle.ts'
import { verifyConsistency } from '../evidence/merkle-proof.ts'
import { formatNote, formatSignatureLine, type Note, parseNote, type VerifierKey } from '../evidence/note.ts'
import { createSignature } from '../evidence/signature.ts'
import { parseAddCheckpoint, type WitnessOutcome } from '../evidence/witness-message.ts'
import { openWitnessFolder } from './witness-folder.ts'
import type { Cosigned, LogState } from './witness-state.ts'

export type WitnessReply =
  /** `line`: the signature line. */
  | { readonly outcome: 'cosigned'; readonly line: string }
  /** `size`: of the last checkpoint cosigned. Without it: that has the same size and another root. */
  | { readonly outcome: 'conflict'; readonly size?: number }
  | { readonly outcome: Exclude<WitnessOutcome, 'cosigned' | 'conflict'> }
  /** A hand-over is known from now on, or was before. */
  | { readonly outcome: 'accepted' }
  /** Not now: the disk, or the clock. */
  | { readonly outcome: 'unavailable' }

export interface Witness extends Disposable {
  readonly key: VerifierKey
  readonly folder: string
  logs(): readonly WitnessedLog[]
  /** @param body of an `add-checkpoint` request */
  addCheckpoint(body: string): WitnessReply
  /** @param note a hand-over of the log's key (evidence/key-chain.ts) */
  addHandOver(note: string): WitnessReply
}

export interface WitnessedLog {
  readonly origin: string
  /** Hexadecimal SHA-256 of the origin: the log in addresses. */
  readonly id: string
  readonly last: Cosigned | undefined
}

const NOTHING_YET = { size: 0, root: EMPTY_ROOT }

/**
 * @param logs keys of the logs to follow, any of each log's that is known; the name of a key is the origin of its log
 * @throws {Refusal} when the folder cannot be used, or a log is known by other keys
 */
export function openWitness(options: {
  readonly folder: string
  readonly name?: string | undefined
  readonly logs: readonly VerifierKey[]
  readonly logger: Logger
  readonly clock?: () => number
}): Witness {
  const { logger, clock = Date.now } = options
  using undo = new DisposableStack()
  const folder = undo.use(openWitnessFolder(options.folder, options.name))
  let { state } = folder
  const { key } = state
  const firstKeys = new Map(options.logs.map(log => [log.name, log]))
  for (const log of options.logs) checkKnown(log, state.logs.get(log.name)?.keys)
  const reported = new Map<string, string>()

  /** Undefined for a log that is not to be followed. */
  function find(origin: string): LogState | undefined {
    const first = firstKeys.get(origin)
    return first && (state.logs.get(origin) ?? { keys: startKeyChain(first), last: undefined })
  }

  /** Whether it is certainly on disk. */
  function keep(origin: string, log: LogState): boolean {
    const next = { key, logs: new Map(state.logs).set(origin, log) }
    try {
      folder.write(next)
    } catch (error) {
      logger.error(
        { code: (error as NodeJS.ErrnoException).code },
        'the state could not be written; nothing was cosigned',
      )
      return false
    }
    state = next
    return true
  }

  function addCheckpoint(body: string): WitnessReply {
    const request = parseAddCheckpoint(body)
    const note = request && parseNote(request.checkpoint)
    const origin = note?.text.split('\n', 1)[0]
    if (request === undefined || note === undefined || origin === undefined) return { outcome: 'malformed' }
    const log = find(origin)
    if (log === undefined) return { outcome: 'unknown-log' }
    const opened = openByChain(request.checkpoint, log.keys)
    if (!opened.isTrusted) return { outcome: 'unknown-keys' }

    const { checkpoint } = opened
    const last = log.last ?? NOTHING_YET
    if (request.oldSize > checkpoint.size) return { outcome: 'malformed' }
    if (request.oldSize !== last.size) return { outcome: 'conflict', size: last.size }
    const trimmed = {
      text: note.text,
      signatures: signaturesOfLog(note, listKeys(keysOfSize(log.keys, checkpoint.size))),
    }
    if (checkpoint.size === last.size && !areSameBytes(checkpoint.root, last.root)) {
      report(origin, trimmed, 'a fork: the log signed two trees of one size')
      return { outcome: 'conflict' }
    }
    if (!verifyConsistency(last, checkpoint, request.proof)) {
      report(origin, trimmed, 'a checkpoint without proof that it continues the last one')
      return { outcome: 'wrong-proof' }
    }
    return cosign(log, checkpoint, trimmed)
  }

  function cosign(log: LogState, { origin, size, root }: Checkpoint, note: Note): WitnessReply {
    const time = Math.floor(clock() / 1_000)
    const { last } = log
    if (last !== undefined && time < last.time) {
      logger.error(
        { origin, seconds: last.time - time },
        'the clock is behind the last cosignature; nothing is cosigned',
      )
      return { outcome: 'unavailable' }
    }
    const isRepeated = last?.size === size && last.time === time // asked in a loop, it costs no write
    if (isRepeated) return { outcome: 'cosigned', line: formatSignatureLine(last.signature) }
    const signature = createSignature(key, note.text, folder.sign, time)
    const cosigned = formatNote({ text: note.text, signatures: [...note.signatures, signature] })
    const isKept = keep(origin, { ...log, last: { size, root, time, note: cosigned, signature } })
    return isKept ? { outcome: 'cosigned', line: formatSignatureLine(signature) } : { outcome: 'unavailable' }
  }

  /** What the log signed may be proof against it, so it is in the output, once. */
  function report(origin: string, note: Note, message: string): void {
    if (reported.get(origin) === note.text) return
    reported.set(origin, note.text)
    logger.warn({ origin, checkpoint: formatNote(note), cosigned: find(origin)?.last?.note ?? null }, message)
  }

  /**
   * Whoever has the old key can hand over, but could sign checkpoints as well: it stays one history. The first hand-over of a key
   * counts. One that would take back the right to what was cosigned already is refused.
   */
  function addHandOver(note: string): WitnessReply {
    const link = openHandOver(note)
    const signers = link && [...listKeys(link.from), ...listKeys(link.to)]
    if (link === undefined || parseNote(note)?.signatures.length !== signers?.length) return { outcome: 'malformed' }
    const origin = link.from.ed25519.name
    const log = find(origin)
    if (log === undefined) return { outcome: 'unknown-log' }
    if (log.keys.handOvers.some(known => isSameLink(known, link))) return { outcome: 'accepted' }
    const { first, handOvers } = log.keys
    const keys = parseKeyChain(formatKeyChain({ first, handOvers: [...handOvers, { ...link, note }] }))
    if (keys === undefined) return { outcome: 'unknown-keys' }
    if (log.last !== undefined && link.size < log.last.size) return { outcome: 'conflict', size: log.last.size }
    if (!keep(origin, { ...log, keys })) return { outcome: 'unavailable' }
    logger.warn({ origin, key: link.to.ed25519.id, size: link.size }, 'another key signs for the log from now on')
    return { outcome: 'accepted' }
  }

  const held = undo.move()
  return {
    key,
    folder: folder.path,
    logs: () =>
      [...firstKeys.keys()].map(origin => ({ origin, id: logId(origin), last: state.logs.get(origin)?.last })),
    addCheckpoint,
    addHandOver,
    [Symbol.dispose]: () => held.dispose(),
  }
}

function logId(origin: string): string {
  return Buffer.from(sha256(encodeText(origin))).toString('hex')
}

function checkKnown(key: VerifierKey, keys: KeyChain | undefined): void {
  const isKnown = keys === undefined || allKeys(keys).some(({ id }) => id === key.id)
  if (isKnown) return
  const detail = `The witness knows the log ${key.name} by other keys. A new key of it is shown by its hand-over, not by --log.`
  throw new Refusal('VALIDATION_FAILED', detail)
}

/** One of each key. */
const signaturesOfLog = (note: Note, keys: readonly VerifierKey[]) =>
  keys.flatMap(({ name, id }) =>
    note.signatures.filter(signature => signature.name === name && signature.keyId === id).slice(0, 1),
  )

const isSameLink = (a: HandOver, b: HandOver) =>
  a.size === b.size && a.from.ed25519.id === b.from.ed25519.id && a.to.ed25519.id === b.to.ed25519.id
