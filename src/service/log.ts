/**
 * The log of a data folder, or of a PostgreSQL, while the service runs: signed, shown to witnesses, and what happens to it put on record. Put together
 * here, as neither the signer nor the witnesses' client knows the trail.
 */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Logger } from 'pino'
import { type CheckpointStatus, startCheckpoints } from '../checkpoint/checkpoint-host.ts'
import { type KeyFolders, readKeyChain } from '../checkpoint/key-files.ts'
import { startPostgresCheckpoints } from '../checkpoint/postgres-checkpoints.ts'
import { createContext } from '../context/context.ts'
import { openCheckpoint } from '../evidence/checkpoint.ts'
import { formatKeyChain, type KeyChain, parseKeyChain } from '../evidence/key-chain.ts'
import { createVerifier } from '../evidence/signature.ts'
import type { EvidenceStatus } from '../http/deps.ts'
import { deriveKey } from '../security/derived-keys.ts'
import { unwrapKey, wrapKey } from '../security/key-wrap.ts'
import type { Settings } from '../settings/settings.ts'
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

export function startLog(deps: {
  pipeline: Pipeline
  folder: DataFolder
  settings: Settings
  keyEncryptionKey: Uint8Array
  logger: Logger
}): ServedLog {
  const { pipeline, folder, settings, keyEncryptionKey, logger } = deps
  const { audit, queries } = pipeline
  const folders = keyFolders(folder)
  const { databaseUrl: url } = settings
  const readChain = (): KeyChain | undefined => {
    if (url === undefined) return readKeyChain(folders)
    const text = shared?.keyChain()
    return text === undefined ? undefined : parseKeyChain(text)
  }
  const witnesses = createWitnessClient({
    witnesses: settings.witnesses,
    quorum: settings.witnessQuorum,
    readProof: (from, to) => queries.consistency({ from, to }),
    readHandOvers: () => readChain()?.handOvers.map(({ note }) => note) ?? [],
  })
  const options: Omit<Parameters<typeof startCheckpoints>[0], 'storePath' | 'folders'> = {
    origin: settings.logOrigin,
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
      const description = 'Another key signs the checkpoints of the log from now on'
      audit.system('LOG_KEY_ROTATED', context, { description, metadata: { note: note.split('\n') } })
      await audit.settled(context)
    },
  }
  const shared =
    url === undefined ? undefined : startPostgresCheckpoints({ ...options, url, keys: keyWrap(keyEncryptionKey) })
  const checkpoints = shared ?? startCheckpoints({ ...options, storePath: folder.auditDatabase, folders })
  witnesses.onCosigned(note => checkpoints.cosigned(note, note === witnesses.witnessed()))
  const shown = createShownCheckpoint({
    newest: checkpoints.newest,
    witnesses,
    readKept: () => (url === undefined ? readWitnessed(folders, settings) : undefined),
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
  const opened = openCheckpoint(note, {
    origin: chain.first.name,
    log: [chain.first, ...chain.handOvers.map(({ to }) => to)].map(createVerifier),
    witnesses: witnesses.map(({ key }) => createVerifier(key)),
  })
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

/** How private keys of the log lie in PostgreSQL. */
export function keyWrap(keyEncryptionKey: Uint8Array) {
  const wrappingKey = deriveKey(keyEncryptionKey, 'log-signing-keys')
  const ownerOf = (key_id: string) => ({ cp_id: 'log', key_id, version: 1 })
  return {
    wrap: (key: Uint8Array, name: string) => wrapKey(wrappingKey, key, ownerOf(name)),
    unwrap: (wrapped: Uint8Array, name: string) => unwrapKey(wrappingKey, wrapped, ownerOf(name)),
  }
}
