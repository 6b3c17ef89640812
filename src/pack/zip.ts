/** A zip of files that are compressed already. */
import { type AsyncFlateStreamHandler, Zip, type ZipInputFile } from 'fflate'
import type { PackedFile } from './packed-file.ts'

const DEFLATE = 8
/** Equal files give an equal zip, whenever it is made. */
const MODIFIED = '2000-01-01T00:00:00Z'

/** In pieces, none larger than one of the files', and nothing made before it is asked for. */
export function* zipFiles(files: readonly PackedFile[]): Generator<Uint8Array> {
  let made: Uint8Array[] = []
  const zip = new Zip((error, chunk) => {
    if (error) throw error
    made.push(chunk)
  })
  for (const { name, bytes, crc, packed } of files) {
    const file: ZipInputFile = { filename: name, size: bytes, crc, compression: DEFLATE, mtime: MODIFIED }
    zip.add(file)
    const ondata = file.ondata as AsyncFlateStreamHandler // `add` sets it
    for (const [n, chunk] of packed.entries()) {
      ondata(null, chunk as Uint8Array<ArrayBuffer>, n === packed.length - 1)
      yield* made
      made = []
    }
  }
  zip.end()
  yield* made
}
