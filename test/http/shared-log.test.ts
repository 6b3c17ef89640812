/** The log that several instances on one PostgreSQL share: whose keys sign it, who cosigns it, and what stops its signing. */
import assert from 'node:assert/strict'
import { createCipheriv, randomBytes } from 'node:crypto'
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'
import { setTimeout } from 'node:timers/promises'
import pg from 'pg'
import { WATCH_LOCK } from '../../src/checkpoint/postgres-watch.ts'
import { type KeyChain, openByChain, parseKeyChain } from '../../src/evidence/key-chain.ts'
import { formatVerifierKey } from '../../src/evidence/note.ts'
import { algorithmOf, createVerifier } from '../../src/evidence/signature.ts'
import { RUNTIME_ROLE } from '../../src/postgres/migrations.ts'
import { runHere } from '../cli/command-line.ts'
import { postgresServer } from '../harness/postgres.ts'
import { runtimeUrl } from '../harness/runtime-role.ts'
import { serve, temporaryFolder } from '../unit/witness/witness-under-test.ts'
import { eventually, KEY_ENCRYPTION_KEY, problemOf, startTestCentral, type TestCentral } from './harness.ts'

const server = postgresServer()
/** For reading the trail again not to go on; it is noted every 2 s, and seen within one more. */
const UNUSUAL_SECONDS = 6

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

test('shared log: what a witness cosigned for one instance is shown by all, also by one that finds no witness', async t => {
  const url = await server.createDatabase()
  const verifierKey = (await command(url, 'key', 'generate')).trim()
  const witness = await serve(t, temporaryFolder(t), [{ verifierKey }])
  const environment = {
    EVC_DATABASE_URL: url,
    EVC_WITNESSES: `${witness.url}|${formatVerifierKey(witness.witness.key)}`,
    EVC_WITNESS_QUORUM: '1',
  }
  const a = await startTestCentral(environment)
  const instances = [a]
  t.after(() => Promise.all(instances.map(instance => instance.close())))
  const b = await startTestCentral(environment, a.keys)
  instances.push(b)
  const witnessedSize = async (instance: TestCentral) => {
    const { status, text } = await instance.send('GET', '/checkpoint', { as: 'auditor' })
    const opened = openByChain(text, await chainOf(instance), [createVerifier(witness.witness.key)])
    return status === 200 && opened.isTrusted && opened.cosignatures.length === 1 ? opened.checkpoint.size : 0
  }
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
  const late = await startTestCentral(environment, a.keys)
  instances.push(late)
  await eventually(async () => (await late.send('GET', '/checkpoint', { as: 'auditor' })).status === 200)
  assert.ok((await witnessedSize(late)) >= size)
})

