/**
 * Signs checkpoints of a log in PostgreSQL: one history, whichever instance signs next.
 *
 * Promise: as in signer.ts, no checkpoint is ever signed that does not continue the last one signed, and whose tree the stored
 * bytes do not have. The order of the steps, and what a crash in between leaves:
 *
 *   1. what was added since the last checkpoint is hashed from its bytes, in one snapshot     nothing
 *   2. the lock of all signers is taken; who does not get it goes on with what the other signs   free again with its session
 *   3. the last checkpoint is read, and proven to be the beginning of the head                nothing
 *   4. signed, and committed                                a checkpoint that nobody was shown; the next one continues it
 *   5. shown                                                -
 *
 * The last checkpoint is read under the lock that the next one is committed under, so no two continue the same one. Whatever does
 * not fit is refused. Owns the tables `log_checkpoints`, `log_witnessed`, `log_keys` and `log_key_chain`; reads the
 * rest.
 */
import { Refusal } from '../errors.ts'
import { formatCheckpoint, parseCheckpoint } from '../evidence/checkpoint.ts'
import { areSameBytes, encodeText } from '../evidence/encoding.ts'
import { type KeyChain, openByChain } from '../evidence/key-chain.ts'
import { EMPTY_ROOT, hashLeaf } from '../evidence/merkle.ts'
import { consistencyProof, rootHash, type TreeHead, verifyConsistency } from '../evidence/merkle-proof.ts'
import { formatNote, formatVerifierKey, parseNote } from '../evidence/note.ts'
import { formatPackNote } from '../evidence/pack-note.ts'
import { createSignature } from '../evidence/signature.ts'
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
import { migrate } from '../postgres/migrations.ts'
import type { Postgres, Session } from '../postgres/postgres.ts'
import { PostgresError } from '../postgres/postgres-error.ts'
import { StoreError } from '../store/event-store.ts'
import { type PostgresLogSnapshot, readPostgresLog } from '../store/postgres-log-view.ts'
import { isManifestOf } from './pack-note.ts'
import { beginSharedChain, type KeyWrap, readSharedChain, readSharedKey } from './postgres-keys.ts'
import { CHECKPOINT_SCHEMA, SIGN_LOCK } from './postgres-schema.ts'
import { type FoundTampering, readWatch, type WatchState } from './postgres-watch.ts'
import type { Outcome, RefusalCause } from './signer.ts'

export type SharedOutcome =
  | Outcome
  /** Nothing is signed by anybody until it is as it was logged. `last`: what was signed before. */
  | { readonly kind: 'tampered'; readonly found: FoundTampering; readonly last: Outcome }

export interface PostgresSigner {
  sign(): Promise<SharedOutcome>
  /** How far the trail was read again, as of the last `sign`. */
  watched(): WatchState | undefined
  /**
   * Takes the cosignatures of a note over, if it is of the newest checkpoint.
   * @param isWitnessed enough have cosigned it: it is kept as such, unless a larger one is
   */
  cosign(note: string, isWitnessed: boolean): Promise<void>
  /** The newest note that was kept as witnessed by any instance, as of the last `sign`. */
  witnessed(): SizedNote | undefined
  /** The log's note on the manifest of an evidence pack (pack-note.ts). Undefined: it is none of this log, or cannot be signed now. */
  signManifest(manifest: string): Promise<string | undefined>
  /** As of the last `sign`. */
  chain(): KeyChain | undefined
}

export interface SizedNote {
  readonly size: number
  readonly note: string
}

interface Last extends TreeHead {
  /** Undefined before the first. */
  readonly note: string | undefined
}

interface Seen extends TreeHead {
  /** Whether it is of the log with these keys. */
  isOf(chain: KeyChain): boolean
}

/** Bundles that are hashed in one snapshot. */
const BUNDLES_AT_ONCE = 64
const HISTORY_INTERVAL = '10 minutes'

