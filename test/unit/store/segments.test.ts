import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import test from 'node:test'
import { COLUMNS, type StoredEvent } from '../../../src/event/event.ts'
import { checkStore, rebuildChunks } from '../../../src/store/check-store.ts'
import { parseColumns } from '../../../src/store/chunk.ts'
import { logRoot } from '../../../src/store/log-store.ts'
import { dropSegment, listSegments, startNextSegment } from '../../../src/store/segments.ts'
import { createSqliteEventStore } from '../../../src/store/sqlite-event-store.ts'
import { batchOf, rowsFrom, sampleEvent } from '../../contract/event-store.ts'

const SEGMENT = 1_024

interface Place {
  readonly path: string
  /** Appends so many rows more, in batches of 300. */
  append(rows: number): Promise<void>
  /** With a connection of its own, as stock tools have one. */
  look<R>(work: (db: DatabaseSync) => R): R
}

async function inSegments(body: (place: Place) => Promise<void>): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'evc-segments-'))
  const path = join(directory, 'audit.db')
  const store = createSqliteEventStore({ path, segmentIds: SEGMENT })
  let written = 0
  try {
    await body({
      path,
      async append(rows) {
        for (let left = rows; left > 0; left -= 300) {
          const batch = rowsFrom(written, Math.min(300, left))
          await store.append(batchOf(written, batch))
          written += batch.length
        }
      },
      look(work) {
        const db = new DatabaseSync(path)
        try {
          return work(db)
        } finally {
          db.close()
        }
      },
    })
  } finally {
    await store.close()
    rmSync(directory, { recursive: true })
  }
}

const idsIn = (db: DatabaseSync, sql: string) =>
  db
    .prepare(sql)
    .all()
    .map(row => Number(row.id))
const countIn = (db: DatabaseSync, sql: string) => Number(db.prepare(sql).get()?.n)

test('segments: rows over several tables are one audit_events, in order, with every column', () =>
  inSegments(async ({ append, look, path }) => {
    await append(SEGMENT * 3 + 10)
    look(db => {
      const events = db.prepare('SELECT * FROM audit_events ORDER BY id').all() as unknown as StoredEvent[]
      assert.deepEqual(Object.keys(events[0] ?? {}), COLUMNS)
      assert.deepEqual(
        events.map(({ id, description }) => [id, description]),
        Array.from({ length: SEGMENT * 3 + 10 }, (_, n) => [n + 1, `event ${n}`]),
      )
      assert.deepEqual(
        listSegments(db).map(segment => segment.table),
        ['audit_events_1', 'audit_events_2', 'audit_events_3', 'audit_events_4'],
      )
      assert.deepEqual(idsIn(db, 'SELECT id FROM audit_events ORDER BY id DESC LIMIT 2'), [3_082, 3_081])
      assert.deepEqual(idsIn(db, "SELECT id FROM audit_events WHERE request_id = 'request-2000'"), [2_001])
    })
    assert.deepEqual(checkStore(path), [])
  }))

test('segments: a log of one segment is the documented table; the documented index names stay when it is full', () =>
  inSegments(async ({ append, look }) => {
    const typeOf = (db: DatabaseSync) =>
      db.prepare("SELECT type FROM sqlite_schema WHERE name = 'audit_events'").get()?.type
    const documented =
      "SELECT count(*) AS n FROM sqlite_schema WHERE type = 'index' AND name IN (" +
      "'idx_audit_date_time','idx_audit_who','idx_audit_action','idx_audit_ip','idx_audit_severity','idx_audit_request_id')"
    await append(SEGMENT)
    look(db => assert.deepEqual([typeOf(db), countIn(db, documented)], ['table', 6]))
    await append(1)
    look(db => {
      assert.deepEqual([typeOf(db), countIn(db, documented)], ['view', 6])
      const plan = db
        .prepare("EXPLAIN QUERY PLAN SELECT id FROM audit_events WHERE who = 'CP-1' ORDER BY id DESC")
        .all()
      const steps = plan.map(step => String(step.detail))
      assert.equal(steps.filter(step => step.includes('SEARCH')).length, 2, 'an index in each table')
      assert.ok(!steps.some(step => step.startsWith('SCAN audit')), steps.join('\n'))
    })
  }))

