/**
 * `migrate`: the data folder's side of a move into PostgreSQL (move/move.ts has the steps). Locks the folder as a service would, makes
 * rows of what waits there, and marks it.
 */
import { existsSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import { areErasuresUnfinished } from '../archive/erase-archives.ts'
import type { AuditLogger } from '../audit/audit-service.ts'
import { system } from '../audit/events.ts'
import { createContext } from '../context/context.ts'
import { counted } from '../counted.ts'
import { Refusal } from '../errors.ts'
import { giveUp, type MoveProgress as MigrateProgress, moveLog } from '../move/move.ts'
import { readSigning } from '../move/signing.ts'
import { openSourceLog, type SourceLog } from '../move/source.ts'
import { createPostgres } from '../postgres/postgres.ts'
import { refuseOtherKey } from '../security/create-security.ts'
import { createFailurePolicy } from '../security/failure-policy.ts'
import { createOutbox } from '../security/outbox.ts'
import { createSqliteSecurityState } from '../security/sqlite-security-state.ts'
import type { Settings } from '../settings/settings.ts'
import { listArchives } from '../store/retention.ts'
import {
  archiveFolder,
  type DataFolder,
  dataFolder,
  lockMigratingFolder,
  markMigrated,
  migratedTo,
} from './data-folder.ts'
import { openPipeline } from './pipeline.ts'
import { refuseHalfRestored } from './restore.ts'
import { keyFolders } from './rotate-key.ts'
import { secretsToMove } from './secrets.ts'
import { keyWrap } from './shared-keys.ts'

export type { MigrateProgress }

export interface MigrateOptions {
  /** Their data folder is the one to move. */
  readonly settings: Settings
  readonly url: string
  /** Who does it, for the trail. */
  readonly actor: string
  readonly logger: AuditLogger
  readonly onProgress: (progress: MigrateProgress) => void
}

export interface Migrated {
  readonly events: number
  readonly origin: string
  readonly folder: DataFolder
  /** The database, without its password. */
  readonly address: string
}

const DRAIN_MS = 60_000
/** A command that changes something takes milliseconds. */
const BUSY_MS = 5_000

/** @throws {Refusal} DATA_FOLDER_IN_USE, RESTORE_INCOMPLETE, JOURNAL_BEHIND, MIGRATION_REFUSED. @throws {SettingsError} */
export async function migrateToPostgres(options: MigrateOptions): Promise<Migrated> {
  const { settings, url, actor, onProgress } = options
  await using undo = new AsyncDisposableStack()
  const folder = openFolder(settings, undo)
  const { keyEncryptionKey, generated } = secretsToMove(settings, folder)
  const postgres = undo.use(createPostgres({ url, connectionsMax: 2, applicationName: 'ev-central migrate' }))
  const { address } = postgres
  const earlier = migratedTo(folder)
  if (earlier === undefined) await settle(options, folder, keyEncryptionKey)
  else if (earlier !== address) throw new Refusal('MIGRATION_REFUSED', `${folder.path} was migrated to ${earlier}.`)
  undo.use(keepUnchanged(folder.auditDatabase)) // a segment that left meanwhile, or a hold, would be of this folder only
  const source = undo.use(openSourceLog(folder.auditDatabase))
  const security = undo.use(keepUnchanged(folder.securityDatabase))
  refuseUnsettled(folder, source, security)
  const signing = readSigning(keyFolders(folder))
  const { size: events } = source.head
  const origin = signing.chain.first.name
  await moveLog({
    postgres,
    source,
    security,
    signing,
    keys: keyWrap(keyEncryptionKey),
    markFolder: async () => markMigrated(folder, address),
    secrets: generated,
    event: system('MIGRATED', createContext(), {
      description: `The log goes on in PostgreSQL: ${counted(events, 'event was moved there', 'events were moved there')}`,
      metadata: { size: events, root: Buffer.from(source.head.root).toString('base64'), actor },
    }),
    onProgress,
  })
  return { events, origin, folder, address }
}

/** Until it is closed nobody changes it: what the command line revoked meanwhile would stay behind. Nothing is written here, either. */
function keepUnchanged(path: string): DatabaseSync {
  const db = new DatabaseSync(path, { timeout: BUSY_MS })
  db.exec('BEGIN IMMEDIATE')
  return db
}

/** The way back. @throws {Refusal} MIGRATION_REFUSED: something was recorded in the new place */
export async function migrateBack(settings: Settings, url: string): Promise<{ readonly folder: DataFolder }> {
  await using undo = new AsyncDisposableStack()
  const folder = openFolder(settings, undo)
  const postgres = undo.use(createPostgres({ url, connectionsMax: 1, applicationName: 'ev-central migrate' }))
  const source = undo.use(openSourceLog(folder.auditDatabase))
  await giveUp(postgres, source.head)
  markMigrated(folder, undefined)
  return { folder }
}

/** Locked until the stack is disposed. */
function openFolder({ dataDir }: Settings, undo: AsyncDisposableStack): DataFolder {
  const folder = dataFolder(dataDir)
  if (!existsSync(folder.auditDatabase) || !existsSync(folder.securityDatabase)) {
    throw new Refusal(
      'MIGRATION_REFUSED',
      `${folder.path} does not hold the trail and the security state of a service.`,
    )
  }
  refuseHalfRestored(folder)
  const lock = undo.use(lockMigratingFolder(folder))
  undo.defer(lock.leaveAsFound)
  return folder
}

/** Step 1: opens what a service would, but for its doors. What could not be made a row in time waits on. */
async function settle(
  { settings, logger }: MigrateOptions,
  folder: DataFolder,
  keyEncryptionKey: Uint8Array,
): Promise<void> {
  await using undo = new AsyncDisposableStack()
  const { ackTimeoutMs, bruteForceThreshold, bruteForceWindowSeconds } = settings
  const pipeline = await openPipeline({ folder, logger, ackTimeoutMs, bruteForceThreshold, bruteForceWindowSeconds })
  undo.defer(() => pipeline.close())
  const state = createSqliteSecurityState({ path: folder.securityDatabase })
  undo.defer(() => state.close())
  await refuseOtherKey(state, keyEncryptionKey)
  const outbox = createOutbox({
    state,
    audit: pipeline.audit,
    policy: createFailurePolicy([], async () => true),
    logger,
  })
  await outbox.deliver()
  if (!(await pipeline.caughtUp(DRAIN_MS)) || pipeline.status().indexer.lagRecords > 0) {
    const why = pipeline.status().indexer.lastError ?? 'there are many'
    throw new Refusal(
      'MIGRATION_REFUSED',
      `The journal of ${folder.path} has records that are no rows yet (${why}): start the service on it once, and stop it.`,
    )
  }
  await outbox.trim()
}

function refuseUnsettled(folder: DataFolder, source: SourceLog, security: DatabaseSync): void {
  const { path } = folder
  if (areErasuresUnfinished(listArchives(source.db), archiveFolder(folder))) {
    throw new Refusal(
      'MIGRATION_REFUSED',
      'An erasure in the archives is not finished: start the service on the folder once, and stop it. Nothing was changed.',
    )
  }
  if (security.prepare('SELECT 1 FROM outbox LIMIT 1').get() === undefined) return
  throw new Refusal(
    'MIGRATION_REFUSED',
    `Events of changes wait in ${path}: start the service on it once, and stop it.`,
  )
}
