/**
 * The security state and the secrets that belong to it: in the data folder, or in the PostgreSQL that all instances share.
 *
 * With PostgreSQL "nothing else to set" holds in development: secrets that were not given are made by the first instance and lie in
 * the database, beside what they protect, as those of a data folder do. In production they have to be given, the same to all.
 */
import type { Logger } from 'pino'
import { createPostgres } from '../postgres/postgres.ts'
import { openCachedState } from '../security/cached-state.ts'
import { createPostgresFeed } from '../security/postgres-feed.ts'
import { openPostgresSecurityState } from '../security/postgres-security-state.ts'
import type { SecurityState } from '../security/security-state.ts'
import { createSqliteSecurityState } from '../security/sqlite-security-state.ts'
import type { Settings } from '../settings/settings.ts'
import type { DataFolder } from './data-folder.ts'
import { readSecrets, type Secrets, sharedSecrets } from './secrets.ts'
import { prepareShared } from './shared-database.ts'

export interface OpenState {
  readonly state: SecurityState
  readonly secrets: Secrets
}

/** Changes, reads of operators, nonces; and the feed, which must not wait for those. */
const CONNECTIONS = 4
/** Somebody waits for the answer, also when the network is cut and nobody says so. */
const STATEMENT_MS_MAX = 5_000
const FEED_CONNECTIONS = 1
/** A read of the feed is a millisecond's work; past this the connection is taken for dead. */
const FEED_MS_MAX = 1_000

/**
 * @param instance name of this process among those that share a database
 * @throws {SettingsError} a secret is missing
 * @throws {PostgresError} UNAVAILABLE, FOREIGN
 */
export async function openState(
  settings: Settings,
  folder: DataFolder,
  instance: string,
  logger: Logger,
): Promise<OpenState> {
  const { databaseUrl: url } = settings
  if (url === undefined) {
    const secrets = readSecrets(settings, folder)
    return { state: createSqliteSecurityState({ path: folder.securityDatabase }), secrets }
  }
  await using undo = new AsyncDisposableStack()
  const state = await openSharedState(url, instance)
  undo.defer(() => state.close())
  const secrets = await sharedSecrets(settings, state, logger)
  const feed = createPostgres({
    url,
    connectionsMax: FEED_CONNECTIONS,
    statementMsMax: FEED_MS_MAX,
    applicationName: 'ev-central feed',
  })
  undo.defer(() => feed.close())
  const trustMs = settings.stateTrustSeconds * 1_000
  const cached = await openCachedState({ state, feed: createPostgresFeed(feed), trustMs, logger })
  undo.move()
  return {
    secrets,
    state: {
      ...cached,
      async close() {
        await cached.close()
        await feed.close()
      },
    },
  }
}

/** As the command line needs it: without a copy. @throws {PostgresError}. @throws {Refusal} MIGRATION_REFUSED */
export async function openSharedState(url: string, instance: string): Promise<SecurityState> {
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