test('segments: one that a single batch fills is indexed afterwards, and is then like any other', () =>
  inSegments(async ({ path, look }) => {
    const ids = 8 * SEGMENT
    const store = createSqliteEventStore({ path, segmentIds: ids })
    const rows = rowsFrom(0, 3 * ids)
    await store.append(batchOf(0, rows.slice(0, ids)))
    await store.append({ ...batchOf(ids, rows.slice(ids)), rowsExpected: 2 * ids })
    await assert.rejects(
      store.append({
        ...batchOf(3 * ids, []),
        rowsExpected: ids,
        rows: (function* () {
          yield* rowsFrom(3 * ids, 10)
          throw new Error('while it is read')
        })(),
      }),
      /while it is read/,
    )
    const { lastId } = await store.append({ ...batchOf(3 * ids, rowsFrom(3 * ids, 5)), rowsExpected: ids })
    assert.equal(lastId, 3 * ids + 5, 'fewer rows than expected')
    await store.append(batchOf(3 * ids + 5, rowsFrom(3 * ids + 5, 5)))
    await store.close()
    assert.deepEqual(checkStore(path), [])
    look(db => {
      for (const { number } of listSegments(db)) {
        const indexes = `SELECT count(*) AS n FROM sqlite_schema WHERE type = 'index' AND tbl_name = 'audit_events_${number}'`
        assert.equal(countIn(db, indexes), 6, `segment ${number}`)
      }
      assert.equal(listSegments(db).length, 4)
      assert.equal(db.prepare('PRAGMA integrity_check').get()?.integrity_check, 'ok')
    })
  }))

test('segments: one that takes half as many rows again at once gets its indexes anew, and keeps them when that fails', () =>
  inSegments(async ({ path, look }) => {
    const store = createSqliteEventStore({ path })
    const expected = { rowsExpected: 9_000 }
    await store.append(batchOf(0, rowsFrom(0, 9_000)))
    const before = look(indexedRows)
    assert.equal(before.rows, 6 * 9_000)
    const failing = (function* () {
      yield* rowsFrom(9_000, 9)
      throw new Error('while it is read')
    })()
    await assert.rejects(store.append({ ...batchOf(9_000, []), ...expected, rows: failing }), /while it is read/)
    assert.deepEqual(look(indexedRows), before)
    await store.append({ ...batchOf(9_000, rowsFrom(9_000, 9_000)), ...expected })
    await store.append(batchOf(18_000, rowsFrom(18_000, 5)))
    await store.close()
    const after = look(indexedRows)
    assert.equal(after.rows, 6 * 18_005)
    assert.notEqual(after.schema, before.schema, 'the indexes were made anew')
    assert.deepEqual(checkStore(path), [])
    look(db => assert.equal(db.prepare('PRAGMA integrity_check').get()?.integrity_check, 'ok'))
  }))

/** Entries of the six indexes, and the number that changes with the schema. */
function indexedRows(db: DatabaseSync): { rows: number; schema: unknown } {
  const columns = ['date_time', 'who', 'action', 'ip', 'severity', 'request_id']
  const entries = columns.map(column =>
    countIn(db, `SELECT count(*) AS n FROM audit_events INDEXED BY idx_audit_${column} WHERE ${column} >= ''`),
  )
  return {
    rows: entries.reduce((sum, n) => sum + n),
    schema: db.prepare('PRAGMA schema_version').get()?.schema_version,
  }
}

