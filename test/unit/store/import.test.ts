import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import test from 'node:test'
import { foreignRedaction } from '../../../src/audit/redaction.ts'
import type { EventStore } from '../../../src/store/event-store.ts'
import { type ImportProgress, importReferenceDatabase, parseReferenceTime } from '../../../src/store/import.ts'
import { createSqliteEventStore } from '../../../src/store/sqlite-event-store.ts'

const importInto = (options: Omit<Parameters<typeof importReferenceDatabase>[0], 'redaction'>) =>
  importReferenceDatabase({ ...options, redaction: foreignRedaction })

const FIXTURE = join(import.meta.dirname, '../../../../shared/fixtures/reference-ev_charging.db')

const TABLE = `CREATE TABLE audit_events (
  id INTEGER PRIMARY KEY AUTOINCREMENT, date_time TEXT NOT NULL, who TEXT NOT NULL, ip TEXT NOT NULL, action TEXT NOT NULL,
  description TEXT NOT NULL, severity TEXT NOT NULL, reason_code TEXT, request_id TEXT, endpoint TEXT, http_method TEXT,
  status_code INTEGER, metadata_json TEXT, created_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP)`

const VALUES = {
  date_time: '2025-12-14T06:00:05.719536+00:00',
  who: 'CP-027',
  ip: '10.20.3.136',
  action: 'AUTH_FAIL',
  description: 'Authentication failed: caf\u00e9 \u{1f50c}',
  severity: 'WARN',
  reason_code: 'REVOKED',
  request_id: '3df3ec41',
  endpoint: '/auth/credentials',
  http_method: 'POST',
  status_code: 401,
  metadata_json: '{"security_status": "UNKNOWN"}',
  created_at: '2025-12-14 06:00:05',
} as const
type Values = Record<keyof typeof VALUES, string | number | bigint | Uint8Array | null>

/** A database as the reference implementation writes it. */
function makeReference(file: string, count: number, odd: Partial<Values> = {}, sql = ''): void {
  const db = new DatabaseSync(file)
  db.exec(`${sql}; ${TABLE}; BEGIN`)
  addRows(db, count)
  if (Object.keys(odd).length > 0) addRow(db, odd)
  db.exec('COMMIT')
  db.close()
}

function addRows(db: DatabaseSync, count: number): void {
  for (let i = 0; i < count; i++) addRow(db, { description: `number ${i}`, status_code: i % 3 === 0 ? null : 401 })
}

function addRow(db: DatabaseSync, values: Partial<Values>): void {
  const row = { ...VALUES, ...values }
  const names = Object.keys(row)
  db.prepare(`INSERT INTO audit_events (${names}) VALUES (${names.map(() => '?')})`).run(...Object.values(row))
}

interface Place {
  readonly directory: string
  readonly file: string
  readonly store: EventStore
}

async function inFolder(body: (place: Place) => Promise<void>): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'evc-import-test-'))
  const store = createSqliteEventStore({ path: join(directory, 'audit', 'audit.db') })
  try {
    await body({ directory, file: join(directory, 'reference.db'), store })
  } finally {
    await store.close()
    rmSync(directory, { recursive: true })
  }
}

const digest = (file: string) => createHash('sha256').update(readFileSync(file)).digest('hex')

/** Nothing at all was written: not even the database was made, or it is as empty as before. */
async function assertRefused({ file, store }: Pick<Place, 'file' | 'store'>, detail: RegExp): Promise<void> {
  await assert.rejects(importInto({ file, store }), (error: Error & { code?: string }) => {
    assert.equal(error.code, 'FOREIGN_FILE', String(error))
    assert.match(error.message, detail)
    return true
  })
  assert.equal(await store.lastId(), 0)
}

test('import: every event is kept with its columns and order, only date_time is normalised', () =>
  inFolder(async ({ file, store }) => {
    makeReference(file, 3, {
      reason_code: null,
      request_id: null,
      metadata_json: null,
      endpoint: null,
      http_method: null,
    })
    const before = digest(file)
    assert.deepEqual(await importInto({ file, store }), { total: 4, imported: 4, skipped: 0, redacted: 0 })
    assert.equal(digest(file), before)
    const expected = { ...VALUES, id: 2, date_time: '2025-12-14T06:00:05.719Z', description: 'number 1' }
    assert.deepEqual(await store.get(2), expected)
    const { reason_code, metadata_json, status_code } = (await store.get(4)) ?? assert.fail()
    assert.deepEqual([reason_code, metadata_json, status_code], [null, null, 401])
  }))

