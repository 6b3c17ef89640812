/** The real service in this process, on a port and in a data folder of its own, and one admin of each role. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { pino } from 'pino'
import { createAuditService } from '../../src/audit/audit-service.ts'
import { createDetector } from '../../src/audit/detector.ts'
import { readKeyChain } from '../../src/checkpoint/key-files.ts'
import type { StoredEvent } from '../../src/event/event.ts'
import { parseKeyChain } from '../../src/evidence/key-chain.ts'
import { formatVerifierKey } from '../../src/evidence/note.ts'
import { createSecurity } from '../../src/security/create-security.ts'
import type { Role, Security } from '../../src/security/security.ts'
import { createSqliteSecurityState } from '../../src/security/sqlite-security-state.ts'
import { startCentral } from '../../src/service/central.ts'
import { prepareSharedAt } from '../../src/service/shared-database.ts'
import { openSharedState } from '../../src/service/shared-state.ts'
import { readSettings } from '../../src/settings/settings.ts'
import { type PostgresServer, sharedPostgres } from '../harness/postgres.ts'
import { runtimeUrl } from '../harness/runtime-role.ts'

const ADMIN_KEY = 'first-admin-key-0123456789abcdef0123456789'
export const KEY_ENCRYPTION_KEY = 'key-encryption-key-of-the-tests-0123456789'

export interface TestCentral {
  readonly url: string
  readonly port: number
  readonly dataDir: string
  readonly keys: Readonly<Record<Role, string>>
  /** The security stage beside the service, as the command line has it: for what has no route. */
  readonly security: Security
  /** What the service logged so far. */
  log(): string
  send(method: string, path: string, options?: RequestOptions): Promise<Answer>
  /** All events of a request, oldest first, once everything recorded before is visible. */
  eventsOf(requestId: string): Promise<StoredEvent[]>
  /** Bytes as they are, on a connection of their own; resolves with what came back when it is closed. */
  raw(chunks: readonly (string | Buffer)[], options?: { patienceMs?: number }): Promise<string>
  /** A registered charge point with its credentials, which nobody else uses. */
  chargePoint(): Promise<{ cpId: string; credentials: string }>
  /** Takes the charge points away under the service: what then happens nobody foresaw. */
  breakSecurityState(): Promise<void>
  /** The verifier key of the log. */
  logKey(): string
  /** Somebody with the files changes who did it. */
  changeRow(id: number): void
  /** A client address that nobody else uses. */
  address(): string
  /** Ends the service; `start` begins another process's worth of it, over the same folder and at the same address. */
  stop(): Promise<void>
  start(): Promise<void>
  close(): Promise<void>
}

export interface RequestOptions {
  readonly as?: Role
  readonly body?: unknown
  /** Sent as it is, in place of `body`. */
  readonly text?: string | Buffer
  readonly headers?: Record<string, string>
  /** Client address, as the trusted proxy in front would name it. */
  readonly from?: string
}

export interface Answer {
  readonly status: number
  readonly headers: Headers
  readonly requestId: string
  readonly text: string
  /** The body, parsed. */
  // biome-ignore lint/suspicious/noExplicitAny: tests look into it
  readonly body: any
}

/** Set by on-postgres.test.ts, which runs files of this folder a second time: every service gets a database of its own. */
const server = process.env.EVC_TEST_STORE === 'postgres' ? sharedPostgres() : undefined
/** When all services are closed. */
export const stopPostgres = () => server?.stop()
/** For tests that open a file of the data folder, or of what the embedded SQLite alone has. */
export const ONLY_SQLITE = server === undefined ? false : 'with the embedded SQLite only'

/** @param shared the keys of an instance before this one on the same database */
export async function startTestCentral(
  environment: Record<string, string> = {},
  shared?: TestCentral['keys'],
): Promise<TestCentral> {
  const dataDir = mkdtempSync(join(tmpdir(), 'evc-http-'))
  const owner = await server?.createDatabase()
  const lines: string[] = []
  const logger = pino({ level: 'info' }, { write: line => lines.push(line) })
  const settings = readSettings({
    EVC_PORT: '0',
    EVC_DATA_DIR: dataDir,
    EVC_ADMIN_KEY: ADMIN_KEY,
    EVC_KEY_ENCRYPTION_KEY: KEY_ENCRYPTION_KEY,
    EVC_TRUSTED_PROXIES: '127.0.0.1',
    ...(owner !== undefined && { EVC_DATABASE_URL: await asInstance(owner) }),
    ...environment,
  })
  let central = await startCentral(settings, logger)
  const { security, close: closeSecurity } = await securityBeside(central.folder.securityDatabase, settings)
  const founder = { name: 'admin', role: 'admin' } as const
  const keys = shared ?? {
    admin: ADMIN_KEY,
    operator: (await security.admins.add('olga', 'operator', founder)).key,
    auditor: (await security.admins.add('aldo', 'auditor', founder)).key,
  }
  const sharedKey = server === undefined ? undefined : await sharedLogKey(server, settings.databaseUrl)
  const { url } = central
  const port = Number(new URL(url).port)
  let serial = 0

  const send: TestCentral['send'] = async (method, path, options = {}) => {
    const { as, body, text, from } = options
    const isJson = body !== undefined || text !== undefined
    const response = await fetch(url + path, {
      method,
      headers: {
        ...(isJson ? { 'content-type': 'application/json' } : {}),
        ...(as === undefined ? {} : { 'x-admin-key': keys[as] }),
        ...(from === undefined ? {} : { 'x-forwarded-for': from }),
        ...options.headers,
      },
      ...(isJson ? { body: text ?? JSON.stringify(body) } : {}),
    } as RequestInit)
    return answer(response)
  }

  /** Rows are written in the order of recording, so when this request's own event is there, all earlier ones are. */
  async function caughtUp(): Promise<void> {
    const { requestId } = await send('GET', '/audit/events?limit=1', { as: 'auditor' })
    await eventually(async () => (await query(`request_id=${requestId}`)).length > 0)
  }

  async function query(filter: string): Promise<StoredEvent[]> {
    return (await send('GET', `/audit/events?order=asc&limit=1000&${filter}`, { as: 'auditor' })).body.events
  }

  return {
    url,
    port,
    dataDir,
    keys,
    security,
    log: () => lines.join(''),
    send,
    async eventsOf(requestId) {
      await caughtUp()
      return query(`request_id=${requestId}`)
    },
    raw: (chunks, { patienceMs = 5_000 } = {}) => exchange(port, chunks, patienceMs),
    async chargePoint() {
      const cpId = `CP-${++serial}`
      const { body } = await send('POST', '/charge-points', { as: 'operator', body: { cp_id: cpId } })
      return { cpId, credentials: body.credentials }
    },
    async breakSecurityState() {
      const sql = 'ALTER TABLE charge_points RENAME TO gone'
      if (server !== undefined) return void (await server.run(owner ?? '', sql))
      const database = new DatabaseSync(central.folder.securityDatabase)
      database.exec(sql)
      database.close()
    },
    logKey: () => sharedKey ?? formatVerifierKey((readKeyChain({ log: central.folder.log }) ?? assert.fail()).first),
    changeRow(id) {
      const database = new DatabaseSync(central.folder.auditDatabase, { timeout: 5_000 })
      database.prepare("UPDATE audit_events SET who = 'somebody' WHERE id = ?").run(id)
      database.close()
    },
    address: () => `10.${(++serial >> 8) & 255}.${serial & 255}.1`,
    stop: () => central.stop(),
    async start() {
      central = await startCentral({ ...settings, port }, logger)
    },
    async close() {
      await closeSecurity()
      await central.stop()
      rmSync(dataDir, { recursive: true })
    },
  }
}