export function createPostgresSigner(deps: {
  postgres: Postgres
  keys: KeyWrap
  origin: string | undefined
  /** A checkpoint that an earlier process signed or saw: of what comes before it nothing is signed any more. */
  kept?: string | undefined
}): PostgresSigner {
  const { postgres, keys, origin, kept } = deps
  let ready: Promise<void> | undefined
  let chain: KeyChain | undefined
  let witnessed: SizedNote | undefined
  let watched: WatchState | undefined
  /** The newest checkpoint that was read or signed here, and proven to be of this log. */
  let seen: Seen | undefined = kept === undefined ? undefined : seenBefore(kept)
  /** What is `seen` once its transaction is committed: what was never committed, nobody was shown. */
  let committing: typeof seen
  /** Bundles below this one were hashed here, and fitted. Undefined: from the last checkpoint on. */
  let checkedBundles: number | undefined

  async function setUp(): Promise<void> {
    ready ??= migrate(postgres, CHECKPOINT_SCHEMA)
    await ready.catch(error => {
      ready = undefined
      throw error
    })
  }

  async function sign(): Promise<SharedOutcome> {
    await setUp()
    const fault = await checkBytes()
    if (fault !== undefined) return fault
    committing = undefined
    const outcome = await postgres.transaction<SharedOutcome>(async session => {
      const lock = await session.query<{ held: boolean }>('SELECT pg_try_advisory_xact_lock($1) AS held', [SIGN_LOCK])
      watched = await readWatch(session)
      const { tampered: found } = watched
      if (found !== undefined) return { kind: 'tampered', found, last: await whatOthersSigned(session) }
      if (lock.rows[0]?.held !== true) return whatOthersSigned(session)
      if (chain === undefined && seen !== undefined && (await readSharedChain(session)) === undefined)
        return refuse('FORKED', 'checkpoints were signed, and the log has no key any more')
      chain = await beginSharedChain(session, keys, origin)
      witnessed = await readWitnessed(session, chain)
      const last = await readLast(session, chain)
      if (last === 'damaged') return damaged()
      return compareSeen(chain, last) ?? signHead(session, chain, last)
    })
    seen = committing ?? seen
    return outcome
  }

  /** What the database says was signed, against what this process saw of it: a table can be emptied, and a server restored. */
  function compareSeen(known: KeyChain, last: Last): Outcome | undefined {
    if (seen === undefined) return undefined
    if (!seen.isOf(known)) return refuse('FORKED', 'the keys of the log are others than before')
    if (last.size < seen.size) {
      return refuse('ROLLED_BACK', `${seen.size} events were signed, and the newest checkpoint is of ${last.size}`)
    }
    const isOther = last.size === seen.size && !areSameBytes(last.root, seen.root)
    return isOther ? refuse('FORKED', `another checkpoint of ${seen.size} events was signed before`) : undefined
  }

  async function whatOthersSigned(session: Session): Promise<Outcome> {
    chain = await readSharedChain(session)
    witnessed = chain && (await readWitnessed(session, chain))
    const last = chain && (await readLast(session, chain))
    if (last === 'damaged') return damaged()
    const fault = chain && last && compareSeen(chain, last)
    if (fault !== undefined) return fault
    if (last?.note === undefined) return { kind: 'unavailable', detail: 'another instance signs the first checkpoint' }
    return { kind: 'nothing-new', size: last.size, note: last.note }
  }

  async function signHead(session: Session, known: KeyChain, last: Last): Promise<Outcome> {
    const head = await postgres.snapshot(async reading => {
      const log = await readPostgresLog(reading)
      // Rows may have come since step 1: few. And the bundle that is not full yet is hashed each time.
      const wrong = (await checkUpTo(log, fullBundles(log))) ?? (await findWrongPartial(log))
      if (wrong !== undefined) return bytesDiffer(wrong)
      // Another instance may have signed since: its checkpoint has to continue what was seen here, too.
      const proven = seen === undefined || seen.size === last.size ? undefined : await proveHead(log, seen)
      return proven !== undefined && 'kind' in proven ? proven : proveHead(log, last)
    })
    if ('kind' in head) return head
    const { size, root } = head
    seen = { size: last.size, root: last.root, isOf: isOfKey(formatVerifierKey(known.first)) }
    if (last.note !== undefined && size === last.size) return { kind: 'nothing-new', size, note: last.note }
    const { key, sign: signMessage } = await readSharedKey(session, keys, known)
    const text = formatCheckpoint({ origin: known.first.name, size, root, extensions: [] })
    const note = formatNote({ text, signatures: [createSignature(key, text, signMessage)] })
    await session.query('INSERT INTO log_checkpoints (size, note) VALUES ($1, $2)', [size, note])
    await forgetBetween(session, last.size)
    committing = { ...seen, size, root }
    return { kind: 'signed', size, note }
  }

  /** Step 1: all full bundles that are new, a piece at a time, so that no snapshot is held for long. */
  async function checkBytes(): Promise<Outcome | undefined> {
    for (let isAll = false; !isAll; ) {
      const wrong = await postgres.snapshot(async session => {
        const log = await readPostgresLog(session)
        const full = fullBundles(log)
        checkedBundles ??= Math.floor((await newestSize(session)) / TILE_WIDTH)
        const until = Math.min(full, checkedBundles + BUNDLES_AT_ONCE)
        isAll = until === full
        return checkUpTo(log, until)
      })
      if (wrong !== undefined) return bytesDiffer(wrong)
    }
    return undefined
  }

  /** The first bundle whose entries do not have the hashes of their tile. */
  async function checkUpTo(log: PostgresLogSnapshot, until: number): Promise<number | undefined> {
    for (let next = checkedBundles ?? 0; next < until; next++) {
      if (!(await isBundleSound(log, next))) return next
      checkedBundles = next + 1
    }
    return undefined
  }

  /** What may pass, or is for somebody to mend, is no fault of this process. */
  async function unless<T>(otherwise: (detail: string) => T, work: () => Promise<T>): Promise<T> {
    try {
      return await work()
    } catch (error) {
      const isPassing = error instanceof StoreError || error instanceof Refusal || error instanceof PostgresError
      if (!isPassing) throw error
      return otherwise(error.message)
    }
  }

  return {
    sign: () => unless<SharedOutcome>(detail => ({ kind: 'unavailable', detail }), sign),
    signManifest: manifest =>
      unless<string | undefined>(
        () => undefined,
        () =>
          postgres.transaction(async session => {
            const known = await readSharedChain(session)
            if (known === undefined || !isManifestOf(known, await newestSize(session), manifest)) return undefined
            const signer = await readSharedKey(session, keys, known)
            return formatPackNote(known.first.name, encodeText(manifest), [signer])
          }),
      ),
    async cosign(cosigned, isWitnessed) {
      const given = parseNote(cosigned)
      const size = parseCheckpoint(given?.text ?? '')?.size
      if (given === undefined || size === undefined) return
      await postgres.transaction(async session => {
        await session.query('SELECT pg_advisory_xact_lock($1)', [SIGN_LOCK])
        if (isWitnessed) await session.query(KEEP_WITNESSED, [size, cosigned])
        const newest = (await session.query<SizedNote & Record<string, unknown>>(NEWEST)).rows[0]
        if (newest === undefined || parseNote(newest.note)?.text !== given.text) return
        await session.query('UPDATE log_checkpoints SET note = $1 WHERE size = $2', [formatNote(given), size])
      })
    },
    watched: () => watched,
    witnessed: () => witnessed,
    chain: () => chain,
  }
}

