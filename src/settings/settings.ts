/**
 * Settings: read once, from the environment or a JSON file named by EVC_CONFIG (the environment wins), refused whole
 * with every problem listed, then frozen. Unknown `EVC_` names are problems, so a misspelt one cannot pass.
 * No message repeats a value, as any value might be a secret in the wrong place.
 */
import { readFileSync } from 'node:fs'
import { SETTINGS, type Setting, type SettingName } from './table.ts'

export interface Settings {
  readonly host: string
  readonly port: number
  readonly dataDir: string
  /** Undefined: the embedded SQLite. Holds a password. */
  readonly databaseUrl: string | undefined
  readonly stateTrustSeconds: number
  readonly adminKey: string | undefined
  readonly tokenSecret: string | undefined
  readonly keyEncryptionKey: string | undefined
  readonly tokenTtlSeconds: number
  readonly trustedProxies: readonly string[]
  readonly bruteForceThreshold: number
  readonly bruteForceWindowSeconds: number
  readonly ackTimeoutMs: number
  readonly strictEvents: (typeof SETTINGS)['EVC_STRICT_EVENTS']['fallback']
  readonly positionFile: string | undefined
  readonly logOrigin: string | undefined
  readonly logMlDsa: boolean
  readonly isLogPublic: boolean
  readonly selfCheckPercent: number
  readonly witnesses: (typeof SETTINGS)['EVC_WITNESSES']['fallback']
  /** At most the number of witnesses. */
  readonly witnessQuorum: number
  readonly retentionDays: number | undefined
  readonly tlsCertFile: string | undefined
  readonly tlsKeyFile: string | undefined
  readonly logLevel: string
  /** NODE_ENV=production: nothing is generated, what is missing is a problem. */
  readonly isProduction: boolean
}

export class SettingsError extends Error {
  override readonly name = 'SettingsError'
  readonly problems: readonly string[]
  constructor(problems: readonly string[]) {
    super(`the settings are not valid:\n${problems.map(problem => `  - ${problem}`).join('\n')}`)
    this.problems = problems
  }
}

type Environment = Readonly<Record<string, string | undefined>>

/** @throws {SettingsError} with every problem found. */
export function readSettings(environment: Environment): Settings {
  const problems: string[] = []
  const given = gather(environment, problems)
  const value = <K extends SettingName>(name: K): (typeof SETTINGS)[K]['fallback'] => {
    const entry = SETTINGS[name] as Setting<(typeof SETTINGS)[K]['fallback']>
    const text = given.get(name)
    if (text === undefined) return entry.fallback
    try {
      return entry.parse(text)
    } catch (error) {
      problems.push(`${name} ${error instanceof Error ? error.message : 'is not valid'}`)
      return entry.fallback
    }
  }
  const settings: Settings = {
    host: value('EVC_HOST'),
    port: value('EVC_PORT'),
    dataDir: value('EVC_DATA_DIR'),
    databaseUrl: value('EVC_DATABASE_URL'),
    stateTrustSeconds: value('EVC_STATE_TRUST_SECONDS'),
    adminKey: value('EVC_ADMIN_KEY'),
    tokenSecret: value('EVC_TOKEN_SECRET'),
    keyEncryptionKey: value('EVC_KEY_ENCRYPTION_KEY'),
    tokenTtlSeconds: value('EVC_TOKEN_TTL_SECONDS'),
    trustedProxies: value('EVC_TRUSTED_PROXIES'),
    bruteForceThreshold: value('EVC_BRUTE_FORCE_THRESHOLD'),
    bruteForceWindowSeconds: value('EVC_BRUTE_FORCE_WINDOW_SECONDS'),
    ackTimeoutMs: value('EVC_ACK_TIMEOUT_MS'),
    strictEvents: value('EVC_STRICT_EVENTS'),
    positionFile: value('EVC_POSITION_FILE'),
    logOrigin: value('EVC_LOG_ORIGIN'),
    logMlDsa: value('EVC_LOG_ML_DSA'),
    isLogPublic: value('EVC_LOG_PUBLIC'),
    selfCheckPercent: value('EVC_SELF_CHECK_PERCENT'),
    witnesses: value('EVC_WITNESSES'),
    witnessQuorum: value('EVC_WITNESS_QUORUM'),
    retentionDays: value('EVC_RETENTION_DAYS'),
    tlsCertFile: value('EVC_TLS_CERT'),
    tlsKeyFile: value('EVC_TLS_KEY'),
    logLevel: value('EVC_LOG_LEVEL'),
    isProduction: environment.NODE_ENV === 'production',
  }
  if ((settings.tlsCertFile === undefined) !== (settings.tlsKeyFile === undefined)) {
    problems.push('EVC_TLS_CERT and EVC_TLS_KEY go together')
  }
  if (settings.databaseUrl !== undefined && settings.positionFile !== undefined) {
    problems.push('EVC_POSITION_FILE is for the embedded SQLite: PostgreSQL knows how far each journal is')
  }
  if (settings.witnessQuorum > settings.witnesses.length) {
    problems.push('EVC_WITNESS_QUORUM must be at most the number of EVC_WITNESSES')
  }
  if (problems.length > 0) throw new SettingsError(problems)
  return Object.freeze(settings)
}

/** All given texts by setting name, from the file, the environment and `_FILE` variables. */
function gather(environment: Environment, problems: string[]): Map<SettingName, string> {
  const given = new Map<SettingName, string>()
  const file = environment.EVC_CONFIG
  const sources = [file === undefined ? {} : readConfigFile(file, problems), environment]
  for (const source of sources) {
    for (const [name, text] of Object.entries(source)) {
      if (!name.startsWith('EVC_') || text === undefined || name === 'EVC_CONFIG') continue
      if (isSettingName(name) && source[`${name}_FILE`] !== undefined) {
        problems.push(`${name} is given twice: also as ${name}_FILE`) // which of them counts would be up to their order
      }
      take(name, text, given, problems)
    }
  }
  return given
}

function take(name: string, text: string, given: Map<SettingName, string>, problems: string[]): void {
  if (isSettingName(name)) {
    given.set(name, text)
    return
  }
  const base = name.replace(/_FILE$/, '')
  if (!isSettingName(base) || !('secret' in SETTINGS[base])) {
    problems.push(`${name} is not a setting`)
    return
  }
  try {
    given.set(base, readFileSync(text, 'utf8').replace(/\r?\n$/, ''))
  } catch {
    problems.push(`${name} names a file that cannot be read`)
  }
}

function isSettingName(name: string): name is SettingName {
  return Object.hasOwn(SETTINGS, name)
}

function readConfigFile(file: string, problems: string[]): Record<string, string> {
  let content: unknown
  try {
    content = JSON.parse(readFileSync(file, 'utf8'))
  } catch {
    problems.push('EVC_CONFIG names a file that cannot be read as JSON')
    return {}
  }
  if (typeof content !== 'object' || content === null || Array.isArray(content)) {
    problems.push('EVC_CONFIG names a file that does not hold a JSON object')
    return {}
  }
  const texts: Record<string, string> = {}
  for (const [name, value] of Object.entries(content)) {
    if (!name.startsWith('EVC_')) problems.push('the file named by EVC_CONFIG holds a name that is not a setting')
    else if (typeof value === 'string' || typeof value === 'number') texts[name] = String(value)
    else if (Array.isArray(value) && value.every(item => typeof item === 'string')) texts[name] = value.join(',')
    else problems.push(`${name} must be a text or a number`)
  }
  return texts
}
