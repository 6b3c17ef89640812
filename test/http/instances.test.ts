/** Several instances on one PostgreSQL, as clients see them. */
import assert from 'node:assert/strict'
import { createCipheriv, randomBytes } from 'node:crypto'
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type TestContext } from 'node:test'
import { setTimeout } from 'node:timers/promises'
import { type KeyChain, openByChain, parseKeyChain } from '../../src/evidence/key-chain.ts'
import { formatVerifierKey } from '../../src/evidence/note.ts'
import { algorithmOf, createVerifier } from '../../src/evidence/signature.ts'
import { RUNTIME_ROLE } from '../../src/postgres/migrations.ts'
import { runHere } from '../cli/command-line.ts'
import { postgresServer } from '../harness/postgres.ts'
import { serve, temporaryFolder } from '../unit/witness/witness-under-test.ts'
import { eventually, KEY_ENCRYPTION_KEY, problemOf, startTestCentral, type TestCentral } from './harness.ts'

const server = postgresServer()

/** What is promised is one second; the machine that runs this may have others to serve. */
const SOON_MS = 3_000

async function start(t: TestContext, count: number): Promise<TestCentral[]> {
  const url = await server.createDatabase()
  const environment = { EVC_DATABASE_URL: url }
  const first = await startTestCentral(environment)
  const instances = [first]
  t.after(() => Promise.all(instances.map(instance => instance.close())))
  while (instances.length < count) instances.push(await startTestCentral(environment, first.keys))
  return instances
}

const login = (at: TestCentral, cpId: string, credentials: string, from?: string) =>
  at.send('POST', '/auth/credentials', {
    body: { cp_id: cpId, credentials },
    ...(from === undefined ? {} : { from }),
  })

/** It is there once the instance has read it. */
async function chainOf(at: TestCentral): Promise<KeyChain> {
  let chain: KeyChain | undefined
  await eventually(async () => {
    chain = parseKeyChain((await at.send('GET', '/evidence/keys', { as: 'auditor' })).text)
    return chain !== undefined
  })
  return chain ?? assert.fail()
}

/** On the command line, in this process. */
async function command(url: string, ...args: string[]): Promise<string> {
  const environment = { EVC_DATABASE_URL: url, EVC_KEY_ENCRYPTION_KEY: KEY_ENCRYPTION_KEY, EVC_DATA_DIR: '/nowhere' }
  const { code, stdout, stderr } = await runHere(args, { environment })
  assert.equal(code, 0, stderr + stdout)
  return stdout
}

async function incidents(at: TestCentral, reason: string) {
  const path = `/audit/events?action=INCIDENT&reason_code=${reason}&order=asc&limit=1000`
  return (await at.send('GET', path, { as: 'auditor' })).body.events
}

test('instances: what is issued by one is right at every other, at once', async t => {
  const [a, b] = (await start(t, 2)) as [TestCentral, TestCentral]
  const { cpId, credentials } = await a.chargePoint()
  const answer = await login(b, cpId, credentials)
  assert.equal(answer.status, 200, answer.text)
  const { token } = answer.body
  assert.equal((await a.send('POST', '/auth/token', { body: { cp_id: cpId, token } })).status, 200)
  await a.send('POST', '/status/out-of-service', { as: 'operator', body: { cp_id: cpId, reason: 'maintenance' } })
  await a.send('POST', '/status/restore', { as: 'operator', body: { cp_id: cpId } })
  assert.equal((await login(b, cpId, credentials)).status, 200)
  const renewed = await a.send('POST', `/charge-points/${cpId}/credentials`, { as: 'operator', body: {} })
  assert.equal((await login(b, cpId, renewed.body.credentials)).status, 200)
  const { key } = await a.security.admins.add('berta', 'auditor', { name: 'admin', role: 'admin' })
  const read = await b.send('GET', '/security/status', { headers: { 'x-admin-key': key } })
  assert.equal(read.status, 200, read.text)
})

