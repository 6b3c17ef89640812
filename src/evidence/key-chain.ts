/**
 * The keys of a log, one after the other: the file `keys` beside its checkpoints (docs/formats.md, "Keys").
 *
 *   {"verifier":"<verifier key of the first key>"}
 *   {"hand_over":"<signed note>"}                     for the key, or the two keys, after it
 *
 * A log signs with an Ed25519 key, and with an ML-DSA-44 key as well once it has announced one. A hand-over is a note signed by all
 * keys before it and all after it. It names the size up to which the old ones sign; checkpoints beyond it count only when each of the
 * new ones signed them. So whoever knows the first key finds every later one, and a key that was handed over, for whatever reason,
 * can sign nothing new.
 *
 * An ML-DSA-44 key comes and goes by hand-overs only, each to a new Ed25519 key: whoever cuts the announcement out of the chain cuts
 * out the Ed25519 key of every checkpoint behind it, too. So a second signature that was announced cannot be left out unseen.
 */
import { LIMITS } from '../limits.ts'
import { type OpenedCheckpoint, openCheckpoint, parseSignedCheckpoint } from './checkpoint.ts'
import { parseDecimal } from './encoding.ts'
import {
  formatNote,
  formatVerifierKey,
  parseNote,
  parseVerifierKey,
  SIGNATURE_TYPE,
  type Verifier,
  type VerifierKey,
  verifyNote,
} from './note.ts'
import { createSignature, createVerifier, noteKeyOf, type Sign } from './signature.ts'

const HEADING = 'ev-central key hand-over v1'

/** Keys that sign together, each of them every checkpoint. They are known by the first. */
export interface LogKeys {
  readonly ed25519: VerifierKey
  /** Undefined while none is announced. */
  readonly mlDsa44: VerifierKey | undefined
}

export interface SigningKey {
  readonly key: VerifierKey
  readonly sign: Sign
}

export interface HandOver {
  /** The old keys sign trees up to this size, the new ones those beyond. */
  readonly size: number
  readonly from: LogKeys
  readonly to: LogKeys
}

export interface KeyChain {
  readonly first: VerifierKey
  /** Ascending by size; two may have the same. */
  readonly handOvers: readonly (HandOver & { readonly note: string })[]
}

export function startKeyChain(first: VerifierKey): KeyChain {
  return { first, handOvers: [] }
}

export function listKeys({ ed25519, mlDsa44 }: LogKeys): readonly VerifierKey[] {
  return mlDsa44 === undefined ? [ed25519] : [ed25519, mlDsa44]
}

/** The keys that sign now. */
export function currentKeys({ first, handOvers }: KeyChain): LogKeys {
  return handOvers.at(-1)?.to ?? { ed25519: first, mlDsa44: undefined }
}

/** The only keys whose checkpoints of this size count. */
export function keysOfSize({ first, handOvers }: KeyChain, size: number): LogKeys {
  return handOvers.findLast(handOver => size > handOver.size)?.to ?? { ed25519: first, mlDsa44: undefined }
}

/** The Ed25519 key that signs now. */
export function currentKey(chain: KeyChain): VerifierKey {
  return currentKeys(chain).ed25519
}

/** The only Ed25519 key whose checkpoints of this size count. */
export function keyOfSize(chain: KeyChain, size: number): VerifierKey {
  return keysOfSize(chain, size).ed25519
}

/** Opens a checkpoint that has to be signed by the keys of its log that may sign a tree of its size: by each of them. */
export function openByChain(signed: string, chain: KeyChain, witnesses: readonly Verifier[] = []): OpenedCheckpoint {
  const size = parseSignedCheckpoint(signed)?.size
  if (size === undefined) return { isTrusted: false, reason: 'malformed' }
  const log = listKeys(keysOfSize(chain, size)).map(createVerifier)
  const opened = openCheckpoint(signed, { origin: chain.first.name, log, witnesses })
  if (opened.isTrusted && opened.signatures.length < log.length)
    return { isTrusted: false, reason: 'missing-signature' }
  return opened
}

/**
 * The chain with other keys, to sign what is larger than `size`.
 * @param from the keys that signed so far, Ed25519 first; `to` likewise
 */
