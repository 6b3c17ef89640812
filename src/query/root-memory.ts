/**
 * Roots of large subtrees of the log, remembered from one proof to the next.
 *
 * A proof needs one hash of each height. In a tile those of the upper heights are worked out of up to 128 others, and most proofs
 * need the same few. A subtree that is full never changes, so what was once worked out stays right for as long as the log is the
 * same: the owner begins with a new memory when the database is another.
 */
import { type Hash, TILE_HEIGHT } from '../evidence/merkle.ts'
import type { ReadHash } from '../evidence/merkle-proof.ts'

/** Some 2 MB; all that a tree of 30 million leaves has. Those of a larger one are worked out anew, now and then. */
const REMEMBERED_MAX = 16_384
/** From sixteen hashes of a tile on. Those of level 0 are too many. */
const HEIGHT_IN_TILE_MIN = 4
const HEIGHTS = 64

export function createRootMemory(): (readHash: ReadHash) => ReadHash {
  const known = new Map<number, Hash>()
  return readHash => (height, index) => {
    if (height < TILE_HEIGHT || height % TILE_HEIGHT < HEIGHT_IN_TILE_MIN) return readHash(height, index)
    const key = index * HEIGHTS + height
    const found = known.get(key) ?? readHash(height, index)
    if (known.size >= REMEMBERED_MAX) known.clear()
    known.set(key, found)
    return found
  }
}
