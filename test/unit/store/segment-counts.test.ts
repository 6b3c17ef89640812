import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import test from 'node:test'
import { countSegment, forEachCount, writeCounts } from '../../../src/store/segment-counts.ts'
import { listSegments } from '../../../src/store/segments.ts'
import { createSqliteEventStore } from '../../../src/store/sqlite-event-store.ts'
import { batchOf, sampleEvent } from '../../contract/event-store.ts'

const SEGMENT = 2_048

function listed(list: Uint8Array): [key: number, count: number][] {
  const counts: [number, number][] = []
  forEachCount(list, (key, count) => counts.push([key, count]))
  return counts
}

/** Two full segments. Every fourth event is no failure; the last of the first segment is a hundred years late, of the system. */
async function inTwoSegments(work: (db: DatabaseSync) => void): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'evc-counts-'))
  const path = join(directory, 'audit.db')
  const store = createSqliteEventStore({ path, segmentIds: SEGMENT })
  const events = Array.from({ length: SEGMENT * 2 + 1 }, (_, n) =>
    n === SEGMENT - 1
      ? sampleEvent(n, { date_time: '2126-01-01T00:00:30.000Z', who: 'system', ip: '-', action: 'SYSTEM' })
      : sampleEvent(0, { who: 'CP-1', ip: '192.0.2.1', action: n % 4 === 3 ? 'AUTH_SUCCESS' : 'AUTH_FAIL' }),
  )
  await store.append(
    batchOf(
      0,
      events.map(event => ({ event, onceKey: null })),
    ),
  )
  await store.close()
  const db = new DatabaseSync(path)
  try {
    work(db)
  } finally {
    db.close()
    rmSync(directory, { recursive: true })
  }
}

test('segment counts: minutes, charge points and addresses are counted by number, failures apart', () =>
  inTwoSegments(db => {
    const numberOf = (name: string) =>
      Number(db.prepare('SELECT number FROM event_names WHERE name = ?').get(name)?.number)
    const kindOf = (action: string) =>
      Number(db.prepare('SELECT number FROM event_kinds WHERE action = ?').get(action)?.number)
    const counts = countSegment(db, 1, SEGMENT) ?? assert.fail()
    assert.equal(counts.minMs, Date.UTC(2026, 0, 1))
    assert.equal(counts.maxMs, Date.UTC(2126, 0, 1, 0, 0, 30))
    const failures = (SEGMENT / 4) * 3
    const successes = SEGMENT / 4 - 1
    const late = (Date.UTC(2126, 0, 1) - Date.UTC(2026, 0, 1)) / 60_000
    assert.deepEqual(listed(counts.minutes), [
      [kindOf('AUTH_FAIL'), failures],
      [kindOf('AUTH_SUCCESS'), successes],
      [late * 65_536 + kindOf('SYSTEM'), 1],
    ])
    const [name, address, nowhere] = [numberOf('CP-1'), numberOf('192.0.2.1'), numberOf('-')]
    assert.deepEqual(listed(counts.who), [
      [name * 2, successes],
      [name * 2 + 1, failures],
    ])
    assert.deepEqual(listed(counts.ip), [
      [address * 2, successes],
      [address * 2 + 1, failures],
      [nowhere * 2, 1],
    ])
  }))

test('segment counts: a segment whose columns are not all there is not counted', () =>
  inTwoSegments(db => {
    db.exec('DELETE FROM event_counts; DELETE FROM event_columns WHERE chunk = 3')
    const [first, second] = listSegments(db)
    for (const segment of [first, second]) {
      if (segment?.lastId !== undefined) writeCounts(db, segment, segment.lastId)
    }
    assert.deepEqual(
      db
        .prepare('SELECT segment FROM event_counts')
        .all()
        .map(row => row.segment),
      [1],
    )
  }))

test('segment counts: a list that is cut is refused, not half a count', () =>
  inTwoSegments(db => {
    const { minutes } = countSegment(db, 1, SEGMENT) ?? assert.fail()
    for (const cut of [minutes.subarray(0, 1), minutes.subarray(0, -1), Uint8Array.of(0x80)]) {
      assert.throws(() => listed(cut), RangeError)
    }
    assert.deepEqual(listed(Uint8Array.of(0x80, 0x01, 1, 0x02, 0xff, 0x7f)), [
      [128, 1],
      [130, 16_383],
    ])
  }))
