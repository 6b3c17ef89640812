/**
 * Signs checkpoints of a log in PostgreSQL: one history, whichever instance signs next.
 *
 * Promise: as in signer.ts, no checkpoint is ever signed that does not continue the last one signed, and whose tree the stored
 * bytes do not have. The order of the steps, and what a crash in between leaves:
 *
 *   1. what was added since the last checkpoint is hashed from its bytes, in one snapshot     nothing
 *   2. the lock of all signers is taken; who does not get it goes on with what the other signs   free again with its session
 *   3. the last checkpoint and the keys are read, and it is proven to be the beginning of the head   nothing
 *   4. signed, and committed                                a checkpoint that nobody was shown; the next one continues it
 *   5. shown                                                -
 *
 * The last checkpoint is read under the lock that the next one is committed under, so no two continue the same one. Keys are handed over
 * under it, too, at the size of that checkpoint: so from the commit on every instance signs with the new ones, and none with the old.
 * Whatever does not fit is refused. Owns the tables `log_checkpoints`, `log_witnessed`, `log_keys` and `log_key_chain`, and its
 * sessions; reads the rest.
 *
 * Whether an ML-DSA-44 key signs, too, is what the log is, and not what one instance wants: it changes when every instance that the
 * database knows was started with the other setting (store/postgres-instances.ts). So instances that do not agree change nothing.
 */
import { Refusal } from '../errors.ts'
import { formatCheckpoint, parseSignedCheckpoint } from '../evidence/checkpoint.ts'
import { areSameBytes, encodeText } from '../evidence/encoding.ts'
import { currentKeys, formatKeyChain, type KeyChain, keysOfSize, openByChain } from '../evidence/key-chain.ts'
import { EMPTY_ROOT } from '../evidence/merkle.ts'
import type { TreeHead } from '../evidence/merkle-proof.ts'
import { formatNote, parseNote } from '../evidence/note.ts'
import { formatPackNote } from '../evidence/pack-note.ts'
import { createSignature } from '../evidence/signature.ts'
import { TILE_WIDTH } from '../evidence/tile.ts'
import { migrate } from '../postgres/migrations.ts'
import { createPostgres, type Session } from '../postgres/postgres.ts'
import { PostgresError } from '../postgres/postgres-error.ts'
import { StoreError } from '../store/event-store.ts'
import { findOtherMlDsa } from '../store/postgres-instances.ts'
import { type PostgresLogSnapshot, readPostgresLog } from '../store/postgres-log-view.ts'
import type { LogSigner, SizedNote, Tampered } from './checkpoint-host.ts'
import { type Outcome, refuse } from './outcome.ts'
import { isManifestOf } from './pack-note.ts'
import { bytesDiffer, findWrongPartial, fullBundles, isBundleSound, proveHead } from './postgres-head.ts'
import {
  beginSharedChain,
  handOverShared,
  type KeyWrap,
  readSharedChain,
  readSharedKeys,
  refuseOtherOrigin,
  sharedChainParser,
} from './postgres-keys.ts'
import { CHECKPOINT_SCHEMA, SIGN_LOCK } from './postgres-schema.ts'
import { readWatch, type WatchState } from './postgres-watch.ts'
import { unusable } from './signing-keys.ts'

/** All stages' tables are there (service/shared-database.ts), or `prepare` was called. */
export interface PostgresSigner extends LogSigner {
  /** The chain of keys, begun if there is none. @throws {Refusal} LOG_KEYS_UNUSABLE. @throws {PostgresError} */
  begin(): Promise<{ readonly chain: KeyChain; readonly isNew: boolean }>
  /**
   * Hands over to other keys, because somebody asked: an ML-DSA-44 key among them if one signs now. Waits for whoever signs.
   * @returns the chain from now on
   * @throws {Refusal} LOG_KEYS_UNUSABLE. @throws {PostgresError} also when nobody can know whether it happened
   */
  rotate(): Promise<KeyChain>
}

export interface PostgresSignerDeps {
  readonly url: string
  readonly keys: KeyWrap
  /** Left out: as it is, or made up for the first checkpoint. */
  readonly origin?: string | undefined
  /** What this instance was started with. A log begins as the first of them wants it. */
  readonly withMlDsa44?: boolean
  /** A checkpoint that an earlier process signed or saw: of what comes before it nothing is signed any more. */
  readonly kept?: string | undefined
  /** A larger one than before, whoever signed it, that was proven to continue what is known here. */
  readonly keep?: (note: string) => void
  /** Leaves the event that tells of a hand-over, in the transaction that makes it. */
  readonly recordHandOver: (session: Session, note: string) => Promise<void>
  /** It was not started with the same `withMlDsa44`, so the log stays as it is. Once for each, and not while it may just be starting. */
  readonly onDisagreement?: (journalId: string) => void
}

