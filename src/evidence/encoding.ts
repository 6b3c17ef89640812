/**
 * Evidence: the formats by which a stranger can check the trail without us. docs/formats.md is their normative page.
 *
 * Pure functions over bytes and text: no file, no clock, no network, no state but places to hash in; the same in Node and
 * in browsers (`crypto.ts`). What a parser accepts is what its formatter writes, to the letter. Nothing in this folder may import a
 * stage of the service: a verifier must not depend on what it verifies.
 *
 * Here are bytes, text and numbers as all of the formats spell them. There is one spelling of each; a parser answers undefined for
 * every other.
 */

export const HASH_BYTES = 32

const encoder = new TextEncoder()
/** Without `ignoreBOM` a leading U+FEFF would vanish, and two byte sequences would be one text. */
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

export function encodeText(text: string): Uint8Array {
  return encoder.encode(text)
}

/** Undefined when the bytes are not UTF-8. */
export function decodeText(bytes: Uint8Array): string | undefined {
  try {
    return decoder.decode(bytes)
  } catch {
    return undefined
  }
}

/** Whether it is text that a signed note may hold: sound Unicode, no control characters but newlines. */
export function isNoteText(text: string): boolean {
  return text.isWellFormed() && !/[\0-\x09\x0b-\x1f]/.test(text)
}

/** How many arguments a function is given at once, far below where engines refuse. */
const ARGUMENTS_MAX = 4096

/**
 * Standard base64 with padding (RFC 4648, section 4). By `btoa`, as Node 24 has no `toBase64`; with `apply`, which takes
 * typed arrays too and a third of the time of a loop, as each leaf has a commitment to spell.
 */
export function formatBase64(bytes: Uint8Array): string {
  let characters = ''
  for (let at = 0; at < bytes.length; at += ARGUMENTS_MAX) {
    const piece: unknown = bytes.subarray(at, at + ARGUMENTS_MAX)
    characters += String.fromCharCode.apply(null, piece as number[])
  }
  return btoa(characters)
}

/** `atob` forgives white space, missing padding and stray bits; the comparison does not. */
export function parseBase64(text: string): Uint8Array | undefined {
  try {
    const characters = atob(text)
    const bytes = new Uint8Array(characters.length)
    for (let i = 0; i < bytes.length; i++) bytes[i] = characters.charCodeAt(i)
    return btoa(characters) === text ? bytes : undefined
  } catch {
    return undefined
  }
}

export function parseBase64Hash(text: string): Uint8Array | undefined {
  const bytes = parseBase64(text)
  return bytes?.length === HASH_BYTES ? bytes : undefined
}

/** Lower case. */
export function formatHex(bytes: Uint8Array): string {
  return Array.from(bytes, byte => byte.toString(16).padStart(2, '0')).join('')
}

/** A whole number from 0 that JavaScript holds exactly, in decimal without leading zeros. */
export function parseDecimal(text: string): number | undefined {
  if (!/^(?:0|[1-9][0-9]{0,15})$/.test(text)) return undefined
  const value = Number(text)
  return Number.isSafeInteger(value) ? value : undefined
}

/** Undefined when the text is no JSON, or JSON of something else. */
export function parseJsonObject(text: string | undefined): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text ?? '')
    return typeof value === 'object' && value !== null ? { ...value } : undefined
  } catch {
    return undefined
  }
}

export function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0
}

/** Not in constant time: nothing that is compared here is secret. */
export function areSameBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false
  return true
}

export function joinBytes(...parts: readonly Uint8Array[]): Uint8Array {
  const joined = new Uint8Array(parts.reduce((bytes, part) => bytes + part.length, 0))
  let at = 0
  for (const part of parts) {
    joined.set(part, at)
    at += part.length
  }
  return joined
}

/** Big-endian, as in TLS presentation language (RFC 8446, section 3.3). */
export function uint64(value: number): Uint8Array {
  const bytes = new Uint8Array(8)
  new DataView(bytes.buffer).setBigUint64(0, BigInt(value))
  return bytes
}