test('instances: revoked at one, refused at every other within a second: logins, tokens, keys', async t => {
  const [a, b] = (await start(t, 2)) as [TestCentral, TestCentral]
  const { cpId, credentials } = await a.chargePoint()
  await a.send('POST', '/keys/generate', { as: 'operator', body: { cp_id: cpId } })
  const { token } = (await login(b, cpId, credentials)).body
  const bearer = { headers: { authorization: `Bearer ${token}` } }
  assert.equal((await b.send('GET', '/keys/current', bearer)).status, 200)
  await a.send('POST', '/status/revoke', { as: 'operator', body: { cp_id: cpId, reason: 'stolen' } })
  const startedAt = performance.now()
  await eventually(async () => (await login(b, cpId, credentials)).status === 403, SOON_MS)
  t.diagnostic(`refused after ${Math.round(performance.now() - startedAt)} ms`)
  problemOf(await b.send('POST', '/auth/token', { body: { cp_id: cpId, token } }), 403, 'CP_REVOKED')
  assert.notEqual((await b.send('GET', '/keys/current', bearer)).status, 200)
})

test('instances: an admin revoked at one is refused at every other, and their live streams end', async t => {
  const [a, b] = (await start(t, 2)) as [TestCentral, TestCentral]
  const { key } = await a.security.admins.add('eva', 'auditor', { name: 'admin', role: 'admin' })
  const stream = await fetch(`${b.url}/audit/stream`, { headers: { 'x-admin-key': key } })
  assert.equal(stream.status, 200)
  const ended = (async () => {
    for await (const _ of stream.body ?? []);
    return performance.now()
  })()
  await a.security.admins.revoke('eva', { name: 'admin', role: 'admin' })
  const revokedAt = performance.now()
  await eventually(async () => {
    const answer = await b.send('GET', '/security/status', { headers: { 'x-admin-key': key } })
    return answer.status === 401
  }, SOON_MS)
  const endedAfter = (await ended) - revokedAt
  t.diagnostic(`the stream ended after ${Math.round(endedAfter)} ms`)
  assert.ok(endedAfter < SOON_MS, `${endedAfter} ms`)
})

test('instances: a session of one is one of all; signed out anywhere, it is over everywhere at once, streams included', async t => {
  const [a, b] = (await start(t, 2)) as [TestCentral, TestCentral]
  const signIn = async (key: string) => {
    const answer = await a.send('POST', '/session', { body: { admin_key: key } })
    assert.equal(answer.status, 201, answer.text)
    return { cookie: (answer.headers.get('set-cookie') ?? '').split(';')[0] ?? '', 'x-evc-console': '1' }
  }
  const headers = await signIn(a.keys.operator)
  assert.equal((await b.send('GET', '/session', { headers })).body.name, 'olga')
  assert.equal((await b.send('POST', '/session/renew', { headers })).status, 200)
  const stream = await fetch(`${b.url}/audit/overview/stream`, { headers })
  assert.equal(stream.status, 200)
  const ended = (async () => {
    for await (const _ of stream.body ?? []);
  })()
  assert.equal((await a.send('DELETE', '/session', { headers })).status, 204)
  problemOf(await b.send('GET', '/security/status', { headers }), 401, 'SESSION_ENDED')
  await ended

  const founder = { name: 'admin', role: 'admin' } as const
  const ofEva = await signIn((await a.security.admins.add('eva', 'auditor', founder)).key)
  assert.equal((await b.send('GET', '/security/status', { headers: ofEva })).status, 200, 'an admin that is news')
  await a.security.admins.revoke('eva', founder)
  const status = async () => (await b.send('GET', '/security/status', { headers: ofEva })).status
  await eventually(async () => (await status()) === 401, SOON_MS)
})

test('instances: guessed sessions are counted with wrong keys, over all of them', async t => {
  const instances = await start(t, 2)
  const [a, b] = instances as [TestCentral, TestCentral]
  const guess = (at: TestCentral, n: number) =>
    at.send('GET', '/security/status', {
      from: '192.0.2.78',
      headers: { cookie: `evc-session=${`${n}`.padStart(43, 'A')}`, 'x-evc-console': '1' },
    })
  for (let i = 0; i < 20; i++) assert.equal((await guess(a, i)).status, 401)
  await eventually(async () => (await guess(b, 99)).status === 429, SOON_MS)
})

