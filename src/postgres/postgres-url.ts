/**
 * `postgres://user:password@host:port/database?sslmode=verify-full` as the driver's settings. Strict where the driver is lax: a
 * misspelt or unknown option is refused, as one that is silently ignored may have been the one that asked for TLS.
 *
 *   sslmode       disable (the default), require (encrypted, the certificate is not looked at unless sslrootcert is given),
 *                 verify-ca, verify-full; as in libpq. `allow` and `prefer` are refused: they fall back to plain text.
 *   sslrootcert, sslcert, sslkey   files in PEM; without sslrootcert the authorities that Node knows are trusted
 *   application_name   shown in pg_stat_activity
 */
import { readFileSync } from 'node:fs'
import type { ConnectionOptions } from 'node:tls'

export interface PostgresAddress {
  readonly host: string
  readonly port: number
  readonly user: string
  /** Undefined: the driver looks into PGPASSWORD and the password file. */
  readonly password: string | undefined
  readonly database: string
  readonly ssl: ConnectionOptions | false
  readonly applicationName: string | undefined
}

const OPTIONS = new Set(['sslmode', 'sslrootcert', 'sslcert', 'sslkey', 'application_name'])
const PORT = 5432

export const isPostgresUrl = (text: string): boolean => /^postgres(?:ql)?:\/\//.test(text)

/** @throws {Error} with a message that does not show the password. */
export function parsePostgresUrl(text: string): PostgresAddress {
  if (/@[^/?#@]*,/.test(text)) throw new Error('names several hosts, and has to name one')
  if (!isPostgresUrl(text) || !URL.canParse(text))
    throw new Error('must be postgres://user:password@host:port/database')
  const url = new URL(text)
  const options = new Map(url.searchParams)
  if (options.size < url.searchParams.size) throw new Error('gives an option twice')
  if (url.hash !== '') throw new Error('has a # in it, which is written %23')
  for (const name of options.keys()) {
    if (OPTIONS.has(name)) continue
    // Behind a `?` that was not escaped there may be a part of the password.
    const which = /^[a-z_]{1,32}$/.test(name) && !text.slice(text.indexOf('?')).includes('@') ? ` ${name}` : ''
    throw new Error(`has an unknown option${which}; known are ${[...OPTIONS].join(', ')}`)
  }
  const database = decode(url.pathname.slice(1))
  if (url.username === '' || url.hostname === '' || database === '' || database.includes('/')) {
    throw new Error('must name a user, a host and a database: postgres://user:password@host:port/database')
  }
  return {
    host: decode(url.hostname).replace(/^\[(.+)\]$/, '$1'),
    port: url.port === '' ? PORT : Number(url.port),
    user: decode(url.username),
    password: url.password === '' ? undefined : decode(url.password),
    database,
    ssl: tlsOptions(options),
    applicationName: options.get('application_name'),
  }
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part)
  } catch {
    throw new Error('has a % that begins no escape; the character itself is written %25')
  }
}

/** The address without its password, for messages. */
export function formatPostgresAddress({ host, port, user, database }: PostgresAddress): string {
  return `postgres://${encodeURIComponent(user)}@${host.includes(':') ? `[${host}]` : host}:${port}/${encodeURIComponent(database)}`
}

function tlsOptions(options: ReadonlyMap<string, string>): ConnectionOptions | false {
  const mode = options.get('sslmode') ?? 'disable'
  const ca = pem(options, 'sslrootcert')
  const cert = pem(options, 'sslcert')
  const key = pem(options, 'sslkey')
  const files = {
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
  }
  if (mode === 'disable') {
    if (Object.keys(files).length > 0) throw new Error('gives certificates, and no sslmode that uses them')
    return false
  }
  if (mode === 'verify-full') return files
  const anyName = { checkServerIdentity: () => undefined }
  if (mode === 'verify-ca' || (mode === 'require' && ca !== undefined)) {
    if (ca === undefined) throw new Error('has sslmode=verify-ca, which needs sslrootcert')
    return { ...files, ...anyName }
  }
  if (mode === 'require') return { ...files, rejectUnauthorized: false }
  throw new Error('has an unknown sslmode; known are disable, require, verify-ca and verify-full')
}

function pem(options: ReadonlyMap<string, string>, name: string): string | undefined {
  const path = options.get(name)
  if (path === undefined) return undefined
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (error) {
    throw new Error(`names a file as ${name} that cannot be read (${(error as NodeJS.ErrnoException).code})`)
  }
  if (!text.includes('-----BEGIN ')) throw new Error(`names a file as ${name} that is not in PEM`)
  return text
}
