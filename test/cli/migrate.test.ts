/** `migrate`: a data folder's log goes on in PostgreSQL. */
import assert from 'node:assert/strict'
import { cpSync, existsSync, mkdirSync, mkdtempSync, rmdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { after, before, type TestContext } from 'node:test'
import pg from 'pg'
import { pino } from 'pino'
import { COLUMNS } from '../../src/event/event.ts'
import { allKeys, currentKeys, type KeyChain, openByChain, parseKeyChain } from '../../src/evidence/key-chain.ts'
import { verifyConsistency } from '../../src/evidence/merkle-proof.ts'
import { verifyProof } from '../../src/evidence/proof.ts'
import { createVerifier } from '../../src/evidence/signature.ts'
import { SHARED_SCHEMAS } from '../../src/move/move.ts'
import { migrate as migrateSchema } from '../../src/postgres/migrations.ts'
import { createPostgres } from '../../src/postgres/postgres.ts'
import { type Central, startCentral } from '../../src/service/central.ts'
import { readSettings } from '../../src/settings/settings.ts'
import { readLogHead, readSalts } from '../../src/store/log-store.ts'
import { sampleEvent } from '../contract/event-store.ts'
import { postgresServer } from '../harness/postgres.ts'
import { assertCounted } from '../harness/postgres-counts.ts'
import { eventually } from '../harness/rows.ts'
import { createSignedLog, ORIGIN, withDatabase } from '../harness/signed-log.ts'
import { type Environment, runHere, serve, start, temporaryFolder } from './command-line.ts'

const server = postgresServer()
const SECRETS = {
  EVC_KEY_ENCRYPTION_KEY: 'key-encryption-key-of-the-tests-0123456789',
  EVC_LOG_ORIGIN: ORIGIN,
  EVC_LOG_ML_DSA: 'true',
}
const ADMIN_KEY = 'first-admin-key-0123456789abcdef0123456789'
const as = { 'x-admin-key': ADMIN_KEY }
const ERASED = 'CP-ERASED'
/** Whoever runs the tests may have other things to do. */
const PATIENCE_MS = 60_000
/** Ids of a block of counts, where partitions are small. */
const BLOCK = 256
/** Several batches of the copying, and not a whole number of bundles. */
const EVENTS = 17_000

/** As the driver gives them: text. */
const BIGINTS = new Set(['id', 'status_code', 'tombstone'])

/** What a client of the old place has in hands. */
interface Known {
  readonly credentials: string
  readonly token: string
  readonly key: string
  readonly checkpoint: string
  readonly proof: string
}
let original: string
let known: Known

/** A folder of many segments, with an erasure and keys that were handed over twice, the last time to two, on which a service ran. */
before(async () => {
  original = mkdtempSync(join(tmpdir(), 'evc-migrate-'))
  const log = createSignedLog(original, 4_096)
  const event = (n: number) => ({
    ...sampleEvent(n),
    ...(n % 1_000 === 7 && { who: ERASED, description: `of ${ERASED}` }),
  })
  await log.append(EVENTS / 2, event)
  log.sign()
  await log.rotate()
  log.sign()
  await log.rotate(true)
  log.sign()
  await log.append(EVENTS / 2, event)
  await log.erase(ERASED)
  log.sign()
  const central = await run(original)
  const { url } = central
  const { credentials } = (await post(url, '/charge-points', { cp_id: 'CP-1' }, as)).body
  await post(url, '/keys/generate', { cp_id: 'CP-1' }, as)
  const { token } = (await post(url, '/auth/credentials', { cp_id: 'CP-1', credentials })).body
  const key = (await get(url, '/keys/current', { authorization: `Bearer ${token}` })).text
  const given = (path: string) =>
    eventually(
      () => get(url, path, as),
      ({ status }) => status === 200,
    )
  const { text: proof } = await given('/audit/events/1234/proof')
  const { text: checkpoint } = await given('/checkpoint')
  known = { credentials, token, key, checkpoint, proof }
  await central.stop()
  withDatabase(join(original, 'audit', 'audit.db'), db =>
    db.exec(
      "INSERT INTO legal_holds VALUES (7, '2020-01-01T00:00:00.000Z', '2020-02-01T00:00:00.000Z', 'case 1', 'cli:test', '-')",
    ),
  )
})
after(() => rmSync(original, { recursive: true, force: true }))

/** A service in this process. @throws whatever keeps it from starting */
function run(folder: string, environment: Environment = {}): Promise<Central> {
  const all = { ...SECRETS, EVC_ADMIN_KEY: ADMIN_KEY, EVC_PORT: '0', EVC_DATA_DIR: folder, ...environment }
  return startCentral(readSettings(all), pino({ level: 'silent' }))
}

async function runOnce(folder: string, environment: Environment = {}): Promise<void> {
  await (await run(folder, environment)).stop()
}

async function post(url: string, path: string, body: object, headers: Record<string, string> = {}) {
  const response = await fetch(url + path, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify(body),
  })
  // biome-ignore lint/suspicious/noExplicitAny: tests look into it
  return { status: response.status, body: (await response.json()) as any }
}