test('instances: what a witness cosigned for one of them is shown by all, also by one that finds no witness', async t => {
  const url = await server.createDatabase()
  const first = await startTestCentral({ EVC_DATABASE_URL: url })
  const logKey = async () => {
    const [row] = await server.run<{ chain: string }>(url, 'SELECT chain FROM log_key_chain')
    return parseKeyChain(row?.chain ?? '')?.first ?? assert.fail('no key yet')
  }
  await eventually(async () => (await first.send('GET', '/checkpoint', { as: 'auditor' })).status === 200)
  await first.close()
  const key = await logKey()
  const witness = await serve(t, temporaryFolder(t), [{ verifierKey: formatVerifierKey(key) }])
  const environment = {
    EVC_DATABASE_URL: url,
    EVC_WITNESSES: `${witness.url}|${formatVerifierKey(witness.witness.key)}`,
    EVC_WITNESS_QUORUM: '1',
  }
  const instances = [await startTestCentral(environment, first.keys), await startTestCentral(environment, first.keys)]
  t.after(() => Promise.all(instances.map(instance => instance.close())))
  const witnessedSize = async (instance: TestCentral) => {
    const { status, text } = await instance.send('GET', '/checkpoint', { as: 'auditor' })
    const opened = openByChain(text, await chainOf(instance), [createVerifier(witness.witness.key)])
    return status === 200 && opened.isTrusted && opened.cosignatures.length === 1 ? opened.checkpoint.size : 0
  }
  const [a, b] = instances as [TestCentral, TestCentral]
  for (let n = 0; n < 3; n++) {
    const at = instances[n % 2] as TestCentral
    const answer = await at.send('POST', '/charge-points', { as: 'admin', body: { cp_id: `CP-W-${n}` } })
    const [event] = await at.eventsOf(answer.requestId)
    const id = event?.id ?? assert.fail()
    for (const instance of [a, b]) await eventually(async () => (await witnessedSize(instance)) >= id)
    if (n === 0) await command(url, 'key', 'rotate') // which the witness follows
  }
  assert.equal((await chainOf(a)).handOvers.length, 1)
  const isWell = async (instance: TestCentral) => {
    const { body } = await instance.send('GET', '/ready')
    return body.checks.find(({ name }: { name: string }) => name === 'witnesses').ok
  }
  for (const instance of [a, b]) await eventually(() => isWell(instance))

  const size = await witnessedSize(a)
  await witness.stop()
  const late = await startTestCentral(environment, first.keys)
  instances.push(late)
  await eventually(async () => (await late.send('GET', '/checkpoint', { as: 'auditor' })).status === 200)
  assert.ok((await witnessedSize(late)) >= size)
})

