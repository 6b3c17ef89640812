/** Evidence packs of the real service, checked as the page checks them. */
import assert from 'node:assert/strict'
import test, { after, before } from 'node:test'
import { unzipSync } from 'fflate'
import { parseVerifierKey } from '../../src/evidence/note.ts'
import { type PackReport, verifyPack } from '../../src/evidence/verify-pack.ts'
import { eventually, problemOf, startTestCentral, type TestCentral } from './harness.ts'

const RANGE = 'start_time=2020-01-01T00:00:00Z&end_time=2100-01-01T00:00:00Z'
const ATTACKER = '203.0.113.9'
let central: TestCentral
let cpId: string
before(async () => {
  central = await startTestCentral()
  const chargePoint = await central.chargePoint()
  cpId = chargePoint.cpId
  await central.send('POST', '/auth/credentials', { body: { cp_id: cpId, credentials: chargePoint.credentials } })
  for (let i = 0; i < 8; i++) {
    const body = { cp_id: cpId, credentials: `wrong-secret-${i}-0123456789` }
    await central.send('POST', '/auth/credentials', { body, from: ATTACKER })
  }
  await signed()
})
after(() => central.close())

/** Everything that is stored by now is in a checkpoint. */
async function signed(): Promise<void> {
  const { body } = await central.send('GET', '/audit/events?limit=1', { as: 'auditor' })
  const { id } = body.events[0]
  await eventually(
    async () => (await central.send('GET', `/audit/events/${id}/proof`, { as: 'auditor' })).status === 200,
  )
}

async function packOf(query: string): Promise<{ report: PackReport; response: Response }> {
  const response = await fetch(`${central.url}/audit/evidence?${query}`, {
    headers: { 'x-admin-key': central.keys.auditor },
  })
  assert.equal(response.status, 200)
  const files = unzipSync(new Uint8Array(await response.arrayBuffer()))
  const steps = verifyPack(new Map(Object.entries(files)), [parseVerifierKey(central.logKey()) ?? assert.fail()])
  let step = steps.next()
  while (!step.done) step = steps.next()
  return { report: step.value, response }
}

test('evidence pack: everything of a time is in it and proven, and that somebody took it is on record', async () => {
  const { report, response } = await packOf(RANGE)
  assert.deepEqual([report.problems, report.selection], [[], 'signed'])
  assert.equal(report.key, 'given')
  assert.equal(response.headers.get('content-type'), 'application/zip')
  assert.match(response.headers.get('content-disposition') ?? '', /^attachment; filename="evidence-[\d-]+T\d+Z\.zip"$/)
  const ids = report.events.map(({ row }) => row.id)
  assert.deepEqual(
    ids,
    Array.from({ length: report.checkpoint?.size ?? 0 }, (_, i) => i + 1),
  )
  const { body } = await central.send('GET', '/audit/events?order=asc&limit=1', { as: 'auditor' })
  assert.deepEqual(report.events[0]?.row, body.events[0])
  const [access] = await central.eventsOf(response.headers.get('x-request-id') ?? '')
  assert.deepEqual([access?.action, access?.reason_code, access?.who], ['ACCESS', 'EXPORT', 'aldo'])
})

test('evidence pack: only of a charge point, or of what an incident is about', async () => {
  const ofChargePoint = (await packOf(`${RANGE}&cp_id=${cpId}`)).report
  assert.deepEqual(ofChargePoint.problems, [])
  assert.ok(ofChargePoint.events.length > 5 && ofChargePoint.events.every(({ row }) => row.who === cpId))

  const { body } = await central.send('GET', '/audit/events?action=INCIDENT&limit=1', { as: 'auditor' })
  const incident = body.events[0]
  const ofIncident = (await packOf(`${RANGE}&incident=${incident.id}`)).report
  assert.deepEqual(ofIncident.problems, [])
  assert.ok(ofIncident.events.some(({ row }) => row.id === incident.id))
  assert.ok(ofIncident.events.every(({ row }) => row.ip === ATTACKER))
})

test('evidence pack: what makes no sense is refused, and that is on record too', async () => {
  const send = (query: string) => central.send('GET', `/audit/evidence?${query}`, { as: 'auditor' })
  problemOf(await send(''), 422, 'VALIDATION_FAILED')
  problemOf(await send('start_time=2020-01-01T00:00:00Z'), 422, 'VALIDATION_FAILED')
  problemOf(await send('start_time=soon&end_time=later'), 422, 'VALIDATION_FAILED')
  problemOf(await send(`${RANGE}&who=CP-1`), 422, 'VALIDATION_FAILED')
  const answer = await send(`${RANGE}&incident=1`)
  problemOf(answer, 404, 'EVENT_NOT_FOUND')
  const [access] = await central.eventsOf(answer.requestId)
  assert.deepEqual([access?.action, access?.reason_code, access?.status_code], ['ACCESS', 'EXPORT', 404])
})
