import assert from 'node:assert/strict'
import test from 'node:test'
import { formatSignatureLine } from '../../../src/evidence/note.ts'
import {
  formatAddCheckpoint,
  formatSize,
  parseAddCheckpoint,
  readWitnessAnswer,
  SIZE_MEDIA_TYPE,
} from '../../../src/evidence/witness-message.ts'

/** The example of tlog-witness. */
const REQUEST = `old 20852014
PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=
jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=
5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=
/6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=

example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

\u2014 example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
\u2014 example.com/behind-the-sofa opLqBQsREYCgu6xQkYQwJr9fo45a62DN9EdmHXnZdXNqlcVGlCum2Wks+49/V6267UEjw6QUXTS5Rovnzv++qbSzm9Q=
`
const ANSWER = `\u2014 witness.example/w1 CMp+6LWBU0anHGH5aNDTJkH/gj79sG+T6+iP2ThYN5krrDJbR1HDnucjL39QsZTSvVjyQLrdk3DXDqI5G2HgLatVs0pWh6Up69HVOw==
\u2014 witness.example/w2 AWui8Sk55XjYLOijihBjhqEH6nS1ndDymE0a+6idX7pLcnoB+dhnz0854aLZgrrKbYKA7nC3HNJhm/kWl7oJlqU3rXXvpysAdyP3wQ==
`

test('witness request: the example of the specification is read, and written again to the letter', () => {
  const request = parseAddCheckpoint(REQUEST)
  assert.equal(request?.oldSize, 20_852_014)
  assert.equal(request.proof.length, 4)
  assert.ok(request.checkpoint.startsWith('example.com/behind-the-sofa\n'))
  assert.equal(formatAddCheckpoint(request), REQUEST)
  const first = { oldSize: 0, proof: [], checkpoint: request.checkpoint }
  assert.deepEqual(parseAddCheckpoint(formatAddCheckpoint(first)), first)
  assert.throws(() => formatAddCheckpoint({ ...first, oldSize: -1 }), RangeError)
  assert.throws(() => formatAddCheckpoint({ ...first, checkpoint: 'x' }), RangeError)
})

test('witness request: every other form is refused', () => {
  const hash = 'PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw='
  for (const [from, to] of [
    ['old 20852014', 'old 020852014'],
    ['old 20852014', 'old  20852014'],
    ['old 20852014', 'old'],
    ['old 20852014', 'old 20852014 '],
    ['old 20852014', 'size 20852014'],
    ['old 20852014\n', ''],
    ['old 20852014', '\nold 20852014'],
    [hash, `${hash} `],
    [hash, hash.slice(4)],
    [hash, Array.from({ length: 61 }, () => hash).join('\n')],
    ['\n\n', '\n'],
    ['\n\n', '\n\n\n'],
    [/\u2014 [\s\S]*$/, ''],
    [/\n/g, '\r\n'],
  ] as const) {
    assert.equal(parseAddCheckpoint(REQUEST.replace(from, to)), undefined, `${from} -> ${to}`)
  }
  const most = REQUEST.replace(hash, Array.from({ length: 60 }, () => hash).join('\n'))
  assert.equal(parseAddCheckpoint(most)?.proof.length, 63)
})

test('witness answer: cosignatures, a conflict with the size, and what each status means', () => {
  const cosigned = readWitnessAnswer(200, null, ANSWER)
  assert.ok(cosigned.outcome === 'cosigned')
  assert.equal(cosigned.signatures.map(formatSignatureLine).join(''), ANSWER)
  assert.deepEqual(readWitnessAnswer(409, SIZE_MEDIA_TYPE, formatSize(7)), { outcome: 'conflict', size: 7 })
  assert.deepEqual(readWitnessAnswer(409, 'Text/X.tlog.size; charset=utf-8', '0\n'), { outcome: 'conflict', size: 0 })
  assert.deepEqual(readWitnessAnswer(409, 'text/plain', 'the roots differ\n'), { outcome: 'conflict' })
  const outcomes = [400, 403, 404, 422, 418, 500, 302].map(status => readWitnessAnswer(status, null, '').outcome)
  assert.deepEqual(outcomes, [
    'malformed',
    'unknown-keys',
    'unknown-log',
    'wrong-proof',
    'unexpected',
    'unexpected',
    'unexpected',
  ])
})

test('witness answer: a body that is not of the specification is unexpected', () => {
  for (const body of ['', '\n', 'thanks\n', ANSWER.trimEnd(), `${ANSWER}\n`, ANSWER.repeat(33)]) {
    assert.equal(readWitnessAnswer(200, 'text/plain', body).outcome, 'unexpected', JSON.stringify(body.slice(0, 20)))
  }
  for (const body of ['', '7', '07\n', '7\n\n', '-7\n', 'seven\n', '9007199254740993\n']) {
    assert.equal(readWitnessAnswer(409, SIZE_MEDIA_TYPE, body).outcome, 'unexpected', JSON.stringify(body))
  }
})