test('instances: a key rotated on the command line, and a second one that all are started with, sign for all of them', async t => {
  const url = await server.createDatabase()
  const made = await command(url, 'key', 'generate')
  assert.equal(await command(url, 'key', 'generate'), made, 'once')
  const folders = [temporaryFolder(t), temporaryFolder(t)]
  let keys: TestCentral['keys'] | undefined
  const begin = async (n: number, mlDsa: boolean) => {
    const environment = { EVC_DATABASE_URL: url, EVC_DATA_DIR: folders[n] ?? '', EVC_LOG_ML_DSA: String(mlDsa) }
    const instance = await startTestCentral(environment, keys)
    keys = instance.keys
    t.after(() => instance.close())
    return instance
  }
  let [a, b] = [await begin(0, false), await begin(1, false)]
  /** Of the next checkpoint, as both show it. */
  const signs = async (wanted: string, handOvers: number) => {
    const { requestId } = await a.send('GET', '/audit/events?limit=1', { as: 'auditor' })
    const id = (await a.eventsOf(requestId))[0]?.id ?? assert.fail()
    for (const instance of [a, b]) {
      await eventually(async () => {
        const [{ text }, chain] = [
          await instance.send('GET', '/checkpoint', { as: 'auditor' }),
          await chainOf(instance),
        ]
        const opened = openByChain(text, chain)
        if (!opened.isTrusted || opened.checkpoint.size < id) return false
        assert.equal(chain.handOvers.length, handOvers)
        return opened.signatures.map(({ key }) => algorithmOf(key)).join('+') === wanted
      })
    }
  }
  await eventually(async () => (await a.send('GET', '/checkpoint', { as: 'auditor' })).status === 200)
  assert.equal(`${formatVerifierKey((await chainOf(a)).first)}\n`, made)
  assert.equal(await command(url, 'key', 'rotate'), await command(url, 'key', 'show'))
  await signs('Ed25519', 1)

  await a.stop()
  a = await begin(0, true)
  await eventually(async () => /another instance was not started so/.test(a.log()))
  assert.equal((await chainOf(b)).handOvers.length, 1)
  await b.stop()
  b = await begin(1, true)
  await eventually(async () => (await chainOf(b)).handOvers.length === 2)
  await signs('Ed25519+ML-DSA-44', 2)
  const { earlier, ml_dsa_44 } = JSON.parse(await command(url, 'key', 'show', '--json'))
  assert.deepEqual([earlier.length, ml_dsa_44 === null], [2, false])
  await eventually(async () => {
    const { body } = await b.send('GET', '/audit/events?reason_code=LOG_KEY_ROTATED', { as: 'auditor' })
    return body.events.length === 2
  })

  const range = 'start_time=2020-01-01T00:00:00Z&end_time=2100-01-01T00:00:00Z'
  const pack = await fetch(`${a.url}/audit/evidence?${range}`, { headers: { 'x-admin-key': a.keys.auditor } })
  const taken = temporaryFolder(t)
  mkdirSync(taken)
  const [zip, mirror, keyFile] = ['pack.zip', 'mirror', 'first.pub'].map(name => join(taken, name))
  writeFileSync(zip ?? '', await pack.bytes())
  writeFileSync(keyFile ?? '', made)
  await command(url, 'mirror', mirror ?? '')
  for (const what of [url, mirror, zip]) {
    const verified = await command(url, 'verify', what ?? '', '--key', keyFile ?? '')
    assert.match(verified, /Ed25519 and ML-DSA-44/)
    assert.doesNotMatch(verified, /selection is not signed/)
  }
  await server.run(url, `UPDATE log_key_chain SET chain = substr(chain, 1, strpos(chain, E'\n'))`)
  const cut = await runHere(['verify', url, '--key', keyFile ?? ''], { environment: {} })
  assert.match(cut.stdout, /^WRONG_KEY/)
})

test('instances: what one records, a stream of another shows', async t => {
  const [a, b] = (await start(t, 2)) as [TestCentral, TestCentral]
  const stream = await fetch(`${b.url}/audit/stream?action=SYSTEM&reason_code=CP_REGISTERED`, {
    headers: { 'x-admin-key': b.keys.auditor },
  })
  const { cpId } = await a.chargePoint()
  let text = ''
  for await (const bytes of stream.body ?? []) {
    text += Buffer.from(bytes).toString()
    if (text.includes(cpId)) break
  }
  assert.match(text, new RegExp(cpId))
})

test('instances: five failures spread over three of them are one episode, and so are ten', async t => {
  const instances = await start(t, 3)
  const [a] = instances as [TestCentral]
  const { cpId } = await a.chargePoint()
  const from = a.address()
  const wrong = '0'.repeat(64)
  for (let i = 0; i < 5; i++) {
    const answer = await login(instances[i % 3] as TestCentral, cpId, wrong, from)
    assert.equal(answer.status, 401)
  }
  const startedAt = performance.now()
  await eventually(async () => (await incidents(a, 'BRUTE_FORCE_SUSPECTED')).length > 0, SOON_MS)
  t.diagnostic(`an incident after ${Math.round(performance.now() - startedAt)} ms`)
  const hasCounted = async (instance: TestCentral) =>
    (await instance.send('GET', `/security/status/${cpId}`, { as: 'auditor' })).body.failures_in_window === 5
  for (const instance of instances) await eventually(() => hasCounted(instance), SOON_MS)
  // The pair is throttled by now, at all of them; what is refused for that counts too. Two seconds later each would let one through.
  for (const instance of instances) {
    const answers = [await login(instance, cpId, wrong, from), await login(instance, cpId, wrong, from)]
    assert.equal(answers.at(-1)?.status, 429, 'a throttle that one of them closed is closed everywhere')
  }
  await eventually(async () => (await incidents(a, 'BRUTE_FORCE_SUSPECTED')).length > 1, SOON_MS)
  for (const instance of instances) await instance.send('GET', '/audit/failures', { as: 'auditor' })
  const found = await incidents(a, 'BRUTE_FORCE_SUSPECTED')
  const counts = found.map((event: { metadata_json: string }) => JSON.parse(event.metadata_json).failure_count)
  assert.deepEqual(counts, [5, 10])
})

