/** Erasure where several instances share a PostgreSQL: asked at one of them, or from the command line, it reaches the journals of all. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'
import { pino } from 'pino'
import { createSharedErasures } from '../../src/service/shared-erasure.ts'
import { runHere, temporaryFolder } from '../cli/command-line.ts'
import { filesHolding } from '../harness/byte-scan.ts'
import { postgresServer } from '../harness/postgres.ts'
import { assertLogOfRows, relationsHolding } from '../harness/postgres-log.ts'
import { eventually, KEY_ENCRYPTION_KEY, problemOf, startTestCentral, type TestCentral } from './harness.ts'

const server = postgresServer()
const folder = mkdtempSync(join(tmpdir(), 'evc-shared-erasures-'))

interface Instance {
  readonly central: TestCentral
  /** Its data folder. */
  readonly data: string
}

let url: string
let a: Instance
let b: Instance

test.before(async () => {
  url = await server.createDatabase()
  const [one, other] = ['a', 'b'].map(name => join(folder, name)) as [string, string]
  const first = await startTestCentral({ EVC_DATABASE_URL: url, EVC_DATA_DIR: one })
  a = { central: first, data: one }
  const second = await startTestCentral({ EVC_DATABASE_URL: url, EVC_DATA_DIR: other }, first.keys)
  b = { central: second, data: other }
})
test.after(async () => {
  await Promise.all([a.central.close(), b.central.close()])
  rmSync(folder, { recursive: true })
})

/** Leaves a name in as many places as the doors allow. */
async function visit({ central }: Instance, cpId: string, from: string): Promise<void> {
  const { body } = await central.send('POST', '/charge-points', { as: 'operator', body: { cp_id: cpId } })
  const login = (credentials: string) =>
    central.send('POST', '/auth/credentials', { from, body: { cp_id: cpId, credentials } })
  assert.equal((await login(body.credentials)).status, 200)
  for (let n = 0; n < 6; n++) await login('wrong-credentials-0123456789')
  await central.send('GET', `/audit/events?who=${cpId}`, { as: 'auditor' })
  await central.send('DELETE', `/charge-points/${cpId}`, { as: 'operator' })
}

const erase = ({ central }: Instance, who: string) =>
  central.send('POST', '/audit/erasures', { as: 'admin', body: { who, reason: 'request 118' } })

async function proofOf({ central }: Instance, id: number): Promise<string> {
  let text = ''
  await eventually(async () => {
    const answer = await central.send('GET', `/audit/events/${id}/proof`, { as: 'auditor' })
    text = answer.text
    return answer.status === 200
  })
  return text
}

test('shared erasures: tables and the journals of both instances show nothing of the subject, and proofs stay', async () => {
  const [name, address] = ['CP-visitor-4711', '198.51.100.171']
  await visit(a, name, address)
  await visit(b, name, address)
  problemOf(await erase(a, (await a.central.chargePoint()).cpId), 409, 'SUBJECT_IN_USE')
  const found = async () =>
    (await b.central.send('GET', '/audit/events?action=AUTH_SUCCESS&order=asc', { as: 'auditor' })).body.events
  await eventually(async () => (await found()).length === 2)
  const [{ id }] = await found()
  const before = await proofOf(a, id)
  for (const { data } of [a, b]) assert.notDeepEqual(filesHolding(data, name), [])

  const answer = await erase(a, name)
  assert.equal(answer.status, 200, answer.text)
  assert.match(answer.body.message, /^\d+ events were erased$/)
  for (const { data } of [a, b]) assert.deepEqual(filesHolding(data, name, address), [])
  assert.deepEqual(await relationsHolding(url, name), [])
  assert.deepEqual(await relationsHolding(url, address), [], 'its events were erased with the name')
  const rows = await assertLogOfRows(url)
  const tombstone = rows[answer.body.event_id - 1]
  assert.deepEqual([tombstone?.reason_code, JSON.parse(tombstone?.metadata_json ?? '').actor], ['ERASED', 'admin'])
  const after = await proofOf(b, id)
  assert.deepEqual([/^extra /m.test(before), /^extra /m.test(after)], [true, false])
  assert.equal(rows.filter(row => row.who === '').length, answer.body.erased)

  const again = await erase(b, name)
  assert.deepEqual([again.status, again.body.erased, again.body.event_id], [200, 0, null], again.text)
})

