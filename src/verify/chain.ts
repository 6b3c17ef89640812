/**
 * Keys and the checkpoints they sign: the chain of keys, which of them have to sign a tree of which size, and what a signed note is
 * worth. A chain is `keys` of a log: the first verifier key, then hand-overs, each signed by the keys before and the keys after:
 * an Ed25519 key, and an ML-DSA-44 key where the log has announced one.
 */
import { type Checkpoint, parseCheckpoint } from '../evidence/checkpoint.ts'
import { parseDecimal } from '../evidence/encoding.ts'
import {
  formatVerifierKey,
  type Note,
  parseNote,
  parseVerifierKey,
  SIGNATURE_TYPE,
  type VerifiedSignature,
  type Verifier,
  verifyNote,
} from '../evidence/note.ts'
import { algorithmOf, createVerifier, noteKeyOf } from '../evidence/signature.ts'
import { LIMITS } from '../limits.ts'
import type { Finding, Place } from './verdict.ts'

const HAND_OVER = 'ev-central key hand-over v1'

/** Keys that have to sign together. */
interface Link {
  readonly verifiers: readonly Verifier[]
  /** Of the largest tree that they sign. */
  readonly endsAt: number
}

export interface KeyChain {
  readonly origin: string
  /** In their order; each ends where the next one begins, the last one never. */
  readonly links: readonly Link[]
  /** The signed notes of the hand-overs. */
  readonly notes: readonly string[]
}

export interface OpenedChain {
  readonly chain: KeyChain | undefined
  readonly findings: readonly Finding[]
}

/**
 * @param lines the file `keys`; without it the given keys are the whole chain
 * @param given the key that is trusted, or several, a line each; any of the chain, as each vouches for its neighbours. Without it the
 * first one is believed
 */
export function openChain(lines: string | undefined, given: string | undefined): OpenedChain {
  const trusted = given?.trim().split('\n').map(readVerifier)
  const isReadable = trusted?.every(verifier => verifier !== undefined)
  if (lines === undefined) {
    const origin = trusted?.[0]?.key.name
    if (!isReadable || origin === undefined) return { chain: undefined, findings: [noKey(given)] }
    return {
      chain: { origin, links: [{ verifiers: trusted!, endsAt: Number.POSITIVE_INFINITY }], notes: [] },
      findings: [],
    }
  }
  const [first, ...rest] = lines.split('\n').slice(0, -1)
  if (rest.length >= LIMITS.logKeysMax)
    return broken('MALFORMED', LIMITS.logKeysMax + 1, 'A chain has fewer hand-overs')
  const start = readVerifier(String(readMember(first ?? '', 'verifier')))
  if (!lines.endsWith('\n') || start?.key.type !== SIGNATURE_TYPE.ed25519)
    return broken('MALFORMED', 1, 'It names no verifier key')
  if (!isLine(first, { verifier: formatVerifierKey(start.key) }))
    return broken('MALFORMED', 1, 'It holds something else')
  const origin = start.key.name
  const signers: (readonly Verifier[])[] = [[start]]
  const ends: number[] = []
  const notes: string[] = []
  for (const [n, line] of rest.entries()) {
    const signed = readMember(line, 'hand_over')
    const handOver = typeof signed === 'string' ? readHandOver(signed) : undefined
    if (handOver === undefined || !isLine(line, { hand_over: signed }))
      return broken('MALFORMED', n + 2, 'It is no hand-over')
    const { size, old, next, note } = handOver
    const isOfLog = [...old, ...next].every(({ key }) => key.name === origin)
    if (!goesOn(signers.at(-1)!, old) || !isOfLog || size < (ends.at(-1) ?? 0)) {
      return broken('WRONG_KEY', n + 2, 'It does not go on from the key before it')
    }
    const known = new Set([...signers.flat(), ...old].map(({ key }) => key.id))
    if (next.some(({ key }) => known.has(key.id))) {
      return broken('WRONG_KEY', n + 2, 'A key that was handed over comes back')
    }
    const all = [...old, ...next].map(({ key }) => createVerifier(noteKeyOf(key)))
    if (!all.every(verifier => verifyNote(note, [verifier]).isSigned)) {
      return broken('WRONG_KEY', n + 2, 'The keys before and after it all have to sign a hand-over')
    }
    signers.push(next)
    ends.push(size)
    notes.push(signed as string)
  }
  const links = signers.map((verifiers, n) => ({ verifiers, endsAt: ends[n] ?? Number.POSITIVE_INFINITY }))
  const isKnown = (wanted: Verifier | undefined) =>
    wanted !== undefined && signers.flat().some(verifier => isSameKey(verifier, wanted))
  if (trusted !== undefined && !trusted.every(isKnown)) {
    return broken('WRONG_KEY', 1, 'The key that is trusted is not in the key chain')
  }
  return { chain: { origin, links, notes }, findings: [] }
}

