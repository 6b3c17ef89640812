/**
 * The log of a data folder, or of a PostgreSQL, while the service runs: signed, shown to witnesses, and what happens to it put on record. Put together
 * here, as neither the signer nor the witnesses' client knows the trail.
 */
import type { Logger } from 'pino'
import { type CheckpointStatus, type LogSigner, startCheckpoints } from '../checkpoint/checkpoint-host.ts'
import { type KeyFolders, readKeyChain, readSigningKeys } from '../checkpoint/key-files.ts'
import { createPostgresSigner } from '../checkpoint/postgres-signer.ts'
import { canSignMlDsa44, handOverDetails } from '../checkpoint/signing-keys.ts'
import { createThreadSigner } from '../checkpoint/thread-signer.ts'
import { createContext } from '../context/context.ts'
import { Refusal } from '../errors.ts'
import { currentKeys, formatKeyChain } from '../evidence/key-chain.ts'
import type { EvidenceStatus } from '../http/deps.ts'
import { LIMITS } from '../limits.ts'
import { type Settings, SettingsError } from '../settings/settings.ts'
import { createWitnessClient, type WitnessClientStatus } from '../witness/client.ts'
import type { DataFolder } from './data-folder.ts'
import { type KeptCheckpoint, openKeptCheckpoint } from './kept-checkpoint.ts'
import type { Pipeline } from './pipeline.ts'
import { keyFolders } from './rotate-key.ts'
import { keyWrap, recordHandOver } from './shared-keys.ts'
import { startSharedWatch, tamperingRecorder } from './shared-watch.ts'
import { createShownCheckpoint } from './shown-checkpoint.ts'
import { readWitnessed } from './stored-checkpoint.ts'

const LAST_ROWS_MS = 2_000
/** For the last rows, their checkpoint and its cosignatures together: a stop has 10 s, of which requests may take half. */
const LAST_MS = 3_000

export interface ServedLog {
  /** The signed note to show (shown-checkpoint.ts), with the cosignatures there are; undefined before the first. */
  shown(): string | undefined
  /** As it is stored, with the key of the newest note; undefined before there is one. */
  keyChain(): string | undefined
  /** The log's note on the manifest of an evidence pack; undefined when nothing is signed now. */
  signManifest(manifest: string): Promise<string | undefined>
  status(): CheckpointStatus
  witnesses(): WitnessClientStatus
  /** Both, as the HTTP door shows them. */
  evidence(): EvidenceStatus
  /** Signs what was recorded, and gives the witnesses a moment to cosign it. */
  close(): Promise<void>
}

/**
 * Before anything is started: whether checkpoints can be signed as the setting asks for. One signature instead of two would be worse than
 * none, as every verifier takes it for a forgery.
 * @param folders of a data folder's keys; those in a database are read by whoever signs
 * @throws {SettingsError}
 */
export function requireMlDsa44({ logMlDsa, logOrigin }: Settings, folders?: KeyFolders): void {
  if (!logMlDsa) return
  if (!canSignMlDsa44()) {
    throw new SettingsError([
      'EVC_LOG_ML_DSA is true, and this Node has no ML-DSA-44: it takes 24.7 or later with OpenSSL 3.5',
    ])
  }
  const chain = folders && readKeyChain(folders)
  const isOtherLog = logOrigin !== undefined && logOrigin !== chain?.first.name // which begins with keys of its own
  if (folders === undefined || chain === undefined || isOtherLog || currentKeys(chain).mlDsa44 === undefined) return
  try {
    readSigningKeys(folders, currentKeys(chain))
  } catch (error) {
    if (error instanceof Refusal) throw new SettingsError([`EVC_LOG_ML_DSA is true. ${error.message}`])
    throw error
  }
}

interface LogDeps {
  readonly pipeline: Pipeline
  readonly folder: DataFolder
  readonly settings: Settings
  readonly keyEncryptionKey: Uint8Array
  readonly logger: Logger
}

