import assert from 'node:assert/strict'
import test from 'node:test'
import { type PrivateRow, rowHolds, type Subject } from '../../../src/store/subject.ts'

const NOTHING: PrivateRow = {
  who: 'olga',
  ip: '192.0.2.1',
  description: 'nothing',
  request_id: null,
  endpoint: null,
  http_method: null,
  metadata_json: null,
}

function check(subject: Subject, held: readonly Partial<PrivateRow>[], others: readonly Partial<PrivateRow>[]): void {
  for (const row of held) assert.equal(rowHolds({ ...NOTHING, ...row }, subject), true, JSON.stringify(row))
  for (const row of others) assert.equal(rowHolds({ ...NOTHING, ...row }, subject), false, JSON.stringify(row))
}

test('subject: a name is found as a whole word, in any private column and spelling', () =>
  check(
    { kind: 'who', name: 'CP-1' },
    [
      { who: 'CP-1' },
      { description: 'Charge point CP-1 deleted' },
      { description: 'deleted: CP-1.' },
      { description: '"CP-1", (CP-1)' },
      { description: 'cp_id=CP-1' },
      { description: 'CP-10 is not meant, CP-1 is' },
      { description: 'GET /charge-points/CP%2D1' },
      { description: 'a line\\u000aCP-1' },
      { endpoint: '/charge-points/CP-1/status' },
      { endpoint: '/charge-points/%43P-1' },
      { endpoint: '/audit/events?who=CP-1&limit=1' },
      { request_id: 'CP-1' },
      { metadata_json: '{"who":"CP-1"}' },
      { metadata_json: '{"filter":{"list":["CP-2",{"CP-1":1}]}}' },
      { metadata_json: '{"text":"a\\nCP-1"}' },
      { metadata_json: '{"text":"\\u0043P-1"}' },
      { metadata_json: 'not JSON: CP-1' },
    ],
    [
      { who: 'CP-10' },
      { who: 'CP-1.' },
      { who: 'SITE:CP-1' },
      { who: 'cp-1' },
      { description: 'CP-10, XCP-1, CP-1-A, CP-1_2, CP-1.2, CP-1:2, a.CP-1, SITE:CP-1' },
      { endpoint: '/charge-points/CP-10/status' },
      { endpoint: '/charge-points/CP-1%30' },
      { endpoint: '/100%' },
      { metadata_json: '{"who":"CP-10","n":1}' },
    ],
  ))

test('subject: an address is found with a port behind it, and is no part of another', () => {
  check(
    { kind: 'ip', name: '203.0.113.7' },
    [
      { ip: '203.0.113.7' },
      { description: 'from IP 203.0.113.7 within' },
      { description: 'from 203.0.113.7:443.' },
      { description: 'ip:203.0.113.7' },
      { metadata_json: '{"ip":"203.0.113.7"}' },
    ],
    [{ ip: '203.0.113.70' }, { description: '1203.0.113.7, 203.0.113.77, 203.0.113.7.1, 8.203.0.113.7' }],
  )
  check(
    { kind: 'ip', name: '2001:db8::1' },
    [{ ip: '2001:db8::1' }, { description: 'from [2001:db8::1]:443' }, { metadata_json: '{"ip":"2001:db8::1"}' }],
    [{ ip: '2001:db8::12' }, { description: '2001:db8::1:2, 12001:db8::1' }],
  )
})

test('subject: a name of several words, or of other letters, is found as it stands', () => {
  check(
    { kind: 'who', name: 'José "Pepe" Pérez' },
    [{ who: 'José "Pepe" Pérez' }, { metadata_json: JSON.stringify({ actor: 'José "Pepe" Pérez' }) }],
    [{ description: 'José Pérez' }],
  )
  check({ kind: 'who', name: '42' }, [{ metadata_json: '{"n":42}' }], [{ metadata_json: '{"n":420}' }])
})