test('instances: wrong admin keys are counted over all of them', async t => {
  const instances = await start(t, 2)
  const [a, b] = instances as [TestCentral, TestCentral]
  const guess = (at: TestCentral, key: string) =>
    at.send('GET', '/security/status', { from: '192.0.2.77', headers: { 'x-admin-key': key } })
  for (let i = 0; i < 20; i++) assert.equal((await guess(a, `${i}`.padStart(32, 'x'))).status, 401)
  assert.equal((await guess(a, 'y'.repeat(32))).status, 429)
  await eventually(async () => (await guess(b, 'y'.repeat(32))).status === 429, SOON_MS)
  const right = await b.send('GET', '/security/status', { as: 'auditor', from: '192.0.2.77' })
  assert.equal(right.status, 200)
})

test('instances: ten that start at once share secrets, one log and one state', async t => {
  const url = await server.createDatabase()
  const environment = { EVC_DATABASE_URL: url, NODE_ENV: 'development' }
  const keys = { admin: 'first-admin-key-0123456789abcdef0123456789', operator: '', auditor: '' }
  const instances = await Promise.all(Array.from({ length: 10 }, () => startTestCentral(environment, keys)))
  t.after(() => Promise.all(instances.map(instance => instance.close())))
  const registered = await Promise.all(
    instances.map((instance, i) =>
      instance.send('POST', '/charge-points', { as: 'admin', body: { cp_id: `CP-${i}` } }),
    ),
  )
  assert.deepEqual(
    registered.map(answer => answer.status),
    instances.map(() => 201),
  )
  const logins = await Promise.all(
    registered.map(({ body }, i) => login(instances[(i + 1) % 10] as TestCentral, body.cp_id, body.credentials)),
  )
  assert.deepEqual(
    logins.map(answer => answer.status),
    instances.map(() => 200),
  )
  const started = async () =>
    (await (instances[0] as TestCentral).send('GET', '/audit/events?reason_code=STARTED', { as: 'admin' })).body.events
  await eventually(async () => (await started()).length === 10)
  const checkpoints = () =>
    Promise.all(instances.map(async each => (await each.send('GET', '/checkpoint', { as: 'admin' })).text))
  await eventually(async () => {
    const shown = await checkpoints()
    return (
      shown.every(note => note.startsWith('ev-central/')) && new Set(shown.map(note => note.split('\n')[0])).size === 1
    )
  })
})

