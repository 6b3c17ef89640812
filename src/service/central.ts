/**
 * EV Central, put together: the one place that names the concrete parts, in the order an event passes them.
 *
 *   data folder -> audit pipeline (journal, indexer, store, query) -> security -> checkpoints -> HTTP door
 *
 * Undo is written next to do: stopping runs in reverse, also for a start that failed half-way.
 */
import { readFileSync } from 'node:fs'
import type { Logger } from 'pino'
import { readRetention } from '../archive/archive.ts'
import { startRetention } from '../archive/archive-host.ts'
import { withArchives } from '../archive/proven-archives.ts'
import { createAddressResolver, parseTrustedProxies } from '../context/client-address.ts'
import { createContext } from '../context/context.ts'
import { createHttpServer } from '../http/server.ts'
import { createSecurity } from '../security/create-security.ts'
import { createSqliteSecurityState } from '../security/sqlite-security-state.ts'
import { type Settings, SettingsError } from '../settings/settings.ts'
import { listArchives } from '../store/retention.ts'
import { archivePaths, type DataFolder, dataFolder, lockDataFolder } from './data-folder.ts'
import { createErasures } from './erasure.ts'
import { createHealth } from './health.ts'
import { listeningUrl } from './listening-url.ts'
import { requireMlDsa44, startLog } from './log.ts'
import { openPipeline } from './pipeline.ts'
import { openPositionGuard } from './position-guard.ts'
import { createRecordingCheck } from './recording-check.ts'
import { refuseHalfRestored } from './restore.ts'
import { keyFolders } from './rotate-key.ts'
import { readSecrets } from './secrets.ts'
import { releaseStartReserve } from './start-reserve.ts'
import { createVerification } from './verification.ts'
import { VERSION } from './version.ts'

export interface Central {
  /** Where it can be reached from this machine, for example `http://127.0.0.1:8080`. */
  readonly url: string
  readonly folder: DataFolder
  /** The first admin's generated key: shown once by whoever started us, kept nowhere. */
  readonly firstAdmin: { readonly name: string; readonly key: string } | undefined
  /** Settings whose values were generated into the data folder. */
  readonly generated: readonly string[]
  /** Stops accepting, finishes requests, drains journal and indexer, records STOPPED. Safe to call twice. */
  stop(): Promise<void>
}

/** How long a start waits for a slow disk to take its first events. */
const STARTED_MS_MAX = 1_000

/**
 * @param open what opens the audit pipeline; the benchmark passes one without auditing to measure what auditing costs.
 * @throws {Refusal} DATA_FOLDER_IN_USE, ROLLED_BACK, RESTORE_INCOMPLETE
 * @throws {SettingsError} when a secret or file that the settings ask for is missing, or this Node lacks what they ask for
 */
export async function startCentral(settings: Settings, logger: Logger, open = openPipeline): Promise<Central> {
  await using undo = new AsyncDisposableStack()
  const folder = dataFolder(settings.dataDir)
  refuseHalfRestored(folder)
  const startReserve = undo.use(releaseStartReserve(folder))
  const guard = undo.use(openPositionGuard({ folder, file: settings.positionFile, logger }))
  const lock = undo.use(lockDataFolder(folder))
  const secrets = readSecrets(settings, folder)
  requireMlDsa44(settings, keyFolders(folder))

  const pipeline = await open({
    folder,
    logger,
    ackTimeoutMs: settings.ackTimeoutMs,
    bruteForceThreshold: settings.bruteForceThreshold,
    bruteForceWindowSeconds: settings.bruteForceWindowSeconds,
  })
  const { audit, queries } = pipeline
  undo.defer(async () => {
    await pipeline.close()
    if (pipeline.status().indexer.lagRecords === 0) lock.markClean()
  })
  await guard.follow(pipeline)

  const state = createSqliteSecurityState({ path: folder.securityDatabase })
  undo.defer(() => state.close())
  const isRecording = createRecordingCheck({ pipeline, folder })
  const security = await createSecurity({ state, audit, secrets, settings, isRecording, logger })
  undo.defer(() => security.close())
  await security.replay(pipeline.recentFailures)
  await settleGivenKey(settings, security)

  const erasures = undo.use(createErasures({ folder, pipeline, settleState: security.settle, logger }))
  const log = startLog({ pipeline, folder, settings, logger })
  undo.defer(() => log.close())
  const health = createHealth({ pipeline, audit, folder, state, log })
  const verification = undo.use(createVerification({ dataFolder: folder.path, audit }))
  const app = await createHttpServer({
    security,
    audit,
    queries,
    resolveAddress: createAddressResolver(parseTrustedProxies(settings.trustedProxies)),
    logger,
    health,
    streams: pipeline,
    checkpoint: log.shown,
    packSource: () => withArchives(queries, readRetention(folder.auditDatabase, listArchives)),
    erasures,
    evidence: log.evidence,
    verification,
    keyChain: log.keyChain,
    settings,
    version: VERSION,
    ...readTls(settings),
  })

  const starting = createContext()
  if (lock.isAfterUncleanStop)
    audit.system('UNCLEAN_STOP', starting, { description: 'The process before this one did not stop cleanly' })
  audit.system('STARTED', starting, {
    description: `EV Central ${VERSION} started`,
    metadata: { version: VERSION },
  })
  // So that a kill right after the first answer cannot take it away; a disk that takes nothing does not keep us from serving.
  if ((await audit.settled(starting)) === 'late') await pipeline.caughtUp(STARTED_MS_MAX)
  undo.defer(() => audit.system('STOPPED', createContext(), { description: `EV Central ${VERSION} stopped` }))

  undo.defer(() => app.close())
  await app.listen({ host: settings.host, port: settings.port })

  await erasures.finishEarlier() // before anybody archives: one of the two at a time
  if (settings.retentionDays !== undefined) {
    undo.use(startRetention({ ...archivePaths(folder), days: settings.retentionDays, logger }))
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
    stop() {
      stopping ??= owned.disposeAsync()
      return stopping
    },
  }
}

/** Before anybody is served: a given key is right from the first request on, and production is refused without one. */
async function settleGivenKey(settings: Settings, security: Awaited<ReturnType<typeof createSecurity>>): Promise<void> {
  if (settings.adminKey !== undefined) await security.bootstrap(settings.adminKey)
  else if (settings.isProduction && (await security.admins.list()).length === 0) {
    throw new SettingsError(['EVC_ADMIN_KEY is required in production until there is an admin'])
  }
}

function readTls(settings: Settings): { tls?: { cert: Buffer; key: Buffer } } {
  if (settings.tlsCertFile === undefined || settings.tlsKeyFile === undefined) return {}
  try {
    return { tls: { cert: readFileSync(settings.tlsCertFile), key: readFileSync(settings.tlsKeyFile) } }
  } catch {
    throw new SettingsError(['EVC_TLS_CERT or EVC_TLS_KEY names a file that cannot be read'])
  }
}