test('shared erasures: an instance that is away clears its journal when it returns', async () => {
  const name = 'CP-away-4711'
  await visit(b, name, '198.51.100.172')
  await b.central.stop()
  assert.notDeepEqual(filesHolding(b.data, name), [])
  const answer = await erase(a, name)
  assert.equal(answer.status, 200, answer.text)
  assert.ok(answer.body.erased > 0)
  assert.match(answer.body.message, /; instances are away: .*: [0-9a-f-]+$/)
  assert.deepEqual(await relationsHolding(url, name), [])
  assert.notDeepEqual(filesHolding(b.data, name), [])
  await b.central.start()
  await eventually(() => filesHolding(b.data, name).length === 0)
  assert.match((await erase(b, name)).body.message, /^No event holds the subject$/)
  await assertLogOfRows(url)
})

test('shared erasures: an event of a change that no instance has recorded yet is waited for', async t => {
  const environment = {
    EVC_DATABASE_URL: await server.createDatabase(),
    EVC_DATA_DIR: temporaryFolder(t),
    EVC_KEY_ENCRYPTION_KEY: KEY_ENCRYPTION_KEY,
  }
  const here = (...args: string[]) => runHere(args, { environment })
  const name = 'CP-early-4711'
  assert.equal((await here('cp', 'add', name)).code, 0)
  assert.equal((await here('cp', 'delete', name)).code, 0)
  const early = await here('erase', '--who', name, '--reason', 'request 118', '--yes')
  assert.equal(early.code, 1)
  assert.match(early.stderr, /ask again when one runs\. \(STATE_UNAVAILABLE\)/)
  const central = await startTestCentral({ EVC_DATABASE_URL: environment.EVC_DATABASE_URL })
  t.after(() => central.close())
  const done = await here('erase', '--who', name, '--reason', 'request 118', '--yes')
  assert.match(done.stdout, /^2 events were erased; event \d+ says so\n$/, done.stderr)
  assert.deepEqual(await relationsHolding(environment.EVC_DATABASE_URL, name), [])
})

test('shared erasures: from the command line, beside an instance; a hold wins', async t => {
  const name = 'CP-typed-4711'
  await visit(b, name, '198.51.100.173')
  const environment = { EVC_DATABASE_URL: url, EVC_DATA_DIR: temporaryFolder(t) }
  const here = (...args: string[]) => runHere(args, { environment })
  const from = new Date(Date.now() - 60_000).toISOString()
  const to = new Date(Date.now() + 60_000).toISOString()
  const added = await here('archive', 'hold', 'add', '--from', from, '--to', to, '--reason', 'case 7')
  assert.equal(added.code, 0, added.stderr)
  assert.match((await here('archive', 'hold', 'list')).stdout, /case 7/)
  const plan = await here('erase', '--who', name, '--dry-run')
  assert.equal(plan.code, 2)
  assert.match(plan.stderr, /Legal hold 1 keeps the events .*LEGAL_HOLD/)
  const held = await here('erase', '--who', name, '--reason', 'request 118', '--yes')
  assert.match(held.stderr, /LEGAL_HOLD/)
  assert.notDeepEqual(await relationsHolding(url, name), [])
  assert.equal((await here('archive', 'hold', 'remove', '1')).code, 0)

  assert.equal((await here('erase', '--who', name, '--reason', 'request 118')).code, 2)
  const done = await here('erase', '--who', name, '--reason', 'request 118', '--yes', '--json')
  assert.equal(done.code, 0, done.stderr)
  const { erased, archives_missing, journals_behind } = JSON.parse(done.stdout)
  assert.ok(erased > 0)
  assert.deepEqual([archives_missing, journals_behind], [[], []])
  assert.deepEqual(await relationsHolding(url, name), [])
  for (const { data } of [a, b]) assert.deepEqual(filesHolding(data, name), [])
  await assertLogOfRows(url)
})

test('shared erasures: while PostgreSQL cannot be reached they are refused, to be asked for again', async () => {
  const away = { url: 'postgres://evc@127.0.0.1:1/evc', archives: folder, logger: pino({ level: 'silent' }) }
  await using erasures = createSharedErasures(away)
  const subject = { kind: 'who', name: 'CP-1' } as const
  await assert.rejects(erasures.plan(subject), { code: 'STORE_UNAVAILABLE' })
  await assert.rejects(erasures.erase({ subject, reason: 'asked for', actor: 'test' }), { code: 'STORE_UNAVAILABLE' })
})