/** To the letter, as there is one spelling. */
const isLine = (line: string | undefined, members: object) => line === JSON.stringify(members)

/** The old keys of a hand-over are those that signed before it. */
function goesOn(before: readonly Verifier[], old: readonly Verifier[]): boolean {
  return before.length === old.length && before.every((verifier, n) => isSameKey(verifier, old[n]!))
}

/** By all of it: a key id has 32 bits, and others can be made to have the same. */
function isSameKey(a: Verifier, b: Verifier): boolean {
  return formatVerifierKey(a.key) === formatVerifierKey(b.key)
}

function readVerifier(text: string): Verifier | undefined {
  const key = parseVerifierKey(text.trim())
  return key && createVerifier(key)
}

export interface GivenWitnesses {
  readonly verifiers: readonly Verifier[]
  /** Of different names: a key that was given twice, and a second key of one witness, are no second witness. */
  readonly count: number
  readonly findings: readonly Finding[]
}

export function readWitnesses(given: readonly string[] = []): GivenWitnesses {
  const verifiers = given.map(readVerifier).filter(witness => witness !== undefined)
  const detail = 'It is no verifier key'
  const unreadable: Finding = { verdict: 'MALFORMED', at: { part: 'a witness key' }, detail }
  return { verifiers, count: countNames(verifiers), findings: verifiers.length < given.length ? [unreadable] : [] }
}

function countNames(verifiers: readonly Verifier[]): number {
  return new Set(verifiers.map(({ key }) => key.name)).size
}

function noKey(given: string | undefined): Finding {
  const detail = given === undefined ? 'No key is known: give one with --key' : 'The given key is no verifier key'
  return { verdict: 'UNVERIFIABLE', at: { part: 'the signature' }, detail }
}

function broken(verdict: 'MALFORMED' | 'WRONG_KEY', line: number, detail: string): OpenedChain {
  return { chain: undefined, findings: [{ verdict, at: { part: `line ${line} of the key chain` }, detail }] }
}

function readMember(line: string, name: string): unknown {
  try {
    const value: unknown = JSON.parse(line)
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[name] : undefined
  } catch {
    return undefined
  }
}

function readHandOver(signed: string) {
  const note = parseNote(signed)
  const lines = note?.text.split('\n') ?? []
  const [title, origin, sizeText = '', oldText = '', nextText = '', end] = lines
  const [size, old, next] = [parseDecimal(sizeText), readKeys(oldText), readKeys(nextText)]
  if (note === undefined || title !== HAND_OVER || end !== '' || lines.length !== 6) return undefined
  if (size === undefined || old === undefined || next === undefined || origin !== old[0]!.key.name) return undefined
  return { note, size, old, next }
}

/** An Ed25519 key, or that, a space and an ML-DSA-44 key. */
function readKeys(line: string): readonly Verifier[] | undefined {
  const keys = line.split(' ').map(readVerifier)
  const types = keys.map(verifier => verifier?.key.type).join()
  const { ed25519, mlDsa44Cosignature } = SIGNATURE_TYPE
  const isKnown = types === `${ed25519}` || types === `${ed25519},${mlDsa44Cosignature}`
  return isKnown ? keys.filter(verifier => verifier !== undefined) : undefined
}