test('import: a second run adds nothing, and a grown file only what is new', () =>
  inFolder(async ({ file, store }) => {
    makeReference(file, 20)
    await importInto({ file, store })
    assert.deepEqual(await importInto({ file, store }), {
      total: 20,
      imported: 0,
      skipped: 20,
      redacted: 0,
    })
    const db = new DatabaseSync(file)
    addRow(db, { description: 'later' })
    db.close()
    assert.deepEqual(await importInto({ file, store }), {
      total: 21,
      imported: 1,
      skipped: 20,
      redacted: 0,
    })
    assert.equal((await store.get(21))?.description, 'later')
    assert.equal(await store.lastId(), 21)
  }))

test('import: equal events under different ids are different events', () =>
  inFolder(async ({ file, store }) => {
    makeReference(file, 0)
    const db = new DatabaseSync(file)
    for (let i = 0; i < 3; i++) addRow(db, {})
    db.close()
    assert.equal((await importInto({ file, store })).imported, 3)
  }))

test('import: secrets are replaced, and all else stays to the letter', () =>
  inFolder(async ({ file, store }) => {
    const jwt = 'eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJDUC0xIn0.dBjftJeZ4CVPmB92K27uhbUJU1p1r_wW1gFWFOEjXk'
    const long = 'x'.repeat(2_000)
    const deep = `${'['.repeat(30_000)}${']'.repeat(30_000)}`
    const cases: [Partial<Values>, Partial<Values>][] = [
      [
        {
          metadata_json: `{"api_key": "hunter2", "key_id": 7, "list": [{"Password": {"old": "hunter2"}}], "note": "${long}"}`,
        },
        {
          metadata_json: `{"api_key":"***REDACTED***","key_id":7,"list":[{"Password":"***REDACTED***"}],"note":"${long}"}`,
        },
      ],
      [{ metadata_json: `{"p\\u0061ssword":"hunter2"}` }, { metadata_json: '{"password":"***REDACTED***"}' }],
      [
        { metadata_json: '{"password":"hunter2","a":[{}, {"x:y":":"}],"password":"***REDACTED***"}' },
        { metadata_json: '{"password":"***REDACTED***","a":[{},{"x:y":":"}]}' },
      ],
      [{ metadata_json: '{"a": [{}, {"x:y": ":"}], "\\"": null}' }, {}],
      [{ metadata_json: 'no JSON, password=hunter2' }, { metadata_json: 'no JSON, password=***REDACTED***' }],
      [{ metadata_json: deep }, { metadata_json: '***REDACTED***' }],
      [
        { description: `with ${jwt}`, endpoint: '/x?token=hunter2', request_id: jwt, who: 'evca_hunter2hunter2' },
        {
          description: 'with ***REDACTED***',
          endpoint: '/x?token=***REDACTED***',
          request_id: '***REDACTED***',
          who: '***REDACTED***',
        },
      ],
      [{ metadata_json: '{"provided_key": "***REDACTED***"}' }, {}],
      [{ metadata_json: '{"a":  1e400, "n": 12345678901234567890, "caf\\u00e9": "key: CP-1 not found"}' }, {}],
      [{ description: 'Request validation failed: body.credentials:missing' }, {}],
      [{ description: 'Cannot generate key: CP-021 not found' }, {}],
    ]
    makeReference(file, 0)
    const db = new DatabaseSync(file)
    for (const [odd] of cases) addRow(db, odd)
    db.close()
    const { redacted } = await importInto({ file, store })
    assert.equal(redacted, 6)
    for (const [i, [odd, safe]] of cases.entries()) {
      const expected = { ...VALUES, ...odd, ...safe, id: i + 1, date_time: '2025-12-14T06:00:05.719Z' }
      assert.deepEqual(await store.get(i + 1), expected)
    }
  }))

