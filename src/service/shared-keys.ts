/**
 * The keys of a log in PostgreSQL, as the command line makes and rotates them: whether instances run or not, in one transaction under the
 * lock of all signers. The next checkpoint of whichever instance is signed by the new ones.
 */
import type { AuditLogger } from '../audit/audit-service.ts'
import { system } from '../audit/events.ts'
import type { KeyWrap } from '../checkpoint/postgres-keys.ts'
import { createPostgresSigner, type PostgresSigner } from '../checkpoint/postgres-signer.ts'
import { handOverDetails } from '../checkpoint/signing-keys.ts'
import { createContext } from '../context/context.ts'
import { Refusal } from '../errors.ts'
import { currentKeys, type LogKeys } from '../evidence/key-chain.ts'
import type { Session } from '../postgres/postgres.ts'
import { PostgresError } from '../postgres/postgres-error.ts'
import { refuseOtherKey } from '../security/create-security.ts'
import { deriveKey } from '../security/derived-keys.ts'
import { unwrapKey, wrapKey } from '../security/key-wrap.ts'
import { leaveEvent } from '../security/postgres-outbox.ts'
import { SecurityStateError } from '../security/security-state.ts'
import { type Settings, SettingsError } from '../settings/settings.ts'
import { sharedSecrets } from './secrets.ts'
import { openSharedState } from './shared-state.ts'

/** With these settings, and the database that they name. */
interface SharedLog {
  readonly settings: Settings
  readonly url: string
  readonly logger: AuditLogger
}

/** The first ones, if there are none. @throws {Refusal, SettingsError, PostgresError} */
export function generateSharedKeys(log: SharedLog): Promise<{ readonly keys: LogKeys; readonly isNew: boolean }> {
  return withSigner(log, async signer => {
    const { chain, isNew } = await signer.begin()
    return { keys: currentKeys(chain), isNew }
  })
}

/** @returns those that sign from now on. @throws {Refusal, SettingsError, PostgresError} */
export function rotateSharedKeys(log: SharedLog): Promise<LogKeys> {
  return withSigner(log, async signer => currentKeys(await signer.rotate()))
}

/** Undefined: the key-encryption key of the log is not here, or the manifest is none of this log; then the pack is made without. */
export async function signSharedManifest(log: SharedLog, manifest: string): Promise<string | undefined> {
  try {
    return await withSigner(log, signer => signer.signManifest(manifest))
  } catch (error) {
    const isExpected = [Refusal, SettingsError, SecurityStateError, PostgresError].some(kind => error instanceof kind)
    if (isExpected) return undefined
    throw error
  }
}

async function withSigner<T>({ settings, url, logger }: SharedLog, work: (signer: PostgresSigner) => Promise<T>) {
  await using undo = new AsyncDisposableStack()
  const state = await openSharedState(url)
  undo.defer(() => state.close())
  const { keyEncryptionKey } = await sharedSecrets(settings, state, logger)
  await refuseOtherKey(state, keyEncryptionKey)
  const { logOrigin: origin, logMlDsa: withMlDsa44 } = settings
  const signer = createPostgresSigner({ url, keys: keyWrap(keyEncryptionKey), origin, withMlDsa44, recordHandOver })
  undo.defer(() => signer.close())
  return await work(signer)
}

/** The hand-over and its event are one transaction; the first instance that looks records it. */
export function recordHandOver(session: Session, note: string): Promise<void> {
  return leaveEvent(session, system('LOG_KEY_ROTATED', createContext(), handOverDetails(note)))
}

/** How private keys of the log lie in PostgreSQL. */
export function keyWrap(keyEncryptionKey: Uint8Array): KeyWrap {
  const wrappingKey = deriveKey(keyEncryptionKey, 'log-signing-keys')
  const ownerOf = (key_id: string) => ({ cp_id: 'log', key_id, version: 1 })
  return {
    wrap: (key, name) => wrapKey(wrappingKey, key, ownerOf(name)),
    unwrap: (wrapped, name) => unwrapKey(wrappingKey, wrapped, ownerOf(name)),
  }
}
