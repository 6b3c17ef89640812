/**
 * The fast way to find that a bundle is right: its rows as canonical JSON that the database itself has made.
 *
 *   entries    the entries of the bundle as they have to be, one after the other, each behind two places for its length and with
 *              44 places (#) for the commitment:
 *              ??{"action":"AUTH_FAIL","commitment":"##...#","created_at":"...", ... ,"v":1}
 *   privates   the private columns of each row behind 16 places for its salt, the first of which is a line feed, which no JSON has:
 *              \n123456789abcdef{"description":"...", ... }
 *
 * Filled in, these are what the commitments, the entries and the leaves' hashes are made of, without a JavaScript string; that takes
 * half the time of reading 14 values and spelling them. A database that spells JSON otherwise, or a row that is not as it should
 * be, only has the answer `undefined`: then the values are read and compared (bundle.ts). So nothing is believed here but SHA-256.
 */
import { sha256Base64, sha256Into } from '../evidence/crypto.ts'
import { HASH_BYTES } from '../evidence/encoding.ts'
import { SALT_BYTES } from '../evidence/leaf.ts'
import type { RowText } from './source.ts'

const LINE_FEED = 10
const PLACE = 35
const LENGTH_BYTES = 2

/** The hashes of the leaves, one after the other, if these are exactly the rows of the entries. Fills in the places of `text`. */
export function hashRowText(
  { entries: made, privates }: RowText,
  bundle: { readonly width: number; readonly salts: Uint8Array; readonly entries: Uint8Array },
): Uint8Array | undefined {
  const { width, salts, entries } = bundle
  if (made.length !== entries.length) return undefined
  const [madeBytes, privateBytes] = [bytesOf(made), bytesOf(privates)]
  const hashes = new Uint8Array(width * HASH_BYTES)
  let at = 0
  let privateAt = 0
  for (let n = 0; n < width; n++) {
    const nextSalt = privates.indexOf(LINE_FEED, privateAt + SALT_BYTES)
    const privateEnd = nextSalt < 0 ? privates.length : nextSalt
    for (let i = 0; i < SALT_BYTES; i++) privates[privateAt + i] = salts[n * SALT_BYTES + i]!
    const commitment = sha256Base64(privateBytes.subarray(privateAt, privateEnd))
    privateAt = privateEnd

    const [high, low] = [entries[at]!, entries[at + 1]!]
    const start = at + LENGTH_BYTES
    const end = start + high * 256 + low
    const place = made.indexOf(PLACE, start)
    if (!(end <= made.length) || place < 0 || place >= end) return undefined
    for (let i = 0; i < commitment.length; i++) made[place + i] = commitment.charCodeAt(i)
    made[start - 1] = 0 // what a leaf's hash begins with; the length comes to its place afterwards
    sha256Into(madeBytes.subarray(start - 1, end), hashes, n * HASH_BYTES)
    made[at] = high
    made[start - 1] = low
    at = end
  }
  return at === made.length && privateAt === privates.length && isSame(made, entries) ? hashes : undefined
}

/** Parts of a Buffer are Buffers, which take much longer to make. */
const bytesOf = ({ buffer, byteOffset, length }: Uint8Array) => new Uint8Array(buffer, byteOffset, length)

/** Four bytes at a time where both begin at such a place. */
export function isSame(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false
  const words = a.byteOffset % 4 === 0 && b.byteOffset % 4 === 0 ? Math.floor(a.length / 4) : 0
  const [left, right] = [a, b].map(bytes => new Uint32Array(bytes.buffer, words > 0 ? bytes.byteOffset : 0, words))
  for (let i = 0; i < words; i++) if (left![i] !== right![i]) return false
  for (let i = words * 4; i < a.length; i++) if (a[i] !== b[i]) return false
  return true
}