test('instances: one that connects as a role with no more rights than it needs does everything the others do', async t => {
  const url = await server.createDatabase()
  const name = `runtime_${new URL(url).pathname.slice(-8)}`
  const password = 'only-for-this-test'
  await server.run(
    url,
    `DO $$ BEGIN CREATE ROLE ${RUNTIME_ROLE}; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
     CREATE ROLE ${name} LOGIN PASSWORD '${password}' IN ROLE ${RUNTIME_ROLE}`,
  )
  const owner = await startTestCentral({ EVC_DATABASE_URL: url })
  const limited = new URL(url)
  limited.username = name
  limited.password = password
  const instance = await startTestCentral({ EVC_DATABASE_URL: limited.href }, owner.keys)
  t.after(async () => {
    await instance.close()
    await server.run(url, `DROP OWNED BY ${name}; DROP ROLE ${name}`)
  })
  await owner.close()
  const { cpId, credentials } = await instance.chargePoint()
  const { token } = (await login(instance, cpId, credentials)).body
  assert.equal((await instance.send('POST', '/keys/generate', { as: 'operator', body: { cp_id: cpId } })).status, 200)
  const bearer = { headers: { authorization: `Bearer ${token}` } }
  const payload = sealed(cpId, (await instance.send('GET', '/keys/current', bearer)).body.key)
  const sent = await instance.send('POST', '/messages', { ...bearer, body: { payload } })
  assert.equal(sent.status, 200, sent.text)
  await eventually(async () => {
    const found = await instance.send('GET', `/audit/events?who=${cpId}&action=KEY_GENERATE`, { as: 'auditor' })
    return found.body.events.length === 1
  })
  const ready = async () => (await instance.send('GET', '/ready')).body.checks
  await eventually(async () =>
    (await ready()).every((check: { name: string; ok: boolean }) => check.ok || check.name === 'disk'),
  )
  assert.equal((await instance.send('POST', '/keys/revoke', { as: 'operator', body: { cp_id: cpId } })).status, 200)
  assert.equal((await instance.send('DELETE', `/charge-points/${cpId}`, { as: 'operator' })).status, 204)
  await command(limited.href, 'key', 'rotate')
  for (const change of [
    "UPDATE audit_events SET who = 'somebody'",
    "UPDATE log_key_chain SET chain = ''",
    'DELETE FROM log_checkpoints',
    'UPDATE log_checkpoints SET size = 1',
  ])
    await assert.rejects(server.run(limited.href, change), /permission denied/)
  const other = server.run(limited.href, "SELECT evc_append_hand_over('something')")
  await assert.rejects(other, /no line of a key chain/)
  const sizes = () => server.run(limited.href, 'SELECT size FROM log_checkpoints ORDER BY size DESC')
  const [newest] = await sizes()
  await server.run(limited.href, "SELECT evc_forget_checkpoint($1, '1000 years')", [newest?.size])
  assert.ok(
    (await sizes()).some(({ size }) => size === newest?.size),
    'the newest stays',
  )
  await server.run(limited.href, "INSERT INTO log_witnessed (size, note) VALUES (999999, E'a\\n999999\\nb')")
  assert.deepEqual(await server.run(url, 'SELECT size FROM log_witnessed'), [], 'what nothing could follow is not kept')

  // What the database says of it is for those with a key, and for the log of the service.
  await server.run(url, `REVOKE INSERT ON audit_events FROM ${RUNTIME_ROLE}`)
  const store = async (as?: 'auditor') => {
    const { checks } = (await instance.send('GET', '/ready', as && { as })).body
    return checks.find((check: { name: string }) => check.name === 'store')
  }
  await instance.send('GET', '/audit/failures', { as: 'auditor' })
  await eventually(async () => (await store()).ok === false)
  assert.equal((await store()).detail, 'rows cannot be written now')
  assert.match((await store('auditor')).detail, /permission denied for table audit_events/)
  assert.match(instance.log(), /"not ready"/)
  problemOf(
    await instance.send('GET', '/ready', { headers: { 'x-admin-key': 'wrong'.padEnd(32, '0') } }),
    401,
    'UNAUTHORIZED',
  )
  await server.run(url, `GRANT INSERT ON audit_events TO ${RUNTIME_ROLE}`)
  await eventually(async () => (await store()).ok === true)
})

/** A message of a charge point. */
function sealed(cpId: string, key: string): string {
  const nonce = randomBytes(12)
  const cipher = createCipheriv('aes-256-gcm', Buffer.from(key, 'base64'), nonce)
  cipher.setAAD(Buffer.from(cpId))
  return Buffer.concat([nonce, cipher.update('hello'), cipher.final(), cipher.getAuthTag()]).toString('base64')
}

test('instances: each verifies the trail of all when it is asked to', async t => {
  const [a, b] = (await start(t, 2)) as [TestCentral, TestCentral]
  await eventually(async () => (await a.send('GET', '/checkpoint', { as: 'admin' })).status === 200)
  assert.equal((await b.send('POST', '/evidence/verification', { as: 'admin' })).status, 202)
  let { body } = await b.send('GET', '/evidence/verification', { as: 'admin' })
  await eventually(async () => {
    body = (await b.send('GET', '/evidence/verification', { as: 'admin' })).body
    return body.phase !== 'running'
  })
  assert.deepEqual([body.phase, body.verdict], ['done', 'PRISTINE'], body.sentence)
})