test('import: progress is told for checking and for importing, up to the total', () =>
  inFolder(async ({ file, store }) => {
    makeReference(file, 5_001)
    const told: ImportProgress[] = []
    await importInto({ file, store, onProgress: progress => told.push(progress) })
    assert.deepEqual(told.filter(({ phase }) => phase === 'checking').at(-1), {
      phase: 'checking',
      done: 5_001,
      total: 5_001,
    })
    assert.deepEqual(told.at(-1), { phase: 'importing', done: 5_001, total: 5_001 })
    assert.deepEqual(await importInto({ file, store }), {
      total: 5_001,
      imported: 0,
      skipped: 5_001,
      redacted: 0,
    })
  }))

test('import: a file in WAL mode is read without anything appearing beside it', () =>
  inFolder(async ({ directory, file, store }) => {
    makeReference(file, 5, {}, 'PRAGMA journal_mode = WAL')
    const before = [digest(file), readdirSync(directory).sort().join()]
    assert.equal((await importInto({ file, store })).imported, 5)
    assert.deepEqual(
      [
        digest(file),
        readdirSync(directory)
          .filter(name => name !== 'audit')
          .sort()
          .join(),
      ],
      before,
    )
  }))

test('import: rows that are only in the write-ahead log are imported, and file and log stay as they are', () =>
  inFolder(async ({ file, store }) => {
    makeReference(file, 5, {}, 'PRAGMA journal_mode = WAL')
    const db = new DatabaseSync(file)
    db.exec('PRAGMA wal_autocheckpoint = 0')
    addRows(db, 4)
    const before = [digest(file), digest(`${file}-wal`)]
    assert.equal((await importInto({ file, store })).imported, 9)
    assert.deepEqual([digest(file), digest(`${file}-wal`)], before)
    db.close()
  }))

test('import: a file name may hold any character', () =>
  inFolder(async ({ directory, store }) => {
    const names = [
      "it's.db",
      'a ? b#c%41&d=e.db',
      'two\nlines.db',
      '\u00fc \u{1f50c}.db',
      '..  .db',
      'file:x?mode=rw.db',
    ]
    for (const [i, name] of names.entries()) {
      const file = join(directory, name)
      makeReference(file, i + 1, { description: name })
      await importInto({ file, store })
      assert.equal((await store.get(await store.lastId()))?.description, name)
    }
  }))

test('import: a file that is no database of the reference implementation is refused and nothing is written', () =>
  inFolder(async place => {
    const { directory, store } = place
    const make = (name: string, sql: string) => {
      const file = join(directory, name)
      const db = new DatabaseSync(file)
      db.exec(sql)
      db.close()
      return file
    }
    const text = join(directory, 'text')
    writeFileSync(text, 'not a database '.repeat(200))
    const files: [string, RegExp][] = [
      [join(directory, 'nowhere.db'), /ENOENT/],
      [directory, /not a file/],
      [text, /not a database/],
      [make('empty', ''), /no table/],
      [make('other', 'CREATE TABLE events (id INTEGER)'), /no table/],
      [make('view', `CREATE TABLE t (id); CREATE VIEW audit_events AS SELECT * FROM t`), /no table/],
      [make('virtual', 'CREATE VIRTUAL TABLE audit_events USING fts5(who)'), /no table/],
      [make('fewer', TABLE.replace('endpoint TEXT,', '')), /no column endpoint/],
      [make('more', TABLE.replace('created_at', 'tenant TEXT, created_at')), /15 columns/],
    ]
    for (const [file, detail] of files) await assertRefused({ file, store }, detail)
  }))

test('import: one row that cannot be taken refuses the whole file, also if it is the last', () =>
  inFolder(async ({ directory, store }) => {
    const odd: [Partial<Values>, RegExp][] = [
      [{ date_time: 'yesterday' }, /row 6001: date_time is not a time/],
      [{ date_time: '2025-02-31T00:00:00' }, /date_time/],
      [{ action: 'DROP_TABLE' }, /action is not one of/],
      [{ severity: 'FATAL' }, /severity is not one of/],
      [{ who: new Uint8Array([1, 2]) }, /who is not text/],
      [{ status_code: 'four hundred' }, /status_code is not an integer/],
      [{ status_code: 2n ** 60n }, /too large/],
      [{ metadata_json: 'x'.repeat(70_000) }, /too large/],
    ]
    for (const [i, [values, detail]] of odd.entries()) {
      const file = join(directory, `odd-${i}.db`)
      makeReference(file, 6_000, values)
      await assertRefused({ file, store }, detail)
    }
  }))

