/**
 * Versioned schemas: each stage brings one ordered list of migrations, and the table `evc_schema` says which version of it the
 * database has.
 *
 * Promise: ten instances may start at once, one of them migrates. All steps of a stage and the new version are one transaction,
 * under an advisory lock; a crash leaves the old version. A schema that is newer than the program is refused before anything is
 * written; one that is older and may not be migrated by this role is refused with the way out.
 */

import type { Postgres, Session } from './postgres.ts'
import { PostgresError } from './postgres-error.ts'

export interface Schema {
  /** Of the stage whose tables these are. */
  readonly stage: string
  /** Entry n takes the stage's tables from version n to n + 1. Never edited once released, only added to. */
  readonly migrations: readonly (string | ((session: Session) => Promise<void>))[]
  /**
   * What an instance needs at run time, as `GRANT` spells it: `SELECT, INSERT ON parcels`. Given to the role RUNTIME_ROLE, if the
   * server has it, of which the role that instances connect as is a member.
   */
  readonly grants: readonly string[]
}

/** A group role without login, made by the operator where instances are not to connect as the owner of the tables. */
export const RUNTIME_ROLE = 'evc_runtime'

/** `EVCA` in ASCII: the advisory lock under which schemas change, of this database only. */
const LOCK = 0x45564341
const INSUFFICIENT_PRIVILEGE = '42501'

/** Brings the stage's tables to the program's version. @throws {PostgresError} FOREIGN, UNAVAILABLE */
export async function migrate(postgres: Postgres, schema: Schema): Promise<void> {
  const { stage, migrations } = schema
  const wanted = migrations.length
  const isDone = async (session: Session) =>
    (await versionOf(session, schema)) === wanted && !(await lacksGrants(session, schema))
  if (await postgres.use(isDone)) return
  try {
    await postgres.transaction(async session => {
      await session.query('SET LOCAL lock_timeout = 0') // waits for another instance as long as a statement may take
      await session.query('SELECT pg_advisory_xact_lock($1)', [LOCK])
      await session.query(
        'CREATE TABLE IF NOT EXISTS evc_schema (stage text PRIMARY KEY, version integer NOT NULL, migrated_at timestamptz NOT NULL DEFAULT now())',
      )
      // Asked again under the lock: another instance may have migrated meanwhile. To grant the same again is not harmless: it
      // takes no lock, and a partition that is attached at that moment fails.
      if (await isDone(session)) return
      for (let version = await versionOf(session, schema); version < wanted; version++) {
        const step = migrations[version] as Schema['migrations'][number]
        await (typeof step === 'string' ? session.query(step) : step(session))
      }
      await session.query(
        'INSERT INTO evc_schema VALUES ($1, $2) ON CONFLICT (stage) DO UPDATE SET version = excluded.version, migrated_at = now()',
        [stage, wanted],
      )
      await grant(session, ['SELECT ON evc_schema', ...schema.grants])
    })
  } catch (error) {
    if (error instanceof PostgresError && error.sqlState === INSUFFICIENT_PRIVILEGE) {
      const message = `the ${stage} schema has to be brought to version ${wanted}, which this role may not: start once with the URL of the owner. ${error.message}`
      throw new PostgresError('FOREIGN', message, { cause: error })
    }
    throw error
  }
}

/** The role was made after the stage's tables, and whoever asks may do something about it. */
async function lacksGrants(session: Session, { grants }: Schema): Promise<boolean> {
  const granted = grants.flatMap(what => /\bSELECT\b.* ON (\w+)/.exec(what)?.[1] ?? [])
  const { rows } = await session.query<{ lacks: boolean | null }>(
    `SELECT bool_or(NOT has_table_privilege(r.oid, quote_ident(t.tablename), 'SELECT')) AS lacks FROM pg_roles r, pg_tables t
     WHERE r.rolname = $1 AND t.tablename = ANY ($2) AND t.schemaname = current_schema() AND pg_has_role(t.tableowner, 'MEMBER')`,
    [RUNTIME_ROLE, ['evc_schema', ...granted]],
  )
  return rows[0]?.lacks ?? false
}

async function grant(session: Session, grants: readonly string[]): Promise<void> {
  const { rows } = await session.query<{ schema: string }>(
    'SELECT quote_ident(current_schema()) AS schema FROM pg_roles WHERE rolname = $1',
    [RUNTIME_ROLE],
  )
  if (rows[0] === undefined) return
  for (const what of [`USAGE ON SCHEMA ${rows[0].schema}`, ...grants]) {
    await session.query(`GRANT ${what} TO ${RUNTIME_ROLE}`)
  }
}

/** 0 when there is none. @throws {PostgresError} FOREIGN when it is newer than the program, or the database is not UTF-8 */
async function versionOf(session: Session, { stage, migrations }: Schema): Promise<number> {
  const encoding = (await session.query<{ server_encoding: string }>('SHOW server_encoding')).rows[0]?.server_encoding
  if (encoding !== 'UTF8') throw new PostgresError('FOREIGN', `the database is in ${encoding}, and has to be in UTF8`)
  const version = await storedVersion(session, stage)
  if (version > migrations.length) {
    throw new PostgresError(
      'FOREIGN',
      `the ${stage} schema is of version ${version}, newer than this program's ${migrations.length}`,
    )
  }
  return version
}

async function storedVersion(session: Session, stage: string): Promise<number> {
  const table = await session.query<{ found: string | null }>("SELECT to_regclass('evc_schema')::text AS found")
  if (table.rows[0]?.found == null) return 0
  const row = await session.query<{ version: number }>('SELECT version FROM evc_schema WHERE stage = $1', [stage])
  return row.rows[0]?.version ?? 0
}

/**
 * A function that runs with the rights of the owner, finds the names of this schema only, and is nobody's to call without a grant.
 * One of that signature is replaced, and keeps its grants.
 */
export async function createOwnersFunction(
  session: Session,
  signature: string,
  body: string,
  returns: 'void' | 'boolean' | 'trigger' = 'void',
): Promise<void> {
  const { rows } = await session.query<{ schema: string }>('SELECT quote_ident(current_schema()) AS schema')
  await session.query(
    `CREATE OR REPLACE FUNCTION ${signature} RETURNS ${returns} LANGUAGE plpgsql SECURITY DEFINER
     SET search_path = ${rows[0]?.schema}, pg_temp AS $body$${body}$body$`,
  )
  await session.query(`REVOKE ALL ON FUNCTION ${signature} FROM PUBLIC`)
}
