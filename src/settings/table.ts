/**
 * Every setting, as one table: name, meaning, default, how it is parsed, and what whoever reads its value could do.
 * docs/settings.md is generated from here.
 */
import { parseTrustedProxies } from '../context/client-address.ts'
import { parseVerifierKey, SIGNATURE_TYPE, type VerifierKey } from '../evidence/note.ts'
import { LIMITS } from '../limits.ts'
import { parsePostgresUrl } from '../postgres/postgres-url.ts'

export interface Setting<T> {
  readonly description: string
  /** Text of the default as the reference page shows it. */
  readonly defaultText: string
  readonly fallback: T
  /** Throws with a message that says the rule and never repeats the value. */
  readonly parse: (text: string) => T
  /** For secrets: what a person who reads it could do. May also be given as `<NAME>_FILE`. */
  readonly secret?: string
}

function setting<T>(entry: Setting<T>): Setting<T> {
  return entry
}

function text(charactersMax: number): (value: string) => string {
  return value => {
    if (value === '' || value.length > charactersMax) throw new Error(`must be 1 to ${charactersMax} characters`)
    return value
  }
}

function secretText(charactersMin: number): (value: string) => string {
  return value => {
    if (value.length < charactersMin || value.length > 1024)
      throw new Error(`must be ${charactersMin} to 1024 characters`)
    return value
  }
}

function integer(min: number, max: number): (value: string) => number {
  return value => {
    if (!/^\d{1,12}$/.test(value) || Number(value) < min || Number(value) > max) {
      throw new Error(`must be a whole number from ${min} to ${max}`)
    }
    return Number(value)
  }
}

function oneOf<const T extends string>(...values: T[]): (value: string) => T {
  return value => {
    const found = values.find(known => known === value)
    if (found === undefined) throw new Error(`must be one of ${values.join(', ')}`)
    return found
  }
}

function cidrList(value: string): readonly string[] {
  const entries = value
    .split(',')
    .map(entry => entry.trim())
    .filter(entry => entry !== '')
  try {
    parseTrustedProxies(entries)
  } catch {
    throw new Error('must be a comma list of addresses or CIDR blocks')
  }
  return entries
}

/** Classes of changes that may be strict; the security stage says what belongs to each (failure-policy.ts). */
const CHANGE_CLASSES = ['keys', 'status', 'admin'] as const
type ChangeClass = (typeof CHANGE_CLASSES)[number]

function changeClasses(value: string): readonly ChangeClass[] {
  const names = value.split(',').map(name => name.trim())
  const isKnown = (name: string) => name === '' || CHANGE_CLASSES.some(known => known === name)
  if (!names.every(isKnown)) throw new Error(`must be a comma list of ${CHANGE_CLASSES.join(', ')}`)
  return CHANGE_CLASSES.filter(known => names.includes(known))
}

function logOrigin(value: string): string {
  if (!/^[\x21-\x2a\x2c-\x7e]{1,255}$/.test(value))
    throw new Error('must be 1 to 255 printable ASCII characters without spaces and +')
  return value
}

/** Who is asked to cosign, and whose cosignature counts. */
interface ConfiguredWitness {
  readonly url: string
  readonly key: VerifierKey
}

function witnessList(value: string): readonly ConfiguredWitness[] {
  const entries = value.split(',').map(entry => entry.trim())
  const witnesses = entries.filter(entry => entry !== '').map(witness)
  const names = new Set(witnesses.map(({ key }) => key.name))
  if (names.size < witnesses.length) throw new Error('must not name a witness twice')
  if (names.size > LIMITS.witnessesMax) throw new Error(`must name at most ${LIMITS.witnessesMax} witnesses`)
  return witnesses
}

function witness(entry: string): ConfiguredWitness {
  const [url = '', keyText = '', ...rest] = entry.split('|')
  const key = rest.length === 0 ? parseVerifierKey(keyText) : undefined
  if (!isWitnessUrl(url) || key === undefined || key.type === SIGNATURE_TYPE.ed25519) {
    throw new Error(
      'must be a comma list of url|verifier key: an http or https address without user, query and fragment, and the key of a witness',
    )
  }
  return { url, key }
}

