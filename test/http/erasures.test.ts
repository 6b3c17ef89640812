/** Erasure over HTTP: who may, what is refused, and that nothing in the data folder of the running service shows the subject. */
import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'
import { liftHold, placeHold } from '../../src/archive/holds.ts'
import { checkAll } from '../../src/service/check-all.ts'
import { dataFolder } from '../../src/service/data-folder.ts'
import { filesHolding } from '../harness/byte-scan.ts'
import { auditRows } from '../harness/rows.ts'
import { eventually, problemOf, startTestCentral, type TestCentral } from './harness.ts'

const data = mkdtempSync(join(tmpdir(), 'evc-erasures-'))
const folder = dataFolder(data)
let central: TestCentral

test.before(async () => {
  central = await startTestCentral({ EVC_DATA_DIR: data })
})
test.after(() => rmSync(data, { recursive: true }))

const erase = (body: unknown, as: 'admin' | 'operator' | 'auditor' = 'admin') =>
  central.send('POST', '/audit/erasures', { as, body })

/** Leaves a name in as many places as the doors allow. */
async function visit(cpId: string, from: string): Promise<void> {
  const { body } = await central.send('POST', '/charge-points', { as: 'operator', body: { cp_id: cpId } })
  const login = (credentials: string) =>
    central.send('POST', '/auth/credentials', { from, body: { cp_id: cpId, credentials } })
  assert.equal((await login(body.credentials)).status, 200)
  for (let n = 0; n < 6; n++) await login('wrong-credentials-0123456789')
  await central.send('POST', '/keys/generate', { as: 'operator', body: { cp_id: cpId, reason: `first of ${cpId}` } })
  await central.send('GET', `/audit/events?who=${cpId}`, { as: 'auditor' })
  await central.send('GET', `/security/status/${cpId}`, { as: 'operator' })
  const removed = await central.send('DELETE', `/charge-points/${cpId}`, { as: 'operator' })
  assert.equal(removed.status, 204, removed.text)
}

test('erasures: only admins may; anybody else is an incident', async () => {
  for (const role of ['operator', 'auditor'] as const) {
    const answer = await erase({ who: 'CP-9', reason: 'x' }, role)
    problemOf(answer, 403, 'FORBIDDEN')
    const [event] = await central.eventsOf(answer.requestId)
    assert.deepEqual([event?.action, event?.reason_code], ['INCIDENT', 'UNAUTHORIZED_ADMIN_ACCESS'])
  }
  problemOf(await central.send('POST', '/audit/erasures', { body: { who: 'CP-9', reason: 'x' } }), 401, 'UNAUTHORIZED')
})

test('erasures: exactly one subject and a reason that does not name it; nobody is erased for all', async () => {
  const bad = [
    [{ reason: 'x' }, 'who'],
    [{ who: 'CP-9', ip: '192.0.2.9', reason: 'x' }, 'ip'],
    [{ ip: 'not an address', reason: 'x' }, 'ip'],
    [{ who: 'CP-9' }, 'reason'],
    [{ who: 'CP-9', reason: 'x'.repeat(257) }, 'reason'],
    [{ who: 'x'.repeat(65), reason: 'x' }, 'who'],
    [{ who: 'CP-9', reason: 'for CP-9.' }, 'reason'],
    [{ who: 'unknown', reason: 'x' }, 'who'],
  ] as const
  for (const [body, field] of bad) {
    const { errors } = problemOf(await erase(body), 422, 'VALIDATION_FAILED')
    assert.equal(errors[0].field, field, JSON.stringify(body))
  }
})

