/**
 * A pack as one zip, read by whoever trusts nobody: bounded in files and bytes before anything is unpacked. Only the files of a
 * pack are unpacked; of others only the names are told.
 *
 * The zip itself is only a container: bytes of it that change no file (times, comments) mean nothing. A name that is there twice
 * is refused, as programs do not agree on which of the two is meant.
 */
import { unzipSync } from 'fflate'
import { LIMITS } from '../limits.ts'
import { PACK_FILES } from './pack.ts'

/** Files by name; empty where they are not unpacked. Undefined when it is no zip, or more than a pack can be. */
export function readPackZip(zip: Uint8Array): ReadonlyMap<string, Uint8Array> | undefined {
  if (zip.length > LIMITS.evidencePackZipBytesMax) return undefined
  const files = new Map<string, Uint8Array>()
  let bytes = 0
  try {
    const unpacked = unzipSync(zip, {
      filter({ name, size, originalSize }) {
        if (files.has(name)) throw new RangeError('a name is there twice')
        files.set(name, new Uint8Array())
        if (files.size > LIMITS.evidencePackFilesMax) throw new RangeError('too many files')
        const bytesMax = PACK_FILES.get(name)
        if (bytesMax === undefined) return false
        // What is not compressed is as long as `size` says, whatever `originalSize` does.
        const own = Math.max(size, originalSize)
        bytes += own
        if (!(own <= bytesMax && bytes <= LIMITS.evidencePackUnpackedBytesMax)) throw new RangeError('too large')
        return true
      },
    })
    for (const [name, content] of Object.entries(unpacked)) files.set(name, content)
    return files
  } catch {
    return undefined
  }
}
