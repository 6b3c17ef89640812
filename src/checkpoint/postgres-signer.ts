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
 * under it, too (postgres-hand-over.ts). Whatever does not fit is refused. Owns the tables `log_checkpoints`, `log_witnessed`, `log_keys`
 * and `log_key_chain`, and its sessions; reads the rest.
 *
 * Whether an ML-DSA-44 key signs, too, is what the log is, and not what one instance wants: it changes when every instance that the
 * database knows was started with the other setting (store/postgres-instances.ts). So instances that do not agree change nothing.
 */
import { Refusal } from '../errors.ts'
import { encodeText } from '../evidence/encoding.ts'
import { currentKeys, type KeyChain, keysOfSize } from '../evidence/key-chain.ts'
import { formatPackNote } from '../evidence/pack-note.ts'
import { TILE_WIDTH } from '../evidence/tile.ts'
import { migrate } from '../postgres/migrations.ts'
import { createPostgres, type Session } from '../postgres/postgres.ts'
import { PostgresError } from '../postgres/postgres-error.ts'
import { StoreError } from '../store/event-store.ts'
import { readPostgresLog } from '../store/postgres-log-view.ts'
import type { LogSigner, Tampered } from './checkpoint-host.ts'
import { type Outcome, unavailable } from './outcome.ts'
import { isManifestOf } from './pack-note.ts'
import {
  keepCheckpoint,
  keepCosigned,
  type Last,
  newestSize,
  type Stored,
  storedReader,
  tryLock,
} from './postgres-checkpoints.ts'
import { createHandOvers } from './postgres-hand-over.ts'
import { createBytesCheck, proveHead } from './postgres-head.ts'
import { beginSharedChain, type KeyWrap, readSharedChain, readSharedKeys, refuseOtherOrigin } from './postgres-keys.ts'
import { CHECKPOINT_SCHEMA } from './postgres-schema.ts'
import { createSeen, type Seen, seenOf, soundLast } from './postgres-seen.ts'
import { readWatch, type WatchState } from './postgres-watch.ts'
import { signCheckpoint } from './signing-keys.ts'

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

/** What came of it, and what was proven on the way to that. */
interface Attempt {
  readonly outcome: Outcome | Tampered
  readonly proven?: Seen
}

/** One holds the lock while the other reads. */
const CONNECTIONS = 2
/** How far apart the checkpoints of the history are, by the number of signatures: one of ML-DSA-44 is twenty times as long. */
const HISTORY_INTERVAL = { one: '10 minutes', two: '60 minutes' } as const