test('segments: a segment that left is gone from every answer, the ids go on, and the file can shrink', () =>
  inSegments(async ({ append, look, path }) => {
    await append(SEGMENT * 4)
    for (const gone of [2, 1]) {
      look(db => dropSegment(db, listSegments(db).find(segment => segment.number === gone) ?? assert.fail()))
    }
    await append(10)
    look(db => {
      assert.deepEqual(idsIn(db, 'SELECT min(id) AS id FROM audit_events'), [SEGMENT * 2 + 1])
      assert.deepEqual(idsIn(db, 'SELECT max(id) AS id FROM audit_events'), [SEGMENT * 4 + 10])
      assert.equal(countIn(db, "SELECT count(*) AS n FROM sqlite_schema WHERE name = 'idx_audit_who'"), 1)
      const pages = () => Number(db.prepare('PRAGMA page_count').get()?.page_count)
      const before = pages()
      db.exec('PRAGMA incremental_vacuum')
      assert.ok(pages() < before)
    })
    assert.deepEqual(checkStore(path), [`the events 1 to ${SEGMENT * 2} are in no segment and no archive on record`])
  }))

test('segments: more than SQLite joins at once are still one audit_events', () =>
  inSegments(async ({ append, look }) => {
    await append(1)
    look(db => {
      db.exec('BEGIN')
      const insert = (table: string, id: number) =>
        db.exec(`INSERT INTO ${table} (id, date_time, who, ip, action, description, severity)
                 VALUES (${id}, '', 'CP-${id % 7}', '', '', '', '')`)
      let growing = listSegments(db).at(-1) ?? assert.fail()
      for (let id = 2; id <= 850; id++) {
        growing = startNextSegment(db, growing, id - 1)
        insert(growing.table, id)
      }
      db.exec('COMMIT')
      assert.equal(countIn(db, 'SELECT count(*) AS n FROM audit_events'), 850)
      assert.deepEqual(idsIn(db, 'SELECT id FROM audit_events ORDER BY id DESC LIMIT 3'), [850, 849, 848])
      assert.deepEqual(idsIn(db, "SELECT id FROM audit_events WHERE who = 'CP-3' ORDER BY id LIMIT 2"), [3, 10])
    })
  }))

const DAMAGE: Record<string, string> = {
  'a changed time': `UPDATE audit_events_1 SET date_time = '2020-01-01T00:00:00.000Z' WHERE id = 5`,
  'a changed charge point': `UPDATE audit_events_1 SET who = 'CP-9' WHERE id = 5`,
  'a changed reason': `UPDATE audit_events_1 SET reason_code = 'REVOKED' WHERE id = 5`,
  'a deleted row': 'DELETE FROM audit_events_2 WHERE id = 1100',
  'a row too many': `INSERT INTO audit_events_1 (id, date_time, who, ip, action, description, severity)
                     VALUES (9999, '', '', '', '', '', '')`,
  'a missing set': 'DELETE FROM event_facets WHERE chunk = 1 AND facet = 0',
  'a missing chunk': 'DELETE FROM event_chunks WHERE chunk = 0',
  'counts that are missing': 'DELETE FROM event_counts WHERE segment = 1',
  'counts of the segment that grows': `INSERT INTO event_counts SELECT 3, min_ms, max_ms, minutes, who, ip
                                       FROM event_counts WHERE segment = 1`,
  'counts of another time': 'UPDATE event_counts SET max_ms = max_ms + 1 WHERE segment = 2',
  'counts of other kinds': "UPDATE event_counts SET minutes = minutes || x'0101' WHERE segment = 2",
  'counts of other charge points': "UPDATE event_counts SET who = x'' WHERE segment = 1",
  'counts of other addresses': "UPDATE event_counts SET ip = x'0201' WHERE segment = 1",
}

test('checkStore: each kind of damage to the rows, or to what is kept of them, is found', async () => {
  for (const [name, sql] of Object.entries(DAMAGE)) {
    await inSegments(async ({ append, look, path }) => {
      await append(SEGMENT * 2 + 5)
      assert.deepEqual(checkStore(path), [])
      look(db => db.exec(sql))
      assert.notDeepEqual(checkStore(path), [], name)
    })
  }
})

test('checkStore: what is kept of the rows can be made anew from them', () =>
  inSegments(async ({ append, look, path }) => {
    await append(SEGMENT * 3)
    look(db => db.exec('DELETE FROM event_columns WHERE chunk = 1; DELETE FROM event_facets WHERE chunk = 2'))
    look(db => db.exec('UPDATE event_counts SET ip = who WHERE segment = 1'))
    assert.equal(checkStore(path).length, 3)
    rebuildChunks(path)
    assert.deepEqual(checkStore(path), [])
  }))

