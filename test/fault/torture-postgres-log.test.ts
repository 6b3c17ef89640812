/** Signed logs in PostgreSQL in which one thing is changed, or nothing; all kinds and at length by `npm run torture -- postgres`. */
import { describe, test } from 'node:test'
import { EXTERNAL_URL, postgresServer } from '../harness/postgres.ts'
import {
  makePostgresGrounds,
  POSTGRES_MUTATION_NAMES,
  type PostgresGrounds,
  runPostgresMutation,
  runPristinePostgres,
} from '../torture/postgres-mutations.ts'

const server = postgresServer()
/** Copying a log takes longer than most of the verifying: so one in so many here. */
const EACH = 6
let grounds: Promise<PostgresGrounds> | undefined

// The server copies a log for one while another is looked at.
describe('signed log in PostgreSQL', { concurrency: 3 }, () => {
  for (const name of POSTGRES_MUTATION_NAMES.filter((_name, at) => at % EACH === 0)) {
    // Another server may not let us into its catalogue.
    const skip = EXTERNAL_URL !== undefined && name.startsWith('index: of')
    test(`${name}: found, called what it is, and located`, { skip }, async () => {
      grounds ??= makePostgresGrounds(server)
      await runPostgresMutation(server, await grounds, { name, seed: 1 })
    })
  }

  for (let seed = 1; seed <= 4; seed++) {
    test(`written by two instances and changed by nobody (${seed}): no finding`, () =>
      runPristinePostgres(server, seed))
  }
})
