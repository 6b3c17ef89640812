/** An evidence pack on a disk: the zip, or the folder that it was unpacked into. */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { PACK_FILES, PACK_MANIFEST, PACK_NOTE } from '../../evidence/pack.ts'
import { LIMITS } from '../../limits.ts'
import { UnreadableSource } from './log-database.ts'

/** What no mirror has. */
const ONLY_IN_PACKS = ['events.ndjson', 'proofs.ndjson', PACK_MANIFEST, PACK_NOTE] as const

export function isUnpackedPack(path: string): boolean {
  return ONLY_IN_PACKS.some(name => existsSync(join(path, name)))
}

/** @throws {UnreadableSource} when it is larger than a pack can be */
export function readPack(path: string): Uint8Array | ReadonlyMap<string, Uint8Array> {
  if (!statSync(path).isDirectory()) return readAtMost(path, LIMITS.evidencePackZipBytesMax)
  const files = new Map<string, Uint8Array>()
  let left: number = LIMITS.evidencePackUnpackedBytesMax
  // Hidden files are those of the system that it was unpacked on.
  for (const name of readdirSync(path).filter(name => !name.startsWith('.'))) {
    const bytesMax = PACK_FILES.get(name)
    const content = bytesMax === undefined ? new Uint8Array() : readAtMost(join(path, name), Math.min(left, bytesMax))
    left -= content.length
    files.set(name, content)
    if (files.size > LIMITS.evidencePackFilesMax) throw new UnreadableSource('the folder has more files than a pack')
  }
  return files
}

function readAtMost(path: string, bytesMax: number): Uint8Array {
  const found = statSync(path)
  if (!found.isFile()) throw new UnreadableSource(`${path} is no file`)
  if (found.size > bytesMax) throw new UnreadableSource(`${path} is larger than an evidence pack can be`)
  return readFileSync(path)
}
