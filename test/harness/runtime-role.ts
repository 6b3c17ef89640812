/** A role that has no more rights than an instance needs. */
import { randomBytes } from 'node:crypto'
import { RUNTIME_ROLE } from '../../src/postgres/migrations.ts'
import type { PostgresServer } from './postgres.ts'

/** Made before the tables are, it gets what it needs with them. @returns the database's URL as this role */
export async function runtimeUrl(server: PostgresServer, owner: string): Promise<string> {
  const name = `evc_app_${randomBytes(6).toString('hex')}`
  const password = randomBytes(12).toString('hex')
  await server.run(
    owner,
    `DO $$ BEGIN CREATE ROLE ${RUNTIME_ROLE} NOLOGIN; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$;
     REVOKE CREATE ON SCHEMA public FROM PUBLIC; CREATE ROLE ${name} LOGIN PASSWORD '${password}' IN ROLE ${RUNTIME_ROLE}`,
  )
  const url = new URL(owner)
  url.username = name
  url.password = password
  return url.href
}
