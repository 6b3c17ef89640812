/**
 * Signs checkpoints: what the log is, for everybody who was not there.
 *
 * Promise: no checkpoint is ever signed that does not continue the last one signed, and whose tree the stored bytes do not
 * have. The order of the steps, and what a crash in between leaves:
 *
 *   1. the head of one moment is read               nothing
 *   2. the write-ahead log is fsynced               nothing; from here on a power loss cannot take the head back
 *   3. the last checkpoint, from its file, is       nothing
 *      proven to be the beginning of it, and what
 *      was added since is hashed from its bytes
 *   4. signed by every key that has to, written,    a checkpoint nobody has seen; the next one continues it
 *      fsynced
 *   5. shown                                        -
 *
 * Whatever does not fit is refused, and stays refused: an older database, another one, changed bytes, a clock that is behind the
 * last signature. Synchronous, for a thread of its own. Owns the files `checkpoint`, `checkpoints` and
 * `witnessed`; reads the rest.
 */
import { existsSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { counted } from '../counted.ts'
import { Refusal } from '../errors.ts'
import { areSameBytes } from '../evidence/encoding.ts'
import { type KeyChain, keysOfSize, openByChain } from '../evidence/key-chain.ts'
import { EMPTY_ROOT } from '../evidence/merkle.ts'
import { consistencyProof, rootHash, type TreeHead, verifyConsistency } from '../evidence/merkle-proof.ts'
import { formatNote, parseNote } from '../evidence/note.ts'
import { hashBundle, hashesFromTiles, TILE_WIDTH, type Tile, tileAt } from '../evidence/tile.ts'
import { appendLine, syncPath, writeWhole } from '../files/whole-file.ts'
import { openLogFiles } from '../log/log-files.ts'
import { createConnection } from '../store/connection.ts'
import { StoreError } from '../store/event-store.ts'
import { type LogSnapshot, openLogView } from '../store/log-view.ts'
import { type KeyFolders, keyChainReader, readSigningKeys, wasSigned } from './key-files.ts'
import { type Outcome, refuse, unavailable } from './outcome.ts'
import { createSelfWatch, hasParent, type Watched } from './self-watch.ts'
import { signCheckpoint } from './signing-keys.ts'

export interface Signer {
  sign(): Outcome
  /** Reads some of the trail again, for about so long; undefined when that cannot be done now. */
  watch(ms: number): Watched | undefined
  /**
   * Takes the cosignatures of a note over, if it is of the newest checkpoint.
   * @param isWitnessed enough have cosigned it: it is kept as such, whether it is the newest or not
   */
  cosign(note: string, isWitnessed: boolean): void
  close(): void
}

/** Clocks are set right by less than this all the time. */
const CLOCK_TOLERANCE_MS = 5_000
/** How far apart the checkpoints of the history are, by the number of signatures: one of ML-DSA-44 is twenty times as long. */
const HISTORY_INTERVAL_MS = { one: 600_000, two: 3_600_000 } as const

export function createSigner(deps: { storePath: string; folders: KeyFolders; clock?: () => number }): Signer {
  const { storePath, folders, clock = Date.now } = deps
  const file = join(folders.log, 'checkpoint')
  const history = join(folders.log, 'checkpoints')
  const files = openLogFiles(folders.log)
  const watch = createSelfWatch()
  const readChain = keyChainReader(folders)
  const connection = createConnection(storePath, () => {
    const db = new DatabaseSync(storePath, { readOnly: true, timeout: 1_000 })
    return { db, view: openLogView(db, files) }
  })

  function sign(): Outcome {
    const chain = readChain()
    if (chain === undefined) return { kind: 'unavailable', detail: 'there are no keys yet' }
    const last = readLast(chain)
    if (last === 'damaged') return refuse('CHECKPOINT_DAMAGED', `${file} is not a checkpoint of this log`)
    if (last === 'gone') return refuse('CHECKPOINT_DAMAGED', `${file} is gone, and checkpoints of this log were signed`)
    return connection.use(({ view }) => view.inSnapshot(head => signHead(chain, last, head)))
  }

  /** Empty before the first one. One that lacks a signature which was announced is damaged. */
  function readLast(chain: KeyChain): (TreeHead & { note: string | undefined }) | 'damaged' | 'gone' {
    if (!existsSync(file)) {
      return wasSigned(folders, chain) ? 'gone' : { size: 0, root: EMPTY_ROOT, note: undefined }
    }
    const note = readFileSync(file, 'utf8')
    const opened = openByChain(note, chain)
    return opened.isTrusted ? { ...opened.checkpoint, note } : 'damaged'
  }

  function signHead(chain: KeyChain, last: TreeHead & { note: string | undefined }, head: LogSnapshot): Outcome {
    const { size, root } = head
    const isUnsignable = size === 0 && chain.handOvers[0]?.size === 0 // its key may be forgotten (key-files.ts)
    if (isUnsignable && last.note === undefined) return { kind: 'unavailable', detail: 'nothing is logged yet' }
    if (size < last.size)
      return refuse(
        'ROLLED_BACK',
        `${counted(last.size, 'event was signed', 'events were signed')}, and the log has ${size}`,
      )
    if (last.note !== undefined && size === last.size && areSameBytes(root, last.root)) {
      return { kind: 'nothing-new', size, note: last.note }
    }
    if (existsSync(file) && clock() < statSync(file).mtimeMs - CLOCK_TOLERANCE_MS) {
      return refuse('CLOCK_BACK', 'the clock is behind the last checkpoint')
    }
    const wal = `${storePath}-wal`
    if (existsSync(wal)) syncPath(wal)
    const fault = findFault(last, head)
    if (fault !== undefined) return fault
    const signers = readSigningKeys(folders, keysOfSize(chain, size))
    const note = signCheckpoint(chain.first.name, head, signers, clock())
    // Crash before: signed again, the same. After: the next one continues it.
    writeWhole(file, note)
    keepHistory(note, signers.length > 1 ? HISTORY_INTERVAL_MS.two : HISTORY_INTERVAL_MS.one)
    return { kind: 'signed', size, note }
  }

  /** One now and then, so that a later history has marks that this one left. */
  function keepHistory(note: string, intervalMs: number): void {
    const isDue = !existsSync(history) || clock() >= statSync(history).mtimeMs + intervalMs
    if (isDue) appendLine(history, JSON.stringify(note))
  }

  function cosign(cosigned: string, isWitnessed: boolean): void {
    if (isWitnessed) writeWhole(join(folders.log, 'witnessed'), cosigned)
    if (!existsSync(file)) return
    const [given, shown] = [parseNote(cosigned), parseNote(readFileSync(file, 'utf8'))]
    if (given === undefined || shown === undefined || given.text !== shown.text) return
    const { mtime } = statSync(file)
    writeWhole(file, formatNote(given), mtime)
  }

  return {
    watch(ms) {
      try {
        return connection.use(opened => watch.step(ms, opened))
      } catch (error) {
        if (error instanceof StoreError) return undefined
        throw error
      }
    },
    sign() {
      try {
        return sign()
      } catch (error) {
        if (error instanceof StoreError || error instanceof Refusal) return unavailable(error)
        if (error instanceof Error && 'syscall' in error) return unavailable(error)
        throw error
      }
    },
    cosign,
    close() {
      connection.close()
      files.close()
    },
  }
}

/** Step 3. */
function findFault(last: TreeHead, head: LogSnapshot): Outcome | undefined {
  const { size, root, readTile } = head
  const readHash = hashesFromTiles(size, readTile)
  try {
    if (!areSameBytes(rootHash(size, readHash), root))
      return refuse('BYTES_DIFFER', 'the tiles do not have the root of the database')
    if (!verifyConsistency(last, head, consistencyProof(last.size, size, readHash))) {
      return refuse('FORKED', `the log does not continue what was signed at ${counted(last.size, 'event')}`)
    }
    const wrong = findWrongBundle(last.size, head)
    if (wrong !== undefined)
      return refuse('BYTES_DIFFER', `the entries from ${wrong * TILE_WIDTH} on do not have the hashes of their tile`)
  } catch (error) {
    if (error instanceof RangeError) return refuse('BYTES_DIFFER', error.message) // a tile is not there, or is cut short
    throw error
  }
  return undefined
}

/** Of the bundles with entries from `since` on: the first whose bytes do not have the hash above it, or, not full, those of its tile. */
function findWrongBundle(since: number, log: LogSnapshot): number | undefined {
  const { size, readTile } = log
  for (let index = Math.floor(since / TILE_WIDTH); index * TILE_WIDTH < size; index++) {
    const bundle = tileAt('entries', index, size) as Tile
    const hashes = hashBundle(readTile(bundle), bundle.width)
    if (hashes === undefined) return index
    const isRight =
      bundle.width === TILE_WIDTH
        ? hasParent(index, hashes, log)
        : areSameBytes(readTile({ ...bundle, level: 0 }), hashes)
    if (!isRight) return index
  }
  return undefined
}