interface Last extends TreeHead {
  /** Undefined before the first. */
  readonly note: string | undefined
}

interface Seen extends TreeHead {
  /** Whether it is of the log with these keys. */
  isOf(chain: KeyChain): boolean
}

/** What is stored at one moment. */
interface Stored {
  readonly chain: KeyChain | undefined
  readonly last: Last | 'damaged'
  readonly witnessed: SizedNote | undefined
}

/** One holds the lock while the other reads. */
const CONNECTIONS = 2
/** Bundles that are hashed in one snapshot. */
const BUNDLES_AT_ONCE = 64
/** How far apart the checkpoints of the history are, by the number of signatures: one of ML-DSA-44 is twenty times as long. */
const HISTORY_INTERVAL = { one: '10 minutes', two: '60 minutes' } as const

export function createPostgresSigner(deps: PostgresSignerDeps): PostgresSigner {
  const {
    url,
    keys,
    origin,
    withMlDsa44 = false,
    kept,
    keep = () => {},
    recordHandOver,
    onDisagreement = () => {},
  } = deps
  const postgres = createPostgres({ url, connectionsMax: CONNECTIONS, applicationName: 'ev-central signer' })
  let ready: Promise<void> | undefined
  /** As of the last `sign`. */
  let known: Pick<Stored, 'chain' | 'witnessed'> = { chain: undefined, witnessed: undefined }
  /** How far the trail was read again, by whichever instance; as of the last `sign`. */
  let watched: WatchState | undefined
  /** The newest checkpoint that was read or signed here, and proven to be of this log. */
  let seen: Seen | undefined = kept === undefined ? undefined : seenBefore(kept)
  /** What is `seen` once its transaction is committed: what was never committed, nobody was shown. */
  let committing: typeof seen
  /** Bundles below this one were hashed here, and fitted. Undefined: from the last checkpoint on. */
  let checkedBundles: number | undefined
  /** Who kept the log from following the setting the last time, and of whom that was told. */
  let blockedBy: string | undefined
  const told = new Set<string>()
  const parseChain = sharedChainParser()

  async function setUp(): Promise<void> {
    ready ??= migrate(postgres, CHECKPOINT_SCHEMA)
    await ready.catch(error => {
      ready = undefined
      throw error
    })
  }

  /** @throws {Refusal} LOG_KEYS_UNUSABLE */
  async function readStored(session: Session): Promise<Stored> {
    const { rows } = await session.query<Record<'chain' | 'newest' | 'witnessed', string | null>>(STORED)
    const { newest = null, witnessed = null } = rows[0] ?? {}
    const chain = parseChain(rows[0]?.chain)
    return { chain, last: openLast(newest, chain), witnessed: openWitnessed(witnessed, chain) }
  }

  async function sign(): Promise<Outcome | Tampered> {
    const fault = await checkBytes()
    if (fault !== undefined) return fault
    committing = undefined
    const { outcome, ...stored } = await postgres.transaction<Stored & { outcome: Outcome | Tampered }>(
      async session => {
        const isMine = await tryLock(session)
        const found = await readStored(session)
        watched = await readWatch(session)
        const last = soundLast(found)
        if ('kind' in last) return { ...found, outcome: last }
        if (watched.tampered !== undefined) {
          return { ...found, outcome: { kind: 'tampered', found: watched.tampered, last: whatOthersSigned(last) } }
        }
        if (!isMine) return { ...found, outcome: whatOthersSigned(last) }
        const chain = found.chain ?? (await beginSharedChain(session, keys, { origin, withMlDsa44 }))
        refuseOtherOrigin(chain, origin)
        return { ...found, chain, outcome: await signHead(session, chain, last) }
      },
    )
    known = stored
    see(committing, outcome)
    return outcome
  }

  /** Undefined: nothing was proven this time. */
  function see(proven: Seen | undefined, outcome: Outcome | Tampered): void {
    if (proven === undefined) return
    if ('note' in outcome && proven.size > (seen?.size ?? 0)) keep(outcome.note)
    seen = proven
  }

  /**
   * What the database says was signed, if it goes on from what this process saw of it: a table can be emptied, and a server
   * restored.
   */
  function soundLast({ chain, last }: Stored): Last | Outcome {
    if (last === 'damaged') return refuse('CHECKPOINT_DAMAGED', DAMAGED)
    if (seen === undefined) return last
    if (chain === undefined) return refuse('FORKED', 'the log has no keys any more')
    if (last.size < seen.size) {
      return refuse('ROLLED_BACK', `${seen.size} events were signed, and the newest checkpoint is of ${last.size}`)
    }
    if (!seen.isOf(chain)) return refuse('FORKED', 'the log has other keys than before')
    const isOther = last.size === seen.size && !areSameBytes(last.root, seen.root)
    return isOther ? refuse('FORKED', `another checkpoint of ${seen.size} events was signed before`) : last
  }

  function whatOthersSigned({ note, size }: Last): Outcome {
    if (note === undefined) return { kind: 'unavailable', detail: 'another instance signs the first checkpoint' }
    return { kind: 'nothing-new', size, note }
  }

  async function signHead(session: Session, chain: KeyChain, last: Last): Promise<Outcome> {
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
    const isUnsignable = size === 0 && chain.handOvers[0]?.size === 0 // its key may be forgotten (signing-keys.ts)
    if (isUnsignable && last.note === undefined) return { kind: 'unavailable', detail: 'nothing is logged yet' }
    committing = { size: last.size, root: last.root, isOf: continues(formatKeyChain(chain)) }
    if (last.note !== undefined && size === last.size) return { kind: 'nothing-new', size, note: last.note }
    const signers = await readSharedKeys(session, keys, keysOfSize(chain, size))
    const text = formatCheckpoint({ origin: chain.first.name, size, root, extensions: [] })
    const time = Math.floor(Date.now() / 1_000)
    const signatures = signers.map(({ key, sign: signMessage }) => createSignature(key, text, signMessage, time))
    const note = formatNote({ text, signatures })
    await session.query('INSERT INTO log_checkpoints (size, note) VALUES ($1, $2)', [size, note])
    await forgetBetween(session, last.size, signatures.length > 1 ? HISTORY_INTERVAL.two : HISTORY_INTERVAL.one)
    committing = { ...committing, size, root }
    return { kind: 'signed', size, note }
  }

  /** Under the lock, at the size of the last checkpoint: whoever gets the lock next finds other keys, or nothing of it. */
  async function handOver(session: Session, stored: Stored, toMlDsa44: boolean): Promise<KeyChain> {
    const { chain } = stored
    if (chain === undefined) throw unusable('the log has none yet; the first start makes them')
    const last = soundLast(stored)
    if ('kind' in last) throw unusable('the last checkpoint is not one that could be gone on from')
    if ((await readWatch(session)).tampered !== undefined)
      throw unusable('the trail was changed, and nothing is signed until it is as it was')
    const handedOver = await handOverShared(session, keys, chain, { size: last.size, withMlDsa44: toMlDsa44 })
    await recordHandOver(session, handedOver.note)
    return handedOver.chain
  }

  /** Because of the setting. Asked in the transaction that does it, as instances come and go. */
  async function followSetting(): Promise<void> {
    if (known.chain === undefined || hasMlDsa44(known.chain) === withMlDsa44) return
    const other = await postgres.transaction(async session => {
      if (!(await tryLock(session))) return undefined // a second later
      const stored = await readStored(session)
      if (stored.chain === undefined || hasMlDsa44(stored.chain) === withMlDsa44) return undefined
      const journalId = await findOtherMlDsa(session, withMlDsa44)
      if (journalId === undefined) await handOver(session, stored, withMlDsa44)
      return journalId
    })
    const isLasting = other !== undefined && other === blockedBy
    blockedBy = other
    if (!isLasting || told.has(other)) return
    told.add(other)
    onDisagreement(other)
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
    prepare: setUp,
    sign: () => unless<Outcome | Tampered>(detail => ({ kind: 'unavailable', detail }), sign),
    handOver: followSetting,
    begin: () =>
      postgres.transaction(async session => {
        await lock(session)
        const { chain, last } = await readStored(session)
        if (last === 'damaged') throw unusable(DAMAGED)
        const begun = chain ?? (await beginSharedChain(session, keys, { origin, withMlDsa44 }))
        refuseOtherOrigin(begun, origin)
        return { chain: begun, isNew: chain === undefined }
      }),
    rotate: () =>
      postgres.transaction(async session => {
        await lock(session)
        const stored = await readStored(session)
        return handOver(session, stored, stored.chain !== undefined && hasMlDsa44(stored.chain))
      }),
    signManifest: manifest =>
      unless<string | undefined>(
        () => undefined,
        () =>
          postgres.transaction(async session => {
            const chain = await readSharedChain(session)
            if (chain === undefined || !isManifestOf(chain, await newestSize(session), manifest)) return undefined
            const signers = await readSharedKeys(session, keys, currentKeys(chain))
            return formatPackNote(chain.first.name, encodeText(manifest), signers)
          }),
      ),
    async cosign(cosigned, isWitnessed) {
      const given = parseNote(cosigned)
      const size = parseSignedCheckpoint(cosigned)?.size
      if (given === undefined || size === undefined) return
      await postgres.transaction(async session => {
        await lock(session)
        if (isWitnessed) await session.query(KEEP_WITNESSED, [size, cosigned])
        const newest = (await session.query<SizedNote & Record<string, unknown>>(NEWEST)).rows[0]
        if (newest === undefined || parseNote(newest.note)?.text !== given.text) return
        await session.query('SELECT evc_cosign_checkpoint($1, $2)', [size, formatNote(given)])
      })
    },
    // One of all instances reads it (service/shared-watch.ts).
    watch: async () => watched && { kind: 'sound', through: watched.bundle * TILE_WIDTH, rounds: watched.rounds },
    witnessed: () => known.witnessed,
    keyChain: () => known.chain,
    close: () => postgres.close(),
  }
}

