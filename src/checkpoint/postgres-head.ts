/** Whether the head of a log in PostgreSQL may be signed, by what is stored: its bytes, its tiles and what was signed before. */
import { counted } from '../counted.ts'
import { areSameBytes } from '../evidence/encoding.ts'
import { hashLeaf } from '../evidence/merkle.ts'
import { consistencyProof, rootHash, type TreeHead, verifyConsistency } from '../evidence/merkle-proof.ts'
import {
  formatTilePath,
  hashesFromTiles,
  parseBundle,
  parseHashTile,
  TILE_WIDTH,
  type Tile,
  tileAt,
  tilesFor,
} from '../evidence/tile.ts'
import type { Postgres } from '../postgres/postgres.ts'
import { type PostgresLogSnapshot, readPostgresLog } from '../store/postgres-log-view.ts'
import { type Outcome, refuse } from './outcome.ts'
import { newestSize } from './postgres-checkpoints.ts'

/** Bundles that are hashed in one snapshot. */
const BUNDLES_AT_ONCE = 64

/** The head, if it continues what was signed and the tiles have its root. */
export async function proveHead(
  { size, root, readTiles }: PostgresLogSnapshot,
  last: TreeHead,
): Promise<TreeHead | Outcome> {
  if (size < last.size)
    return refuse(
      'ROLLED_BACK',
      `${counted(last.size, 'event was signed', 'events were signed')}, and the log has ${size}`,
    )
  const tiles = new Map<string, Uint8Array>()
  const needed = tilesFor(size, readHash => [rootHash(size, readHash), consistencyProof(last.size, size, readHash)])
  try {
    const read = await readTiles(needed)
    for (const [n, tile] of needed.entries()) tiles.set(formatTilePath(tile), read[n] as Uint8Array)
    const readHash = hashesFromTiles(size, tile => tiles.get(formatTilePath(tile)) as Uint8Array)
    if (!areSameBytes(rootHash(size, readHash), root))
      return refuse('BYTES_DIFFER', 'the tiles do not have the root of the database')
    if (!verifyConsistency(last, { size, root }, consistencyProof(last.size, size, readHash)))
      return refuse('FORKED', `the log does not continue what was signed at ${counted(last.size, 'event')}`)
  } catch (error) {
    if (error instanceof RangeError) return refuse('BYTES_DIFFER', error.message) // a tile is not there, or is cut short
    throw error
  }
  return { size, root }
}

/** Hashes what was added, each full bundle once in the life of a process; of those before it that fitted it knows how many. */
export function createBytesCheck(postgres: Postgres) {
  /** Bundles below this one were hashed here, and fitted. Undefined: from the last checkpoint on. */
  let checked: number | undefined

  /** The first bundle whose entries do not have the hashes of their tile. */
  async function findWrong(log: PostgresLogSnapshot, until: number): Promise<number | undefined> {
    for (let next = checked ?? 0; next < until; next++) {
      if (!(await isBundleSound(log, next))) return next
      checked = next + 1
    }
    return undefined
  }

  return {
    /** All full bundles that are new, a piece at a time, so that no snapshot is held for long. */
    async checkFull(): Promise<Outcome | undefined> {
      for (let isAll = false; !isAll; ) {
        const wrong = await postgres.snapshot(async session => {
          const log = await readPostgresLog(session)
          const full = fullBundles(log)
          checked ??= Math.floor((await newestSize(session)) / TILE_WIDTH)
          const until = Math.min(full, checked + BUNDLES_AT_ONCE)
          isAll = until === full
          return findWrong(log, until)
        })
        if (wrong !== undefined) return bytesDiffer(wrong)
      }
      return undefined
    },
    /** Of rows that came since: few. And the bundle that is not full yet is hashed each time. */
    async checkRest(log: PostgresLogSnapshot): Promise<Outcome | undefined> {
      const wrong = (await findWrong(log, fullBundles(log))) ?? (await findWrongPartial(log))
      return wrong === undefined ? undefined : bytesDiffer(wrong)
    },
  }
}

const fullBundles = ({ size }: TreeHead) => Math.floor(size / TILE_WIDTH)

/** The bundle that is not full, if it does not fit. */
async function findWrongPartial(log: PostgresLogSnapshot): Promise<number | undefined> {
  const index = fullBundles(log)
  return log.size % TILE_WIDTH === 0 || (await isBundleSound(log, index)) ? undefined : index
}

/** Its entries have the hashes of their tile. */
async function isBundleSound({ size, readTiles }: PostgresLogSnapshot, index: number): Promise<boolean> {
  const [bundle, tile] = [tileAt('entries', index, size), tileAt(0, index, size)] as [Tile, Tile]
  try {
    const [bundleBytes, tileBytes] = (await readTiles([bundle, tile])) as [Uint8Array, Uint8Array]
    const entries = parseBundle(bundleBytes, bundle.width)
    const hashes = parseHashTile(tileBytes, tile.width)
    if (entries === undefined || hashes === undefined) return false
    return entries.every((entry, n) => areSameBytes(hashLeaf(entry), hashes[n] as Uint8Array))
  } catch (error) {
    if (error instanceof RangeError) return false
    throw error
  }
}

function bytesDiffer(bundle: number): Outcome {
  return refuse('BYTES_DIFFER', `the entries from ${bundle * TILE_WIDTH} on do not have the hashes of their tile`)
}