test('erasures: nothing in the data folder shows the subject, the trail goes on, and everything agrees', async () => {
  const [name, address] = ['CP-visitor-4711', '198.51.100.171']
  await visit(name, address)
  const { body: before } = await central.send('GET', `/audit/events?who=${name}&limit=1000&order=asc`, {
    as: 'auditor',
  })
  const [first] = before.events
  const proof = await eventuallyProven(first.id)
  assert.ok(filesHolding(data, name, address).length >= 3)

  const answer = await erase({ who: name, reason: 'request 118' })
  assert.equal(answer.status, 200, answer.text)
  assert.ok(answer.body.erased >= before.events.length)
  assert.deepEqual(filesHolding(data, name), [])
  const byAddress = await erase({ ip: address, reason: 'request 118' })
  assert.deepEqual([byAddress.status, byAddress.body.erased], [200, 0], 'its events were erased with the name')
  assert.deepEqual(filesHolding(data, name, address), [])

  const { body: tombstone } = await central.send('GET', `/audit/events/${answer.body.event_id}`, { as: 'auditor' })
  assert.deepEqual([tombstone.action, tombstone.reason_code, tombstone.who], ['SYSTEM', 'ERASED', 'system'])
  const { count, actor, reason } = JSON.parse(tombstone.metadata_json)
  assert.deepEqual([count, actor, reason], [answer.body.erased, 'admin', 'request 118'])
  const { body: event } = await central.send('GET', `/audit/events/${first.id}`, { as: 'auditor' })
  assert.deepEqual(
    [event.who, event.ip, event.description, event.request_id, event.endpoint, event.metadata_json, event.action],
    ['', '', '', null, null, null, first.action],
  )
  const again = await eventuallyProven(first.id)
  assert.deepEqual([/^extra /m.test(proof), /^extra /m.test(again)], [true, false])
  for (const path of [`/audit/events?who=${name}`, `/audit/events?ip=${address}`]) {
    assert.equal((await central.send('GET', path, { as: 'auditor' })).body.events.length, 0)
  }
  const { body: summary } = await central.send('GET', '/audit/summary', { as: 'auditor' })
  assert.equal(JSON.stringify(summary).includes(name), false)
  const { body: incidents } = await central.send('GET', '/audit/incidents', { as: 'auditor' })
  assert.ok(incidents.episodes.some((episode: { ip: string }) => episode.ip === ''))
  await eventually(() => checkAll({ folder }).counts.waiting_records === 0)
  assert.deepEqual(checkAll({ folder }).problems, [])
  assert.equal(readdirSync(folder.journalDirectory).filter(file => file.endsWith('.journal')).length, 1)

  await erase({ who: name, reason: 'request 118' }) // what asked for the name above names it
  assert.deepEqual(filesHolding(data, name), [])
})

test('erasures: while others log in and read, nothing is lost and everything agrees', async () => {
  const name = 'CP-crowd-4711'
  await visit(name, '198.51.100.172')
  let isDone = false
  const others = Array.from({ length: 4 }, async (_, n) => {
    const { cpId, credentials } = await central.chargePoint()
    let logins = 0
    while (!isDone) {
      const body = { cp_id: cpId, credentials }
      const { status } = await central.send('POST', '/auth/credentials', { from: `10.9.${n}.1`, body })
      if (status === 200) logins++
      await central.send('GET', '/audit/summary', { as: 'auditor' })
    }
    return { cpId, logins }
  })
  const answer = await erase({ who: name, reason: 'request 119' })
  isDone = true
  assert.equal(answer.status, 200, answer.text)
  assert.deepEqual(filesHolding(data, name), [])
  for (const { cpId, logins } of await Promise.all(others)) {
    await eventually(() => auditRows(data, `who = '${cpId}' AND action = 'AUTH_SUCCESS'`).length === logins)
  }
  assert.deepEqual(checkAll({ folder }).problems, [])
})

test('erasures: a registered charge point and a legal hold are refused, and nothing is changed', async () => {
  const { cpId } = await central.chargePoint()
  problemOf(await erase({ who: cpId, reason: 'x' }), 409, 'SUBJECT_IN_USE')
  const name = 'CP-held-4711'
  await visit(name, '198.51.100.173')
  await eventually(() => auditRows(data, `who = '${name}' AND action = 'AUTH_FAIL'`).length > 0)
  const [start_time, end_time] = [new Date(Date.now() - 60_000), new Date(Date.now() + 60_000)].map(at =>
    at.toISOString(),
  )
  const held = { start_time: start_time as string, end_time: end_time as string, reason: 'case 7' }
  const hold = await placeHold(folder.auditDatabase, held, 'ada')
  const count = auditRows(data, `who = '${name}'`).length
  const { detail } = problemOf(await erase({ who: name, reason: 'x' }), 409, 'LEGAL_HOLD')
  assert.match(detail, new RegExp(`Legal hold ${hold.id} `))
  assert.equal(auditRows(data, `who = '${name}'`).length, count)
  await liftHold(folder.auditDatabase, hold.id, 'ada')
  assert.equal((await erase({ who: name, reason: 'x' })).status, 200)
  assert.deepEqual(filesHolding(data, name), [])
})

test('erasures: when the service has stopped, nothing shows the subjects', async () => {
  await central.close()
  assert.deepEqual(filesHolding(data, 'CP-visitor-4711', 'CP-crowd-4711', 'CP-held-4711'), [])
})

async function eventuallyProven(id: number): Promise<string> {
  let text = ''
  await eventually(async () => {
    const answer = await central.send('GET', `/audit/events/${id}/proof`, { as: 'auditor' })
    text = answer.text
    return answer.status === 200
  })
  return text
}
