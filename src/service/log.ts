/**
 * The log of a data folder, or of a PostgreSQL, while the service runs: signed, shown to witnesses, and what happens to it put on record.
 * Put together here, as neither the signer nor the witnesses' client knows the trail.
 */
import type { Logger } from 'pino'
import { type CheckpointStatus, type LogSigner, startCheckpoints } from '../checkpoint/checkpoint-host.ts'
import { type KeyFolders, readKeyChain, readSigningKeys } from '../checkpoint/key-files.ts'
import { canSignMlDsa44 } from '../checkpoint/signing-keys.ts'
import { createContext } from '../context/context.ts'
import { Refusal } from '../errors.ts'
import { currentKeys, formatKeyChain } from '../evidence/key-chain.ts'
import type { EvidenceStatus } from '../http/deps.ts'
import { LIMITS } from '../limits.ts'
import { type Settings, SettingsError } from '../settings/settings.ts'
import { createWitnessClient, type WitnessClientStatus } from '../witness/client.ts'
import type { Pipeline } from './pipeline.ts'
import { createShownCheckpoint } from './shown-checkpoint.ts'
import { tamperingRecorder } from './tampering.ts'

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

/** Where the log lies (backend.ts). */
export interface LogParts {
  readonly signer: LogSigner
  /** A witnessed checkpoint that the process before kept; asked once, when there is a signed one. */
  readWitnessed(): string | undefined
  /** Reads the trail again, where that is not the signer's work. */
  readonly watch?: AsyncDisposable | undefined
}

export function startLog(deps: {
  readonly parts: LogParts
  readonly pipeline: Pipeline
  readonly settings: Settings
  readonly logger: Logger
}): ServedLog {
  const { parts, pipeline, settings, logger } = deps
  const { signer, readWitnessed, watch } = parts
  const { audit, queries } = pipeline
  const witnesses = createWitnessClient({
    witnesses: settings.witnesses,
    quorum: settings.witnessQuorum,
    readProof: (from, to) => queries.consistency({ from, to }),
    readHandOvers: () => signer.keyChain()?.handOvers.map(({ note }) => note) ?? [],
  })
  const checkpoints = startCheckpoints({
    signer,
    watchMs: settings.selfCheckPercent * 10,
    onTampered: tamperingRecorder({ audit, logger }),
    onSigned: witnesses.submit,
    onRefused(cause, detail) {
      logger.fatal({ cause }, 'no checkpoint of the log is signed any more')
      const description = `No checkpoint is signed: ${detail}`
      audit.system('CHECKPOINT_REFUSED', createContext(), { description, metadata: { cause } })
    },
  })
  witnesses.onCosigned(note => checkpoints.cosigned(note, note === witnesses.witnessed()))
  const shown = createShownCheckpoint({
    newest: checkpoints.newest,
    // Without a quorum, what others sign is never handed to the client here.
    witnesses: settings.witnessQuorum === 0 ? { ...witnesses, witnessed: checkpoints.newest } : witnesses,
    readKept: readWitnessed,
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
      await watchEnded
      await witnesses.close()
    },
  }
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
