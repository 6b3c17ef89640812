/** What is particular to SQLite: full segments are counted once, and not read again. What a summary says is a contract. */
import assert from 'node:assert/strict'
import { DatabaseSync } from 'node:sqlite'
import test from 'node:test'
import { dropSegment, listSegments } from '../../../src/store/segments.ts'
import { jumpyEvents, naiveSummary, randomRequest } from '../../contract/event-counts.ts'
import { sampleEvent } from '../../contract/event-store.ts'
import { createEventFixture, createRandom, NEVER, timeAt } from './event-fixture.ts'

test('summary: whatever the log, its range and its buckets, full segments that are counted make no difference', async () => {
  for (const [seed, segmentIds] of [
    [21, 1_024],
    [22, 3_072],
  ] as const) {
    await using fixture = createEventFixture(segmentIds)
    const random = createRandom(seed)
    await fixture.append(jumpyEvents(14_000, random))
    const { rows, queries, path } = fixture
    const requests = Array.from({ length: 40 }, () => randomRequest(rows, random))
    for (const request of requests) {
      assert.deepEqual(queries.summary(request, NEVER), naiveSummary(rows, request), JSON.stringify(request))
    }
    const db = new DatabaseSync(path)
    const gone = listSegments(db)[1] ?? assert.fail()
    dropSegment(db, gone)
    db.close()
    const present = rows.filter(({ id }) => id < gone.firstId || id > (gone.lastId ?? 0))
    for (const request of requests.slice(0, 10)) {
      assert.deepEqual(queries.summary(request, NEVER), naiveSummary(rows, request, present), JSON.stringify(request))
    }
  }
})

test('summary: full segments within the range are not read again, unless buckets divide a minute', async () => {
  await using fixture = createEventFixture()
  await fixture.append(Array.from({ length: 2_100 }, (_, n) => sampleEvent(n)))
  const db = new DatabaseSync(fixture.path)
  db.exec('DELETE FROM event_columns')
  db.close()
  const asked = (from: number, until: number, bucketSeconds: number) =>
    fixture.queries.summary({ start_time: timeAt(from), end_time: timeAt(until), bucketSeconds }, NEVER)
  assert.equal(asked(0, 3_000, 60).total, 2_100)
  assert.equal(asked(1_024, 2_048, 120).total, 1_024)
  const readAgain = [
    [1, 3_000, 60],
    [1_024, 2_047, 60],
    [0, 3_000, 90],
  ] as const
  for (const [from, until, bucketSeconds] of readAgain) {
    assert.throws(() => asked(from, until, bucketSeconds), { code: 'STORE_UNAVAILABLE' })
  }
})
