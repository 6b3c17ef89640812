/**
 * Which journals feed a shared log, and whether anybody keeps them: the table `instances`, a row for each journal there ever was.
 *
 *   running    its service says so every few seconds (service/presence.ts); for longer than STALE_MS it did not: nobody knows
 *   stopped    in good order
 *   forgotten  somebody declared that its machine is gone, and its journal with it
 *   adopted    its journal was read to the end elsewhere
 *
 * `cleared` is up to which request it was cleared of what was erased (postgres-journals.ts).
 *
 * Known of a journal are the last record that it had on disk when it was last seen, and from `positions` the last one that is a row. What
 * is between, and whatever came after, is in the journal only.
 */
import type { Schema } from '../postgres/migrations.ts'
import type { Session } from '../postgres/postgres.ts'

export type InstanceState = 'running' | 'stopped' | 'forgotten' | 'adopted'

export interface Instance {
  readonly journal_id: string
  readonly host: string
  readonly state: InstanceState
  readonly seen_at: Date
  readonly isStale: boolean
  /** The last record that it was known to have. */
  readonly durable: number
  /** The last record that is a row. */
  readonly indexed: number
  /** The last record that was a row when it was declared gone, or its journal began to be adopted; null while it is there. */
  readonly missing_after: number | null
  /** `EVC_LOG_ML_DSA` of its last start; null: a version started it that cannot sign so. */
  readonly log_ml_dsa: boolean | null
}

/** Much more than a restart takes, or a cut of the network that nobody acts on. */
const STALE_MS = 60_000

export const INSTANCES_SCHEMA: Schema = {
  stage: 'instances',
  migrations: [
    `
    CREATE TABLE instances (
      journal_id text COLLATE "C" PRIMARY KEY,
      host       text NOT NULL,
      state      text NOT NULL CHECK (state IN ('running', 'stopped', 'forgotten', 'adopted')),
      seen_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
      durable    bigint NOT NULL,
      missing_after bigint
    );
    `,
    'ALTER TABLE instances ADD COLUMN log_ml_dsa boolean',
    `
    ALTER TABLE instances ADD cleared bigint NOT NULL DEFAULT 0;
    DROP TABLE IF EXISTS journals; -- which held that, and once more whether an instance is there
    `,
  ],
  grants: ['SELECT, INSERT, UPDATE ON instances'],
}

const SELECT = `SELECT journal_id, host, state, seen_at, durable, missing_after, log_ml_dsa, coalesce(position, 0) AS indexed,
    state = 'running' AND seen_at < clock_timestamp() - interval '${STALE_MS} milliseconds' AS "isStale"
  FROM instances LEFT JOIN positions ON source = 'journal:' || journal_id`

/** The one seen last first. */
export async function listInstances(session: Session): Promise<Instance[]> {
  return (await session.query<Instance & Record<string, unknown>>(`${SELECT} ORDER BY seen_at DESC, journal_id`)).rows
}

/** Nobody else changes it before the transaction ends. */
export async function lockInstance(session: Session, journalId: string): Promise<Instance | undefined> {
  const sql = `${SELECT} WHERE journal_id = $1 FOR UPDATE OF instances`
  return (await session.query<Instance & Record<string, unknown>>(sql, [journalId])).rows[0]
}

export async function noteInstance(
  session: Session,
  seen: {
    readonly journalId: string
    readonly host: string
    readonly state: InstanceState
    readonly durable: number
    readonly logMlDsa: boolean
  },
): Promise<void> {
  await session.query(
    `INSERT INTO instances (journal_id, host, state, durable, log_ml_dsa) VALUES ($1, $2, $3, $4, $5)
     ON CONFLICT (journal_id) DO UPDATE SET host = excluded.host, state = excluded.state, seen_at = excluded.seen_at,
       durable = greatest(instances.durable, excluded.durable), missing_after = NULL, log_ml_dsa = excluded.log_ml_dsa`,
    [seen.journalId, seen.host, seen.state, seen.durable, seen.logMlDsa],
    'note an instance',
  )
}

/**
 * One that was not started with this setting, and may start again as it was: running, missing or stopped. The last one seen.
 * @returns undefined: all that are known agree
 */
export async function findOtherMlDsa(session: Session, logMlDsa: boolean): Promise<string | undefined> {
  const { rows } = await session.query<{ journal_id: string }>(
    `SELECT journal_id FROM instances WHERE state IN ('running', 'stopped') AND log_ml_dsa IS DISTINCT FROM $1
     ORDER BY seen_at DESC LIMIT 1`,
    [logMlDsa],
  )
  return rows[0]?.journal_id
}

/** Nobody says it any more: what is no row yet is missing from here on, until its journal is adopted. */
export async function declareMissing(session: Session, { journal_id, state, indexed }: Instance): Promise<void> {
  await session.query(
    'UPDATE instances SET state = $2, missing_after = coalesce(missing_after, $3) WHERE journal_id = $1',
    [journal_id, state, indexed],
  )
}

export async function setAdopted(session: Session, journalId: string): Promise<void> {
  await session.query("UPDATE instances SET state = 'adopted' WHERE journal_id = $1", [journalId])
}
