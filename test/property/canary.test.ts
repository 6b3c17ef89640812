/**
 * No secret is stored, logged or echoed: 10,000 generated requests carry canaries wherever a secret may stand (headers,
 * bodies, query strings, tokens, error messages, nested metadata), as they are and encoded. Afterwards no canary, nor
 * its base64, hex or URL form, is in any file of the data folder, the log, the metrics or an error body.
 */
import assert from 'node:assert/strict'
import { globSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { Agent, request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'
import { pino } from 'pino'
import { createRandom } from '../../bench/generator.ts'
import type { AuditService } from '../../src/audit/audit-service.ts'
import { createContext } from '../../src/context/context.ts'
import { startCentral } from '../../src/service/central.ts'
import { openPipeline } from '../../src/service/pipeline.ts'
import { readSettings } from '../../src/settings/settings.ts'

const REQUESTS = 10_000
const CONNECTIONS = 16
const ADMIN_KEY = 'canary-admin-key-0123456789abcdef0123456789'

/** Every canary begins with these bytes, so each of its encodings begins with a known text too. */
const MARK = 'cNrY/+7'
const ENCODINGS: Record<string, (text: string) => string> = {
  plain: text => text,
  base64: text => Buffer.from(text).toString('base64'),
  hex: text => Buffer.from(text).toString('hex'),
  url: text => encodeURIComponent(text),
}
/** base64 holds 3 bytes in 4 characters, so only whole groups of the mark are certain. */
const TRACES = [MARK, ENCODINGS.base64?.(MARK.slice(0, 6)), ENCODINGS.hex?.(MARK), ENCODINGS.url?.(MARK)] as string[]

const random = createRandom(20_260_101)
const pick = <T>(values: readonly T[]): T => values[Math.floor(random() * values.length)] as T
const canary = () => `${MARK}${random().toString(36).slice(2)}${random().toString(36).slice(2)}`
const encoded = () => (pick(Object.values(ENCODINGS)) as (text: string) => string)(canary())

interface Generated {
  readonly method: string
  readonly path: string
  readonly headers: Record<string, string>
  readonly body?: string
}

const json = { 'content-type': 'application/json' }
const REQUEST_KINDS: (() => Generated)[] = [
  () => ({
    method: 'POST',
    path: '/auth/credentials',
    headers: json,
    body: JSON.stringify({ cp_id: 'CP-1', credentials: encoded() }),
  }),
  () => ({
    method: 'POST',
    path: '/auth/token',
    headers: json,
    body: JSON.stringify({ cp_id: 'CP-1', token: encoded() }),
  }),
  () => ({ method: 'POST', path: `/auth/token?token=${encodeURIComponent(encoded())}`, headers: json, body: '{}' }),
  () => ({ method: 'GET', path: '/audit/events', headers: { 'x-admin-key': encoded() } }),
  () => ({
    method: 'GET',
    path: `/audit/events?${pick(['token', 'who', 'cursor', 'ip'])}=${encodeURIComponent(encoded())}`,
    headers: { cookie: `session=${encoded()}` },
  }),
  () => ({
    method: 'GET',
    path: `/audit/failures?password=${encodeURIComponent(encoded())}`,
    headers: { 'x-admin-key': ADMIN_KEY },
  }),
  () => ({ method: 'GET', path: '/keys/current', headers: { authorization: `Bearer ${encoded()}` } }),
  () => ({
    method: 'POST',
    path: '/messages',
    headers: { ...json, authorization: `Basic ${encoded()}` },
    body: JSON.stringify({ payload: encoded() }),
  }),
  () => ({
    method: 'POST',
    path: '/auth/credentials',
    headers: json,
    body: `{"cp_id": "CP-1", "credentials": "${encoded()}`,
  }),
  () => ({
    method: 'POST',
    path: '/auth/credentials',
    headers: json,
    body: JSON.stringify({ cp_id: 'CP-1', credentials: { nested: [{ deep: encoded() }] } }),
  }),
  () => ({
    method: 'POST',
    path: '/auth/credentials',
    headers: json,
    body: JSON.stringify({ cp_id: 'CP-1', [encoded()]: encoded(), credentials: encoded() }),
  }),
  () => ({ method: 'POST', path: '/auth/credentials', headers: { 'content-type': 'text/plain' }, body: encoded() }),
  () => ({
    method: 'POST',
    path: '/status/out-of-service',
    headers: { ...json, 'x-admin-key': ADMIN_KEY },
    body: JSON.stringify({ cp_id: 'CP-404', reason: `password=${encoded()}` }),
  }),
  () => ({
    method: 'POST',
    path: '/keys/revoke',
    headers: { ...json, 'x-admin-key': ADMIN_KEY },
    body: JSON.stringify({ cp_id: 'CP-1', reason: `token: ${encoded()}` }),
  }),
  () => ({
    method: 'POST',
    path: '/keys/generate',
    headers: { ...json, 'x-admin-key': ADMIN_KEY },
    body: JSON.stringify({ cp_id: 'CP-1', reason: `Bearer ${encoded()}` }),
  }),
]

/** From the first secret that a person chose on, each refused login costs as much as checking one, a scrypt: so these come last. */
const CHOSEN_SECRETS_LAST = 80
const chosenSecret = (): Generated => ({
  method: 'POST',
  path: '/charge-points',
  headers: { ...json, 'x-admin-key': ADMIN_KEY },
  body: JSON.stringify({ cp_id: `CP-${Math.floor(random() * 1e9)}`, credentials: `${encoded()}-long-enough` }),
})

/** What code under the service might hand to the audit trail by mistake. */
const MISTAKES: ((audit: AuditService) => void)[] = [
  audit => audit.error('CP-1', createContext(), new Error(`cannot decrypt ${encoded()} with it`)),
  audit =>
    audit.error('CP-1', createContext(), new TypeError(`password=${encoded()}`), {
      request: { headers: { Authorization: encoded() } },
    }),
  audit =>
    audit.authSuccess('CP-1', createContext(), {
      nested: [{ api_key: { value: encoded() } }],
      userPassword: encoded(),
    }),
  audit =>
    audit.incident('CP-1', createContext(), 'TAMPERING_DETECTED', {
      description: `Bearer ${encoded()}`,
      metadata: { clientSecret: [encoded()] },
    }),
]

test(`service: after ${REQUESTS} requests with canaries no canary is in any file, log line, metric or error body`, async t => {
  const dataDir = mkdtempSync(join(tmpdir(), 'evc-canary-'))
  t.after(() => rmSync(dataDir, { recursive: true, force: true }))
  let log = ''
  const logger = pino(
    { level: 'trace' },
    {
      write: line => {
        log += line
      },
    },
  )
  let audit: AuditService | undefined
  const central = await startCentral(
    readSettings({ EVC_PORT: '0', EVC_DATA_DIR: dataDir, EVC_ADMIN_KEY: ADMIN_KEY }),
    logger,
    async options => {
      const pipeline = await openPipeline(options)
      audit = pipeline.audit
      return pipeline
    },
  )
  const registered = await fetch(`${central.url}/charge-points`, {
    method: 'POST',
    headers: { ...json, 'x-admin-key': ADMIN_KEY },
    body: JSON.stringify({ cp_id: 'CP-1' }),
  })
  assert.equal(registered.status, 201)
  const statuses = new Map<number, number>()
  let left = REQUESTS
  const connection = async () => {
    while (left-- > 0) {
      if (left % 20 === 0 && audit !== undefined) pick(MISTAKES)(audit)
      const generated = left < CHOSEN_SECRETS_LAST && left % 4 === 0 ? chosenSecret() : pick(REQUEST_KINDS)()
      const { status, text } = await send(central.url, generated)
      statuses.set(status, (statuses.get(status) ?? 0) + 1)
      if (status >= 400) assertClean(text, `${generated.method} ${generated.path.split('?')[0]} -> ${status}`)
    }
  }
  await Promise.all(Array.from({ length: CONNECTIONS }, connection))
  agent.destroy()
  assertClean(await (await fetch(`${central.url}/metrics`)).text(), 'metrics')
  await central.stop()

  assertClean(log, 'the log')
  const files = globSync('**/*', { cwd: dataDir })
    .map(file => join(dataDir, file))
    .filter(file => statSync(file).isFile())
  assert.ok(files.some(file => file.endsWith('audit.db')) && files.some(file => file.includes('journal')))
  for (const file of files) assertClean(readFileSync(file, 'latin1'), file)
  for (const status of [200, 201, 401, 404, 415, 422, 429]) {
    assert.ok(
      (statuses.get(status) ?? 0) > 0,
      `no ${status} among ${JSON.stringify([...statuses])}: the requests do not reach what they should`,
    )
  }
})

const agent = new Agent({ keepAlive: true, maxSockets: CONNECTIONS })

/** Half the work of `fetch`, which counts with so many. */
function send(url: string, { method, path, headers, body }: Generated): Promise<{ status: number; text: string }> {
  const { promise, resolve, reject } = Promise.withResolvers<{ status: number; text: string }>()
  const outgoing = request(url + path, { method, headers, agent }, response => {
    let text = ''
    response.setEncoding('utf8')
    response.on('data', chunk => {
      text += chunk
    })
    response.on('error', reject)
    response.on('end', () => resolve({ status: response.statusCode ?? 0, text }))
  })
  outgoing.on('error', reject)
  outgoing.end(body)
  return promise
}

function assertClean(text: string, where: string): void {
  for (const trace of TRACES) {
    const at = text.indexOf(trace)
    assert.equal(at, -1, `${where} holds a canary: ...${text.slice(Math.max(0, at - 60), at + 40)}`)
  }
}