async function get(url: string, path: string, headers: Record<string, string>) {
  const response = await fetch(url + path, { headers })
  return { status: response.status, text: await response.text() }
}

/** Once something is signed. */
async function keysOf(url: string): Promise<KeyChain> {
  const ask = async () => parseKeyChain((await get(url, '/evidence/keys', as)).text)
  return (await eventually(ask, found => found !== undefined)) as KeyChain
}

function copyOf(t: TestContext): string {
  const folder = join(temporaryFolder(t), 'data')
  cpSync(original, folder, { recursive: true })
  return folder
}

const migrate = (folder: string, url: string, ...more: string[]) =>
  runHere(['migrate', '--from', `sqlite:${folder}`, ...more], {
    environment: { ...SECRETS, EVC_DATABASE_URL: url },
  })

/** Its partitions and blocks of counts will be small. `lock` is a session of its own. */
async function preparedForMove(t: TestContext, url: string) {
  const postgres = createPostgres({ url, connectionsMax: 1, applicationName: 'test' })
  for (const schema of SHARED_SCHEMAS) await migrateSchema(postgres, schema)
  await postgres.close()
  await server.run(url, `UPDATE event_layout SET partition_ids = 1024, block_ids = ${BLOCK}`)
  const lock = new pg.Client(url)
  await lock.connect()
  t.after(() => lock.end())
  return lock
}

async function refused(run: ReturnType<typeof runHere>, why: RegExp): Promise<void> {
  const { code, stderr } = await run
  assert.equal(code, 2, stderr)
  assert.match(stderr, why)
  assert.match(stderr, /MIGRATION_REFUSED/)
}

function openedBy(note: string, chain: KeyChain) {
  const opened = openByChain(note, chain)
  assert.ok(opened.isTrusted, JSON.stringify(opened))
  return opened.checkpoint
}

/** Of a copy that is to be compared: whatever somebody changes of it is found. */
async function assertRefusesChanges(folder: string, url: string): Promise<void> {
  const changes: [table: string, change: string, says: RegExp][] = [
    ['audit_events', "UPDATE audit_events SET who = 'CP-X' WHERE id = 16900", /event 16900 is another one/],
    [
      'log_salts',
      'UPDATE log_salts SET salts = set_byte(salts, 5, 255 - get_byte(salts, 5)) WHERE first_id = 1',
      /event 1 is another one/,
    ],
    [
      'log_tiles',
      'UPDATE log_tiles SET bytes = set_byte(bytes, 9, 255 - get_byte(bytes, 9)) WHERE level = 0 AND tile = 3',
      /tile 3 of level 0/,
    ],
    ['log_erasures', 'DELETE FROM log_erasures WHERE id = (SELECT min(id) FROM log_erasures)', /is erased, or is not/],
    ['admins', "UPDATE admins SET role = 'auditor'", /the table admins/],
  ]
  for (const [table, change, says] of changes) {
    await server.run(url, `CREATE TABLE kept AS SELECT * FROM ${table}`)
    await server.run(url, change)
    await refused(migrate(folder, url), says)
    await server.run(url, `DELETE FROM ${table}; INSERT INTO ${table} SELECT * FROM kept; DROP TABLE kept`)
  }
  assert.ok(!existsSync(join(folder, 'migrated')))
}

