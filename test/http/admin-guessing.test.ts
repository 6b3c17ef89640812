/** Guessing admin keys: held up by network, never in the way of whoever has one, and no flood of incidents. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import test, { after, before } from 'node:test'
import { type Answer, problemOf, startTestCentral, type TestCentral } from './harness.ts'

let central: TestCentral
before(async () => {
  central = await startTestCentral()
})
after(() => central.close())

const wrongKey = (i: number) => createHash('sha256').update(`guess ${i}`).digest('hex')
const guess = (i: number, from: string) =>
  central.send('GET', '/charge-points', { headers: { 'x-admin-key': wrongKey(i) }, from })

async function incidentsFrom(ip: string) {
  const { body } = await central.send('GET', `/audit/events?action=INCIDENT&order=asc&limit=1000&ip=${ip}`, {
    as: 'auditor',
  })
  return body.events as { reason_code: string; status_code: number; metadata_json: string }[]
}

test('20 guesses from a network are 401 and an incident each, then 429; a right key passes all the while', async () => {
  const address = central.address()
  for (let i = 0; i < 20; i++) problemOf(await guess(i, address), 401, 'UNAUTHORIZED')
  const refused: Answer[] = []
  for (let i = 20; i < 120; i++) {
    refused.push(await guess(i, address))
    assert.equal((await central.send('GET', '/charge-points', { as: 'operator', from: address })).status, 200)
  }
  const throttled = refused.filter(({ status }) => status === 429)
  assert.ok(throttled.length >= 90, 'all but one after each delay')
  for (const answer of throttled) {
    problemOf(answer, 429, 'TOO_MANY_ATTEMPTS')
    assert.ok(Number(answer.headers.get('retry-after')) > 0)
  }
  const incidents = await incidentsFrom(address)
  const looked = 120 - throttled.length
  assert.ok(incidents.length >= looked && incidents.length <= looked + 2, 'of 429 only the 40th and the 80th refusal')
  for (const { reason_code } of incidents) assert.equal(reason_code, 'UNAUTHORIZED_ADMIN_ACCESS')
  assert.equal(JSON.parse(incidents.at(-1)?.metadata_json ?? '').failure_count >= 80, true)
})

test('the next network is not held up; an IPv6 network is its /64', async () => {
  for (let i = 0; i < 20; i++) problemOf(await guess(i, `2001:db8:0:1::${i.toString(16)}`), 401, 'UNAUTHORIZED')
  problemOf(await guess(20, '2001:db8:0:1:ffff::1'), 429, 'TOO_MANY_ATTEMPTS')
  problemOf(await guess(20, '2001:db8:0:2::1'), 401, 'UNAUTHORIZED')
})

test('a request without a key is no guess: 401 however many there were', async () => {
  const address = central.address()
  for (let i = 0; i < 250; i++) {
    const answer = await central.send('GET', '/charge-points', { from: address })
    problemOf(answer, 401, 'UNAUTHORIZED')
  }
  assert.equal((await incidentsFrom(address)).length, 200)
})

test('a client with a stale key is told so, and held up only when it goes on and on', async () => {
  const address = central.address()
  for (let i = 0; i < 100; i++) problemOf(await guess(1, address), 401, 'UNAUTHORIZED')
  problemOf(await guess(1, address), 429, 'TOO_MANY_ATTEMPTS')
})
