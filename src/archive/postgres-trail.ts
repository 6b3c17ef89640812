/**
 * A PostgreSQL as a trail that partitions leave (trail.ts). Any instance may archive, one at a time.
 *
 * The partition is dropped by a function of the owner (store/postgres-retention-schema.ts), under the lock of the head, for which
 * nobody may be reading the table: that is waited for a moment at a time, as whoever asks or writes waits behind it.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { readSharedSigned } from '../checkpoint/postgres-signed.ts'
import { Refusal } from '../errors.ts'
import { COLUMNS, type StoredEvent } from '../event/event.ts'
import { joinBytes } from '../evidence/encoding.ts'
import { formatKeyChain } from '../evidence/key-chain.ts'
import { SALT_BYTES } from '../evidence/leaf.ts'
import { formatTilePath, hashesFromTiles, TILE_WIDTH, type Tile, tileAt, tilesFor } from '../evidence/tile.ts'
import { migrate } from '../postgres/migrations.ts'
import { createPostgres, type Postgres, type Session } from '../postgres/postgres.ts'
import { available, PostgresError } from '../postgres/postgres-error.ts'
import { patiently } from '../store/patience.ts'
import { createPostgresEventStore } from '../store/postgres-event-store.ts'
import { readHolds } from '../store/postgres-holds.ts'
import { type PostgresLogSnapshot, readPostgresLog } from '../store/postgres-log-view.ts'
import { findPartitionGaps, readArchives, readSealed, takeOutPartition } from '../store/postgres-retention.ts'
import { STORE_SCHEMA } from '../store/postgres-schema.ts'
import { isHeldBy, type SealedSegment, type TakenOut } from '../store/retention.ts'
import { type BlockText, blockEnd, takeBlock } from './blocks.ts'
import { commitmentIn, failed, groupErasures, type LogPart, proofOf, type SignedLog, signedLogOf } from './log-proof.ts'
import { lockArchivingShared } from './postgres-lock.ts'
import { erasedPlaces } from './salts.ts'
import type { LeavingTrail, TrailView } from './trail.ts'

const APPLICATION = 'ev-central archive'
/** Whoever waits for the table behind us waits no longer than that; long enough for a vacuum to be told to go. */
const TABLE_LOCK_MS_MAX = 2_000
const TABLE_LOCK_PAUSE_MS = 8_000
const TABLE_LOCK_ATTEMPTS = 5
const LOCK_NOT_AVAILABLE = '55P03'

/** @throws {Refusal} STORE_UNAVAILABLE */
export async function readPostgresTrail(url: string): Promise<TrailView> {
  const postgres = createPostgres({ url, connectionsMax: 1, applicationName: APPLICATION })
  try {
    await available(() => migrate(postgres, STORE_SCHEMA))
  } catch (error) {
    await postgres.close()
    throw error
  }
  return viewOf(postgres, () => postgres.close())
}

/** @throws {Refusal} ARCHIVE_RUNNING, STORE_UNAVAILABLE */
export async function openPostgresTrail(url: string): Promise<LeavingTrail> {
  await using undo = new AsyncDisposableStack()
  const postgres = undo.use(createPostgres({ url, connectionsMax: 1, applicationName: APPLICATION }))
  await available(() => migrate(postgres, STORE_SCHEMA))
  const lock = undo.use(await available(() => lockArchivingShared(url, APPLICATION)))
  const store = createPostgresEventStore({ url })
  undo.defer(() => store.close())
  const owned = undo.move()
  return {
    ...viewOf(postgres, () => owned.disposeAsync()),
    blocks: segment => readBlocks(postgres, segment),
    logPart: (segment, signed) => available(() => postgres.snapshot(session => readLogPart(session, segment, signed))),
    async takeOut(segment, archive, event) {
      let outcome: TakenOut = 'gone'
      const drop = () =>
        store.record(async (session, id) => {
          await session.query(`SET LOCAL lock_timeout = ${TABLE_LOCK_MS_MAX}`)
          await lock.assertHeld(session)
          outcome = await whetherLeaves(session, segment)
          if (outcome !== 'left') return undefined
          return { event, apply: inside => takeOutPartition(inside, archive, id) }
        })
      await whenNobodyReads(() => patiently(() => drop().catch(tellInUse)))
      return outcome
    },
    reclaim: async () => undefined,
  }
}

/** Tried again after pauses that are longer than what was waited, so that the others get on. @throws {Refusal} STORE_UNAVAILABLE */
async function whenNobodyReads(work: () => Promise<void>): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await work()
    } catch (error) {
      if (!(error instanceof TableInUse)) throw error
      if (attempt === TABLE_LOCK_ATTEMPTS) throw new Refusal('STORE_UNAVAILABLE', IN_USE, { cause: error })
      await sleep(TABLE_LOCK_PAUSE_MS)
    }
  }
}

const IN_USE =
  'Somebody reads audit_events for long, as `verify` and pg_dump do: no partition can leave until that has ended.'

class TableInUse extends Error {
  override readonly name = 'TableInUse'
}

