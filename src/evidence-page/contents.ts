/** The files of a pack: from the page itself, or from a zip that somebody chose. */
import { sha256 } from '../evidence/crypto.ts'
import { encodeText, formatHex, parseBase64 } from '../evidence/encoding.ts'
import { readPackZip } from '../evidence/pack-zip.ts'

export interface PackContents {
  readonly files: ReadonlyMap<string, Uint8Array>
  /** What the page holds is not what was put into it. */
  readonly isChanged: boolean
}

/** Of a zip that somebody chose. */
export function readChosen(zip: Uint8Array): PackContents {
  const files = readPackZip(zip)
  return { files: files ?? new Map(), isChanged: files === undefined }
}

/** @param digest of the text, in hexadecimal */
export function readInline(base64: string, digest: string): PackContents {
  const isChanged = formatHex(sha256(encodeText(base64))) !== digest
  const zip = parseBase64(base64)
  const files = zip && readPackZip(zip)
  return { files: files ?? new Map(), isChanged: isChanged || files === undefined }
}
