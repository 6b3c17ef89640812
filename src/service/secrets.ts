/** The deployment's secrets: given by settings, or in development generated into the data folder. None has a default. */
import { type Settings, SettingsError } from '../settings/settings.ts'
import { type DataFolder, generatedSecret } from './data-folder.ts'

export interface Secrets {
  readonly tokenSecret: Uint8Array
  readonly keyEncryptionKey: Uint8Array
  /** Settings whose values were generated into the data folder. */
  readonly generated: readonly string[]
}

const SOURCES = {
  tokenSecret: { setting: 'EVC_TOKEN_SECRET', file: 'token-secret' },
  keyEncryptionKey: { setting: 'EVC_KEY_ENCRYPTION_KEY', file: 'key-encryption-key' },
} as const
type SecretName = keyof typeof SOURCES

/** @throws {SettingsError} in production, naming all that are missing. */
export function readSecrets(settings: Settings, folder: DataFolder): Secrets {
  refuseMissing(settings, ['tokenSecret', 'keyEncryptionKey'])
  const isGenerated = (name: SecretName) => settings[name] === undefined
  return {
    tokenSecret: secret('tokenSecret', settings, folder),
    keyEncryptionKey: secret('keyEncryptionKey', settings, folder),
    generated: (['tokenSecret', 'keyEncryptionKey'] as const).filter(isGenerated).map(name => SOURCES[name].setting),
  }
}

/** For whoever changes the security state beside the server, and needs no more than this. @throws {SettingsError} */
export function readKeyEncryptionKey(settings: Settings, folder: DataFolder): Uint8Array {
  refuseMissing(settings, ['keyEncryptionKey'])
  return secret('keyEncryptionKey', settings, folder)
}

function refuseMissing(settings: Settings, names: readonly SecretName[]): void {
  if (!settings.isProduction) return
  const missing = names.filter(name => settings[name] === undefined)
  if (missing.length > 0)
    throw new SettingsError(missing.map(name => `${SOURCES[name].setting} is required in production`))
}

function secret(name: SecretName, settings: Settings, folder: DataFolder): Uint8Array {
  return Buffer.from(settings[name] ?? generatedSecret(folder, SOURCES[name].file))
}