const isOfKey = (first: string) => (chain: KeyChain) => formatVerifierKey(chain.first) === first

/** What is no checkpoint is of no log. */
function seenBefore(note: string): Seen {
  const { size, root } = parseCheckpoint(parseNote(note)?.text ?? '') ?? { size: 0, root: EMPTY_ROOT }
  return { size, root, isOf: chain => openByChain(note, chain).isTrusted }
}

const NEWEST = 'SELECT size, note FROM log_checkpoints ORDER BY size DESC LIMIT 1'
const KEEP_WITNESSED = `INSERT INTO log_witnessed (size, note) VALUES ($1, $2)
  ON CONFLICT (one) DO UPDATE SET size = excluded.size, note = excluded.note WHERE log_witnessed.size <= excluded.size`

async function newestSize(session: Session): Promise<number> {
  return (await session.query<{ size: number }>(NEWEST)).rows[0]?.size ?? 0
}

async function readLast(session: Session, chain: KeyChain): Promise<Last | 'damaged'> {
  const note = (await session.query<{ note: string }>(NEWEST)).rows[0]?.note
  if (note === undefined) return { size: 0, root: EMPTY_ROOT, note: undefined }
  const opened = openByChain(note, chain)
  return opened.isTrusted ? { ...opened.checkpoint, note } : 'damaged'
}

/** One that this log did not sign is none; its cosignatures are for whoever knows the witnesses. */
async function readWitnessed(session: Session, chain: KeyChain): Promise<SizedNote | undefined> {
  const note = (await session.query<{ note: string }>('SELECT note FROM log_witnessed')).rows[0]?.note
  const opened = note === undefined ? undefined : openByChain(note, chain)
  return note !== undefined && opened?.isTrusted ? { size: opened.checkpoint.size, note } : undefined
}

/** Step 3: the head, if it continues what was signed and the tiles have its root. */
async function proveHead({ size, root, readTiles }: PostgresLogSnapshot, last: TreeHead): Promise<TreeHead | Outcome> {
  if (size < last.size) return refuse('ROLLED_BACK', `${last.size} events were signed, and the log has ${size}`)
  const tiles = new Map<string, Uint8Array>()
  const needed = tilesFor(size, readHash => [rootHash(size, readHash), consistencyProof(last.size, size, readHash)])
  try {
    const read = await readTiles(needed)
    for (const [n, tile] of needed.entries()) tiles.set(formatTilePath(tile), read[n] as Uint8Array)
    const readHash = hashesFromTiles(size, tile => tiles.get(formatTilePath(tile)) as Uint8Array)
    if (!areSameBytes(rootHash(size, readHash), root))
      return refuse('BYTES_DIFFER', 'the tiles do not have the root of the database')
    if (!verifyConsistency(last, { size, root }, consistencyProof(last.size, size, readHash)))
      return refuse('FORKED', `the log does not continue what was signed at ${last.size} events`)
  } catch (error) {
    if (error instanceof RangeError) return refuse('BYTES_DIFFER', error.message) // a tile is not there, or is cut short
    throw error
  }
  return { size, root }
}

const fullBundles = ({ size }: TreeHead) => Math.floor(size / TILE_WIDTH)

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

/** The one before is kept as history if there is none of the ten minutes before it. */
async function forgetBetween(session: Session, size: number): Promise<void> {
  await session.query('SELECT evc_forget_checkpoint($1, $2)', [size, HISTORY_INTERVAL])
}

function refuse(cause: RefusalCause, detail: string): Outcome {
  return { kind: 'refused', cause, detail }
}

function bytesDiffer(bundle: number): Outcome {
  return refuse('BYTES_DIFFER', `the entries from ${bundle * TILE_WIDTH} on do not have the hashes of their tile`)
}

function damaged(): Outcome {
  return refuse('CHECKPOINT_DAMAGED', 'the newest row of log_checkpoints is not a checkpoint of this log')
}