test('import: a truncated or damaged file is refused and nothing is written', () =>
  inFolder(async ({ directory, store }) => {
    const whole = join(directory, 'whole.db')
    makeReference(whole, 500)
    const size = statSync(whole).size
    const bytes = readFileSync(whole)
    for (const [name, damage] of Object.entries({
      'half of it': (file: string) => truncateSync(file, size / 2),
      'an odd length': (file: string) => truncateSync(file, size - 100),
      'header only': (file: string) => truncateSync(file, 100),
      'a page of noise': (file: string) => {
        const copy = Buffer.from(bytes)
        copy.fill(0xa5, 4096 * 3, 4096 * 4)
        writeFileSync(file, copy)
      },
    })) {
      const file = join(directory, `${name}.db`)
      writeFileSync(file, bytes)
      damage(file)
      await assertRefused({ file, store }, /./)
    }
  }))

test('import: continues where a run that was cut short had got to', () =>
  inFolder(async ({ file, store }) => {
    makeReference(file, 12_000)
    const cut = {
      ...store,
      append: async (batch: Parameters<EventStore['append']>[0]) => {
        if ((await store.lastId()) >= 5_000) throw new Error('killed')
        return store.append(batch)
      },
    }
    await assert.rejects(importInto({ file, store: cut }), /killed/)
    assert.equal(await store.lastId(), 5_000)
    assert.deepEqual(await importInto({ file, store }), {
      total: 12_000,
      imported: 7_000,
      skipped: 5_000,
      redacted: 0,
    })
    assert.equal((await store.get(12_000))?.description, 'number 11999')
  }))

test('import: the forms of date_time become UTC with milliseconds', () => {
  const forms: [string, string | undefined][] = [
    ['2025-12-14T06:00:05.719536+00:00', '2025-12-14T06:00:05.719Z'],
    ['2025-12-14T06:00:05.719999Z', '2025-12-14T06:00:05.719Z'],
    ['2025-12-14T06:00:05', '2025-12-14T06:00:05.000Z'],
    ['2025-12-14 06:00:05.7', '2025-12-14T06:00:05.700Z'],
    ['2025-12-14T06:00:05+02:30', '2025-12-14T03:30:05.000Z'],
    ['2025-12-31T23:59:59-0100', '2026-01-01T00:59:59.000Z'],
    ['2025-02-29T00:00:00Z', undefined],
    ['2025-12-14T24:00:01Z', undefined],
    ['2025-12-14T06:00:05+25:00', undefined],
    ['0000-01-01T00:00:00+23:00', undefined],
    ['2025-12-14', undefined],
    ['', undefined],
    ['2025-12-14T06:00:05Z; DROP', undefined],
  ]
  for (const [text, expected] of forms) assert.equal(parseReferenceTime(text), expected, text)
})

test('import: the reference fixture, when it is there, or its look-alike', () =>
  inFolder(async ({ file, store }) => {
    const hasFixture = existsSync(FIXTURE)
    if (!hasFixture) makeReference(file, 1_520)
    const source = hasFixture ? FIXTURE : file
    const before = digest(source)
    assert.deepEqual(await importInto({ file: source, store }), {
      total: 1_520,
      imported: 1_520,
      skipped: 0,
      redacted: 0,
    })
    assert.equal((await importInto({ file: source, store })).imported, 0)
    assert.equal(digest(source), before)
    const db = new DatabaseSync(source, { readOnly: true })
    for (const row of db.prepare('SELECT * FROM audit_events ORDER BY id').iterate()) {
      const time = `${String(row.date_time).slice(0, 23)}Z`
      assert.deepEqual(await store.get(Number(row.id)), { ...row, date_time: time })
    }
    db.close()
  }))
