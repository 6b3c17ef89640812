/**
 * The log of a data folder while the service runs: signed, shown to witnesses, and what happens to it put on record. Put together
 * here, as neither the signer nor the witnesses' client knows the trail.
 */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Logger } from 'pino'
import { type CheckpointStatus, startCheckpoints } from '../checkpoint/checkpoint-host.ts'
import {
  canSignMlDsa44,
  handOverDetails,
  type KeyFolders,
  keyChainReader,
  readKeyChain,
  readSigningKeys,
} from '../checkpoint/key-files.ts'
import { createContext } from '../context/context.ts'
import { Refusal } from '../errors.ts'
import { currentKeys, formatKeyChain, openByChain } from '../evidence/key-chain.ts'
import { createVerifier } from '../evidence/signature.ts'
import type { EvidenceStatus } from '../http/deps.ts'
import { type Settings, SettingsError } from '../settings/settings.ts'
import { createWitnessClient, type WitnessClientStatus } from '../witness/client.ts'
import type { DataFolder } from './data-folder.ts'
import type { Pipeline } from './pipeline.ts'
import { keyFolders } from './rotate-key.ts'
import { createShownCheckpoint } from './shown-checkpoint.ts'

const LAST_ROWS_MS = 2_000

export interface ServedLog {
  /** The signed note to show (shown-checkpoint.ts), with the cosignatures there are; undefined before the first. */
  shown(): string | undefined
  /** As it is stored, with the key of the newest note; undefined before there is one. */
  keyChain(): string | undefined
  status(): CheckpointStatus
  witnesses(): WitnessClientStatus
  /** Both, as the HTTP door shows them. */
  evidence(): EvidenceStatus
  /** Signs what was recorded. */
  close(): Promise<void>
}

/**
 * Before anything is started: whether checkpoints can be signed as the setting asks for. One signature instead of two would be worse than
 * none, as every verifier takes it for a forgery.
 * @param canSign whether this Node has ML-DSA-44
 * @throws {SettingsError}
 */
export function requireMlDsa44({ logMlDsa, logOrigin }: Settings, folders: KeyFolders, canSign = canSignMlDsa44): void {
  if (!logMlDsa) return
  if (!canSign()) {
    throw new SettingsError([
      'EVC_LOG_ML_DSA is true, and this Node has no ML-DSA-44: it takes 24.7 or later with OpenSSL 3.5',
    ])
  }
  const chain = readKeyChain(folders)
  const isOtherLog = logOrigin !== undefined && logOrigin !== chain?.first.name // which begins with keys of its own
  if (chain === undefined || isOtherLog || currentKeys(chain).mlDsa44 === undefined) return
  try {
    readSigningKeys(folders, currentKeys(chain))
  } catch (error) {
    if (error instanceof Refusal) throw new SettingsError([`EVC_LOG_ML_DSA is true. ${error.message}`])
    throw error
  }
}

export function startLog(deps: {
  pipeline: Pipeline
  folder: DataFolder
  settings: Settings
  logger: Logger
}): ServedLog {
  const { pipeline, folder, settings, logger } = deps
  const { audit, queries } = pipeline
  const folders = keyFolders(folder)
  const readChain = keyChainReader(folders)
  const witnesses = createWitnessClient({
    witnesses: settings.witnesses,
    quorum: settings.witnessQuorum,
    readProof: (from, to) => queries.consistency({ from, to }),
    readHandOvers: () => readChain()?.handOvers.map(({ note }) => note) ?? [],
  })
  const checkpoints = startCheckpoints({
    storePath: folder.auditDatabase,
    folders,
    origin: settings.logOrigin,
    withMlDsa44: settings.logMlDsa,
    watchMs: settings.selfCheckPercent * 10,
    onTampered(id, detail) {
      logger.fatal({ id }, 'the trail was changed: no checkpoint is signed any more')
      const description = `The trail was changed: event ${id}, ${detail}`
      audit.incident('system', createContext(), 'LOG_TAMPERED', { description, metadata: { id } })
    },
    onSigned: witnesses.submit,
    onRefused(cause, detail) {
      logger.fatal({ cause }, 'no checkpoint of the log is signed any more')
      const description = `No checkpoint is signed: ${detail}`
      audit.system('CHECKPOINT_REFUSED', createContext(), { description, metadata: { cause } })
    },
    async onHandOver(note) {
      const context = createContext()
      audit.system('LOG_KEY_ROTATED', context, handOverDetails(note))
      await audit.settled(context)
    },
  })
  witnesses.onCosigned(note => checkpoints.cosigned(note, note === witnesses.witnessed()))
  const shown = createShownCheckpoint({
    newest: checkpoints.newest,
    witnesses,
    readKept: () => readWitnessed(folders, settings),
  })
  checkpoints.indexed(pipeline.lastEventId())
  pipeline.onIndexed(checkpoints.indexed)
  return {
    shown,
    keyChain() {
      const chain = readChain()
      return chain && formatKeyChain(chain)
    },
    status: checkpoints.status,
    witnesses: witnesses.status,
    evidence: () => evidenceStatus(checkpoints.status(), witnesses.status()),
    async close() {
      await pipeline.caughtUp(LAST_ROWS_MS) // so that STOPPED is signed, too
      await checkpoints.close()
      await witnesses.close()
    },
  }
}

/** The file `witnessed`, if it is of this log and has as many cosignatures as are wanted now. */
function readWitnessed(folders: KeyFolders, { witnesses, witnessQuorum }: Settings): string | undefined {
  const file = join(folders.log, 'witnessed')
  const chain = readKeyChain(folders)
  if (chain === undefined || !existsSync(file)) return undefined
  const note = readFileSync(file, 'utf8')
  const cosigners = witnesses.map(({ key }) => createVerifier(key))
  const opened = openByChain(note, chain, cosigners)
  return opened.isTrusted && opened.cosignatures.length >= witnessQuorum ? note : undefined
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
    self_check: signed.watched,
  }
}
