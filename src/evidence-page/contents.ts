/** The files of a pack: from the page itself, or from a zip that somebody chose. */
import { unzipSync } from 'fflate'
import { sha256 } from '../evidence/crypto.ts'
import { encodeText, formatHex, parseBase64 } from '../evidence/encoding.ts'
import { PACK_PAGE } from '../evidence/pack.ts'
import { LIMITS } from '../limits.ts'

export interface PackContents {
  readonly files: ReadonlyMap<string, Uint8Array>
  /** What the page holds is not what was put into it. */
  readonly isChanged: boolean
}

/** @param digest of the text, in hexadecimal */
export function readInline(base64: string, digest: string): PackContents {
  const isChanged = formatHex(sha256(encodeText(base64))) !== digest
  const zip = parseBase64(base64)
  const files = zip && readZip(zip)
  return { files: files ?? new Map(), isChanged: isChanged || files === undefined }
}

/** Undefined when it is no zip, or more than a pack can be. */
export function readZip(zip: Uint8Array): ReadonlyMap<string, Uint8Array> | undefined {
  let bytes = 0
  try {
    const files = unzipSync(zip, {
      filter: ({ name, originalSize }) => {
        bytes += name === PACK_PAGE ? 0 : originalSize
        if (bytes > 2 * LIMITS.evidencePackBytesMax) throw new RangeError('this is too large for a pack')
        return name !== PACK_PAGE
      },
    })
    return new Map(Object.entries(files))
  } catch {
    return undefined
  }
}