test('store: columns of the sixth version are packed when it is taken over, and its files go after that', () =>
  inSegments(async ({ append, look, path }) => {
    await append(SEGMENT * 2 + 5)
    look(db => {
      for (const { chunk, columns } of db.prepare('SELECT chunk, columns FROM event_columns').all()) {
        const { who, ip, times, kinds } = parseColumns(columns as Uint8Array) ?? assert.fail()
        const parts = [who, ip, times, kinds].map(part => Buffer.from(part.buffer, part.byteOffset, part.byteLength))
        db.prepare('UPDATE event_columns SET columns = ? WHERE chunk = ?').run(Buffer.concat(parts), chunk as number)
      }
      // The commit fails by it, as on a full disk.
      db.exec(`CREATE TABLE nowhere (id INTEGER PRIMARY KEY);
        CREATE TABLE fails (id REFERENCES nowhere DEFERRABLE INITIALLY DEFERRED);
        CREATE TRIGGER failing AFTER UPDATE ON event_columns BEGIN INSERT INTO fails VALUES (1); END;
        PRAGMA user_version = 6`)
    })
    const leafTiles = join(logRoot(path), 'tiles-0-000000')
    writeFileSync(leafTiles, 'of the sixth version')
    const open = async () => {
      const again = createSqliteEventStore({ path })
      await again.lastId().finally(() => again.close())
    }
    await assert.rejects(open())
    assert.ok(existsSync(leafTiles), 'which can be gone back to')
    look(db => db.exec('DROP TRIGGER failing; DROP TABLE fails; DROP TABLE nowhere'))
    for (const after of ['the migration', 'a crash behind it']) {
      writeFileSync(leafTiles, 'of the sixth version')
      await open()
      assert.ok(!existsSync(leafTiles), after)
    }
    assert.deepEqual(checkStore(path), [])
  }))

test('store: a database of the third version is counted when it is taken over', () =>
  inSegments(async ({ append, look, path }) => {
    await append(SEGMENT * 2 + 5)
    look(db => {
      db.exec('DROP TABLE event_counts; DROP TABLE log_head; DROP TABLE log_edge; DROP TABLE log_bundles')
      db.exec('DROP TABLE log_erasures; DROP TABLE rewrites_due')
      db.exec('PRAGMA user_version = 3')
    })
    rmSync(`${path}-log`, { recursive: true })
    const again = createSqliteEventStore({ path })
    assert.equal(await again.lastId(), SEGMENT * 2 + 5)
    await again.close()
    look(db => assert.equal(countIn(db, 'SELECT count(*) AS n FROM event_counts'), 2))
    assert.deepEqual(checkStore(path), [])
  }))

test('store: a database of the first version is taken over with all its rows', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'evc-version-1-'))
  const path = join(directory, 'audit.db')
  try {
    const store = createSqliteEventStore({ path })
    await store.append(batchOf(0, rowsFrom(0, 2_500)))
    await store.close()
    const db = new DatabaseSync(path)
    db.exec('DROP TABLE event_segments; DROP TABLE event_columns; DROP TABLE event_names; DROP TABLE event_kinds')
    db.exec('DROP TABLE event_archives; DROP TABLE legal_holds; DROP TABLE event_counts')
    db.exec('DROP TABLE log_head; DROP TABLE log_edge; DROP TABLE log_bundles')
    db.exec('DROP TABLE log_erasures; DROP TABLE rewrites_due')
    rmSync(`${path}-log`, { recursive: true })
    db.exec('DELETE FROM event_facets; DELETE FROM event_chunks; PRAGMA user_version = 1')
    db.close()
    const again = createSqliteEventStore({ path })
    assert.equal((await again.append(batchOf(2_500, [{ event: sampleEvent(2_500), onceKey: null }]))).lastId, 2_501)
    await again.close()
    assert.deepEqual(checkStore(path), [])
  } finally {
    rmSync(directory, { recursive: true })
  }
})
