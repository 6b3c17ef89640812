/**
 * The fast way to find that a bundle is right: its rows as canonical JSON that the database itself has made.
 *
 *   entries    the entries of the bundle as they have to be, one after the other, each behind two places for its length and with
 *              44 places (0x01, which no JSON has) for the commitment:
 *              ??{"action":"AUTH_FAIL","commitment":"\1\1...\1","created_at":"...", ... ,"v":1}
 *   privates   16 places for the salt, then the private columns; a line each: 0123456789abcdef{"description":"...", ... }
 *
 * Filled in, these are what the commitments, the entries and the leaves' hashes are made of, without a JavaScript string; that takes
 * half the time of reading 14 values and spelling them. A database that spells JSON otherwise, or a row that is not as it should
 * be, only has the answer `false`: then the values are read and compared (bundle.ts). So nothing is believed here but SHA-256.
 */
import { sha256 } from '../evidence/crypto.ts'
import { HASH_BYTES } from '../evidence/encoding.ts'
import { SALT_BYTES } from '../evidence/leaf.ts'
import type { RowText } from './source.ts'

const LINE_FEED = 10
const PLACE = 1
const LENGTH_BYTES = 2
const BASE64 = new TextEncoder().encode('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/')
const PADDING = 61

/** Whether these are exactly the rows of the entries, and those exactly the leaves of the tile. Fills in the places of `text`. */
export function isBundleOfText(
  { entries: made, privates }: RowText,
  bundle: {
    readonly width: number
    readonly salts: Uint8Array
    readonly entries: Uint8Array
    readonly tile: Uint8Array
  },
): boolean {
  const { width, salts, entries, tile } = bundle
  if (made.length !== entries.length || tile.length !== width * HASH_BYTES) return false
  let at = 0
  let privateAt = 0
  for (let n = 0; n < width; n++) {
    const lineFeed = privates.indexOf(LINE_FEED, privateAt)
    const privateEnd = lineFeed < 0 ? privates.length : lineFeed
    for (let i = 0; i < SALT_BYTES; i++) privates[privateAt + i] = salts[n * SALT_BYTES + i]!
    const commitment = sha256(privates.subarray(privateAt, privateEnd))
    privateAt = privateEnd + 1

    const [high, low] = [entries[at]!, entries[at + 1]!]
    const start = at + LENGTH_BYTES
    const end = start + high * 256 + low
    const place = made.indexOf(PLACE, start)
    if (!(end <= made.length) || place < 0 || place >= end) return false
    writeBase64(commitment, made, place)
    made[start - 1] = 0 // what a leaf's hash begins with; the length comes to its place afterwards
    const hash = sha256(made.subarray(start - 1, end))
    made[at] = high
    made[start - 1] = low
    for (let i = 0; i < HASH_BYTES; i++) if (hash[i] !== tile[n * HASH_BYTES + i]) return false
    at = end
  }
  return at === made.length && privateAt === privates.length + 1 && isSame(made, entries)
}

/** 32 bytes as 43 characters and the padding. */
function writeBase64(hash: Uint8Array, into: Uint8Array, from: number): void {
  let at = from
  for (let i = 0; i < 30; i += 3) {
    const bits = (hash[i]! << 16) | (hash[i + 1]! << 8) | hash[i + 2]!
    into[at++] = BASE64[bits >> 18]!
    into[at++] = BASE64[(bits >> 12) & 63]!
    into[at++] = BASE64[(bits >> 6) & 63]!
    into[at++] = BASE64[bits & 63]!
  }
  const bits = (hash[30]! << 8) | hash[31]!
  into[at++] = BASE64[bits >> 10]!
  into[at++] = BASE64[(bits >> 4) & 63]!
  into[at++] = BASE64[(bits & 15) << 2]!
  into[at] = PADDING
}

/** Four bytes at a time where both begin at such a place. */
function isSame(a: Uint8Array, b: Uint8Array): boolean {
  const words = a.byteOffset % 4 === 0 && b.byteOffset % 4 === 0 ? Math.floor(a.length / 4) : 0
  const [left, right] = [a, b].map(bytes => new Uint32Array(bytes.buffer, words > 0 ? bytes.byteOffset : 0, words))
  for (let i = 0; i < words; i++) if (left![i] !== right![i]) return false
  for (let i = words * 4; i < a.length; i++) if (a[i] !== b[i]) return false
  return true
}
