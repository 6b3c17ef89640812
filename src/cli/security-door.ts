/**
 * The security stage as commands reach it: over the state file or in PostgreSQL, beside running servers or without one.
 *
 * There is no journal here, as only one process may write it. Events of changes stay in the outbox, committed with
 * the change itself; the running server delivers them within a second, or the next one that starts does.
 */
import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import type { Command } from 'commander'
import { type AuditLogger, createAuditService } from '../audit/audit-service.ts'
import { createDetector } from '../audit/detector.ts'
import { createContext, runInContext } from '../context/context.ts'
import { createSecurity } from '../security/create-security.ts'
import type { Actor, Security } from '../security/security.ts'
import type { SecurityState } from '../security/security-state.ts'
import { createSqliteSecurityState } from '../security/sqlite-security-state.ts'
import { dataFolder, refuseMigrated } from '../service/data-folder.ts'
import { readKeyEncryptionKey, sharedSecrets } from '../service/secrets.ts'
import { openSharedState } from '../service/shared-state.ts'
import type { Settings } from '../settings/settings.ts'
import { UsageError } from './outcome.ts'
import type { Shell } from './shell.ts'

/**
 * Runs one piece of work on the security state.
 * @param options.mayCreate whether a data folder that was never used is set up; else it is refused, as it is most likely
 * a misspelt one.
 */
export async function withSecurity<T>(
  shell: Shell,
  command: Command,
  options: { mayCreate: boolean },
  work: (security: Security, actor: Actor) => Promise<T>,
): Promise<T> {
  const settings = shell.settings(command)
  const logger = silentLogger()
  const audit = createAuditService({
    journal: { append: refuseRecord, acknowledged: async () => 'late' },
    detector: createDetector({ threshold: settings.bruteForceThreshold, windowMs: 1 }),
    logger,
    windowSeconds: settings.bruteForceWindowSeconds,
  })
  await using undo = new AsyncDisposableStack()
  const { state, keyEncryptionKey } = await openState(settings, options.mayCreate)
  undo.defer(() => state.close())
  // No command issues or checks a token, so a token secret of the moment will do.
  const secrets = { tokenSecret: randomBytes(32), keyEncryptionKey }
  const security = await createSecurity({ state, audit, secrets, settings, logger })
  undo.defer(() => security.close())
  const done = await runInContext(createContext(), () => work(security, { name: shell.user, role: 'admin' }))
  // It may have waited for the end of a migration: then it changed what nobody reads any more, and has to be told.
  if (settings.databaseUrl === undefined) refuseMigrated(dataFolder(settings.dataDir))
  return done
}

/** @throws {UsageError} */
async function openState(
  settings: Settings,
  mayCreate: boolean,
): Promise<{ state: SecurityState; keyEncryptionKey: Uint8Array }> {
  if (settings.databaseUrl !== undefined) {
    const state = await openSharedState(settings.databaseUrl)
    const { keyEncryptionKey } = await sharedSecrets(settings, state, silentLogger())
    return { state, keyEncryptionKey }
  }
  const folder = dataFolder(settings.dataDir)
  refuseMigrated(folder)
  if (!mayCreate && !existsSync(folder.securityDatabase)) {
    throw new UsageError(`${folder.path} holds no charge points or admins; --data-dir names another data folder`)
  }
  const keyEncryptionKey = readKeyEncryptionKey(settings, folder)
  return { state: createSqliteSecurityState({ path: folder.securityDatabase }), keyEncryptionKey }
}

/** What the outbox takes for "not now". */
function refuseRecord(): never {
  throw new Error('the command line has no journal')
}

export function silentLogger(): AuditLogger {
  const nothing = () => {}
  return { fatal: nothing, error: nothing, warn: nothing, info: nothing, debug: nothing }
}
