/**
 * The row of `log_migration`: which log is being moved into this database, and how far the move has come.
 *
 *   copying    events are being copied; the head of the log says how far
 *   comparing  all is there, and has to be compared
 *   done       instances may start
 *   given_up   nothing can ever be appended: the log has no head any more
 *
 * A log is known by its size and its root: no two have both. A database without this table was never moved into.
 */
import { counted } from '../counted.ts'
import { Refusal } from '../errors.ts'
import { areSameBytes } from '../evidence/encoding.ts'
import type { TreeHead } from '../evidence/merkle-proof.ts'
import type { Schema } from '../postgres/migrations.ts'
import type { Postgres, Session } from '../postgres/postgres.ts'
import { lockHead } from '../store/postgres-log.ts'

export type MoveState = 'copying' | 'comparing' | 'done' | 'given_up'

export interface Claim {
  readonly size: number
  readonly root: Uint8Array
  readonly state: MoveState
}

export const MOVE_SCHEMA: Schema = {
  stage: 'move',
  migrations: [
    `
    CREATE TABLE log_migration (
      one        boolean PRIMARY KEY DEFAULT true CHECK (one),
      size       bigint NOT NULL,
      root       bytea NOT NULL,
      state      text NOT NULL CHECK (state IN ('copying', 'comparing', 'done', 'given_up')),
      changed_at timestamptz NOT NULL DEFAULT clock_timestamp()
    );
    `,
  ],
  grants: ['SELECT ON log_migration'],
}

/** Whatever an instance, or a command, leaves in a database. */
const TABLES = [
  'audit_events',
  'event_partitions',
  'positions',
  'once_keys',
  'legal_holds',
  'event_archives',
  'log_key_chain',
  'log_checkpoints',
  'charge_points',
  'admins',
  'security_meta',
  'outbox',
] as const

/** To be asked before anything else is done with the database. @throws {Refusal} MIGRATION_REFUSED. @throws {PostgresError} */
export async function refuseUnfinishedMove(postgres: Postgres): Promise<void> {
  const state = await postgres.use(async session => (await readClaim(session))?.state)
  if (state === undefined || state === 'done') return
  throw new Refusal(
    'MIGRATION_REFUSED',
    state === 'given_up'
      ? `The migration into ${postgres.address} was given up: start on the data folder that it came from.`
      : `The migration into ${postgres.address} is not finished: run \`ev-central migrate\` again, which goes on where it was.`,
  )
}

/**
 * The claim of this log, made if the database is empty.
 * @throws {Refusal} MIGRATION_REFUSED: it is not, or it is of another log
 */
export function claimDatabase(postgres: Postgres, source: TreeHead): Promise<Claim> {
  return postgres.transaction(async session => {
    await session.query('LOCK TABLE log_migration IN SHARE ROW EXCLUSIVE MODE') // of two who begin at once, one waits
    const known = await readClaim(session)
    if (known !== undefined) return refuseOther(known, source, postgres.address)
    const head = await lockHead(session)
    const filled = head.size > 0 ? 'audit_events' : await firstFilled(session)
    if (filled !== undefined) {
      const why = `${postgres.address} is not empty (there are rows in ${filled}), and no migration that was begun earlier`
      throw new Refusal('MIGRATION_REFUSED', `${why}. Nothing was changed.`)
    }
    const { size, root } = source
    await session.query("INSERT INTO log_migration (size, root, state) VALUES ($1, $2, 'copying')", [
      size,
      Buffer.from(root),
    ])
    return { size, root, state: 'copying' }
  })
}

export async function readClaim(session: Session): Promise<Claim | undefined> {
  const { rows } = await session.query<{ found: string | null }>("SELECT to_regclass('log_migration')::text AS found")
  if (rows[0]?.found == null) return undefined
  const claim = await session.query<Claim & Record<string, unknown>>('SELECT size, root, state FROM log_migration')
  return claim.rows[0]
}

export async function setState(session: Session, state: MoveState): Promise<void> {
  await session.query('UPDATE log_migration SET state = $1, changed_at = clock_timestamp()', [state])
}

/** @returns the claim, if it is of this log */
export function refuseOther(claim: Claim, source: TreeHead, address: string): Claim {
  if (claim.size === source.size && areSameBytes(claim.root, source.root)) return claim
  throw new Refusal(
    'MIGRATION_REFUSED',
    `The migration into ${address} was begun from a log of ${counted(claim.size, 'event')}, and this one has ${source.size}: something was recorded in the folder since, or it is another one. Nothing was changed; begin anew with an empty database.`,
  )
}

async function firstFilled(session: Session): Promise<string | undefined> {
  for (const table of TABLES) {
    if ((await session.query(`SELECT 1 FROM ${table} LIMIT 1`)).rows.length > 0) return table
  }
  return undefined
}
