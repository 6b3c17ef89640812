/** The security state in the PostgreSQL that instances share: as a command opens it, and as an instance does, which answers from a copy. */
import type { Logger } from 'pino'
import { createPostgres } from '../postgres/postgres.ts'
import { openCachedState } from '../security/cached-state.ts'
import { createPostgresFeed } from '../security/postgres-feed.ts'
import { openPostgresSecurityState } from '../security/postgres-security-state.ts'
import type { SecurityState } from '../security/security-state.ts'
import { prepareShared } from './shared-database.ts'

/** Changes, reads of operators, nonces; and the feed, which must not wait for those. */
const CONNECTIONS = 4
/** Somebody waits for the answer, also when the network is cut and nobody says so. */
const STATEMENT_MS_MAX = 5_000
const FEED_CONNECTIONS = 1
/** A read of the feed is a millisecond's work; past this the connection is taken for dead. */
const FEED_MS_MAX = 1_000

/**
 * The state with a copy in memory that follows it. It closes the one it is a copy of.
 * @param trustMs for how long the copy may be answered from while the database is away
 * @throws {PostgresError}
 */
export async function openCachedSharedState(
  url: string,
  state: SecurityState,
  trustMs: number,
  logger: Logger,
): Promise<SecurityState> {
  const feed = createPostgres({
    url,
    connectionsMax: FEED_CONNECTIONS,
    statementMsMax: FEED_MS_MAX,
    applicationName: 'ev-central feed',
  })
  try {
    const cached = await openCachedState({ state, feed: createPostgresFeed(feed), trustMs, logger })
    return {
      ...cached,
      async close() {
        await cached.close()
        await feed.close()
      },
    }
  } catch (error) {
    await feed.close()
    throw error
  }
}

/**
 * Without a copy.
 * @param instance name of this process among those that share the database; left out: a command, whose outbox the instances take from
 * @throws {PostgresError}. @throws {Refusal} MIGRATION_REFUSED
 */
export async function openSharedState(url: string, instance = ''): Promise<SecurityState> {
  const postgres = createPostgres({
    url,
    connectionsMax: CONNECTIONS,
    statementMsMax: STATEMENT_MS_MAX,
    applicationName: 'ev-central security',
  })
  try {
    await prepareShared(postgres)
    return await openPostgresSecurityState({ postgres, instance })
  } catch (error) {
    await postgres.close()
    throw error
  }
}
