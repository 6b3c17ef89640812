/**
 * A log moves: from the SQLite of a data folder into an empty PostgreSQL, where it goes on, under the same origin and key, as if it had
 * always been there. Every proof and checkpoint given before stays valid.
 *
 * Promise: at no moment can a service start in both places, and none starts in the new one before that was read back, made a tree
 * again, and found to have the root of the old one.
 *
 *   step                                                        a crash after it, or in it
 *   1. the folder is locked, what waits in its outbox and       a data folder that goes on by itself
 *      journal becomes rows, and its databases are held as
 *      they are (service/migrate.ts)
 *   2. the database is claimed (claim.ts)                       no service starts on it; on the folder one does
 *   3. events are copied, batch by batch (copy-events.ts)       goes on behind the last batch
 *   4. signatures and state are copied, all at once             all of that, or nothing
 *   5. all is read back and compared (compare.ts)               compared again
 *   6. the folder is marked as migrated                         no service starts in either place: `migrate` once more
 *   7. the database is opened: state `done`, with the event     -
 *      SYSTEM / MIGRATED and generated secrets
 *
 * Whoever tries again does these steps again; each finds what of it was done. If something was recorded in the folder meanwhile, its
 * log has another size, and the claim is not its own any more.
 *
 * Of what has left as archives, tiles, entries, erasures and the archives' records are moved, so the database says and lacks what it would
 * if its own partitions had left: its first partition begins behind them, and the next archive follows on the last. The files stay
 * where they are; nobody reads them here, as their records have their digests and the leaves are under the root. What has left has to
 * be one range from the first event on, as with PostgreSQL nothing leaves out of its order (source.ts refuses it).
 *
 * The way back, before anything was recorded in the new place: the head of its log is deleted, so that even an instance that runs there
 * can append nothing; then the mark in the folder goes.
 */
import type { DatabaseSync } from 'node:sqlite'
import type { KeyWrap } from '../checkpoint/postgres-keys.ts'
import { CHECKPOINT_SCHEMA } from '../checkpoint/postgres-schema.ts'
import { Refusal } from '../errors.ts'
import type { AuditEvent } from '../event/event.ts'
import { areSameBytes } from '../evidence/encoding.ts'
import type { TreeHead } from '../evidence/merkle-proof.ts'
import { migrate, type Schema } from '../postgres/migrations.ts'
import type { Postgres } from '../postgres/postgres.ts'
import { leaveEvent } from '../security/postgres-outbox.ts'
import { SECURITY_SCHEMA } from '../security/postgres-schema.ts'
import { INSTANCES_SCHEMA } from '../store/postgres-instances.ts'
import { lockHead } from '../store/postgres-log.ts'
import { STORE_SCHEMA } from '../store/postgres-schema.ts'
import { claimDatabase, MOVE_SCHEMA, readClaim, refuseOther, setState } from './claim.ts'
import { DifferentLog, recomputeLog } from './compare.ts'
import { copyEvents } from './copy-events.ts'
import { copySigning, type Signing } from './signing.ts'
import type { SourceLog } from './source.ts'
import { copyTables, countMovedRows, findOtherTable } from './tables.ts'

export interface MoveProgress {
  readonly phase: 'events' | 'state' | 'comparing'
  readonly done: number
  readonly total: number
}

export interface Move {
  readonly postgres: Postgres
  readonly source: SourceLog
  readonly security: DatabaseSync
  readonly signing: Signing
  readonly keys: KeyWrap
  /** Step 6. */
  readonly markFolder: () => Promise<void>
  /** Facts of the security state that come with step 7. */
  readonly secrets: ReadonlyMap<string, string>
  /** For the trail. */
  readonly event: AuditEvent
  readonly onProgress: (progress: MoveProgress) => void
}

/** All that instances need: they may connect as a role that can make no tables. */
export const SHARED_SCHEMAS: readonly Schema[] = [
  STORE_SCHEMA,
  CHECKPOINT_SCHEMA,
  SECURITY_SCHEMA,
  INSTANCES_SCHEMA,
  MOVE_SCHEMA,
]

