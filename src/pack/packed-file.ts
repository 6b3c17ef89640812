/** One file of a zip while it is written: compressed off this thread, kept compressed in memory, its digest taken on the way. */
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { crc32, createDeflateRaw } from 'node:zlib'

export interface PackedFile {
  readonly name: string
  readonly bytes: number
  readonly crc: number
  /** Hexadecimal, of the content. */
  readonly sha256: string
  /** Raw deflate. */
  readonly packed: readonly Uint8Array[]
}

export interface FilePacker {
  /** Resolves when it is compressed; one at a time. */
  push(content: string | Uint8Array): Promise<void>
  end(): Promise<PackedFile>
}

export function createFilePacker(name: string): FilePacker {
  const deflate = createDeflateRaw()
  const digest = createHash('sha256')
  const packed: Uint8Array[] = []
  let bytes = 0
  let crc = 0
  deflate.on('data', chunk => packed.push(chunk))
  return {
    async push(content) {
      const chunk = typeof content === 'string' ? Buffer.from(content) : content
      if (chunk.length === 0) return
      bytes += chunk.length
      crc = crc32(chunk, crc)
      digest.update(chunk)
      await new Promise<void>((resolve, reject) => {
        deflate.write(chunk, error => (error ? reject(error) : resolve()))
      })
    },
    async end() {
      const ended = once(deflate, 'end')
      deflate.end()
      await ended
      return { name, bytes, crc, sha256: digest.digest('hex'), packed }
    },
  }
}

export async function packFile(name: string, content: string): Promise<PackedFile> {
  const packer = createFilePacker(name)
  await packer.push(content)
  return packer.end()
}
