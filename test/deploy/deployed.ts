/** What the files of deploy/ are held against: the settings table as the service reads it, and the routes of a service that runs. */
import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { startCentral } from '../../src/service/central.ts'
import { readSettings, type Settings } from '../../src/settings/settings.ts'

export const ROOT = join(import.meta.dirname, '..', '..')
export const read = (...path: string[]) => readFileSync(join(ROOT, ...path), 'utf8')

/** Secrets as the files would hold them, by setting. */
const SECRETS: Record<string, string> = {
  EVC_ADMIN_KEY: 'admin-key-of-the-tests-0123456789abcdef',
  EVC_TOKEN_SECRET: 'token-secret-of-the-tests-0123456789',
  EVC_KEY_ENCRYPTION_KEY: 'key-encryption-key-of-the-tests-0123456789',
  EVC_DATABASE_URL: 'postgres://evc:secret-of-the-tests@postgres:5432/evc',
}

/**
 * The settings as the service would read them from this environment, with files for the secrets that it names.
 * @throws {SettingsError} a name that is no setting, a value that is not valid
 */
export function settingsOf(environment: Readonly<Record<string, string>>): Settings {
  const folder = mkdtempSync(join(tmpdir(), 'evc-deploy-'))
  try {
    const given: Record<string, string> = {}
    for (const [name, value] of Object.entries(environment)) {
      const setting = name.replace(/_FILE$/, '')
      const secret = name.endsWith('_FILE') ? SECRETS[setting] : undefined
      if (secret !== undefined) writeFileSync(join(folder, setting), secret)
      given[name] = secret === undefined ? value : join(folder, setting)
    }
    return readSettings(given)
  } finally {
    rmSync(folder, { recursive: true })
  }
}

/** What a production start asks for is there, and whoever may say a client's address is named. */
export function assertProduction(settings: Settings): void {
  assert.equal(settings.isProduction, true)
  for (const name of ['adminKey', 'tokenSecret', 'keyEncryptionKey'] as const) assert.ok(settings[name], name)
}

/** The statuses of these addresses at a real service. */
export async function statusesOf(paths: Iterable<string>): Promise<Record<string, number>> {
  const folder = mkdtempSync(join(tmpdir(), 'evc-deploy-'))
  const settings = readSettings({ EVC_PORT: '0', EVC_DATA_DIR: folder })
  const central = await startCentral(settings, pino({ level: 'silent' }))
  try {
    const statuses: Record<string, number> = {}
    for (const path of paths) {
      const answer = await fetch(central.url + path)
      await answer.body?.cancel()
      statuses[path] = answer.status
    }
    return statuses
  } finally {
    await central.stop()
    rmSync(folder, { recursive: true })
  }
}
