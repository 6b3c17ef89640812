/**
 * The deployment's secrets: given by settings, or in development generated: into the data folder, or where instances share a
 * database into that, by whichever starts first. None has a default.
 */
import { createHash, randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { Logger } from 'pino'
import type { SecurityState, StateTransaction } from '../security/security-state.ts'
import { type Settings, SettingsError } from '../settings/settings.ts'
import { type DataFolder, generatedSecret } from './data-folder.ts'

export interface Secrets {
  readonly tokenSecret: Uint8Array
  readonly keyEncryptionKey: Uint8Array
  /** Settings whose values were generated. */
  readonly generated: readonly string[]
}

const SOURCES = {
  tokenSecret: { setting: 'EVC_TOKEN_SECRET', file: 'token-secret' },
  keyEncryptionKey: { setting: 'EVC_KEY_ENCRYPTION_KEY', file: 'key-encryption-key' },
} as const
type SecretName = keyof typeof SOURCES
const NAMES = ['tokenSecret', 'keyEncryptionKey'] as const

/** @throws {SettingsError} in production, naming all that are missing. */
export function readSecrets(settings: Settings, folder: DataFolder): Secrets {
  refuseMissing(settings, NAMES)
  const secret = (name: SecretName) => Buffer.from(settings[name] ?? generatedSecret(folder, SOURCES[name].file))
  return {
    tokenSecret: secret('tokenSecret'),
    keyEncryptionKey: secret('keyEncryptionKey'),
    generated: generatedNames(settings),
  }
}

/**
 * Those of all instances. The key-encryption key must be the one that the data was written with (create-security.ts); another
 * token secret than that of the last start is allowed, as a secret has to be changed some day, and said.
 * @throws {SettingsError} as above. @throws {Refusal} STATE_UNAVAILABLE
 */
export async function sharedSecrets(
  settings: Settings,
  state: Pick<SecurityState, 'change'>,
  logger: Pick<Logger, 'warn'>,
): Promise<Secrets> {
  refuseMissing(settings, NAMES)
  return state.change(async transaction => {
    const secret = async (name: SecretName) => Buffer.from(settings[name] ?? (await generatedIn(transaction, name)))
    const tokenSecret = await secret('tokenSecret')
    if (await isAnother(transaction, tokenSecret)) logger.warn(OTHER_TOKEN_SECRET)
    return { tokenSecret, keyEncryptionKey: await secret('keyEncryptionKey'), generated: generatedNames(settings) }
  })
}

const OTHER_TOKEN_SECRET =
  'EVC_TOKEN_SECRET is not the one of the instance that started last: tokens of instances that still have another one are refused here'

/** For whoever changes the security state beside the server, and needs no more than this. @throws {SettingsError} */
export function readKeyEncryptionKey(settings: Settings, folder: DataFolder): Uint8Array {
  refuseMissing(settings, ['keyEncryptionKey'])
  return Buffer.from(settings.keyEncryptionKey ?? generatedSecret(folder, SOURCES.keyEncryptionKey.file))
}

/**
 * Those of a data folder that has been in use, which is to move into a database: none is made. In a database the generated ones are
 * kept under these names.
 * @throws {SettingsError} the key-encryption key is neither given nor in the folder
 */
export function secretsToMove(
  settings: Settings,
  folder: DataFolder,
): { readonly keyEncryptionKey: Uint8Array; readonly generated: ReadonlyMap<string, string> } {
  refuseMissing(settings, ['keyEncryptionKey'])
  const generated = new Map<string, string>()
  for (const name of NAMES) {
    const isThere = settings[name] === undefined && existsSync(join(folder.path, 'secrets', SOURCES[name].file))
    if (isThere) generated.set(factOf(name), generatedSecret(folder, SOURCES[name].file))
  }
  const keyEncryptionKey = settings.keyEncryptionKey ?? generated.get(factOf('keyEncryptionKey'))
  if (keyEncryptionKey === undefined) {
    throw new SettingsError(['EVC_KEY_ENCRYPTION_KEY is required: it was not generated into this data folder'])
  }
  // In production a secret is given to each instance, and never lies in the database.
  return { keyEncryptionKey: Buffer.from(keyEncryptionKey), generated: settings.isProduction ? new Map() : generated }
}

function refuseMissing(settings: Settings, names: readonly SecretName[]): void {
  if (!settings.isProduction) return
  const missing = names.filter(name => settings[name] === undefined)
  if (missing.length > 0)
    throw new SettingsError(missing.map(name => `${SOURCES[name].setting} is required in production`))
}

function generatedNames(settings: Settings): string[] {
  return NAMES.filter(name => settings[name] === undefined).map(name => SOURCES[name].setting)
}

const factOf = (name: SecretName) => `generated ${SOURCES[name].file}`

/** Changes are serial, so of instances that start at once the first makes it and the others find it. */
async function generatedIn(transaction: StateTransaction, name: SecretName): Promise<string> {
  const fact = factOf(name)
  const known = await transaction.meta(fact)
  if (known !== undefined) return known
  const made = randomBytes(32).toString('hex')
  await transaction.putMeta(fact, made)
  return made
}

async function isAnother(transaction: StateTransaction, tokenSecret: Uint8Array): Promise<boolean> {
  const check = createHash('sha256').update('ev-central token secret check v1 ').update(tokenSecret).digest('hex')
  const known = await transaction.meta('token_secret_check')
  if (known !== check) await transaction.putMeta('token_secret_check', check)
  return known !== undefined && known !== check
}