test('instances: a row that was changed stops the signing of all, also of one that starts then, until it is as it was logged', async t => {
  const url = await server.createDatabase()
  const environment = { EVC_DATABASE_URL: url, EVC_SELF_CHECK_PERCENT: '50' }
  const a = await startTestCentral(environment)
  const b = await startTestCentral(environment, a.keys)
  t.after(() => Promise.all([a, b].map(instance => instance.close())))
  const { cpId } = await a.chargePoint()
  const [row] = await server.run<{ id: string }>(url, `SELECT min(id) AS id FROM audit_events`)
  const evidence = async (at: TestCentral) => (await at.send('GET', '/evidence', { as: 'auditor' })).body
  for (const each of [a, b]) await eventually(async () => (await evidence(each)).self_check?.rounds > 0)

  await server.run(url, "UPDATE audit_events SET who = who || '!' WHERE id = $1", [row?.id])
  for (const each of [a, b]) await eventually(async () => (await evidence(each)).phase === 'tampered')
  await b.stop()
  await b.start()
  await eventually(async () => (await evidence(b)).phase === 'tampered')
  const signing = async (as?: 'auditor') => {
    const { checks } = (await b.send('GET', '/ready', as && { as })).body
    return checks.find(({ name }: { name: string }) => name === 'checkpoint')
  }
  assert.deepEqual(await signing(), { name: 'checkpoint', ok: false, detail: 'tampered' })
  assert.match((await signing('auditor')).detail, /^event \d+: it is not what was logged$/)
  await eventually(async () => (await incidents(b, 'LOG_TAMPERED')).length > 0)
  const signed = async () => (await server.run(url, 'SELECT max(size) AS size FROM log_checkpoints'))[0]
  const before = await signed()
  await a.send('GET', `/security/status/${cpId}`, { as: 'auditor' })
  await a.send('GET', '/audit/failures', { as: 'auditor' })
  await setTimeout(1_500) // signers look once a second
  assert.deepEqual(await signed(), before)
  assert.equal((await a.send('GET', '/checkpoint', { as: 'auditor' })).status, 200, 'what was signed before is shown')

  await server.run(url, "UPDATE audit_events SET who = rtrim(who, '!') WHERE id = $1", [row?.id])
  for (const each of [a, b]) await eventually(async () => (await evidence(each)).phase === 'following')
  await eventually(async () => (await evidence(b)).unsigned_seconds === 0 && (await signed())?.size !== before?.size)
  const found = await incidents(a, 'LOG_TAMPERED')
  assert.equal(found.length, 1, 'one finding, one incident')
  assert.match(found[0].description, new RegExp(`event ${row?.id}, it is not what was logged`))
})

test('instances: one that starts after the checkpoints were set back signs nothing, until what it kept is removed', async t => {
  const url = await server.createDatabase()
  const a = await startTestCentral({ EVC_DATABASE_URL: url, EVC_SELF_CHECK_PERCENT: '0' })
  t.after(() => a.close())
  const evidence = async () => (await a.send('GET', '/evidence', { as: 'auditor' })).body
  await eventually(async () => (await evidence()).size > 0)
  await a.stop()
  const kept = join(a.dataDir, 'last-checkpoint')
  const [newest] = await server.run<{ note: string }>(
    url,
    'SELECT note FROM log_checkpoints ORDER BY size DESC LIMIT 1',
  )
  assert.equal(readFileSync(kept, 'utf8'), newest?.note)

  await server.run(url, 'DELETE FROM log_checkpoints')
  await a.start()
  await eventually(async () => (await evidence()).phase === 'refused')
  assert.match((await evidence()).last_error, /^ROLLED_BACK/)
  await a.stop()
  assert.equal(readFileSync(kept, 'utf8'), newest?.note)
  rmSync(kept)
  await a.start()
  await eventually(async () => (await evidence()).phase === 'following' && (await evidence()).size > 0)
  const refused = await a.send('GET', '/audit/events?reason_code=CHECKPOINT_REFUSED', { as: 'auditor' })
  assert.equal(refused.body.events.length, 1)
})
