import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import test from 'node:test'
import type { AuditEvent } from '../../../src/event/event.ts'
import { createSqliteEventStore } from '../../../src/store/sqlite-event-store.ts'
import { batchOf, sampleEvent } from '../../contract/event-store.ts'

/** As documented: name, declared type, NOT NULL, default, primary key. */
const DOCUMENTED = [
  ['id', 'INTEGER', 0, null, 1],
  ['date_time', 'TEXT', 1, null, 0],
  ['who', 'TEXT', 1, null, 0],
  ['ip', 'TEXT', 1, null, 0],
  ['action', 'TEXT', 1, null, 0],
  ['description', 'TEXT', 1, null, 0],
  ['severity', 'TEXT', 1, null, 0],
  ['reason_code', 'TEXT', 0, null, 0],
  ['request_id', 'TEXT', 0, null, 0],
  ['endpoint', 'TEXT', 0, null, 0],
  ['http_method', 'TEXT', 0, null, 0],
  ['status_code', 'INTEGER', 0, null, 0],
  ['metadata_json', 'TEXT', 0, null, 0],
  ['created_at', 'TEXT', 1, 'CURRENT_TIMESTAMP', 0],
]

const INDEXES = {
  idx_audit_action: ['action'],
  idx_audit_date_time: ['date_time'],
  idx_audit_ip: ['ip'],
  idx_audit_request_id: ['request_id'],
  idx_audit_severity: ['severity'],
  idx_audit_who: ['who'],
}

async function withStock(events: readonly AuditEvent[], look: (db: DatabaseSync) => void): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'evc-schema-'))
  const path = join(directory, 'audit.db')
  const store = createSqliteEventStore({ path })
  await store.append(
    batchOf(
      0,
      events.map(event => ({ event, onceKey: null })),
    ),
  )
  await store.close()
  const db = new DatabaseSync(path, { readOnly: true })
  try {
    look(db)
  } finally {
    db.close()
    rmSync(directory, { recursive: true })
  }
}

test('schema: audit_events has the documented columns in their order', () =>
  withStock([], db => {
    const columns = db.prepare("PRAGMA table_info('audit_events')").all()
    const found = columns.map(column => [column.name, column.type, column.notnull, column.dflt_value, column.pk])
    assert.deepEqual(found, DOCUMENTED)
    const sql = String(db.prepare("SELECT sql FROM sqlite_schema WHERE name = 'audit_events'").get()?.sql)
    assert.match(sql, /id INTEGER PRIMARY KEY AUTOINCREMENT/)
  }))

test('schema: audit_events has the six documented indexes and no other', () =>
  withStock([], db => {
    const names = db.prepare("SELECT name FROM sqlite_schema WHERE type = 'index' AND tbl_name = 'audit_events'").all()
    const columnsOf = (name: string) =>
      db
        .prepare(`PRAGMA index_info('${name}')`)
        .all()
        .map(column => column.name)
    const found = Object.fromEntries(names.map(({ name }) => [String(name), columnsOf(String(name))]))
    assert.deepEqual(found, INDEXES)
  }))

test('schema: the file says whose it is and of which version', () =>
  withStock([], db => {
    assert.equal(db.prepare('PRAGMA application_id').get()?.application_id, 0x45564341)
    assert.equal(db.prepare('PRAGMA user_version').get()?.user_version, 7)
    assert.equal(db.prepare('PRAGMA journal_mode').get()?.journal_mode, 'wal')
  }))

test('schema: stock SQL over audit_events gives the right answers', () =>
  withStock(
    [
      sampleEvent(0, { action: 'AUTH_SUCCESS', severity: 'INFO', reason_code: null, status_code: 200 }),
      ...[1, 2, 3].map(n => sampleEvent(n, { ip: '198.51.100.23', who: 'CP-018' })),
      sampleEvent(700, { ip: '198.51.100.23', reason_code: 'REVOKED' }),
      sampleEvent(701, { action: 'INCIDENT', severity: 'CRITICAL', reason_code: 'BRUTE_FORCE_SUSPECTED' }),
    ],
    db => {
      const all = (sql: string) =>
        db
          .prepare(sql)
          .all()
          .map(row => Object.values(row))
      assert.deepEqual(all("SELECT id FROM audit_events WHERE action = 'AUTH_FAIL' ORDER BY date_time DESC LIMIT 2"), [
        [5],
        [4],
      ])
      assert.deepEqual(
        all("SELECT id FROM audit_events WHERE action = 'AUTH_FAIL' AND date_time >= '2026-01-01T00:10:00.000Z'"),
        [[5]],
      )
      assert.deepEqual(
        all(
          "SELECT who, ip, count(*) FROM audit_events WHERE action = 'AUTH_FAIL' GROUP BY who, ip HAVING count(*) >= 3",
        ),
        [['CP-018', '198.51.100.23', 3]],
      )
      assert.deepEqual(all("SELECT id FROM audit_events WHERE action = 'INCIDENT' AND severity = 'CRITICAL'"), [[6]])
      assert.deepEqual(all('SELECT action, count(*) FROM audit_events GROUP BY action ORDER BY 2 DESC'), [
        ['AUTH_FAIL', 4],
        ['AUTH_SUCCESS', 1],
        ['INCIDENT', 1],
      ])
      assert.deepEqual(
        all("SELECT json_extract(metadata_json, '$.n') FROM audit_events WHERE request_id = 'request-2'"),
        [[2]],
      )
    },
  ))
