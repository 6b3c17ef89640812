/**
 * The page of a pack, as far as it is evidence: that it is the page that the pack was made with, around the same pack. Where the log
 * signed the manifest it vouches for the page, too; a page by itself could show anything.
 *
 *   …<script type="text/plain" id="pack">       zip of the other files, base64
 *   </script>
 *   <script type="text/plain" id="pack-digest"> SHA-256 of that base64, hexadecimal
 *   </script>…
 *
 * The page without the two is its frame, whose digest is in the manifest. The page compares the other files with the manifest, so
 * that here it is enough that the manifest in it is the same.
 */
import { unzipSync } from 'fflate'
import { LIMITS } from '../limits.ts'
import { sha256 } from './crypto.ts'
import { areSameBytes, encodeText, formatHex, joinBytes } from './encoding.ts'
import { PACK_MANIFEST } from './pack.ts'

export const PAGE_MARKS = {
  pack: '<script type="text/plain" id="pack">',
  digest: '</script>\n<script type="text/plain" id="pack-digest">',
  end: '</script>',
} as const
const { pack, digest, end } = PAGE_MARKS
const [PACK, DIGEST, END] = [encodeText(pack), encodeText(digest), encodeText(end)]
const DIGEST_CHARACTERS = 64
const LESS_THAN = 0x3c

/** Digest of the frame, of what is before and behind the pack. */
export function frameDigest(before: string, after: string): string {
  return formatHex(sha256(encodeText(before + pack + digest + end + after)))
}

/** Whether it is the frame with that digest, around a pack that has that manifest. */
export function isPageOf(page: Uint8Array, manifest: Uint8Array, frameSha256: string): boolean {
  const start = indexOf(page.subarray(0, LIMITS.evidencePackFrameBytesMax), PACK) + PACK.length
  const behind = page.indexOf(LESS_THAN, start) // base64 has none
  const digestAt = behind + DIGEST.length
  const rest = digestAt + DIGEST_CHARACTERS
  if (start < PACK.length || behind < 0 || !isAt(page, behind, DIGEST) || !isAt(page, rest, END)) return false
  const frame = joinBytes(page.subarray(0, start), DIGEST, page.subarray(rest))
  const base64 = page.subarray(start, behind)
  const isWhole = isAt(page, digestAt, encodeText(formatHex(sha256(base64))))
  return isWhole && formatHex(sha256(frame)) === frameSha256 && hasManifest(decodeBase64(base64), manifest)
}

function hasManifest(zip: Uint8Array | undefined, manifest: Uint8Array): boolean {
  let files = 0
  try {
    const found = unzipSync(zip ?? new Uint8Array(), {
      filter({ name, size, originalSize }) {
        if (++files > LIMITS.evidencePackFilesMax) throw new RangeError('too many files')
        return name === PACK_MANIFEST && Math.max(size, originalSize) <= manifest.length
      },
    })[PACK_MANIFEST]
    return found !== undefined && areSameBytes(found, manifest)
  } catch {
    return false
  }
}

function indexOf(bytes: Uint8Array, wanted: Uint8Array): number {
  for (let at = bytes.indexOf(LESS_THAN); at >= 0; at = bytes.indexOf(LESS_THAN, at + 1)) {
    if (isAt(bytes, at, wanted)) return at
  }
  return -1
}

function isAt(bytes: Uint8Array, at: number, wanted: Uint8Array): boolean {
  return areSameBytes(bytes.subarray(at, at + wanted.length), wanted)
}

/** Of this many characters at a time, as all of it may be more than fits into one string. */
const PIECE_CHARACTERS = 4 * 16 * 1024
const decoder = new TextDecoder()

function decodeBase64(characters: Uint8Array): Uint8Array | undefined {
  const bytes = new Uint8Array(Math.floor((characters.length * 3) / 4))
  let length = 0
  try {
    for (let at = 0; at < characters.length; at += PIECE_CHARACTERS) {
      const piece = atob(decoder.decode(characters.subarray(at, at + PIECE_CHARACTERS)))
      for (let n = 0; n < piece.length; n++) bytes[length++] = piece.charCodeAt(n)
    }
  } catch {
    return undefined
  }
  return bytes.subarray(0, length)
}
