/**
 * One of several instances over a PostgreSQL, which has events, security state and log of all of them. The data folder holds the journal of
 * this one, and what it alone knows.
 *
 * "Nothing else to set" holds in development here, too: secrets that were not given are made by the first instance and lie in the database,
 * beside what they protect, as those of a data folder do. In production they have to be given, the same to all.
 */
import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import type { Logger } from 'pino'
import { createSharedDetector } from '../audit/shared-detector.ts'
import type { LogSigner } from '../checkpoint/checkpoint-host.ts'
import { createPostgresSigner } from '../checkpoint/postgres-signer.ts'
import { type Settings, SettingsError } from '../settings/settings.ts'
import type { Backend } from './backend.ts'
import { adoptedInto, archiveFolder, type DataFolder } from './data-folder.ts'
import type { Erasures } from './erasure.ts'
import { followFailures } from './failure-follower.ts'
import { clearJournalWhenAsked } from './journal-clearing.ts'
import { openKeptCheckpoint } from './kept-checkpoint.ts'
import { createPresence, type Presence } from './presence.ts'
import { sharedSecrets } from './secrets.ts'
import { createSharedErasures } from './shared-erasure.ts'
import { keyWrap, recordHandOver } from './shared-keys.ts'
import { openCachedSharedState, openSharedState } from './shared-state.ts'
import { startSharedWatch } from './shared-watch.ts'

const INSTANCE_BYTES = 4
/** How long a look at the outbox waits for the rows of what was handed over. */
const ROWS_MS = 500

interface SharedDeps {
  readonly settings: Settings
  readonly url: string
  readonly folder: DataFolder
  readonly logger: Logger
}

/** @throws {SettingsError} the data folder holds a trail of its own, or a journal that was adopted */
export function openSharedBackend(deps: SharedDeps): Backend {
  const { settings, url, folder, logger } = deps
  refuseUsed(folder)
  /** Of this process, among those that share the database. */
  const instance = randomBytes(INSTANCE_BYTES).toString('hex')
  const { bruteForceThreshold: threshold, bruteForceWindowSeconds: windowSeconds } = settings
  const detector = createSharedDetector({ threshold, windowSeconds })
  let presence: Presence | undefined

  return {
    store: { kind: 'postgres', url },
    trail: url,
    keyFolders: undefined,
    detector: detector.detector,
    async openState() {
      await using undo = new AsyncDisposableStack()
      const state = await openSharedState(url, instance)
      undo.defer(() => state.close())
      const secrets = await sharedSecrets(settings, state, logger)
      const cached = await openCachedSharedState(url, state, settings.stateTrustSeconds * 1_000, logger)
      undo.move() // the copy closes what it is a copy of
      const { journalDirectory } = folder
      const here = createPresence({ url, journalDirectory, logMlDsa: settings.logMlDsa, logger })
      presence = here
      return {
        state: cached,
        secrets,
        async [Symbol.asyncDispose]() {
          await here[Symbol.asyncDispose]()
          await cached.close()
        },
      }
    },
    async follow(pipeline) {
      presence?.follow(pipeline)
    },
    // The state outlives this machine: so must the event of a change, before the outbox forgets it.
    sharing: pipeline => ({ isSafe: () => pipeline.caughtUp(ROWS_MS), instance }),
    followFailures({ pipeline, security }) {
      detector.replay(pipeline.recentFailures)
      const { audit, replayedThrough: after } = pipeline
      return followFailures({ pipeline, audit, detector, security, instance, after, logger })
    },
    openErasures({ pipeline, settleState }) {
      const erasures = createSharedErasures({ url, archives: archiveFolder(folder), logger })
      return withClearing(erasures, clearJournalWhenAsked({ url, pipeline, settleState, logger }))
    },
    openLog({ keyEncryptionKey }) {
      const { selfCheckPercent: percent } = settings
      return {
        signer: createSigner(deps, keyEncryptionKey),
        // The client of the witnesses is given it, with the first checkpoint that is known.
        readWitnessed: () => undefined,
        watch: percent === 0 ? undefined : startSharedWatch({ url, percent, logger }),
      }
    },
    async [Symbol.asyncDispose]() {},
  }
}

function withClearing(erasures: Erasures & AsyncDisposable, clearing: AsyncDisposable): Erasures & AsyncDisposable {
  return {
    ...erasures,
    async [Symbol.asyncDispose]() {
      await clearing[Symbol.asyncDispose]()
      await erasures[Symbol.asyncDispose]()
    },
  }
}

/** What it signs is kept in the data folder, too, and is there when the signer is closed. */
function createSigner({ settings, url, folder, logger }: SharedDeps, keyEncryptionKey: Uint8Array): LogSigner {
  const { logOrigin: origin, logMlDsa: withMlDsa44 } = settings
  const kept = openKeptCheckpoint(folder, logger)
  const signer = createPostgresSigner({
    url,
    keys: keyWrap(keyEncryptionKey),
    origin,
    withMlDsa44,
    kept: kept.note,
    keep: kept.keep,
    recordHandOver,
    onDisagreement(journal) {
      const wanted = `EVC_LOG_ML_DSA is ${withMlDsa44} here`
      logger.warn(
        { journal },
        `${wanted}, and another instance was not started so: the log stays as it is until all are`,
      )
    },
  })
  return {
    ...signer,
    async close() {
      await signer.close()
      await kept[Symbol.asyncDispose]()
    },
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
