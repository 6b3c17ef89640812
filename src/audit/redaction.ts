/**
 * Redaction: no secret passes from here to the journal, and no control character to any sink.
 *
 * Two nets. By name: a metadata key that contains a forbidden word loses its value, whatever it is. By shape: text
 * that looks like a JWT, an admin key, a PEM block, an authorization header or a `password=...` assignment loses that part,
 * wherever it stands. Work is bounded in depth, nodes and characters before anything is looked at, so hostile input costs little.
 */
import { SAFE_METADATA_NAMES } from '../event/catalogue.ts'
import { LIMITS } from '../limits.ts'

export const REDACTED = '***REDACTED***'
const CUT = '...[cut]'
const TOO_DEEP = '[too deep]'
const CIRCULAR = '[circular]'

const FORBIDDEN_WORD =
  /credential|token|password|passwd|pwd|passphrase|secret|key|private|symmetric|plaintext|authorization|cookie/i

/** Cheap question first: most texts hold none of the marks that the patterns below need. */
const MAYBE_SECRET = /eyJ|evca_|-----BEGIN|bearer|basic|[=:]|%3/i
const PEM = /-----BEGIN [A-Z0-9 ]{1,40}-----[\s\S]*?(?:-----END [A-Z0-9 ]{1,40}-----|$)/g
const JWT = /eyJ[A-Za-z0-9_-]{5,}(?:\.[A-Za-z0-9_-]*){1,4}|eyJ[A-Za-z0-9_-]{20,}/g
const ADMIN_KEY = /evca_[A-Za-z0-9]{8,}/gi
const AUTHORIZATION = /\b(bearer[\s:=]+|basic\s+)[A-Za-z0-9._~+/=-]{4,}/gi
/** Also with a slash or an @ that should have been escaped, but not `://host:8080/path@x`. */
const URL_PASSWORD = /(:\/\/[^\s/:@]{0,64}):(?!\d{1,5}\/)[^\s]{1,256}@/g
/** Also where it is JSON, or JSON within a text of JSON (`\"password\":\"...`), or percent-encoded. */
const ASSIGNMENT =
  /([A-Za-z0-9_.-]{0,40}(?:credential|token|password|passwd|pwd|passphrase|secret|key|authorization|cookie)[A-Za-z0-9_.-]{0,20}\\{0,3}["']?\s{0,3}(?:[=:]|%3[ad])\s{0,3})(\\{1,3}"[^"]*"?|"(?:[^"\\]|\\[\s\S])*"?|'(?:[^'\\]|\\[\s\S])*'?|[^\s,;&"']+)/gi

/** Runs of text that could be a key, a digest or a random id. Used where nobody vouches for the text: error messages. */
const OPAQUE = /[A-Za-z0-9+/_=%-]{16,}/g

/** C0, DEL, C1, line and paragraph separators, bidirectional controls (the "Trojan Source" set), BOM. */
const UNPRINTABLE = /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]/g
const HAS_UNPRINTABLE = new RegExp(UNPRINTABLE.source)

/** What most texts have nothing of: a mark of a secret, an unprintable character, half a surrogate pair. One look decides. */
const NEEDS_WORK = new RegExp(`${MAYBE_SECRET.source}|${UNPRINTABLE.source}|[\\ud800-\\udfff]`, 'i')

