/** Several instances that read one trail, as the store would make it: incidents come back as rows, one for each once-key. */
import assert from 'node:assert/strict'
import test from 'node:test'
import { createSharedDetector, type SharedDetector } from '../../../src/audit/shared-detector.ts'
import type { AuditEvent, StoredEvent } from '../../../src/event/event.ts'

const START = Date.UTC(2026, 0, 1)
const WINDOW_SECONDS = 600

const instance = () => createSharedDetector({ threshold: 5, windowSeconds: WINDOW_SECONDS })

function createTrail() {
  const rows: StoredEvent[] = []
  const keys = new Set<string>()
  const add = (event: AuditEvent, at: number) =>
    rows.push({ ...event, id: rows.length + 1, date_time: iso(at), created_at: iso(at) })
  const read = new Map<SharedDetector, number>()
  return {
    rows,
    fail: (second: number, fields: Partial<AuditEvent> = {}) => add(failure(fields), START + second * 1000),
    /** Each reads what it has not read, then its incidents become rows unless they are known. */
    async followedBy(...instances: SharedDetector[]) {
      for (const each of instances) {
        const reports = each.follow(rows.slice(read.get(each) ?? 0))
        read.set(each, rows.length)
        for (const { incident, onceKey } of reports) {
          if (keys.has(onceKey)) continue
          keys.add(onceKey)
          add(incident, Date.parse(rows.at(-1)?.date_time ?? ''))
        }
      }
    },
    startAt(each: SharedDetector) {
      each.replay(rows)
      read.set(each, rows.length)
    },
    counts: () =>
      rows
        .filter(row => row.action === 'INCIDENT')
        .map(row => JSON.parse(row.metadata_json ?? '').failure_count as number),
  }
}

function failure(fields: Partial<AuditEvent>): AuditEvent {
  return {
    date_time: '',
    who: 'CP-1',
    ip: '192.0.2.1',
    action: 'AUTH_FAIL',
    description: 'Authentication failed',
    severity: 'WARN',
    reason_code: 'INVALID_CREDENTIALS',
    request_id: 'r-1',
    endpoint: '/auth/credentials',
    http_method: 'POST',
    status_code: 401,
    metadata_json: null,
    ...fields,
  }
}

const iso = (at: number) => new Date(at).toISOString()

test('shared detector: an episode has one incident at 5, 10, 20 and 40, however many instances read it', async () => {
  const [trail, a, b, c] = [createTrail(), instance(), instance(), instance()]
  for (let i = 0; i < 79; i++) {
    trail.fail(i)
    const readers = [[a, b, c], [c, a], [b]][i % 3] as SharedDetector[]
    await trail.followedBy(...readers)
  }
  await trail.followedBy(a, b, c)
  assert.deepEqual(trail.counts(), [5, 10, 20, 40])
})

test('shared detector: the incident is that of the request whose failure made it due', async () => {
  const [trail, a] = [createTrail(), instance()]
  for (let i = 1; i <= 5; i++) trail.fail(i, { request_id: `r-${i}`, status_code: i === 5 ? 429 : 401 })
  await trail.followedBy(a)
  const incident = trail.rows.at(-1)
  assert.equal(incident?.action, 'INCIDENT')
  assert.equal(incident?.request_id, 'r-5')
  assert.equal(incident?.status_code, 429)
  assert.equal(incident?.ip, '192.0.2.1')
  assert.deepEqual(JSON.parse(incident?.metadata_json ?? ''), {
    scope: 'ip',
    ip: '192.0.2.1',
    cp_id: 'CP-1',
    failure_count: 5,
    time_window_seconds: WINDOW_SECONDS,
    distinct_cp_ids: 1,
    episode: 5,
  })
})

test('shared detector: one that starts between the fifth failure and its incident reports nothing again', async () => {
  const [trail, a, late] = [createTrail(), instance(), instance()]
  for (let i = 0; i < 5; i++) trail.fail(i)
  trail.startAt(late)
  trail.fail(6)
  await trail.followedBy(late) // first of the two, and it has seen one failure more
  await trail.followedBy(a)
  for (let i = 7; i < 12; i++) trail.fail(i)
  await trail.followedBy(a, late)
  assert.equal(trail.counts().length, 2)
})

test('shared detector: one that has not seen the beginning of an episode joins it at the next incident', async () => {
  const [trail, a, late] = [createTrail(), instance(), instance()]
  for (let i = 0; i < 9; i++) trail.fail(i, { who: `CP-${i}` })
  await trail.followedBy(a)
  late.follow([]) // it knows none of these rows
  const joined = trail.rows.length
  trail.fail(10, { who: 'CP-10' })
  await trail.followedBy(a)
  late.follow(trail.rows.slice(joined))
  assert.deepEqual(trail.counts(), [5, 10])
  const before = trail.rows.length
  for (let i = 11; i < 21; i++) trail.fail(i, { who: `CP-${i}` })
  const ofLate = late.follow(trail.rows.slice(before))
  const ofA = a.follow(trail.rows.slice(before))
  assert.equal(ofA.length, 1)
  assert.deepEqual(
    ofLate.map(report => report.onceKey),
    ofA.map(report => report.onceKey),
  )
})

test('shared detector: a clock that is an hour ahead ends no episode, and a quiet window does', async () => {
  const [trail, a] = [createTrail(), instance()]
  for (let i = 0; i < 3; i++) trail.fail(i)
  trail.fail(4)
  const wrong = trail.rows.pop() as StoredEvent
  trail.rows.push({ ...wrong, date_time: iso(START + 3_600_000) })
  trail.fail(5)
  await trail.followedBy(a)
  assert.deepEqual(trail.counts(), [5])
  for (let i = 0; i < 5; i++) trail.fail(6 + WINDOW_SECONDS + 1 + i)
  await trail.followedBy(a)
  assert.deepEqual(trail.counts(), [5, 5])
})

test('shared detector: the audit service can ask it and count nothing twice', () => {
  const [trail, a] = [createTrail(), instance()]
  const { detector } = a
  for (let i = 0; i < 4; i++) detector.fail('192.0.2.1', 'CP-1', Date.now())
  assert.equal(detector.due('192.0.2.1', 'CP-1', Date.now()), undefined)
  trail.fail(0, {})
  const now = new Date().toISOString()
  a.follow(
    Array.from({ length: 5 }, (_, i) => ({
      ...(trail.rows[0] as StoredEvent),
      id: i + 1,
      date_time: now,
      created_at: now,
    })),
  )
  assert.equal(detector.isSuspected('192.0.2.1', 'CP-1', 0), true)
  assert.equal(detector.failuresInWindow('cp_id', 'CP-1', 0), 5)
})