test('migrate: killed again and again, changed under its hands, the log goes on in PostgreSQL as it was, and old proofs stay valid', async t => {
  const folder = copyOf(t)
  const url = await server.createDatabase()
  const environment = { ...SECRETS, EVC_DATABASE_URL: url }
  const sizeThere = async () => Number((await server.run(url, 'SELECT size FROM log_head'))[0]?.size ?? 0)
  const stateThere = async () => (await server.run(url, 'SELECT state FROM log_migration'))[0]?.state

  const killWhen = async (isTime: () => Promise<boolean>) => {
    const running = start(t, ['migrate', '--from', `sqlite:${folder}`], environment)
    await eventually(isTime, isIt => isIt || running.child.exitCode !== null, PATIENCE_MS)
    await running.stop('SIGKILL')
  }
  const some = Math.ceil(Math.random() * EVENTS)
  await killWhen(async () => (await sizeThere()) >= some)
  t.diagnostic(`killed at ${await sizeThere()} events`)
  await assert.rejects(run(temporaryFolder(t), environment), /is not finished/)
  const inTheWay = join(folder, 'migrated.draft')
  mkdirSync(inTheWay) // so that the folder cannot be marked, however fast it is compared
  await killWhen(async () => (await stateThere()) === 'comparing')
  assert.equal(await stateThere(), 'comparing')
  await assertRefusesChanges(folder, url)
  assert.notEqual((await migrate(folder, url)).code, 0)
  assert.equal(await stateThere(), 'comparing', 'not opened before the folder is marked')
  rmdirSync(inTheWay)
  await killWhen(async () => existsSync(join(folder, 'migrated')))
  const done = await migrate(folder, url)
  assert.equal(done.code, 0, done.stderr)
  assert.match(done.stdout, /the roots are equal/)
  assert.equal((await migrate(folder, url)).code, 0, 'done again, it is done')

  const rowsOf = (rows: readonly object[]) => rows.map(row => JSON.stringify(Object.values(row))).join('\n')
  const columns = COLUMNS.join(', ')
  const old = withDatabase(join(folder, 'audit', 'audit.db'), db => ({
    head: readLogHead(db),
    rows: db.prepare(`SELECT ${columns} FROM audit_events ORDER BY id`).all(),
    salts: readSalts(db, 1, readLogHead(db).size),
    erased: db.prepare('SELECT id, tombstone FROM log_erasures ORDER BY id').all(),
  }))
  const numbers = (row: object) =>
    Object.fromEntries(
      Object.entries(row).map(([name, value]) => [name, BIGINTS.has(name) && value !== null ? Number(value) : value]),
    )
  const rows = (await server.run(url, `SELECT ${columns} FROM audit_events ORDER BY id`)).map(numbers)
  assert.equal(rows.length, old.rows.length)
  assert.ok(rowsOf(rows) === rowsOf(old.rows), 'the rows are the same')
  assert.ok(old.erased.length > 10)
  assert.equal(
    rowsOf((await server.run(url, 'SELECT id, tombstone FROM log_erasures ORDER BY id')).map(numbers)),
    rowsOf(old.erased),
  )
  const salts = (await server.run(url, 'SELECT salts FROM log_salts ORDER BY first_id')).map(row => row.salts as Buffer)
  assert.ok(Buffer.concat(salts).equals(old.salts))

  const left = await start(t, ['serve'], { ...SECRETS, EVC_DATA_DIR: folder }).ended
  assert.equal(left.code, 2)
  assert.match(left.stderr, /was migrated to postgres:.*MIGRATION_REFUSED/)
  const added = await runHere(['cp', 'add', 'CP-2'], { environment: { ...SECRETS, EVC_DATA_DIR: folder } })
  assert.equal(added.code, 2, 'nothing is recorded in the old folder any more')
  assert.doesNotMatch(left.stderr + done.stderr, new RegExp(new URL(url).password))

  const central = await run(temporaryFolder(t), environment)
  t.after(() => central.stop())
  const { url: at } = central
  assert.equal((await post(at, '/auth/credentials', { cp_id: 'CP-1', credentials: known.credentials })).status, 200)
  assert.equal((await post(at, '/auth/token', { cp_id: 'CP-1', token: known.token })).status, 200)
  assert.equal((await get(at, '/keys/current', { authorization: `Bearer ${known.token}` })).text, known.key)

  const chain = await keysOf(at)
  assert.deepEqual([chain.handOvers.length, currentKeys(chain).mlDsa44 === undefined], [2, false])
  const holds = await server.run(url, 'SELECT id::int, reason FROM legal_holds')
  assert.deepEqual(holds, [{ id: 7, reason: 'case 1' }])
  const before = await openedBy(known.checkpoint, chain)
  const newest = await eventually(
    async () => openedBy((await get(at, '/checkpoint', as)).text, chain),
    ({ size }) => size > old.head.size,
  )
  const { text } = await get(at, `/checkpoint/consistency?from=${before.size}&to=${newest.size}`, as)
  const hashes = JSON.parse(text).hashes.map((hash: string) => Buffer.from(hash, 'base64'))
  assert.ok(verifyConsistency(before, newest, hashes), 'the log continues what was signed before')
  const trusted = { origin: ORIGIN, log: allKeys(chain).map(createVerifier) }
  const given = await eventually(
    () => get(at, '/audit/events/1234/proof', as),
    ({ status }) => status === 200,
  )
  for (const proof of [known.proof, given.text]) {
    const verdict = verifyProof(proof, trusted)
    assert.ok(verdict.isProven, JSON.stringify(verdict))
  }
  const moved = await eventually(
    () => server.run(url, "SELECT who, metadata_json FROM audit_events WHERE reason_code = 'MIGRATED'"),
    found => found.length > 0,
  )
  assert.equal(JSON.parse(moved[0]?.metadata_json).size, old.head.size)
})

