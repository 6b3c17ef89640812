/**
 * EV Central, put together: the one place that names the concrete parts, in the order an event passes them.
 *
 *   data folder -> security state -> audit pipeline (journal, indexer, store, query) -> security -> checkpoints -> HTTP door
 *
 * With EVC_DATABASE_URL, events and security state are in a PostgreSQL that other instances share; the data folder holds the
 * journal of this one. Which of the two it is, is asked here and in what this names: `openState`, the pipeline, `startLog`.
 *
 * Undo is written next to do: stopping runs in reverse, also for a start that failed half-way.
 */
import { randomBytes } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'
import { startRetention } from '../archive/archive-host.ts'
import { withArchives } from '../archive/proven-archives.ts'
import { readKnownArchives } from '../archive/trail.ts'
import { createSharedDetector } from '../audit/shared-detector.ts'
import { createAddressResolver, parseTrustedProxies } from '../context/client-address.ts'
import { createContext } from '../context/context.ts'
import { createHttpServer } from '../http/server.ts'
import { createSecurity } from '../security/create-security.ts'
import { type Settings, SettingsError } from '../settings/settings.ts'
import { adoptedInto, archiveFolder, type DataFolder, dataFolder, lockDataFolder, trailPlace } from './data-folder.ts'
import { createErasures } from './erasure.ts'
import { followFailures } from './failure-follower.ts'
import { createHealth, type Health } from './health.ts'
import { clearJournalWhenAsked } from './journal-clearing.ts'
import { listeningUrl } from './listening-url.ts'
import { requireMlDsa44, startLog } from './log.ts'
import { openState } from './open-state.ts'
import { openPipeline } from './pipeline.ts'
import { openPositionGuard } from './position-guard.ts'
import { createPresence } from './presence.ts'
import { createRecordingCheck } from './recording-check.ts'
import { refuseHalfRestored } from './restore.ts'
import { keyFolders } from './rotate-key.ts'
import { createSharedErasures } from './shared-erasure.ts'
import { releaseStartReserve } from './start-reserve.ts'
import { createVerification } from './verification.ts'
import { VERSION } from './version.ts'

const INSTANCE_BYTES = 4
/** How long a look at the outbox waits for the rows of what was handed over. */
const ROWS_MS = 500

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

