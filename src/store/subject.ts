/**
 * Whom an erasure is about, and whether a row holds it: the subject as a whole word of any private column. Pure.
 *
 * `CP-1` is in `/charge-points/CP-1/status`, in `{"who":"CP-1"}`, in `CP%2D1` and in `from CP-1.`; it is not in `CP-10` and not in
 * `SITE:CP-1`, which are the names of others. Punctuation that a name may hold ends a word only where no name goes on behind it.
 */
import type { StoredEvent } from '../event/event.ts'

export interface Subject {
  readonly kind: 'who' | 'ip'
  readonly name: string
}

/** The columns that may hold it: those that a leaf of the log only commits to. */
export const PRIVATE_COLUMNS = [
  'who',
  'ip',
  'description',
  'request_id',
  'endpoint',
  'http_method',
  'metadata_json',
] as const
export type PrivateRow = Pick<StoredEvent, (typeof PRIVATE_COLUMNS)[number]>

const NAME_CHARACTER = /[\p{L}\p{N}*\-_=:+|@.]/u
const PUNCTUATION = /[*=:+|@.]/
const ESCAPED = /\\u[0-9a-f]{4}/gi
const PERCENT_ENCODED = /(?:%[0-9a-f]{2})+/gi
const METADATA_DEPTH_MAX = 64

export function rowHolds(row: PrivateRow, subject: Subject): boolean {
  return (
    [row.who, row.ip].some(name => nameHolds(name, subject)) ||
    [row.description, row.request_id, row.endpoint, row.http_method].some(text => textHolds(text, subject)) ||
    metadataHolds(row.metadata_json, subject)
  )
}

/** A column that is a name: one that has a word of it in it is another name, unless it is a sentence. */
export function nameHolds(name: string, subject: Subject): boolean {
  return name === subject.name || (/\s/.test(name) && textHolds(name, subject))
}

export function textHolds(text: string | null, subject: Subject): boolean {
  if (text === null) return false
  // A name with a percent sign cannot be told from an encoded one.
  const plain = subject.name.includes('%') ? text : text.replace(PERCENT_ENCODED, decoded)
  return holdsWord(plain.replace(ESCAPED, '\n'), subject)
}

function metadataHolds(json: string | null, subject: Subject): boolean {
  if (json === null) return false
  try {
    return valueHolds(JSON.parse(json), subject, 0)
  } catch {
    return textHolds(json, subject)
  }
}

/** Names of fields may hold it, too. */
function valueHolds(value: unknown, subject: Subject, depth: number): boolean {
  if (depth > METADATA_DEPTH_MAX) return textHolds(JSON.stringify(value), subject)
  if (typeof value === 'string') return value === subject.name || textHolds(value, subject)
  if (typeof value === 'number') return String(value) === subject.name
  if (typeof value !== 'object' || value === null) return false
  const inner = Array.isArray(value) ? value : Object.entries(value).flat()
  return inner.some(part => valueHolds(part, subject, depth + 1))
}

function holdsWord(text: string, { kind, name }: Subject): boolean {
  for (let at = text.indexOf(name); at >= 0; at = text.indexOf(name, at + 1)) {
    const isPortAllowed = kind === 'ip' && !name.includes(':')
    const before = endsWord(text, at - 1, -1, isPortAllowed)
    if (before && endsWord(text, at + name.length, 1, isPortAllowed)) return true
  }
  return false
}

/** Whether no name goes on here: the text ends, or something that is in no name, perhaps behind punctuation. */
function endsWord(text: string, from: number, step: 1 | -1, isPortAllowed: boolean): boolean {
  for (let at = from; ; at += step) {
    const character = text[at]
    if (character === undefined || !NAME_CHARACTER.test(character)) return true
    if (character === '=' || (isPortAllowed && character === ':')) return true
    if (!PUNCTUATION.test(character)) return false
  }
}

function decoded(encoded: string): string {
  try {
    return decodeURIComponent(encoded)
  } catch {
    return encoded
  }
}
