/**
 * EV Central, put together: the one place that names the concrete parts, in the order an event passes them.
 *
 *   data folder -> security state -> audit pipeline (journal, indexer, store, query) -> security -> checkpoints -> HTTP door
 *
 * With EVC_DATABASE_URL, events and security state are in a PostgreSQL that other instances share; the data folder holds the
 * journal of this one. What follows from that is chosen once, as the backend.
 *
 * Undo is written next to do: stopping runs in reverse, also for a start that failed half-way.
 */
import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'
import { startRetention } from '../archive/archive-host.ts'
import { withArchives } from '../archive/proven-archives.ts'
import { readKnownArchives } from '../archive/trail.ts'
import type { AuditService } from '../audit/audit-service.ts'
import { createAddressResolver, parseTrustedProxies } from '../context/client-address.ts'
import { createContext } from '../context/context.ts'
import { createHttpServer } from '../http/server.ts'
import { createSecurity, type SecurityService } from '../security/create-security.ts'
import { type Settings, SettingsError } from '../settings/settings.ts'
import type { Backend } from './backend.ts'
import { archiveFolder, type DataFolder, type DataFolderLock, dataFolder, lockDataFolder } from './data-folder.ts'
import { openEmbeddedBackend } from './embedded-backend.ts'
import { createHealth, type Health } from './health.ts'
import { listeningUrl } from './listening-url.ts'
import { requireMlDsa44, startLog } from './log.ts'
import { openPipeline } from './pipeline.ts'
import { createRecordingCheck } from './recording-check.ts'
import { refuseHalfRestored } from './restore.ts'
import { releaseStartReserve } from './start-reserve.ts'
import { createVerification } from './verification.ts'
import { VERSION } from './version.ts'

/** How long a start waits for a slow disk to take its first events, asking so often. */
const STARTED_MS_MAX = 1_000
const STARTED_POLL_MS = 10

export interface Central {
  /** Where it can be reached from this machine, for example `http://127.0.0.1:8080`. */
  readonly url: string
  readonly folder: DataFolder
  /** The first admin's generated key: shown once by whoever started us, kept nowhere. */
  readonly firstAdmin: { readonly name: string; readonly key: string } | undefined
  /** Settings whose values were generated into the data folder. */
  readonly generated: readonly string[]
  /** What `/ready` answers. */
  readonly ready: Health['ready']
  /** Stops accepting, finishes requests, drains journal and indexer, records STOPPED. Safe to call twice. */
  stop(): Promise<void>
}

/**
 * @param open what opens the audit pipeline; the benchmark passes one without auditing to measure what auditing costs.
 * @throws {Refusal} DATA_FOLDER_IN_USE, ROLLED_BACK, RESTORE_INCOMPLETE, JOURNAL_BEHIND, MIGRATION_REFUSED
 * @throws {SettingsError} when a secret or file that the settings ask for is missing, or this Node lacks what they ask for
 */
