import assert from 'node:assert/strict'
import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import test from 'node:test'
import { createContext, openAuditDatabase, Refusal } from '../../src/embed/index.ts'
import { COLUMNS } from '../../src/event/event.ts'
import { temporaryAudit, temporaryFolder } from './temporary-audit.ts'

/** As the reference implementation writes it: microseconds, none when they are zero, an offset instead of `Z`. */
function referenceDatabase(path: string, times: readonly string[]): string {
  const db = new DatabaseSync(path)
  db.exec(`CREATE TABLE audit_events (
    id INTEGER PRIMARY KEY AUTOINCREMENT, date_time TEXT NOT NULL, who TEXT NOT NULL, ip TEXT NOT NULL,
    action TEXT NOT NULL, description TEXT NOT NULL, severity TEXT NOT NULL, reason_code TEXT, request_id TEXT,
    endpoint TEXT, http_method TEXT, status_code INTEGER, metadata_json TEXT,
    created_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP)`)
  const insert = db.prepare(
    `INSERT INTO audit_events (date_time, who, ip, action, description, severity, status_code) VALUES (?,?,?,?,?,?,?)`,
  )
  for (const [i, time] of times.entries()) {
    const isFailure = i % 2 === 0
    insert.run(
      time,
      `CP-${i}`,
      '10.0.0.1',
      isFailure ? 'AUTH_FAIL' : 'AUTH_SUCCESS',
      'd',
      isFailure ? 'WARN' : 'INFO',
      200,
    )
  }
  db.close()
  return path
}

test('openAuditDatabase: reads a database of the reference implementation, times to the microsecond', async t => {
  const folder = await temporaryFolder(t)
  const path = referenceDatabase(join(folder, 'ev_charging.db'), [
    '2025-12-14T06:00:05+00:00',
    '2025-12-14T06:00:05.719536+00:00',
    '2025-12-14T06:00:05.720000+00:00',
    '2025-12-14T06:00:06.000001+00:00',
  ])
  using db = openAuditDatabase(path)
  const ids = async (query: Parameters<typeof db.queryEvents>[0]) =>
    (await db.queryEvents(query)).map(event => event.id)
  assert.deepEqual(await ids({}), [4, 3, 2, 1])
  assert.deepEqual(await ids({ action: 'AUTH_FAIL', start_time: '2025-12-14T00:00:00Z', limit: 100 }), [3, 1])
  assert.deepEqual(await ids({ start_time: '2025-12-14T06:00:05Z', order: 'asc' }), [1, 2, 3, 4])
  assert.deepEqual(await ids({ end_time: '2025-12-14T06:00:05Z' }), [])
  assert.deepEqual(await ids({ start_time: '2025-12-14T06:00:05.719Z', end_time: '2025-12-14T06:00:06Z' }), [3, 2])
  assert.deepEqual(await ids({ start_time: '2025-12-14T08:00:05.720+02:00', order: 'asc', limit: 1 }), [3])
  assert.deepEqual(await ids({ action: ['AUTH_FAIL', 'INCIDENT'], who: 'CP-2', severity: 'WARN' }), [3])
  assert.deepEqual(await ids({ order: 'asc', limit: 2, after: 1 }), [2, 3])
  assert.deepEqual(Object.keys((await db.queryEvents({ limit: 1 }))[0] as object), [...COLUMNS])
  assert.deepEqual(await db.recentAuthFailures(), [])
  await assert.rejects(db.queryEvents({ limit: 5000 }), Refusal)
})

test('openAuditDatabase: reads a database of ours while it is written, and when it is not', async t => {
  const audit = await temporaryAudit(t)
  const path = join(audit.dataDir, 'audit', 'audit.db')
  const ctx = createContext({ ip: '10.0.0.1' })
  audit.authFail('CP-1', ctx, 'UNKNOWN_CP')
  await audit.flush()
  {
    using db = openAuditDatabase(path)
    assert.deepEqual(await db.queryEvents(), await audit.queryEvents())
    audit.authFail('CP-2', ctx, 'UNKNOWN_CP')
    await audit.flush()
    assert.equal((await db.recentAuthFailures({ ip: '10.0.0.1' })).length, 2)
    assert.deepEqual(await db.recentAuthFailures({ cp_id: 'CP-2' }), await audit.recentAuthFailures({ cp_id: 'CP-2' }))
  }
  await audit.close()
  using db = openAuditDatabase(path)
  assert.equal((await db.queryEvents({ action: 'AUTH_FAIL' })).length, 2)
})

test('openAuditDatabase: anything else is refused, and nothing is made', async t => {
  const folder = await temporaryFolder(t)
  const missing = join(folder, 'missing.db')
  const text = join(folder, 'text.db')
  writeFileSync(text, 'no database at all, but long enough to be looked at twice'.repeat(20))
  const other = join(folder, 'other.db')
  const db = new DatabaseSync(other)
  db.exec('CREATE TABLE audit_events (id INTEGER PRIMARY KEY, who TEXT)')
  db.close()
  for (const path of [missing, text, other]) {
    assert.throws(
      () => openAuditDatabase(path),
      (error: unknown) => error instanceof Refusal && error.code === 'FOREIGN_FILE',
    )
  }
  assert.equal(existsSync(missing), false)
})

test('openAuditDatabase: closing twice is closing once, and a closed one answers no more', async t => {
  const folder = await temporaryFolder(t)
  const db = openAuditDatabase(referenceDatabase(join(folder, 'ev_charging.db'), []))
  db.close()
  db.close()
  await assert.rejects(db.queryEvents())
})

const fixture = new URL('../../../shared/fixtures/reference-ev_charging.db', import.meta.url).pathname

test("openAuditDatabase: the reference's own eight hours", { skip: !existsSync(fixture) }, async () => {
  using db = openAuditDatabase(fixture)
  const count = async (query: Parameters<typeof db.queryEvents>[0]) =>
    (await db.queryEvents({ ...query, limit: 1000 })).length
  assert.equal(await count({ action: 'AUTH_FAIL', start_time: '2025-12-14T00:00:00Z' }), 264)
  assert.equal(await count({ action: 'INCIDENT', severity: 'CRITICAL' }), 43)
})