/** Makes control, ANSI and bidirectional characters visible (`\u001b`) instead of effective. */
export function escapeUnprintable(text: string): string {
  if (!HAS_UNPRINTABLE.test(text)) return text
  return text.replace(UNPRINTABLE, char => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

/** Replaces what looks like a secret inside a text. */
export function redactText(text: string): string {
  return redactShapes(text, (_name, value) => value.startsWith(REDACTED))
}

/** @param spares the assignments that stay */
function redactShapes(text: string, spares: (name: string, value: string) => boolean): string {
  if (!MAYBE_SECRET.test(text)) return text
  return text
    .replace(PEM, REDACTED)
    .replace(JWT, REDACTED)
    .replace(ADMIN_KEY, REDACTED)
    .replace(AUTHORIZATION, `$1${REDACTED}`)
    .replace(URL_PASSWORD, `$1:${REDACTED}@`)
    .replace(ASSIGNMENT, (whole, name: string, value: string) => (spares(name, value) ? whole : name + REDACTED))
}

/**
 * A text that somebody else wrote, as evidence: it loses its secrets and is neither cut nor escaped. `credentials:missing` and
 * `Cannot generate key: CP-021 not found` are sentences and stay.
 */
function redactForeignText(text: string): string {
  return redactShapes(
    text,
    (name, value) => value.startsWith(REDACTED) || (/[\w.-]\s*:\s*$/.test(name) && !/^[\\"']/.test(value)),
  )
}

/**
 * Metadata of somebody else, as JSON text: with a secret in it it is written anew without, else it stays to the letter. Where a name
 * stands twice, which colons tell, as every member has one, it is written anew, too: only the last of the two was looked at.
 */
function redactForeignJson(json: string): string {
  let hasSecret = false
  let members = -1 // all that is read is a member of nothing
  function redacted(this: unknown, name: string, value: unknown): unknown {
    if (!Array.isArray(this)) members++
    const isForbidden = FORBIDDEN_WORD.test(name) && !SAFE_METADATA_NAMES.has(name)
    const safe = isForbidden ? REDACTED : typeof value === 'string' ? redactForeignText(value) : value
    hasSecret ||= safe !== value
    return safe
  }
  try {
    const metadata = JSON.parse(json, redacted)
    const colons = json.replace(/"(?:[^"\\]|\\.)*"/g, '').split(':').length - 1
    return hasSecret || colons > members ? JSON.stringify(metadata) : json
  } catch (error) {
    return error instanceof SyntaxError ? redactForeignText(json) : REDACTED // nested too deeply to look into
  }
}

/** Of what somebody else recorded, and is taken into the trail. */
export const foreignRedaction = { text: redactForeignText, json: redactForeignJson }

/**
 * A text ready for a column: well-formed, redacted, printable and at most `charactersMax` long, a longer one cut and
 * marked. The part that is looked at is bounded first; the patterns match secrets that this cuts in two.
 */
export function safeText(text: string, charactersMax: number): string {
  if (text.length <= charactersMax && !NEEDS_WORK.test(text)) return text
  const bounded = text.length > charactersMax * 2 ? text.slice(0, charactersMax * 2) : text
  const safe = escapeUnprintable(redactText(bounded.isWellFormed() ? bounded : bounded.toWellFormed()))
  if (safe.length <= charactersMax && bounded.length === text.length) return safe
  return safe.slice(0, charactersMax - CUT.length).toWellFormed() + CUT
}

export interface SafeError {
  readonly name: string
  /** At most 200 characters, one line, without anything that could be a secret. */
  readonly message: string
}

/** What may be said of an error outside the standard log: its class and a safe message. Never its stack. */
export function safeError(error: unknown): SafeError {
  if (!(error instanceof Error)) return { name: 'Error', message: `a ${typeof error} was thrown` }
  const limit = LIMITS.errorMessageCharactersMax
  const name = /^[A-Za-z][A-Za-z0-9_]{0,63}$/.test(error.name) ? error.name : 'Error'
  const message = String(error.message).slice(0, limit * 2)
  const quiet = redactText(message).replace(OPAQUE, run => (/[0-9]/.test(run) && /[A-Za-z]/.test(run) ? REDACTED : run))
  return { name, message: safeText(quiet, limit) }
}

/** An error for the standard log: the safe form and the stack's frames, without the message that heads the stack. */
export function loggableError(error: unknown): SafeError & { frames: string[] } {
  const stack = error instanceof Error && typeof error.stack === 'string' ? error.stack : ''
  const frames = stack.split('\n').filter(line => /^\s{2,}at /.test(line))
  return { ...safeError(error), frames: frames.slice(0, 20).map(line => line.trim()) }
}

/** Metadata as JSON text, redacted; null for none. Cycles, depth, size and odd values are marked, never an error. */
export function metadataJson(metadata: Readonly<Record<string, unknown>> | undefined): string | null {
  if (metadata === undefined) return null
  const known = constants.get(metadata)
  if (known !== undefined) return known
  const budget = { nodes: LIMITS.metadataNodesMax }
  const json = JSON.stringify(redactValue(metadata, 0, [], budget))
  if (json.length > LIMITS.metadataJsonCharactersMax) return JSON.stringify({ cut: true, characters: json.length })
  if (isConstant(metadata)) constants.set(metadata, json)
  return json
}

/** Text of metadata that never changes, such as that of every login: made once. Goes with the object. */
const constants = new WeakMap<object, string>()

function isConstant(metadata: Readonly<Record<string, unknown>>): boolean {
  if (!Object.isFrozen(metadata)) return false
  const fields = Object.values(Object.getOwnPropertyDescriptors(metadata)) // a getter has no value, and may throw
  return fields.every(field => typeof field.value === 'string')
}

function redactValue(value: unknown, depth: number, path: object[], budget: { nodes: number }): unknown {
  switch (typeof value) {
    case 'string':
      return safeText(value, LIMITS.metadataStringCharactersMax)
    case 'number':
      return Number.isFinite(value) ? value : String(value)
    case 'boolean':
      return value
    case 'bigint':
      return value.toString()
    case 'object':
      return value === null ? null : redactObject(value, depth, path, budget)
    default:
      return value === undefined ? undefined : `[${typeof value}]`
  }
}

function redactObject(value: object, depth: number, path: object[], budget: { nodes: number }): unknown {
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? null : value.toISOString()
  if (value instanceof Error) return { ...safeError(value) }
  if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer) return `[${value.byteLength} bytes]`
  if (path.includes(value)) return CIRCULAR
  if (depth >= LIMITS.metadataDepthMax) return TOO_DEEP
  path.push(value)
  const result = Array.isArray(value)
    ? redactArray(value, depth, path, budget)
    : redactFields(value instanceof Map ? Object.fromEntries(value) : value, depth, path, budget)
  path.pop()
  return result
}

function redactArray(values: readonly unknown[], depth: number, path: object[], budget: { nodes: number }): unknown[] {
  const result: unknown[] = []
  for (const value of values) {
    if (budget.nodes-- <= 0) return [...result, CUT]
    result.push(redactValue(value, depth + 1, path, budget) ?? null)
  }
  return result
}

function redactFields(
  value: object,
  depth: number,
  path: object[],
  budget: { nodes: number },
): Record<string, unknown> {
  // A null prototype, so that a field named `__proto__` is a field like any other.
  const result: Record<string, unknown> = Object.create(null)
  for (const name of Object.keys(value)) {
    if (budget.nodes-- <= 0) {
      result.cut = CUT
      break
    }
    const safeName = safeText(name, LIMITS.cpIdCharactersMax * 2)
    if (FORBIDDEN_WORD.test(name) && !SAFE_METADATA_NAMES.has(name)) {
      result[safeName] = REDACTED
      continue
    }
    result[safeName] = redactValue(readField(value, name), depth + 1, path, budget)
  }
  return result
}

/** A getter of a hostile or half-built object may throw; that is no reason to lose the event. */
function readField(value: object, name: string): unknown {
  try {
    return (value as Record<string, unknown>)[name]
  } catch {
    return '[unreadable]'
  }
}