test('migrate: refuses a database that is in use, a folder that is, and what PostgreSQL has no place for', async t => {
  const folder = copyOf(t)
  const used = await server.createDatabase()
  await runOnce(temporaryFolder(t), { EVC_DATABASE_URL: used })
  await refused(migrate(folder, used), /is not empty/)
  const url = await server.createDatabase()
  const running = await serve(t, folder, SECRETS)
  const busy = await migrate(folder, url)
  assert.equal(busy.code, 2)
  assert.match(busy.stderr, /DATA_FOLDER_IN_USE/)
  await running.stop('SIGKILL') // what was journaled becomes rows first
  withDatabase(join(folder, 'audit', 'audit.db'), db =>
    db.exec("INSERT INTO event_archives VALUES (1, 4097, 8192, 'from', 'to', 'file', 'digest', 'digest', 'then')"),
  )
  await refused(migrate(folder, url), /older events are still there/)
  assert.equal((await migrate(folder, 'mysql://x')).code, 2)
  assert.equal((await runHere(['migrate', '--from', folder])).code, 2)
})

test('migrate: a trail that events have left goes on with its archives, erasures and holds, and what left is proven as before', async t => {
  const folder = join(temporaryFolder(t), 'data')
  const archives = temporaryFolder(t)
  const log = createSignedLog(folder, 1_024)
  const names = new Map([
    [40, ERASED],
    [1_540, ERASED],
    [3_040, ERASED],
    [50, 'CP-ARCHIVED'],
    [60, 'CP-MOVED'],
  ])
  await log.append(4_000, n => ({ ...sampleEvent(n), who: names.get(n) ?? 'CP-0' }))
  await log.erase(ERASED)
  log.sign()
  const central = await run(folder)
  const proofOf = (url: string, id: number) =>
    eventually(
      () => get(url, `/audit/events/${id}/proof`, as),
      ({ status }) => status === 200,
    )
  const before = await proofOf(central.url, 70)
  const { text: checkpoint } = await get(central.url, '/checkpoint', as)
  await central.stop()
  const old = (...args: string[]) => runHere(args, { environment: { ...SECRETS, EVC_DATA_DIR: folder } })
  const heldFrom = new Date(Date.UTC(2026, 0, 1) + 2_049_000).toISOString()
  assert.equal((await old('archive', 'hold', 'add', '--from', heldFrom, '--to', '2090-01-01', '--reason', 'x')).code, 0)
  assert.equal((await old('archive', '--before', '2090-01-01', '--to', archives)).code, 0)
  await log.erase('CP-ARCHIVED')

  const url = await server.createDatabase()
  const lock = await preparedForMove(t, url)
  const environment = { ...SECRETS, EVC_DATABASE_URL: url, EVC_DATA_DIR: temporaryFolder(t) }
  const here = (...args: string[]) => runHere(args, { environment })
  await lock.query('BEGIN')
  await lock.query('LOCK TABLE audit_events IN EXCLUSIVE MODE') // what has left is copied; the rows wait
  const running = start(t, ['migrate', '--from', `sqlite:${folder}`], environment)
  const headOf = async () => Number((await server.run(url, 'SELECT size FROM log_head'))[0]?.size)
  await eventually(headOf, size => size > 0, PATIENCE_MS)
  const changeFolder = () => withDatabase(log.database, db => db.exec('PRAGMA busy_timeout = 0; BEGIN IMMEDIATE'))
  assert.throws(changeFolder, /database is locked/, 'nothing leaves the folder meanwhile')
  await running.stop('SIGKILL')
  await lock.query('ROLLBACK')
  assert.equal(await headOf(), 2_048)
  await server.run(url, "UPDATE event_archives SET file = 'x' || file WHERE number = 2")
  await refused(migrate(folder, url), /the table event_archives, from its row 2 on/)
  await server.run(url, 'UPDATE event_archives SET file = substring(file FROM 2) WHERE number = 2')
  const done = await migrate(folder, url)
  assert.equal(done.code, 0, done.stderr)
  assert.match(done.stdout, /the roots are equal/)

  await assertCounted(url, BLOCK)
  const assertPristine = async () => {
    const verified = [await here('verify'), await here('verify', archives)]
    for (const { stdout } of verified) assert.match(stdout, /^PRISTINE/)
    const sound = await here('archive', 'verify', archives)
    assert.equal(sound.code, 0, sound.stdout + sound.stderr)
  }
  await assertPristine()
  const moved = await run(environment.EVC_DATA_DIR, environment)
  t.after(() => moved.stop())
  const chain = await keysOf(moved.url)
  const trusted = { origin: ORIGIN, log: allKeys(chain).map(createVerifier) }
  for (const { text } of [before, await proofOf(moved.url, 3_500)]) {
    const verdict = verifyProof(text, trusted)
    assert.ok(verdict.isProven, JSON.stringify(verdict))
  }
  const { size: from } = openedBy(checkpoint, chain)
  const to = await eventually(
    async () => openedBy((await get(moved.url, '/checkpoint', as)).text, chain),
    ({ size }) => size > from,
  )
  const { text } = await get(moved.url, `/checkpoint/consistency?from=${from}&to=${to.size}`, as)
  const hashes = JSON.parse(text).hashes.map((hash: string) => Buffer.from(hash, 'base64'))
  assert.ok(verifyConsistency(openedBy(checkpoint, chain), to, hashes))

  const refusedErasure = await here('erase', '--who', 'CP-0', '--reason', 'asked', '--yes')
  assert.match(refusedErasure.stderr, /legal hold/i)
  const erased = await here('erase', '--who', 'CP-MOVED', '--reason', 'asked', '--yes', '--json')
  assert.equal(erased.code, 0, erased.stderr)
  assert.equal(JSON.parse(erased.stdout).erased, 1)
  assert.match((await here('archive', '--before', '2090-01-01')).stdout, /^nothing left/m)
  assert.equal((await here('archive', 'hold', 'remove', '1')).code, 0)
  const further = await here('archive', '--before', '2026-06-01', '--to', archives)
  assert.equal(further.code, 0, further.stderr)
  assert.deepEqual(
    (await server.run(url, 'SELECT number, first_id::int, last_id::int FROM event_archives ORDER BY number')).map(row =>
      Object.values(row),
    ),
    [
      [1, 1, 1_024],
      [2, 1_025, 2_048],
      [3, 2_049, 3_072],
    ],
  )
  await assertPristine()
})

test('migrate: the way back is open until something is recorded in the new place', async t => {
  const folder = join(temporaryFolder(t), 'data')
  const small = createSignedLog(folder, 1_024)
  await small.append(300)
  small.sign()
  await runOnce(folder)
  const url = await server.createDatabase()
  assert.equal((await migrate(folder, url)).code, 0)
  const back = await migrate(folder, url, '--back')
  assert.equal(back.code, 0, back.stderr)
  await assert.rejects(run(temporaryFolder(t), { EVC_DATABASE_URL: url }), /was given up/)
  await runOnce(folder)

  const second = await server.createDatabase()
  assert.equal((await migrate(folder, second)).code, 0)
  await runOnce(temporaryFolder(t), { EVC_DATABASE_URL: second })
  await refused(migrate(folder, second, '--back'), /was recorded in/)
  await refused(migrate(folder, await server.createDatabase()), /was migrated to/)
})
