import { createHash } from 'node:crypto'
import { gzipSync } from 'node:zlib'
import type { ArchiveManifest } from './format.ts'

type Totals = Pick<ArchiveManifest, 'bytes' | 'sha256' | 'ndjson_bytes' | 'ndjson_sha256'>

/** Packs the file of an archive's events: its header, then each block, as a gzip member of its own. */
export function packEvents(): {
  /** @returns the member, which goes behind those before it */
  add(content: Buffer): Buffer
  /** Of all that was added, for the manifest. To be asked once. */
  totals(): Totals
} {
  const packed = createHash('sha256')
  const plain = createHash('sha256')
  let [bytes, ndjson_bytes] = [0, 0]
  return {
    add(content) {
      const member = gzipSync(content)
      plain.update(content)
      packed.update(member)
      ndjson_bytes += content.length
      bytes += member.length
      return member
    },
    totals: () => ({
      bytes,
      sha256: packed.digest('hex'),
      ndjson_bytes,
      ndjson_sha256: plain.digest('hex'),
    }),
  }
}