export function handOver(
  chain: KeyChain,
  size: number,
  from: readonly SigningKey[],
  to: readonly SigningKey[],
): KeyChain {
  const lines = [HEADING, chain.first.name, size, formatKeys(from), formatKeys(to)]
  const text = lines.map(line => `${line}\n`).join('')
  const signatures = [...from, ...to].map(({ key, sign }) => createSignature(noteKeyOf(key), text, sign))
  const note = formatNote({ text, signatures })
  const made = openHandOver(note)
  if (made === undefined || !isNext(chain, made)) throw new RangeError('the keys do not follow on the chain')
  return { ...chain, handOvers: [...chain.handOvers, { ...made, note }] }
}

/** Reads a hand-over and verifies all of its signatures. Undefined when it is not one, to the letter. */
export function openHandOver(signed: string): HandOver | undefined {
  const note = parseNote(signed)
  const [heading, origin = '', sizeLine = '', old = '', next = '', ...rest] = note?.text.split('\n') ?? []
  const size = parseDecimal(sizeLine)
  const [from, to] = [parseKeys(old, origin), parseKeys(next, origin)]
  if (note === undefined || heading !== HEADING || size === undefined || from === undefined || to === undefined)
    return undefined
  if (rest.join('\n') !== '') return undefined
  const verifiers = [...listKeys(from), ...listKeys(to)].map(key => createVerifier(noteKeyOf(key)))
  const verdict = verifyNote(note, verifiers)
  return verdict.isSigned && verdict.signatures.length === verifiers.length ? { size, from, to } : undefined
}

function formatKeys(keys: readonly SigningKey[]): string {
  return keys.map(({ key }) => formatVerifierKey(key)).join(' ')
}

/** One Ed25519 key, or that and an ML-DSA-44 key behind a space. */
function parseKeys(line: string, origin: string): LogKeys | undefined {
  const [ed25519, mlDsa44, ...rest] = line.split(' ').map(parseVerifierKey)
  const isPair = line.includes(' ')
  if (ed25519?.type !== SIGNATURE_TYPE.ed25519 || ed25519.name !== origin || rest.length > 0) return undefined
  if (!isPair) return { ed25519, mlDsa44: undefined }
  const isSecond = mlDsa44?.type === SIGNATURE_TYPE.mlDsa44Cosignature && mlDsa44.name === origin
  return isSecond ? { ed25519, mlDsa44 } : undefined
}

export function formatKeyChain({ first, handOvers }: KeyChain): string {
  const lines = [{ verifier: formatVerifierKey(first) }, ...handOvers.map(({ note }) => ({ hand_over: note }))]
  return lines.map(line => `${JSON.stringify(line)}\n`).join('')
}

/** Undefined when it is not a chain, to the letter, in which every link is signed by all of its keys. */
export function parseKeyChain(text: string): KeyChain | undefined {
  const lines = text.split('\n')
  if (lines.length > LIMITS.logKeysMax + 1) return undefined
  try {
    const first = parseVerifierKey(String(JSON.parse(lines[0] ?? '').verifier))
    if (first?.type !== SIGNATURE_TYPE.ed25519) return undefined
    let chain = startKeyChain(first)
    for (const line of lines.slice(1, -1)) {
      const note = String(JSON.parse(line).hand_over)
      const link = openHandOver(note)
      if (link === undefined || !isNext(chain, link)) return undefined
      chain = { ...chain, handOvers: [...chain.handOvers, { ...link, note }] }
    }
    return formatKeyChain(chain) === text ? chain : undefined
  } catch {
    return undefined
  }
}

function isNext(chain: KeyChain, { from, to, size }: HandOver): boolean {
  const current = currentKeys(chain)
  const known = [...allKeys(chain), ...listKeys(from)].map(({ id }) => id)
  // Whoever begins with a later key than the log's first, as witnesses do, has not seen the announcement of what it signs with.
  const isUnannounced = chain.handOvers.length === 0 && from.mlDsa44 !== undefined
  return (
    isSameKey(from.ed25519, current.ed25519) &&
    (isUnannounced || isSameKey(from.mlDsa44, current.mlDsa44)) &&
    to.ed25519.name === current.ed25519.name &&
    !listKeys(to).some(({ id }) => known.includes(id)) &&
    size >= (chain.handOvers.at(-1)?.size ?? 0)
  )
}

/** Every key that ever signed, or is about to. */
export function allKeys({ first, handOvers }: KeyChain): readonly VerifierKey[] {
  return [first, ...handOvers.flatMap(({ to }) => listKeys(to))]
}

/** By all of it: a key id has 32 bits, and others can be made to have the same. */
function isSameKey(a: VerifierKey | undefined, b: VerifierKey | undefined): boolean {
  return (a && formatVerifierKey(a)) === (b && formatVerifierKey(b))
}
