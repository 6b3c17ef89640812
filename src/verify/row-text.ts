/**
 * The fast way to find that a bundle is right: its rows as canonical JSON that the database itself has made, three lines a row.
 *
 *   {"action":"AUTH_FAIL"}
 *   {"created_at":"...","date_time":"...","id":17,"reason_code":null,"severity":"WARN","status_code":401,"v":1}
 *   0123456789abcdef{"description":"...", ... "who":"CP-1"}      16 places for the salt, then the private columns
 *
 * From these the commitment, the entry and the leaf's hash are made without one JavaScript string, which takes half the time of
 * reading 14 values and spelling them. A database that spells JSON otherwise, or a row that is not as it should be, only has the
 * answer `false`: then the values are read and compared (bundle.ts). So nothing is believed here but SHA-256.
 */
import { sha256 } from '../evidence/crypto.ts'
import { HASH_BYTES } from '../evidence/encoding.ts'
import { SALT_BYTES } from '../evidence/leaf.ts'
import { ENTRY_BYTES_MAX } from '../evidence/tile.ts'

const LINE_FEED = 10
const BASE64 = new TextEncoder().encode('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/')
const BASE64_BYTES = 44
const PADDING = 61
const BEFORE_COMMITMENT = new TextEncoder().encode(',"commitment":"')
const BEHIND_COMMITMENT = new TextEncoder().encode('",')
/** 0x00, then the entry: what the leaf's hash is of. */
const leaf = new Uint8Array(1 + ENTRY_BYTES_MAX)

/** Whether these are exactly the rows of the entries, and those exactly the leaves of the tile. Writes the salts into `text`. */
export function isBundleOfText(
  text: Uint8Array,
  bundle: {
    readonly width: number
    readonly salts: Uint8Array
    readonly entries: Uint8Array
    readonly tile: Uint8Array
  },
): boolean {
  const { width, salts, entries, tile } = bundle
  let at = 0
  let entryAt = 0
  for (let n = 0; n < width; n++) {
    const headEnd = text.indexOf(LINE_FEED, at)
    const tailEnd = text.indexOf(LINE_FEED, headEnd + 1)
    const lineFeed = text.indexOf(LINE_FEED, tailEnd + 1)
    const end = lineFeed < 0 && n === width - 1 ? text.length : lineFeed
    if (headEnd < at || tailEnd < headEnd || end < tailEnd || end - at > ENTRY_BYTES_MAX) return false
    text.set(salts.subarray(n * SALT_BYTES, (n + 1) * SALT_BYTES), tailEnd + 1)
    const commitment = sha256(text.subarray(tailEnd + 1, end))
    // Without the brace that closes the first object, and the one that opens the second.
    const length = writeLeaf(text.subarray(at, headEnd - 1), commitment, text.subarray(headEnd + 2, tailEnd))
    if (length === 0 || entries[entryAt] !== length >> 8 || entries[entryAt + 1] !== (length & 0xff)) return false
    if (!isSameAs(leaf, 1, entries, entryAt + 2, length)) return false
    const hash = sha256(leaf.subarray(0, 1 + length))
    if (!isSameAs(hash, 0, tile, n * HASH_BYTES, HASH_BYTES)) return false
    at = end + 1
    entryAt += 2 + length
  }
  return at === text.length + 1 && entryAt === entries.length && tile.length === width * HASH_BYTES
}

/** @returns the length of the entry; 0 when it is too long */
function writeLeaf(head: Uint8Array, commitment: Uint8Array, tail: Uint8Array): number {
  const length = head.length + BEFORE_COMMITMENT.length + BASE64_BYTES + BEHIND_COMMITMENT.length + tail.length
  if (length > ENTRY_BYTES_MAX) return 0
  let at = 1
  leaf.set(head, at)
  at += head.length
  leaf.set(BEFORE_COMMITMENT, at)
  at += BEFORE_COMMITMENT.length
  writeBase64(commitment, at)
  at += BASE64_BYTES
  leaf.set(BEHIND_COMMITMENT, at)
  leaf.set(tail, at + BEHIND_COMMITMENT.length)
  return length
}

/** 32 bytes as 43 characters and the padding. */
function writeBase64(hash: Uint8Array, from: number): void {
  let at = from
  for (let i = 0; i < 30; i += 3) {
    const bits = (hash[i]! << 16) | (hash[i + 1]! << 8) | hash[i + 2]!
    leaf[at++] = BASE64[bits >> 18]!
    leaf[at++] = BASE64[(bits >> 12) & 63]!
    leaf[at++] = BASE64[(bits >> 6) & 63]!
    leaf[at++] = BASE64[bits & 63]!
  }
  const bits = (hash[30]! << 8) | hash[31]!
  leaf[at++] = BASE64[bits >> 10]!
  leaf[at++] = BASE64[(bits >> 4) & 63]!
  leaf[at++] = BASE64[(bits & 15) << 2]!
  leaf[at] = PADDING
}

function isSameAs(a: Uint8Array, aAt: number, b: Uint8Array, bAt: number, length: number): boolean {
  if (bAt + length > b.length) return false
  for (let i = 0; i < length; i++) if (a[aAt + i] !== b[bAt + i]) return false
  return true
}