export interface SignedCheckpoint {
  /** What it says, whoever signed it. */
  readonly checkpoint: Checkpoint | undefined
  /** Whether every key signed it that has to. */
  readonly isSigned: boolean
  /** Of the log's signatures that were verified. */
  readonly algorithms: readonly string[]
  /** By how many of the witnesses. */
  readonly cosignatures: number
  readonly findings: readonly Finding[]
}

/** @param part what the text is called when it cannot be read */
export function openSigned(
  text: string,
  part: string,
  chain: KeyChain | undefined,
  witnesses: readonly Verifier[] = [],
): SignedCheckpoint {
  const note = parseNote(text)
  const checkpoint = note && parseCheckpoint(note.text)
  const opened = { checkpoint, isSigned: false, algorithms: [], cosignatures: 0 }
  if (note === undefined || checkpoint === undefined) {
    return { ...opened, findings: [{ verdict: 'MALFORMED', at: { part }, detail: 'It is no signed checkpoint' }] }
  }
  if (chain === undefined) return { ...opened, findings: [] }
  const fault = faultOf(note, checkpoint, chain)
  if (fault !== undefined) return { ...opened, findings: [fault] }
  const others = witnesses.filter(({ key }) => key.name !== chain.origin) // the log does not witness itself
  const cosignatures = countNames(others.filter(witness => verifyNote(note, [witness]).isSigned))
  const algorithms = linkOf(chain, checkpoint.size).verifiers.map(({ key }) => algorithmOf(key))
  return { checkpoint, isSigned: true, algorithms, cosignatures, findings: [] }
}

function linkOf({ links }: KeyChain, size: number): Link {
  return links.find(({ endsAt }) => size <= endsAt)! // the last one never ends
}

function faultOf(note: Note, { origin, size }: Checkpoint, chain: KeyChain): Finding | undefined {
  const at: Place = { size }
  if (origin !== chain.origin) return { verdict: 'WRONG_KEY', at, detail: 'Its origin is not the one of the key' }
  const verdict = verifyNote(
    note,
    chain.links.flatMap(({ verifiers }) => verifiers),
  )
  if (!verdict.isSigned) {
    const detail = verdict.reason === 'unknown-keys' ? 'No key of the chain has signed it' : 'Its signature is wrong'
    return { verdict: 'WRONG_KEY', at, detail }
  }
  const due = linkOf(chain, size)
  const missing = due.verifiers.filter(verifier => !hasSigned(verifier, verdict.signatures))
  if (missing.length === 0) return undefined
  if (missing.length < due.verifiers.length) {
    const names = missing.map(({ key }) => algorithmOf(key)).join()
    return {
      verdict: 'WRONG_KEY',
      at,
      detail: `Its ${names} signature is missing, and the key chain has announced one`,
    }
  }
  const isOlder = chain.links
    .slice(0, chain.links.indexOf(due))
    .some(({ verifiers }) => verifiers.some(verifier => hasSigned(verifier, verdict.signatures)))
  return isOlder
    ? { verdict: 'REVOKED_KEY', at, detail: 'A newer key had to sign it' }
    : { verdict: 'WRONG_KEY', at, detail: 'An older key had to sign it' }
}

function hasSigned({ key }: Verifier, signatures: readonly VerifiedSignature[]): boolean {
  return signatures.some(signature => signature.key === key)
}

/** The history of checkpoints: the lines that can be read, and what is wrong. A last line without its end was cut by a crash. */
export function readHistory(text: string): {
  readonly notes: readonly string[]
  readonly findings: readonly Finding[]
} {
  const lines = text.split('\n').slice(0, -1)
  const notes: string[] = []
  const findings: Finding[] = []
  for (const [n, line] of lines.entries()) {
    const note = parseString(line)
    if (note !== undefined) notes.push(note)
    else {
      const at = { part: `line ${n + 1} of the history of checkpoints` }
      findings.push({ verdict: 'MALFORMED', at, detail: 'It is no signed checkpoint' })
    }
  }
  return { notes, findings }
}

function parseString(line: string): string | undefined {
  try {
    const value: unknown = JSON.parse(line)
    return typeof value === 'string' ? value : undefined
  } catch {
    return undefined
  }
}
