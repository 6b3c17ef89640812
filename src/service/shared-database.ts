/** The PostgreSQL that instances share, before a service or a command does anything with it. */
import { refuseUnfinishedMove } from '../move/claim.ts'
import { SHARED_SCHEMAS } from '../move/move.ts'
import { migrate } from '../postgres/migrations.ts'
import { createPostgres, type Postgres } from '../postgres/postgres.ts'

/**
 * Leaves a database alone that a log is being moved into, and makes or migrates the tables of all stages, if this role may.
 * @throws {Refusal} MIGRATION_REFUSED. @throws {PostgresError} UNAVAILABLE, FOREIGN
 */
export async function prepareShared(postgres: Postgres): Promise<void> {
  await refuseUnfinishedMove(postgres)
  for (const schema of SHARED_SCHEMAS) await migrate(postgres, schema)
}

/** The same, for a command that connects in its own way afterwards. */
export async function prepareSharedAt(url: string): Promise<void> {
  await using postgres = createPostgres({ url, connectionsMax: 1 })
  await prepareShared(postgres)
}