/** With the rights of an instance, on tables that their owner made. */
async function asInstance(owner: string): Promise<string> {
  const url = await runtimeUrl(server as PostgresServer, owner)
  await prepareSharedAt(owner)
  return url
}

async function sharedLogKey(server: PostgresServer, url = ''): Promise<string> {
  let found: { chain: string }[] = []
  await eventually(async () => {
    found = await server.run<{ chain: string }>(url, 'SELECT chain FROM log_key_chain').catch(() => [])
    return found.length > 0
  })
  return formatVerifierKey((parseKeyChain(found[0]?.chain ?? '') ?? assert.fail()).first)
}

async function answer(response: Response): Promise<Answer> {
  const text = await response.text()
  const isJson = /[/+]json/.test(response.headers.get('content-type') ?? '')
  return {
    status: response.status,
    headers: response.headers,
    requestId: response.headers.get('x-request-id') ?? '',
    text,
    body: isJson && text !== '' ? JSON.parse(text) : undefined,
  }
}

async function securityBeside(path: string, settings: ReturnType<typeof readSettings>) {
  const logger = pino({ level: 'silent' })
  const audit = createAuditService({
    journal: {
      append: () => {
        throw new Error('only the service writes the journal; events wait in the outbox for it')
      },
      acknowledged: async () => 'late',
    },
    detector: createDetector({ threshold: 5, windowMs: 1 }),
    logger,
    windowSeconds: 600,
  })
  const { databaseUrl } = settings
  const state = databaseUrl === undefined ? createSqliteSecurityState({ path }) : await openSharedState(databaseUrl)
  const secrets = { tokenSecret: Buffer.alloc(32), keyEncryptionKey: Buffer.from(KEY_ENCRYPTION_KEY) }
  const security = await createSecurity({ state, audit, secrets, settings, logger })
  return {
    security,
    async close() {
      await security.close()
      await state.close()
    },
  }
}

function exchange(port: number, chunks: readonly (string | Buffer)[], patienceMs: number): Promise<string> {
  const { promise, resolve } = Promise.withResolvers<string>()
  const socket = connect(port, '127.0.0.1')
  let received = ''
  const patience = setTimeout(() => socket.destroy(), patienceMs)
  socket.on('data', data => {
    received += data
  })
  socket.on('error', () => {})
  socket.on('close', () => {
    clearTimeout(patience)
    resolve(received)
  })
  for (const chunk of chunks) socket.write(chunk)
  return promise
}

/** Asks again until it holds, after 10 ms at first and less often later, as asking is work too; fails after a while. */
export async function eventually(
  holds: () => Promise<boolean> | boolean,
  patienceMs = 20_000,
  pauseMsMax = 50,
): Promise<void> {
  const deadline = performance.now() + patienceMs
  for (let pauseMs = Math.min(10, pauseMsMax); !(await holds()); pauseMs = Math.min(pauseMs * 1.5, pauseMsMax)) {
    assert.ok(performance.now() < deadline, 'it did not come to hold in time')
    await new Promise(resolve => setTimeout(resolve, pauseMs))
  }
}

/** The problem document of an answer, checked for what every one has. */
export function problemOf(answer: Answer, status: number, code: string) {
  assert.equal(answer.status, status, answer.text)
  assert.equal(answer.headers.get('content-type'), 'application/problem+json')
  const { body } = answer
  assert.equal(body.code, code)
  assert.equal(body.status, status)
  assert.equal(body.type, `urn:ev-central:error:${code}`)
  assert.equal(body.request_id, answer.requestId)
  assert.ok(body.title.length > 0 && body.detail.length > 0)
  return body
}