/** Steps 2 to 7. @throws {Refusal} MIGRATION_REFUSED. @throws {PostgresError, StoreError} try again */
export async function moveLog(move: Move): Promise<void> {
  const { postgres, source, markFolder } = move
  for (const schema of SHARED_SCHEMAS) await migrate(postgres, schema)
  const { state } = await claimDatabase(postgres, source.head)
  if (state === 'given_up') {
    throw new Refusal(
      'MIGRATION_REFUSED',
      `The migration into ${postgres.address} was given up: take an empty database.`,
    )
  }
  if (state === 'copying') await copyAll(move)
  if (state !== 'done') await compareAll(move)
  await markFolder()
  if (state !== 'done') await open(move)
}

/** Steps 3 and 4. */
async function copyAll({ postgres, source, security, signing, keys, onProgress }: Move): Promise<void> {
  const { size } = source.head
  await copyEvents(postgres, source, done => onProgress({ phase: 'events', done, total: size }))
  const from = { audit: source.db, security }
  const total = countMovedRows(from)
  let done = 0
  await postgres.transaction(async session => {
    await copySigning(session, signing, keys)
    await copyTables(session, from, rows => {
      done += rows
      onProgress({ phase: 'state', done, total })
    })
    await setState(session, 'comparing')
  })
}

/** Step 5. */
async function compareAll({ postgres, source, security, signing, onProgress }: Move): Promise<void> {
  const { newest, history } = signing
  const signed = [...history, newest]
  try {
    await postgres.snapshot(async session => {
      const sizes = signed.map(({ size }) => size)
      const found = await recomputeLog(session, sizes, done =>
        onProgress({ phase: 'comparing', done, total: source.head.size }),
      )
      refuseOtherRoot(found, source.head, 'the data folder')
      for (const checkpoint of signed) {
        const root = found.roots.get(checkpoint.size)
        if (root === undefined || !areSameBytes(root, checkpoint.root)) {
          throw new DifferentLog(`it does not continue the checkpoint of ${checkpoint.size} events`)
        }
      }
      const other = await findOtherTable(session, { audit: source.db, security })
      if (other !== undefined) throw new DifferentLog(`the table ${other}`)
    })
  } catch (error) {
    if (!(error instanceof DifferentLog)) throw error
    throw new Refusal(
      'MIGRATION_REFUSED',
      `${postgres.address} does not hold what the data folder holds: ${error.message}. No service starts on it; the folder is as it was. Begin anew with an empty database, or see what \`ev-central verify\` says of the folder.`,
    )
  }
}

function refuseOtherRoot(found: TreeHead, expected: TreeHead, where: string): void {
  if (found.size === expected.size && areSameBytes(found.root, expected.root)) return
  throw new DifferentLog(`its ${found.size} events have another root than the ${expected.size} of ${where}`)
}

/** Step 7. */
async function open({ postgres, source, secrets, event }: Move): Promise<void> {
  await postgres.transaction(async session => {
    const { size } = await lockHead(session)
    const state = (await readClaim(session))?.state
    if (size !== source.head.size || state !== 'comparing') {
      throw new Refusal(
        'MIGRATION_REFUSED',
        `Somebody else changed ${postgres.address} meanwhile: begin anew with an empty database.`,
      )
    }
    for (const [name, value] of secrets) {
      await session.query('INSERT INTO security_meta (name, value) VALUES ($1, $2)', [name, value])
    }
    await leaveEvent(session, event)
    await setState(session, 'done')
  })
}

/**
 * The way back: from now on nothing can be appended here.
 * @throws {Refusal} MIGRATION_REFUSED: something was recorded here, or it is another log
 */
export async function giveUp(postgres: Postgres, source: TreeHead): Promise<void> {
  await postgres.transaction(async session => {
    const claim = await readClaim(session)
    if (claim === undefined) throw new Refusal('MIGRATION_REFUSED', `Nothing was migrated into ${postgres.address}.`)
    refuseOther(claim, source, postgres.address)
    if (claim.state === 'given_up') return
    const { size } = await lockHead(session)
    const waiting = await session.query<{ n: number }>('SELECT count(*) AS n FROM outbox')
    const changes = (waiting.rows[0]?.n ?? 0) - (claim.state === 'done' ? 1 : 0)
    if (size > source.size || changes !== 0) {
      throw new Refusal(
        'MIGRATION_REFUSED',
        `Something was recorded in ${postgres.address} since: the log can only go on there. Nothing was changed.`,
      )
    }
    await session.query('DELETE FROM log_head')
    await setState(session, 'given_up')
  })
}