/** How long a start waits for a slow disk to take its first events, asking so often. */
const STARTED_MS_MAX = 1_000
const STARTED_POLL_MS = 10

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
  const { bruteForceThreshold, bruteForceWindowSeconds, databaseUrl } = settings
  const isShared = databaseUrl !== undefined
  const place = trailPlace(folder, databaseUrl)
  if (isShared) refuseUsed(folder)
  const guard = isShared ? undefined : undo.use(openPositionGuard({ folder, file: settings.positionFile, logger }))
  const lock = undo.use(lockDataFolder(folder))
  requireMlDsa44(settings, isShared ? undefined : keyFolders(folder))
  /** Of this process, among those that share a database. */
  const instance = randomBytes(INSTANCE_BYTES).toString('hex')
  const { state, secrets } = await openState(settings, folder, instance, logger)
  undo.defer(() => state.close())

  const detector = isShared
    ? createSharedDetector({ threshold: bruteForceThreshold, windowSeconds: bruteForceWindowSeconds })
    : undefined
  const presence = isShared
    ? undo.use(
        createPresence({
          url: databaseUrl,
          journalDirectory: folder.journalDirectory,
          logMlDsa: settings.logMlDsa,
          logger,
        }),
      )
    : undefined
  const pipeline = await open({
    folder,
    store: isShared ? { kind: 'postgres', url: databaseUrl } : { kind: 'sqlite', path: folder.auditDatabase },
    logger,
    ackTimeoutMs: settings.ackTimeoutMs,
    bruteForceThreshold,
    bruteForceWindowSeconds,
    detector: detector?.detector,
  })
  const { audit, queries } = pipeline
  undo.defer(async () => {
    await pipeline.close()
    if (pipeline.status().indexer.lagRecords === 0) lock.markClean()
  })
  await guard?.follow(pipeline)
  presence?.follow(pipeline)

  const isRecording = createRecordingCheck({ pipeline, folder })
  const security = await createSecurity({
    state,
    audit,
    secrets,
    settings,
    isRecording,
    // The state outlives this machine: so must the event of a change, before the outbox forgets it.
    ...(isShared && { isSafe: () => pipeline.caughtUp(ROWS_MS), instance }),
    logger,
  })
  undo.defer(() => security.close())
  await security.replay([...pipeline.recentFailures, ...pipeline.unindexedFailures])
  if (detector !== undefined) {
    detector.replay(pipeline.recentFailures)
    const after = pipeline.replayedThrough
    undo.use(followFailures({ pipeline, audit, detector, security, instance, after, logger }))
  }
  await settleGivenKey(settings, security)

  const erasures = undo.use(
    isShared
      ? createSharedErasures({ url: databaseUrl, archives: archiveFolder(folder), logger })
      : createErasures({ folder, pipeline, settleState: security.settle, logger }),
  )
  if (isShared) {
    undo.use(clearJournalWhenAsked({ url: databaseUrl, pipeline, settleState: security.settle, logger }))
  }
  const log = startLog({ pipeline, folder, settings, keyEncryptionKey: secrets.keyEncryptionKey, logger })
  undo.defer(() => log.close())
  const health = createHealth({ pipeline, audit, folder, state, log })
  const verification = undo.use(createVerification({ trail: settings.databaseUrl ?? folder.path, audit }))
  const app = await createHttpServer({
    security,
    audit,
    queries,
    resolveAddress: createAddressResolver(parseTrustedProxies(settings.trustedProxies)),
    logger,
    health,
    streams: pipeline,
    checkpoint: log.shown,
    packSource: () => withArchives(queries, () => readKnownArchives(place)),
    signManifest: log.signManifest,
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
  const waitedEnough = performance.now() + STARTED_MS_MAX
  while ((await audit.settled(starting)) === 'late' && performance.now() < waitedEnough) await sleep(STARTED_POLL_MS)
  undo.defer(() => audit.system('STOPPED', createContext(), { description: `EV Central ${VERSION} stopped` }))

  undo.defer(() => app.close())
  await app.listen({ host: settings.host, port: settings.port })

  await erasures.finishEarlier() // before anybody archives: one of the two at a time
  if (settings.retentionDays !== undefined) {
    undo.use(startRetention({ place, directory: archiveFolder(folder), days: settings.retentionDays, logger }))
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

/** Before anybody is served: a given key is right from the first request on, and production is refused without one. */
async function settleGivenKey(settings: Settings, security: Awaited<ReturnType<typeof createSecurity>>): Promise<void> {
  if (settings.adminKey !== undefined) await security.bootstrap(settings.adminKey)
  else if (settings.isProduction && (await security.admins.list()).length === 0) {
    throw new SettingsError(['EVC_ADMIN_KEY is required in production until there is an admin'])
  }
}

/** Its journal goes on where its own database ends; in another one, records would be missing or be rows twice. Or it was adopted. */
function refuseUsed(folder: DataFolder): void {
  const { path, auditDatabase } = folder
  if (adoptedInto(folder) !== undefined) {
    throw new SettingsError([`EVC_DATA_DIR names ${path}, whose journal was adopted: it has to be another folder`])
  }
  if (!existsSync(auditDatabase)) return
  throw new SettingsError([
    `EVC_DATA_DIR names ${path}, which holds the trail of an embedded SQLite: with EVC_DATABASE_URL it has to be another folder`,
  ])
}

function readTls(settings: Settings): { tls?: { cert: Buffer; key: Buffer } } {
  if (settings.tlsCertFile === undefined || settings.tlsKeyFile === undefined) return {}
  try {
    return { tls: { cert: readFileSync(settings.tlsCertFile), key: readFileSync(settings.tlsKeyFile) } }
  } catch {
    throw new SettingsError(['EVC_TLS_CERT or EVC_TLS_KEY names a file that cannot be read'])
  }
}