/** A chain of keys only grows. */
const continues = (keys: string) => (chain: KeyChain) => formatKeyChain(chain).startsWith(keys)

/** What is no checkpoint is of no log. */
function seenBefore(note: string): Seen {
  const { size, root } = parseSignedCheckpoint(note) ?? { size: 0, root: EMPTY_ROOT }
  return { size, root, isOf: chain => openByChain(note, chain).isTrusted }
}

const DAMAGED = 'the newest row of log_checkpoints is not a checkpoint of this log'

const hasMlDsa44 = (chain: KeyChain) => currentKeys(chain).mlDsa44 !== undefined

async function tryLock(session: Session): Promise<boolean> {
  const { rows } = await session.query<{ held: boolean }>('SELECT pg_try_advisory_xact_lock($1) AS held', [SIGN_LOCK])
  return rows[0]?.held === true
}

async function lock(session: Session): Promise<void> {
  await session.query('SELECT pg_advisory_xact_lock($1)', [SIGN_LOCK])
}

const NEWEST = 'SELECT size, note FROM log_checkpoints ORDER BY size DESC LIMIT 1'
const KEEP_WITNESSED = `INSERT INTO log_witnessed (size, note) VALUES ($1, $2)
  ON CONFLICT (one) DO UPDATE SET size = excluded.size, note = excluded.note WHERE log_witnessed.size <= excluded.size`