export function createPostgresSigner(deps: PostgresSignerDeps): PostgresSigner {
  const { url, keys, origin, withMlDsa44 = false, onDisagreement = () => {} } = deps
  const postgres = createPostgres({ url, connectionsMax: CONNECTIONS, applicationName: 'ev-central signer' })
  const readStored = storedReader()
  const seen = createSeen(deps.kept, deps.keep ?? (() => {}))
  const bytes = createBytesCheck(postgres)
  const handOvers = createHandOvers({ ...deps, origin, withMlDsa44, onDisagreement, postgres, seen, readStored })
  let ready: Promise<void> | undefined
  /** As of the last `sign`. */
  let known: Pick<Stored, 'chain' | 'witnessed'> = { chain: undefined, witnessed: undefined }
  /** How far the trail was read again, by whichever instance; as of the last `sign`. */
  let watched: WatchState | undefined

  async function setUp(): Promise<void> {
    ready ??= migrate(postgres, CHECKPOINT_SCHEMA)
    await ready.catch(error => {
      ready = undefined
      throw error
    })
  }

  async function sign(): Promise<Outcome | Tampered> {
    const fault = await bytes.checkFull()
    if (fault !== undefined) return fault
    const { outcome, proven, ...stored } = await postgres.transaction(signInTurn)
    known = stored
    if (proven !== undefined && 'note' in outcome) seen.see(proven, outcome.note)
    return outcome
  }

  async function signInTurn(session: Session): Promise<Stored & Attempt> {
    const isMine = await tryLock(session)
    const before = seen.now()
    const found = await readStored(session)
    watched = await readWatch(session)
    const last = soundLast(found, before)
    if ('kind' in last) return { ...found, outcome: last }
    if (watched.tampered !== undefined) {
      return { ...found, outcome: { kind: 'tampered', found: watched.tampered, last: whatOthersSigned(last) } }
    }
    if (!isMine) return { ...found, outcome: whatOthersSigned(last) }
    const chain = found.chain ?? (await beginSharedChain(session, keys, { origin, withMlDsa44 }))
    refuseOtherOrigin(chain, origin)
    return { ...found, chain, ...(await signHead(session, chain, last, before)) }
  }

  async function signHead(session: Session, chain: KeyChain, last: Last, before: Seen | undefined): Promise<Attempt> {
    const head = await postgres.snapshot(async reading => {
      const log = await readPostgresLog(reading)
      const fault = await bytes.checkRest(log)
      if (fault !== undefined) return fault
      // Another instance may have signed since: its checkpoint has to continue what was seen here, too.
      const proven = before === undefined || before.size === last.size ? undefined : await proveHead(log, before)
      return proven !== undefined && 'kind' in proven ? proven : proveHead(log, last)
    })
    if ('kind' in head) return { outcome: head }
    const { size } = head
    const isUnsignable = size === 0 && chain.handOvers[0]?.size === 0 // its key may be forgotten (signing-keys.ts)
    if (isUnsignable && last.note === undefined) {
      return { outcome: { kind: 'unavailable', detail: 'nothing is logged yet' } }
    }
    if (last.note !== undefined && size === last.size) {
      return { outcome: { kind: 'nothing-new', size, note: last.note }, proven: seenOf(chain, last) }
    }
    const signers = await readSharedKeys(session, keys, keysOfSize(chain, size))
    const note = signCheckpoint(chain.first.name, head, signers, Date.now())
    const interval = signers.length > 1 ? HISTORY_INTERVAL.two : HISTORY_INTERVAL.one
    await keepCheckpoint(session, { size, note }, last.size, interval)
    return { outcome: { kind: 'signed', size, note }, proven: seenOf(chain, head) }
  }

  async function signManifest(session: Session, manifest: string): Promise<string | undefined> {
    const chain = await readSharedChain(session)
    if (chain === undefined || !isManifestOf(chain, await newestSize(session), manifest)) return undefined
    const signers = await readSharedKeys(session, keys, currentKeys(chain))
    return formatPackNote(chain.first.name, encodeText(manifest), signers)
  }

  return {
    prepare: setUp,
    sign: () => unless<Outcome | Tampered>(unavailable, sign),
    handOver: () => handOvers.followSetting(known.chain),
    begin: handOvers.begin,
    rotate: handOvers.rotate,
    signManifest: manifest =>
      unless<string | undefined>(
        () => undefined,
        () => postgres.transaction(session => signManifest(session, manifest)),
      ),
    cosign: (note, isWitnessed) => keepCosigned(postgres, note, isWitnessed),
    // One of all instances reads it (service/shared-watch.ts).
    watch: async () => watched && { kind: 'sound', through: watched.bundle * TILE_WIDTH, rounds: watched.rounds },
    witnessed: () => known.witnessed,
    keyChain: () => known.chain,
    close: () => postgres.close(),
  }
}

function whatOthersSigned({ note, size }: Last): Outcome {
  if (note === undefined) return { kind: 'unavailable', detail: 'another instance signs the first checkpoint' }
  return { kind: 'nothing-new', size, note }
}

/** What may pass, or is for somebody to mend, is no fault of this process. */
async function unless<T>(otherwise: (error: Error) => T, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    const isPassing = error instanceof StoreError || error instanceof Refusal || error instanceof PostgresError
    if (!isPassing) throw error
    return otherwise(error)
  }
}