test('shared log: a key rotated on the command line, and a second one that all are started with, sign for all of them', async t => {
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

test('shared log: an instance that connects as a role with no more rights than it needs does everything there is to do', async t => {
  const url = await server.createDatabase()
  const limited = await runtimeUrl(server, url)
  await command(url, 'cp', 'list') // the owner makes the tables
  const instance = await startTestCentral({ EVC_DATABASE_URL: limited })
  t.after(async () => {
    await instance.close()
    const name = new URL(limited).username
    await server.run(url, `DROP OWNED BY ${name}; DROP ROLE ${name}`)
  })
  const { cpId, credentials } = await instance.chargePoint()
  const { token } = (await instance.send('POST', '/auth/credentials', { body: { cp_id: cpId, credentials } })).body
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
  await command(limited, 'key', 'rotate')
  for (const change of [
    "UPDATE audit_events SET who = 'somebody'",
    "UPDATE log_key_chain SET chain = ''",
    'DELETE FROM log_checkpoints',
    'UPDATE log_checkpoints SET size = 1',
    "UPDATE log_checkpoints SET note = ''",
    "INSERT INTO log_checkpoints VALUES (1, '', '2020-01-01')",
  ])
    await assert.rejects(server.run(limited, change), /permission denied/)
  const other = server.run(limited, "SELECT evc_append_hand_over('something')")
  await assert.rejects(other, /no line of a key chain/)
  let newest: Record<string, unknown> | undefined
  await eventually(async () => {
    ;[newest] = await server.run(limited, 'SELECT size, note FROM log_checkpoints JOIN log_head USING (size)')
    return Number(newest?.size) > 1 // all there is: none follows, and it is not of the empty log
  })
  const noteOf = async () =>
    (await server.run(limited, 'SELECT note FROM log_checkpoints WHERE size = $1', [newest?.size]))[0]?.note
  const forget = () => server.run(limited, "SELECT evc_forget_checkpoint($1, '1000 years')", [newest?.size])
  await forget()
  assert.equal(await noteOf(), newest?.note, 'the newest stays')
  const cosign = (note: string) => server.run(limited, 'SELECT evc_cosign_checkpoint($1, $2)', [newest?.size, note])
  const [text, signatures] = String(newest?.note).split('\n\n')
  for (const note of ['', `${text}\n\n`, `${text}x\n\n${signatures}`, `${text}\n\n— witness A\n`]) await cosign(note)
  assert.equal(await noteOf(), newest?.note, 'what the log signed stays')
  await cosign(`${newest?.note}— witness A\n`)
  assert.equal(await noteOf(), `${newest?.note}— witness A\n`)
  await server.run(limited, "INSERT INTO log_witnessed (size, note) VALUES (999999, E'a\\n999999\\nb')")
  assert.deepEqual(await server.run(url, 'SELECT size FROM log_witnessed'), [], 'what nothing could follow is not kept')
  const keep = (note: string) =>
    server.run(
      limited,
      'INSERT INTO log_witnessed (size, note) VALUES ($1, $2) ON CONFLICT (one) DO UPDATE SET size = excluded.size, note = excluded.note',
      [newest?.size, note],
    )
  await keep(`${newest?.note}— witness A\n`)
  const junk = [`${text}x\n\n${signatures}`, `${text}\n\n— witness A\n`, `${newest?.note}${'x'.repeat(262_144)}`]
  for (const note of junk) await keep(note)
  await server.run(limited, "UPDATE log_witnessed SET size = 1, note = replace(note, E'\\n' || size, E'\\n1')")
  assert.deepEqual(
    await server.run(url, 'SELECT size, note FROM log_witnessed'),
    [{ size: newest?.size, note: `${newest?.note}— witness A\n` }],
    'what witnesses cosigned is no other checkpoint of that size, and none before',
  )
  for (const back of ['log_head SET size = size - 1', 'journal_clearing SET asked = asked - 1'])
    await assert.rejects(server.run(limited, `UPDATE ${back}`), /only goes forward/)

  // What the database says of it is for those with a key, and for the log of the service.
  await server.run(
    url,
    `REVOKE EXECUTE ON FUNCTION evc_count_events() FROM ${RUNTIME_ROLE}; REVOKE INSERT ON audit_events FROM ${RUNTIME_ROLE}`,
  )
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
  await eventually(async () => {
    // A row more: what is due is looked for with rows, at most once a second.
    await instance.send('GET', '/audit/failures', { as: 'auditor' })
    return /function evc_count_events.*events cannot be counted for summaries now/.test(instance.log())
  })
})

/** A message of a charge point. */
function sealed(cpId: string, key: string): string {
  const nonce = randomBytes(12)
  const cipher = createCipheriv('aes-256-gcm', Buffer.from(key, 'base64'), nonce)
  cipher.setAAD(Buffer.from(cpId))
  return Buffer.concat([nonce, cipher.update('hello'), cipher.final(), cipher.getAuthTag()]).toString('base64')
}

test('shared log: that the trail cannot be read again is seen; a row that was changed stops the signing of all, also of an instance that starts then, until it is as it was logged', async t => {
  const url = await server.createDatabase()
  const environment = { EVC_DATABASE_URL: url, EVC_SELF_CHECK_PERCENT: '50' }
  const inTheWay = new pg.Client(url)
  await inTheWay.connect()
  t.after(() => inTheWay.end())
  await inTheWay.query('SELECT pg_advisory_lock($1)', [WATCH_LOCK])
  const a = await startTestCentral(environment)
  const b = await startTestCentral(environment, a.keys)
  t.after(() => Promise.all([a, b].map(instance => instance.close())))
  const { cpId } = await a.chargePoint()
  const [row] = await server.run<{ id: string }>(url, `SELECT min(id) AS id FROM audit_events`)
  const evidence = async (at: TestCentral) => (await at.send('GET', '/evidence', { as: 'auditor' })).body
  const stalled = async (at: TestCentral) => {
    const { text } = await at.send('GET', '/metrics', { as: 'auditor' })
    return Number(/^evc_log_self_check_stalled_seconds (\S+)$/m.exec(text)?.[1])
  }
  for (const each of [a, b]) await eventually(async () => (await stalled(each)) > UNUSUAL_SECONDS, 60_000, 500)
  assert.ok((await evidence(a)).self_check.stalled_seconds > UNUSUAL_SECONDS)
  await inTheWay.query('SELECT pg_advisory_unlock_all()')
  for (const each of [a, b]) await eventually(async () => (await evidence(each)).self_check?.rounds > 0)
  for (const each of [a, b]) await eventually(async () => (await stalled(each)) < UNUSUAL_SECONDS, 60_000, 500)

  await server.run(url, "UPDATE audit_events SET who = who || '!' WHERE id = $1", [row?.id])
  for (const each of [a, b]) await eventually(async () => (await evidence(each)).phase === 'tampered')
  await b.stop()
  await b.start()
  await eventually(async () => (await evidence(b)).phase === 'tampered')
  const incidents = async () => {
    const path = '/audit/events?action=INCIDENT&reason_code=LOG_TAMPERED'
    return (await b.send('GET', path, { as: 'auditor' })).body.events
  }
  const signing = async (as?: 'auditor') => {
    const { checks } = (await b.send('GET', '/ready', as && { as })).body
    return checks.find(({ name }: { name: string }) => name === 'checkpoint')
  }
  assert.deepEqual(await signing(), { name: 'checkpoint', ok: false, detail: 'tampered' })
  assert.match((await signing('auditor')).detail, /^event \d+: it is not what was logged$/)
  await eventually(async () => (await incidents()).length > 0)
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
  const found = await incidents()
  assert.equal(found.length, 1, 'one finding, one incident')
  assert.match(found[0].description, new RegExp(`event ${row?.id}, it is not what was logged`))
})

test('shared log: an instance that starts after the checkpoints were set back signs nothing, until what it kept is removed', async t => {
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