function tellInUse(error: unknown): never {
  const { cause } = error as { cause?: unknown }
  const isInUse = cause instanceof PostgresError && cause.sqlState === LOCK_NOT_AVAILABLE
  throw isInUse ? new TableInUse(cause.message, { cause }) : error
}

/** Under the lock of the head. */
async function whetherLeaves(session: Session, { number, firstId }: SealedSegment): Promise<TakenOut> {
  const segment = (await readSealed(session)).find(sealed => sealed.number === number && sealed.firstId === firstId)
  if (segment === undefined) {
    // Also when the owner keeps it since.
    return (await readArchives(session)).some(archive => archive.first_id === firstId) ? 'gone' : 'held'
  }
  return (await readHolds(session)).some(hold => isHeldBy(hold, segment)) ? 'held' : 'left'
}

function viewOf(postgres: Postgres, dispose: () => Promise<void>): TrailView {
  const read = <T>(work: (session: Session) => Promise<T>) => available(() => postgres.use(work))
  return {
    isInOrder: true,
    sealed: () => read(readSealed),
    holds: () => read(readHolds),
    archives: () => read(readArchives),
    gaps: () => available(() => postgres.snapshot(findPartitionGaps)),
    signedLog: () => available(() => postgres.snapshot(readSigned)),
    [Symbol.asyncDispose]: dispose,
  }
}

/** Every log in PostgreSQL is signed sooner or later. */
async function readSigned(session: Session): Promise<SignedLog | 'unsigned'> {
  const { newest, chain } = await readSharedSigned(session)
  if (newest === undefined || chain === undefined) return 'unsigned'
  return signedLogOf(newest, formatKeyChain(chain)) ?? 'unsigned'
}

const SELECT_ROWS = `SELECT ${COLUMNS.join(', ')} FROM audit_events WHERE id BETWEEN $1 AND $2 ORDER BY id`

export async function* readBlocks(postgres: Postgres, segment: SealedSegment): AsyncGenerator<BlockText> {
  const { table, firstId, lastId } = segment
  for (let next = firstId; next <= lastId; ) {
    const last = blockEnd(next, segment)
    const { rows } = await available(() =>
      postgres.use(session => session.query<StoredEvent & Record<string, unknown>>(SELECT_ROWS, [next, last])),
    )
    const block = takeBlock(rows, next, last, table)
    yield block
    next += block.count
  }
}

/** In one snapshot. */
async function readLogPart(session: Session, segment: SealedSegment, signed: SignedLog | undefined): Promise<LogPart> {
  try {
    const log = await readPostgresLog(session)
    const salts = await readSalts(session, segment)
    const blank = erasedPlaces(salts).map(place => segment.firstId + place)
    const commitments = await readCommitments(log, blank)
    const sql = 'SELECT id, tombstone FROM log_erasures WHERE id BETWEEN $1 AND $2 ORDER BY id'
    const { rows } = await session.query<{ id: number; tombstone: number }>(sql, [segment.firstId, segment.lastId])
    return {
      salts,
      commitments: new Map(blank.map((id, n) => [id - segment.firstId, commitments[n] as Uint8Array])),
      erased: groupErasures(rows, blank),
      proof: signed && (await prove(log, segment, signed)),
    }
  } catch (error) {
    if (error instanceof RangeError) throw failed(error.message)
    throw error
  }
}

/** Of batches, which end where they like. */
async function readSalts(session: Session, { firstId, lastId }: SealedSegment): Promise<Uint8Array> {
  const sql = `SELECT first_id, salts FROM log_salts WHERE last_id >= $1 AND first_id <= $2 ORDER BY first_id`
  const { rows } = await session.query<{ first_id: number; salts: Uint8Array }>(sql, [firstId, lastId])
  const parts = rows.map(({ first_id, salts }) => {
    const from = Math.max(first_id, firstId) - first_id
    return salts.subarray(from * SALT_BYTES, (lastId - first_id + 1) * SALT_BYTES)
  })
  const joined = joinBytes(...parts)
  if (joined.length !== (lastId - firstId + 1) * SALT_BYTES) throw new RangeError('not every event has a salt')
  return joined
}

async function readCommitments(log: PostgresLogSnapshot, ids: readonly number[]): Promise<Uint8Array[]> {
  const bundleOf = (id: number) => Math.floor((id - 1) / TILE_WIDTH)
  const indexes = [...new Set(ids.map(bundleOf))]
  const bundles = indexes.map(index => tileAt('entries', index, log.size) as Tile)
  const bytes = new Map((await log.readTiles(bundles)).map((read, n) => [indexes[n] as number, read]))
  return ids.map(id => commitmentIn(bytes.get(bundleOf(id)), TILE_WIDTH, id))
}

/** The tiles are fetched first. */
async function prove(log: PostgresLogSnapshot, segment: SealedSegment, signed: SignedLog) {
  const wanted = tilesFor(signed.size, readHash => proofOf(readHash, segment, signed))
  const read = await log.readTiles(wanted)
  const tiles = new Map(wanted.map((tile, n) => [formatTilePath(tile), read[n] as Uint8Array]))
  return proofOf(
    hashesFromTiles(signed.size, tile => tiles.get(formatTilePath(tile)) as Uint8Array),
    segment,
    signed,
  )
}
