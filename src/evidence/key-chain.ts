/**
 * The keys of a log, one after the other: the file `keys` beside its checkpoints (docs/formats.md, "Keys").
 *
 *   {"verifier":"<verifier key of the first key>"}
 *   {"hand_over":"<signed note>"}                     for each key after it
 *
 * A hand-over is a note signed by both keys. It names the size up to which the old key signs; checkpoints beyond it count only
 * when they are signed by the new one. So whoever knows the first key finds every later one, and a key that was handed over,
 * for whatever reason, can sign nothing new.
 */
import { LIMITS } from '../limits.ts'
import { parseDecimal } from './encoding.ts'
import {
  formatNote,
  formatVerifierKey,
  parseNote,
  parseVerifierKey,
  SIGNATURE_TYPE,
  type VerifierKey,
  verifyNote,
} from './note.ts'
import { createSignature, createVerifier, type Sign } from './signature.ts'

const HEADING = 'ev-central key hand-over v1'

export interface SigningKey {
  readonly key: VerifierKey
  readonly sign: Sign
}

export interface HandOver {
  /** The old key signs trees up to this size, the new one those beyond. */
  readonly size: number
  readonly from: VerifierKey
  readonly to: VerifierKey
}

export interface KeyChain {
  readonly first: VerifierKey
  /** Ascending by size; two may have the same. */
  readonly handOvers: readonly (HandOver & { readonly note: string })[]
}

export function startKeyChain(first: VerifierKey): KeyChain {
  return { first, handOvers: [] }
}

/** The key that signs now. */
export function currentKey({ first, handOvers }: KeyChain): VerifierKey {
  return handOvers.at(-1)?.to ?? first
}

/** The only key whose checkpoints of this size count. */
export function keyOfSize({ first, handOvers }: KeyChain, size: number): VerifierKey {
  return handOvers.findLast(handOver => size > handOver.size)?.to ?? first
}

/** The chain with one key more, to sign what is larger than `size`. */
export function handOver(chain: KeyChain, size: number, from: SigningKey, to: SigningKey): KeyChain {
  const lines = [HEADING, from.key.name, size, formatVerifierKey(from.key), formatVerifierKey(to.key)]
  const text = lines.map(line => `${line}\n`).join('')
  const signatures = [from, to].map(({ key, sign }) => createSignature(key, text, sign))
  const made = { size, from: from.key, to: to.key, note: formatNote({ text, signatures }) }
  if (!isNext(chain, made)) throw new RangeError('the keys do not follow on the chain')
  return { ...chain, handOvers: [...chain.handOvers, made] }
}

/** Reads a hand-over and verifies both of its signatures. Undefined when it is not one, to the letter. */
export function openHandOver(signed: string): HandOver | undefined {
  const note = parseNote(signed)
  const [heading, origin, sizeLine = '', old = '', next = '', ...rest] = note?.text.split('\n') ?? []
  const size = parseDecimal(sizeLine)
  const [from, to] = [parseVerifierKey(old), parseVerifierKey(next)]
  if (note === undefined || heading !== HEADING || size === undefined || from === undefined || to === undefined)
    return undefined
  const isOneLog = from.name === origin && to.name === origin && rest.join('\n') === ''
  if (!isOneLog || ![from, to].every(key => key.type === SIGNATURE_TYPE.ed25519)) return undefined
  const verdict = verifyNote(note, [createVerifier(from), createVerifier(to)])
  return verdict.isSigned && verdict.signatures.length === 2 ? { size, from, to } : undefined
}

export function formatKeyChain({ first, handOvers }: KeyChain): string {
  const lines = [{ verifier: formatVerifierKey(first) }, ...handOvers.map(({ note }) => ({ hand_over: note }))]
  return lines.map(line => `${JSON.stringify(line)}\n`).join('')
}

/** Undefined when it is not a chain, to the letter, in which every link is signed by both of its keys. */
export function parseKeyChain(text: string): KeyChain | undefined {
  const lines = text.split('\n')
  if (lines.length > LIMITS.logKeysMax + 1) return undefined
  try {
    const first = parseVerifierKey(String(JSON.parse(lines[0] ?? '').verifier))
    if (first === undefined) return undefined
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
  const current = currentKey(chain)
  const isKnown = [chain.first, ...chain.handOvers.map(link => link.to)].some(key => key.id === to.id)
  return (
    formatVerifierKey(from) === formatVerifierKey(current) &&
    to.name === current.name &&
    !isKnown &&
    size >= (chain.handOvers.at(-1)?.size ?? 0)
  )
}
