/** What a start counts anew: failures that are rows, and those that a crash left in the journal. */
import assert from 'node:assert/strict'
import test, { type TestContext } from 'node:test'
import { pino } from 'pino'
import { formatEntry } from '../../../src/event/codec.ts'
import type { AuditEvent } from '../../../src/event/event.ts'
import { openJournal } from '../../../src/journal/segment-journal.ts'
import { type DataFolder, dataFolder } from '../../../src/service/data-folder.ts'
import { openPipeline, type Pipeline } from '../../../src/service/pipeline.ts'
import { failureRecords } from '../../../src/service/recent-failures.ts'
import { sampleEvent } from '../../contract/event-store.ts'
import { temporaryFolder } from '../journal/temporary-folder.ts'

const logger = pino({ level: 'silent' })

/** Every third is a failure, of an address and a request of its own. */
const eventAt = (n: number): AuditEvent => ({
  ...sampleEvent(n),
  action: n % 3 === 0 ? 'AUTH_FAIL' : 'ACCESS',
  description: 'AUTH_FAIL and INCIDENT are only mentioned',
  reason_code: n % 3 === 0 ? 'INVALID_CREDENTIALS' : 'READ',
  date_time: new Date().toISOString(),
  ip: `10.${(n >> 16) & 255}.${(n >> 8) & 255}.${n & 255}`,
  request_id: `request-${n}`,
})

async function leave(folder: DataFolder, from: number, to: number): Promise<void> {
  const journal = await openJournal({ directory: folder.journalDirectory, ackTimeoutMs: 60_000 })
  for (let n = from; n <= to; n++) journal.append(n === 5 ? 'AUTH_FAIL that is no record' : formatEntry(eventAt(n)))
  await journal.close()
}

async function open(t: TestContext, folder: DataFolder): Promise<Pipeline> {
  const pipeline = await openPipeline({
    folder,
    logger,
    ackTimeoutMs: 60_000,
    bruteForceThreshold: 5,
    bruteForceWindowSeconds: 600,
  })
  t.after(() => pipeline.close())
  return pipeline
}

test('recent failures: each is counted once at a start, a row or not, and nobody waits for the indexer', async t => {
  const folder = dataFolder(temporaryFolder(t))
  const [rows, all] = [3_000, 33_000]
  await leave(folder, 1, rows)
  const first = await open(t, folder)
  assert.ok(await first.caughtUp(60_000))
  await first.close()
  await leave(folder, rows + 1, all)

  const { recentFailures, unindexedFailures, audit, caughtUp } = await open(t, folder)
  assert.ok(unindexedFailures.length > 0, 'the indexer was not waited for')
  t.diagnostic(`${recentFailures.length} rows, ${unindexedFailures.length} records`)
  const found = [...recentFailures, ...unindexedFailures].map(({ request_id }) => request_id)
  const wanted = Array.from({ length: all / 3 }, (_, n) => `request-${3 * (n + 1)}`)
  assert.deepEqual(found, wanted)
  assert.equal(audit.status().detectorSubjects, wanted.length + 7, 'addresses, and the charge points of the sample')
  assert.ok(await caughtUp(60_000))
})

test('recent failures: what the journal has is read up to where it is asked, and what cannot be read is passed', async t => {
  const folder = dataFolder(temporaryFolder(t))
  await leave(folder, 1, 30)
  const between = (after: number, through: number) =>
    failureRecords(folder.journalDirectory, after, through, logger).map(({ request_id }) => request_id)
  assert.deepEqual(between(0, 11), ['request-3', 'request-6', 'request-9'])
  assert.deepEqual(between(9, 30).length, 7)
  assert.deepEqual(between(30, 30), [])
  assert.deepEqual(failureRecords(temporaryFolder(t), 0, 30, logger), [])
})