export async function startCentral(settings: Settings, logger: Logger, open = openPipeline): Promise<Central> {
  await using undo = new AsyncDisposableStack()
  const folder = dataFolder(settings.dataDir)
  refuseHalfRestored(folder)
  const startReserve = undo.use(releaseStartReserve(folder))
  const backend = undo.use(await openBackend(settings, folder, logger))
  const lock = undo.use(lockDataFolder(folder))
  requireMlDsa44(settings, backend.keyFolders)
  const { state, secrets } = undo.use(await backend.openState())

  const pipeline = await open({
    folder,
    store: backend.store,
    logger,
    ackTimeoutMs: settings.ackTimeoutMs,
    bruteForceThreshold: settings.bruteForceThreshold,
    bruteForceWindowSeconds: settings.bruteForceWindowSeconds,
    detector: backend.detector,
  })
  const { audit, queries } = pipeline
  undo.defer(async () => {
    await pipeline.close()
    if (pipeline.status().indexer.lagRecords === 0) lock.markClean()
  })
  await backend.follow(pipeline)

  const isRecording = createRecordingCheck({ pipeline, folder })
  const security = await createSecurity({
    state,
    audit,
    secrets,
    settings,
    isRecording,
    ...backend.sharing(pipeline),
    logger,
  })
  undo.defer(() => security.close())
  await security.replay([...pipeline.recentFailures, ...pipeline.unindexedFailures])
  undo.use(backend.followFailures({ pipeline, security }))
  await settleGivenKey(settings, security)

  const erasures = undo.use(backend.openErasures({ pipeline, settleState: security.settle }))
  const parts = backend.openLog({ pipeline, keyEncryptionKey: secrets.keyEncryptionKey })
  const log = startLog({ parts, pipeline, settings, logger })
  undo.defer(() => log.close())
  const health = createHealth({ pipeline, audit, folder, state, log })
  const verification = undo.use(createVerification({ trail: backend.trail, audit }))
  const app = await createHttpServer({
    security,
    audit,
    queries,
    resolveAddress: createAddressResolver(parseTrustedProxies(settings.trustedProxies)),
    logger,
    health,
    streams: pipeline,
    checkpoint: log.shown,
    packSource: () => withArchives(queries, () => readKnownArchives(backend.store)),
    signManifest: log.signManifest,
    erasures,
    evidence: log.evidence,
    verification,
    keyChain: log.keyChain,
    settings,
    version: VERSION,
    ...readTls(settings),
  })

  await recordStart(audit, lock)
  undo.defer(() => audit.system('STOPPED', createContext(), { description: `EV Central ${VERSION} stopped` }))

  undo.defer(() => app.close())
  await app.listen({ host: settings.host, port: settings.port })

  await erasures.finishEarlier() // before anybody archives: one of the two at a time
  if (settings.retentionDays !== undefined) {
    const { store } = backend
    undo.use(startRetention({ store, directory: archiveFolder(folder), days: settings.retentionDays, logger }))
  }
  // Last, so that no start that fails (a port in use, say) has made a key that nobody saw. Until now there was no admin
  // and no key was right, so whoever was refused meanwhile was told the truth.
  const firstAdmin = settings.adminKey === undefined ? await security.bootstrap() : undefined

  startReserve.setAside()
  const owned = undo.move()
  let stopping: Promise<void> | undefined
  return {
    url: listeningUrl(settings, app.server.address()),
    folder,
    firstAdmin,
    generated: secrets.generated,
    ready: health.ready,
    stop() {
      stopping ??= owned.disposeAsync()
      return stopping
    },
  }
}

/** What a service on SQLite has no use for is loaded by none. */
async function openBackend(settings: Settings, folder: DataFolder, logger: Logger): Promise<Backend> {
  const { databaseUrl: url } = settings
  if (url === undefined) return openEmbeddedBackend({ settings, folder, logger })
  const { openSharedBackend } = await import('./shared-backend.ts')
  return openSharedBackend({ settings, url, folder, logger })
}

/** Before anybody is served: a given key is right from the first request on, and production is refused without one. */
async function settleGivenKey(settings: Settings, security: SecurityService): Promise<void> {
  if (settings.adminKey !== undefined) await security.bootstrap(settings.adminKey)
  else if (settings.isProduction && (await security.admins.list()).length === 0) {
    throw new SettingsError(['EVC_ADMIN_KEY is required in production until there is an admin'])
  }
}

/** So that a kill right after the first answer cannot take it away; a disk that takes nothing does not keep us from serving. */
async function recordStart(audit: AuditService, { isAfterUncleanStop }: DataFolderLock): Promise<void> {
  const context = createContext()
  if (isAfterUncleanStop)
    audit.system('UNCLEAN_STOP', context, { description: 'The process before this one did not stop cleanly' })
  const description = `EV Central ${VERSION} started`
  audit.system('STARTED', context, { description, metadata: { version: VERSION } })
  const waitedEnough = performance.now() + STARTED_MS_MAX
  while ((await audit.settled(context)) === 'late' && performance.now() < waitedEnough) await sleep(STARTED_POLL_MS)
}

function readTls(settings: Settings): { tls?: { cert: Buffer; key: Buffer } } {
  if (settings.tlsCertFile === undefined || settings.tlsKeyFile === undefined) return {}
  try {
    return { tls: { cert: readFileSync(settings.tlsCertFile), key: readFileSync(settings.tlsKeyFile) } }
  } catch {
    throw new SettingsError(['EVC_TLS_CERT or EVC_TLS_KEY names a file that cannot be read'])
  }
}
