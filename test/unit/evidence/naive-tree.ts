/** The tree as RFC 6962, section 2.1, defines it, recursive and slow: what ours is compared with. */
import { createHash } from 'node:crypto'

export function naiveLeafHash(entry: Uint8Array): Uint8Array {
  return digest(Uint8Array.of(0), entry)
}

export function naiveRoot(leafHashes: readonly Uint8Array[]): Uint8Array {
  if (leafHashes.length === 0) return digest()
  if (leafHashes.length === 1) return leafHashes[0]!
  let split = 1
  while (split * 2 < leafHashes.length) split *= 2
  return digest(Uint8Array.of(1), naiveRoot(leafHashes.slice(0, split)), naiveRoot(leafHashes.slice(split)))
}

function digest(...parts: Uint8Array[]): Uint8Array {
  const hash = createHash('sha256')
  for (const part of parts) hash.update(part)
  return new Uint8Array(hash.digest())
}

/** Leaf hashes of the entries `0`, `1`, `2`, ... */
export function leafHashes(size: number): Uint8Array[] {
  return Array.from({ length: size }, (_, i) => naiveLeafHash(new TextEncoder().encode(String(i))))
}