async function newestSize(session: Session): Promise<number> {
  return (await session.query<{ size: number }>(NEWEST)).rows[0]?.size ?? 0
}

/** By one statement: whoever does not hold the lock must not see keys of one moment, and a checkpoint of another. */
const STORED = `SELECT (SELECT chain FROM log_key_chain) AS chain, (SELECT note FROM log_checkpoints ORDER BY size DESC LIMIT 1) AS newest,
  (SELECT note FROM log_witnessed) AS witnessed`

function openLast(note: string | null, chain: KeyChain | undefined): Last | 'damaged' {
  if (note === null) return { size: 0, root: EMPTY_ROOT, note: undefined }
  const opened = chain && openByChain(note, chain)
  return opened?.isTrusted ? { ...opened.checkpoint, note } : 'damaged'
}

/** One that this log did not sign is none; its cosignatures are for whoever knows the witnesses. */
function openWitnessed(note: string | null, chain: KeyChain | undefined): SizedNote | undefined {
  const opened = note === null || chain === undefined ? undefined : openByChain(note, chain)
  return note !== null && opened?.isTrusted ? { size: opened.checkpoint.size, note } : undefined
}

/** The one before is kept as history if there is none of the interval before it. */
async function forgetBetween(session: Session, size: number, interval: string): Promise<void> {
  await session.query('SELECT evc_forget_checkpoint($1, $2)', [size, interval])
}
