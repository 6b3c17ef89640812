/** What is particular to the SQLite store: its file, and how it meets a database that cannot be used. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import test from 'node:test'
import { createSqliteEventStore } from '../../../src/store/sqlite-event-store.ts'
import { batchOf, rowsFrom } from '../../contract/event-store.ts'

async function inFolder(body: (path: string) => Promise<void>): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'evc-sqlite-'))
  try {
    await body(join(directory, 'audit', 'audit.db'))
  } finally {
    rmSync(directory, { recursive: true })
  }
}

const digest = (path: string) => createHash('sha256').update(readFileSync(path)).digest('hex')
const modeOf = (path: string) => statSync(path).mode & 0o777

test('SQLite store: its files are for the owner only', () =>
  inFolder(async path => {
    const store = createSqliteEventStore({ path })
    await store.append(batchOf(0, rowsFrom(0, 1)))
    assert.equal(modeOf(join(path, '..')), 0o700)
    for (const file of [path, `${path}-wal`, `${path}-shm`]) assert.equal(modeOf(file), 0o600, file)
    await store.close()
  }))

test('SQLite store: nothing is opened before it is used', () =>
  inFolder(async path => {
    const store = createSqliteEventStore({ path })
    assert.equal(statSync(path, { throwIfNoEntry: false }), undefined)
    await store.close()
  }))

test('SQLite store: a foreign, a newer and a text file are refused and not touched', () =>
  inFolder(async path => {
    mkdirSync(join(path, '..'))
    const files: Record<string, (file: string) => void> = {
      foreign: file => void makeDatabase(file, 'CREATE TABLE customers (id INTEGER)'),
      newer: file => void makeDatabase(file, `PRAGMA application_id = ${0x45564341}; PRAGMA user_version = 99`),
      marked: file => void makeDatabase(file, 'PRAGMA application_id = 7'),
      text: file => writeFileSync(file, 'no database at all '.repeat(100)),
    }
    for (const [name, make] of Object.entries(files)) {
      const file = join(path, '..', `${name}.db`)
      make(file)
      const before = digest(file)
      const store = createSqliteEventStore({ path: file })
      await assert.rejects(store.append(batchOf(0, rowsFrom(0, 1))), { name: 'StoreError', code: 'FOREIGN' }, name)
      await assert.rejects(store.position('a'), { code: 'FOREIGN' }, name)
      await store.close()
      assert.equal(digest(file), before, name)
    }
  }))

test('SQLite store: unavailable while another process holds the lock, and works again afterwards', () =>
  inFolder(async path => {
    const store = createSqliteEventStore({ path })
    await store.append(batchOf(0, rowsFrom(0, 1)))
    const other = new DatabaseSync(path)
    other.exec('BEGIN IMMEDIATE')
    await assert.rejects(store.append(batchOf(1, rowsFrom(1, 1))), { code: 'UNAVAILABLE' })
    assert.equal(await store.lastId(), 1, 'reading goes on')
    other.exec('ROLLBACK')
    other.close()
    assert.equal((await store.append(batchOf(1, rowsFrom(1, 1)))).lastId, 2)
    await store.close()
  }))

test('SQLite store: unavailable while its folder cannot be made, and works again afterwards', () =>
  inFolder(async path => {
    writeFileSync(join(path, '..'), 'a file where the folder should be')
    const store = createSqliteEventStore({ path })
    await assert.rejects(store.position('journal:a'), { code: 'UNAVAILABLE' })
    rmSync(join(path, '..'))
    assert.equal((await store.append(batchOf(0, rowsFrom(0, 1)))).lastId, 1)
    await store.close()
  }))

test('SQLite store: a database that is replaced while it is open is noticed before anything is written', () =>
  inFolder(async path => {
    const store = createSqliteEventStore({ path })
    await store.append(batchOf(0, rowsFrom(0, 2)))
    await store.checkpoint()
    const older = join(path, '..', 'older.db')
    copyFileSync(path, older)
    await store.append(batchOf(2, rowsFrom(2, 3)))
    for (const suffix of ['-wal', '-shm']) rmSync(path + suffix)
    renameSync(older, path)
    await assert.rejects(store.append(batchOf(5, rowsFrom(5, 1))), { code: 'POSITION_MOVED' })
    assert.equal(await store.position('journal:a'), 2)
    assert.equal((await store.append(batchOf(2, rowsFrom(2, 1)))).lastId, 3)
    await store.close()
  }))

test('SQLite store: checkpoints keep the write-ahead log from growing, also while somebody reads', () =>
  inFolder(async path => {
    const store = createSqliteEventStore({ path })
    let after = 0
    const append = async () => {
      await store.append(batchOf(after, rowsFrom(after, 500)))
      after += 500
      await store.checkpoint()
    }
    await append()
    const size = statSync(`${path}-wal`).size
    const reader = new DatabaseSync(path, { readOnly: true })
    reader.exec('BEGIN; SELECT count(*) FROM audit_events')
    await append()
    reader.exec('COMMIT')
    for (let i = 0; i < 10; i++) await append()
    assert.ok(statSync(`${path}-wal`).size < 5 * size, 'the log starts again once nobody needs it')
    assert.equal(await store.lastId(), 6_000)
    reader.close()
    await store.close()
  }))

function makeDatabase(file: string, sql: string): void {
  const db = new DatabaseSync(file)
  db.exec(sql)
  db.close()
}
