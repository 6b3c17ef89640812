/**
 * Keys and the checkpoints they sign: the chain of keys, which of them may sign a tree of which size, and what a signed note is
 * worth. A chain is `keys` of a log: the first verifier key, then hand-overs, each signed by the key before and the key after.
 */
import { type Checkpoint, parseCheckpoint } from '../evidence/checkpoint.ts'
import { parseDecimal } from '../evidence/encoding.ts'
import {
  formatVerifierKey,
  type Note,
  parseNote,
  parseVerifierKey,
  type Verifier,
  verifyNote,
} from '../evidence/note.ts'
import { createVerifier } from '../evidence/signature.ts'
import type { Finding, Place } from './verdict.ts'

const HAND_OVER = 'ev-central key hand-over v1'

export interface KeyChain {
  readonly origin: string
  /** In their order; each ends where the next one begins, the last one never. */
  readonly keys: readonly { readonly verifier: Verifier; readonly endsAt: number }[]
  /** The signed notes of the hand-overs. */
  readonly notes: readonly string[]
}

export interface OpenedChain {
  readonly chain: KeyChain | undefined
  readonly findings: readonly Finding[]
}

/**
 * @param lines the file `keys`; without it the given key is the whole chain
 * @param given the key that is trusted; any of the chain, as each vouches for its neighbours. Without it the first one is believed
 */
export function openChain(lines: string | undefined, given: string | undefined): OpenedChain {
  if (lines === undefined) {
    const verifier = given === undefined ? undefined : readVerifier(given)
    if (verifier === undefined) return { chain: undefined, findings: [noKey(given)] }
    const keys = [{ verifier, endsAt: Number.POSITIVE_INFINITY }]
    return { chain: { origin: verifier.key.name, keys, notes: [] }, findings: [] }
  }
  const [first, ...rest] = lines.split('\n').slice(0, -1)
  const start = readVerifier(String(readMember(first ?? '', 'verifier')))
  if (!lines.endsWith('\n') || start === undefined) return broken('MALFORMED', 1, 'It names no verifier key')
  const verifiers = [start]
  const ends: number[] = []
  const notes: string[] = []
  for (const [n, line] of rest.entries()) {
    const signed = readMember(line, 'hand_over')
    const handOver = typeof signed === 'string' ? readHandOver(signed) : undefined
    if (handOver === undefined) return broken('MALFORMED', n + 2, 'It is no hand-over')
    const { size, old, next, note } = handOver
    const before = verifiers.at(-1)!
    if (!isSameKey(old, before) || next.key.name !== start.key.name || size < (ends.at(-1) ?? 0)) {
      return broken('WRONG_KEY', n + 2, 'It does not go on from the key before it')
    }
    if (![before, next].every(verifier => verifyNote(note, [verifier]).isSigned)) {
      return broken('WRONG_KEY', n + 2, 'Both keys have to sign a hand-over')
    }
    verifiers.push(next)
    ends.push(size)
    notes.push(signed as string)
  }
  const keys = verifiers.map((verifier, n) => ({ verifier, endsAt: ends[n] ?? Number.POSITIVE_INFINITY }))
  const trusted = given === undefined ? undefined : readVerifier(given)
  if (given !== undefined && (trusted === undefined || !verifiers.some(verifier => isSameKey(verifier, trusted)))) {
    return broken('WRONG_KEY', 1, 'The key that is trusted is not in the key chain')
  }
  return { chain: { origin: start.key.name, keys, notes }, findings: [] }
}

/** By all of it: a key id has 32 bits, and others can be made to have the same. */
function isSameKey(a: Verifier, b: Verifier): boolean {
  return formatVerifierKey(a.key) === formatVerifierKey(b.key)
}

export function readVerifier(text: string): Verifier | undefined {
  const key = parseVerifierKey(text.trim())
  return key && createVerifier(key)
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
  const [size, old, next] = [parseDecimal(sizeText), readVerifier(oldText), readVerifier(nextText)]
  if (note === undefined || title !== HAND_OVER || end !== '' || lines.length !== 6) return undefined
  if (size === undefined || old === undefined || next === undefined || origin !== old.key.name) return undefined
  return { note, size, old, next }
}

export interface SignedCheckpoint {
  /** What it says, whoever signed it. */
  readonly checkpoint: Checkpoint | undefined
  /** Whether a key signed it that may. */
  readonly isSigned: boolean
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
  const opened = { checkpoint, isSigned: false, cosignatures: 0 }
  if (note === undefined || checkpoint === undefined) {
    return { ...opened, findings: [{ verdict: 'MALFORMED', at: { part }, detail: 'It is no signed checkpoint' }] }
  }
  if (chain === undefined) return { ...opened, findings: [] }
  const fault = faultOf(note, checkpoint, chain)
  if (fault !== undefined) return { ...opened, findings: [fault] }
  const cosignatures = witnesses.filter(witness => verifyNote(note, [witness]).isSigned).length
  return { checkpoint, isSigned: true, cosignatures, findings: [] }
}

function faultOf(note: Note, { origin, size }: Checkpoint, chain: KeyChain): Finding | undefined {
  const at: Place = { size }
  if (origin !== chain.origin) return { verdict: 'WRONG_KEY', at, detail: 'Its origin is not the one of the key' }
  const verifiers = chain.keys.map(({ verifier }) => verifier)
  const verdict = verifyNote(note, verifiers)
  if (!verdict.isSigned) {
    const detail = verdict.reason === 'unknown-keys' ? 'No key of the chain has signed it' : 'Its signature is wrong'
    return { verdict: 'WRONG_KEY', at, detail }
  }
  const isCurrent = chain.keys.some(
    ({ verifier, endsAt }) => size <= endsAt && verdict.signatures.some(({ key }) => key === verifier.key),
  )
  return isCurrent ? undefined : { verdict: 'REVOKED_KEY', at, detail: 'A newer key had to sign it' }
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