function isWitnessUrl(text: string): boolean {
  if (text.length > LIMITS.witnessUrlCharactersMax || !URL.canParse(text)) return false
  const { protocol, username, password } = new URL(text)
  return /^https?:$/.test(protocol) && username === '' && password === '' && !/[?#\s]/.test(text)
}

function databaseUrl(value: string): string {
  parsePostgresUrl(value)
  return value
}

function adminKey(value: string): string {
  const { adminKeyCharactersMin: min, adminKeyCharactersMax: max } = LIMITS
  if (value.length < min || value.length > max) throw new Error(`must be ${min} to ${max} characters`)
  if (!/^[\x21-\x7e]+$/.test(value))
    throw new Error('must be printable ASCII without spaces, as it travels in a header')
  return value
}

export const SETTINGS = {
  EVC_HOST: setting({
    description: 'Address to listen on.',
    defaultText: '127.0.0.1',
    fallback: '127.0.0.1',
    parse: text(255),
  }),
  EVC_PORT: setting({
    description: 'Port to listen on; 0 takes a free one.',
    defaultText: '8080',
    fallback: 8080,
    parse: integer(0, 65_535),
  }),
  EVC_DATA_DIR: setting({
    description:
      'Folder of the journal, the databases and generated secrets; with PostgreSQL of the journal, archives and the newest checkpoint.',
    defaultText: './data',
    fallback: './data',
    parse: text(1024),
  }),
  EVC_DATABASE_URL: setting<string | undefined>({
    description:
      '`postgres://user:password@host:port/database`: events, log and security state are in this PostgreSQL, shared by all instances that name it; each has a data folder of its own for its journal. Unset: the embedded SQLite in the data folder. See [instances.md](instances.md).',
    defaultText: 'none',
    fallback: undefined,
    parse: databaseUrl,
    secret: 'read and change everything the database role may',
  }),
  EVC_STATE_TRUST_SECONDS: setting({
    description:
      'With PostgreSQL: how long logins and admins are answered from the copy of the security state in memory while the database cannot be read. Past it they are refused (503), so nothing that was revoked elsewhere stays accepted for longer.',
    defaultText: '120',
    fallback: 120,
    parse: integer(1, 86_400),
  }),
  EVC_ADMIN_KEY: setting<string | undefined>({
    description: 'Key of the first admin, named `admin`. A changed value replaces that key at the next start.',
    defaultText: 'generated at the first start in development and shown once; required in production',
    fallback: undefined,
    parse: adminKey,
    secret: 'do everything an admin can',
  }),
  EVC_TOKEN_SECRET: setting<string | undefined>({
    description: 'Signs the tokens of charge points.',
    defaultText: 'generated in development, into the data folder or the database; required in production',
    fallback: undefined,
    parse: secretText(32),
    secret: 'log in as any charge point',
  }),
  EVC_KEY_ENCRYPTION_KEY: setting<string | undefined>({
    description:
      'Wraps the stored keys, with PostgreSQL also those that sign checkpoints, and keys the hashes of credentials. Changing it makes all of them unreadable.',
    defaultText: 'generated in development, into the data folder or the database; required in production',
    fallback: undefined,
    parse: secretText(32),
    secret: 'with the database, read every charge point key, and with PostgreSQL sign checkpoints',
  }),
  EVC_TOKEN_TTL_SECONDS: setting({
    description: 'Life of a token, in seconds.',
    defaultText: '86400',
    fallback: 86_400,
    parse: integer(1, 31_536_000),
  }),
  EVC_TRUSTED_PROXIES: setting<readonly string[]>({
    description: 'Comma list of addresses and CIDR blocks whose X-Forwarded-For is believed.',
    defaultText: 'none',
    fallback: [],
    parse: cidrList,
  }),
  EVC_BRUTE_FORCE_THRESHOLD: setting({
    description: 'Failures within the window that make an incident.',
    defaultText: '5',
    fallback: 5,
    parse: integer(1, 1_000),
  }),
  EVC_BRUTE_FORCE_WINDOW_SECONDS: setting({
    description: 'Length of the brute-force window, in seconds.',
    defaultText: '600',
    fallback: 600,
    parse: integer(1, 86_400),
  }),
  EVC_ACK_TIMEOUT_MS: setting({
    description: 'How long an answer waits for its events to be on disk, in milliseconds.',
    defaultText: '100',
    fallback: 100,
    parse: integer(1, 60_000),
  }),
  EVC_STRICT_EVENTS: setting<readonly ChangeClass[]>({
    description:
      'Comma list of `keys`, `status`, `admin`: changes of these classes are refused (503 `AUDIT_UNAVAILABLE`, nothing changed) while the journal cannot be written. `admin` is admins, registration, deletion and credentials of charge points. Those not named go on, and their events wait.',
    defaultText: 'none',
    fallback: [],
    parse: changeClasses,
  }),
  EVC_POSITION_FILE: setting<string | undefined>({
    description:
      'File on another disk where the service notes how far it is. A data folder that is older refuses to start. Without it the note lies in the data folder, and what is older there is only put on record. Refused with PostgreSQL.',
    defaultText: 'none',
    fallback: undefined,
    parse: text(1024),
  }),
  EVC_LOG_ORIGIN: setting<string | undefined>({
    description:
      'Name of the log in its checkpoints, best a host name and path without scheme. Another one than before begins the checkpoints and keys of a new log; those of the old one are kept beside it. With PostgreSQL another one is refused.',
    defaultText: 'made up at the first start and kept',
    fallback: undefined,
    parse: logOrigin,
  }),
  EVC_LOG_ML_DSA: setting({
    description:
      '`true`: checkpoints carry a second signature, ML-DSA-44 (FIPS 204), for the time when a quantum computer can forge Ed25519. Changing it hands over to new keys, on record. Needs Node 24.7 or later with OpenSSL 3.5. Instances that share a database should have the same: the log follows when all agree.',
    defaultText: 'false',
    fallback: false,
    parse: value => oneOf('true', 'false')(value) === 'true',
  }),
  EVC_LOG_PUBLIC: setting({
    description:
      '`true`: checkpoints, tiles, consistency proofs and the keys of the log, which hold no personal data, are given to everybody. `false`: to any role.',
    defaultText: 'false',
    fallback: false,
    parse: value => oneOf('true', 'false')(value) === 'true',
  }),
  EVC_SELF_CHECK_PERCENT: setting({
    description:
      'Share of one core that is spent on reading the trail again, every row against its leaf in the log, round and round. 0: not at all. With PostgreSQL one instance at a time does it; the time of the server counts.',
    defaultText: '5',
    fallback: 5,
    parse: integer(0, 100),
  }),
  EVC_WITNESSES: setting<readonly ConfiguredWitness[]>({
    description:
      'Witnesses that are asked to cosign each checkpoint of the log, as a comma list of `url|verifier key`: the address before `/add-checkpoint`, and the key that the witness shows. See [witness.md](witness.md).',
    defaultText: 'none',
    fallback: [],
    parse: witnessList,
  }),
  EVC_WITNESS_QUORUM: setting({
    description:
      'How many of the witnesses have to cosign before the service counts as ready. 0: cosignatures are collected, and not waited for.',
    defaultText: '0',
    fallback: 0,
    parse: integer(0, LIMITS.witnessesMax),
  }),
  EVC_RETENTION_DAYS: setting<number | undefined>({
    description:
      'Segments of the event database (with PostgreSQL: partitions) whose newest event is older than so many days leave as archives, once a day. Unset: events are kept for ever.',
    defaultText: 'none',
    fallback: undefined,
    parse: integer(1, 36_500),
  }),
  EVC_TLS_CERT: setting<string | undefined>({
    description: 'File of the TLS certificate chain (PEM). With EVC_TLS_KEY: serve HTTPS only.',
    defaultText: 'none',
    fallback: undefined,
    parse: text(1024),
  }),
  EVC_TLS_KEY: setting<string | undefined>({
    description: 'File of the TLS private key (PEM).',
    defaultText: 'none',
    fallback: undefined,
    parse: text(1024),
  }),
  EVC_LOG_LEVEL: setting({
    description: 'fatal, error, warn, info, debug, trace or silent.',
    defaultText: 'info',
    fallback: 'info' as const,
    parse: oneOf('fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent') as (value: string) => string,
  }),
} as const

export type SettingName = keyof typeof SETTINGS