export function startLog(deps: LogDeps): ServedLog {
  const { pipeline, folder, settings, logger } = deps
  const { audit, queries } = pipeline
  const { databaseUrl: url, selfCheckPercent: percent } = settings
  const kept = url === undefined ? undefined : openKeptCheckpoint(folder, logger)
  const signer = createSigner(deps, kept)
  const witnesses = createWitnessClient({
    witnesses: settings.witnesses,
    quorum: settings.witnessQuorum,
    readProof: (from, to) => queries.consistency({ from, to }),
    readHandOvers: () => signer.keyChain()?.handOvers.map(({ note }) => note) ?? [],
  })
  const checkpoints = startCheckpoints({
    signer,
    watchMs: percent * 10,
    onTampered: tamperingRecorder({ audit, logger }),
    onSigned: witnesses.submit,
    onRefused(cause, detail) {
      logger.fatal({ cause }, 'no checkpoint of the log is signed any more')
      const description = `No checkpoint is signed: ${detail}`
      audit.system('CHECKPOINT_REFUSED', createContext(), { description, metadata: { cause } })
    },
  })
  const watch = url === undefined || percent === 0 ? undefined : startSharedWatch({ url, percent, logger })
  witnesses.onCosigned(note => checkpoints.cosigned(note, note === witnesses.witnessed()))
  const shown = createShownCheckpoint({
    newest: checkpoints.newest,
    // Without a quorum, what others sign is never handed to the client here.
    witnesses: settings.witnessQuorum === 0 ? { ...witnesses, witnessed: checkpoints.newest } : witnesses,
    // Of a shared log the client is given it, with the first one that is known.
    readKept: () => (url === undefined ? readWitnessed(keyFolders(folder), settings) : undefined),
  })
  checkpoints.indexed(pipeline.lastEventId())
  pipeline.onIndexed(checkpoints.indexed)
  return {
    shown,
    keyChain() {
      const chain = checkpoints.keyChain()
      return chain && formatKeyChain(chain)
    },
    signManifest: checkpoints.signManifest,
    status: checkpoints.status,
    witnesses: witnesses.status,
    evidence: () => evidenceStatus(checkpoints.status(), witnesses.status()),
    async close() {
      const until = performance.now() + LAST_MS
      const watchEnded = watch?.[Symbol.asyncDispose]() // it may wait for the server as long as the others do
      await pipeline.caughtUp(LAST_ROWS_MS) // so that STOPPED is signed, too
      await checkpoints.finish()
      await witnesses.settled(Math.min(LIMITS.lastCosignaturesMsMax, Math.max(0, until - performance.now())))
      await checkpoints.close()
      await kept?.[Symbol.asyncDispose]()
      await watchEnded
      await witnesses.close()
    },
  }
}

function createSigner(deps: LogDeps, kept: KeptCheckpoint | undefined): LogSigner {
  const { pipeline, folder, settings, keyEncryptionKey, logger } = deps
  const { audit } = pipeline
  const { databaseUrl: url, logOrigin: origin, logMlDsa: withMlDsa44 } = settings
  if (url === undefined) {
    return createThreadSigner({
      storePath: folder.auditDatabase,
      folders: keyFolders(folder),
      origin,
      withMlDsa44,
      async onHandOver(note) {
        const context = createContext()
        audit.system('LOG_KEY_ROTATED', context, handOverDetails(note))
        await audit.settled(context)
      },
    })
  }
  return createPostgresSigner({
    url,
    keys: keyWrap(keyEncryptionKey),
    origin,
    withMlDsa44,
    kept: kept?.note,
    keep: note => kept?.keep(note),
    recordHandOver,
    onDisagreement(journal) {
      const wanted = `EVC_LOG_ML_DSA is ${withMlDsa44} here`
      logger.warn(
        { journal },
        `${wanted}, and another instance was not started so: the log stays as it is until all are`,
      )
    },
  })
}

function evidenceStatus(signed: CheckpointStatus, witnessed: WitnessClientStatus): EvidenceStatus {
  return {
    phase: signed.phase,
    size: signed.size,
    signed_at: signed.signedAt === undefined ? null : new Date(signed.signedAt).toISOString(),
    unsigned_seconds: Math.round(signed.unsignedMs / 100) / 10,
    last_error: signed.lastError,
    cosigned_size: witnessed.cosignedSize,
    witnesses: witnessed.witnesses.map(witness => ({
      name: witness.name,
      url: witness.url,
      cosigned_size: witness.cosignedSize,
      cosigned_at: witness.cosignedAt === undefined ? null : new Date(witness.cosignedAt * 1000).toISOString(),
      failures: witness.failures,
      last_fault: witness.lastFault ?? null,
    })),
    self_check: signed.watched
      ? { ...signed.watched, stalled_seconds: Math.round(signed.watchStalledMs / 100) / 10 }
      : null,
  }
}
