import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { chmodSync, existsSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import test from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { createSqliteSecurityState } from '../../../src/security/sqlite-security-state.ts'
import { chargePointRecord, keyRecord } from '../../contract/security-state.ts'
import { outcome, temporaryFolder } from './security-under-test.ts'

const modeOf = (path: string) => statSync(path).mode & 0o777

test('security database: file, companions and folder are readable by their owner only', async t => {
  const path = join(temporaryFolder(t), 'security', 'security.db')
  const state = createSqliteSecurityState({ path })
  await state.change(transaction => transaction.putChargePoint(chargePointRecord()))
  assert.equal(modeOf(join(path, '..')), 0o700)
  for (const suffix of ['', '-wal', '-shm']) assert.equal(modeOf(path + suffix), 0o600, suffix)
  await state.close()
  chmodSync(path, 0o644) // as a restored backup may be
  await createSqliteSecurityState({ path }).close()
  assert.equal(modeOf(path), 0o600)
})

test('security database: foreign, newer and broken files are refused and left as they were', t => {
  const folder = temporaryFolder(t)
  const make = (name: string, sql: string) => {
    const path = join(folder, name)
    const database = new DatabaseSync(path)
    database.exec(sql)
    database.close()
    return path
  }
  const text = join(folder, 'text.db')
  writeFileSync(text, 'this is not a database, but long enough to be looked at as if it were one. '.repeat(20))
  const cases: [string, RegExp][] = [
    [make('foreign.db', 'CREATE TABLE audit_events (id INTEGER)'), /not the security state/],
    [make('marked.db', 'PRAGMA application_id = 7; CREATE TABLE t (a)'), /not the security state/],
    [make('newer.db', `PRAGMA application_id = ${0x45564353}; PRAGMA user_version = 999; CREATE TABLE t (a)`), /newer/],
    [text, /not a database/],
  ]
  for (const [path, message] of cases) {
    const before = readFileSync(path)
    assert.throws(() => createSqliteSecurityState({ path }), message)
    assert.deepEqual(readFileSync(path), before)
    assert.equal(existsSync(`${path}-wal`), false)
  }
})

test('security database: while another process holds the lock, changes wait and the event loop does not', async t => {
  const path = join(temporaryFolder(t), 'security.db')
  const state = createSqliteSecurityState({ path })
  t.after(() => state.close())
  const other = new DatabaseSync(path)
  other.exec('BEGIN IMMEDIATE')
  let isDone = false
  const change = state
    .change(transaction => transaction.putChargePoint(chargePointRecord()))
    .then(() => {
      isDone = true
    })
  for (let i = 0; i < 5; i++) {
    await delay(10)
    assert.equal(await state.chargePoint('CP-1'), undefined, 'reads go on')
  }
  assert.equal(isDone, false)
  other.exec('COMMIT')
  other.close()
  await change
  assert.ok(await state.chargePoint('CP-1'))
})

test('security database: a lock that is never released makes a change busy', async t => {
  const path = join(temporaryFolder(t), 'security.db')
  const state = createSqliteSecurityState({ path })
  t.after(() => state.close())
  const other = new DatabaseSync(path)
  other.exec('BEGIN IMMEDIATE')
  const change = outcome(state.change(transaction => transaction.putChargePoint(chargePointRecord())))
  const behind = outcome(state.change(transaction => transaction.putChargePoint(chargePointRecord())))
  assert.equal(await change, 'STATE_UNAVAILABLE')
  assert.equal(await Promise.race([behind, delay(1_000, 'waits for a lock time of its own')]), 'STATE_UNAVAILABLE')
  assert.match(state.lastWriteError() ?? '', /locked/)
  other.close()
  await state.change(transaction => transaction.putChargePoint(chargePointRecord()))
  assert.equal(state.lastWriteError(), null)
})

test('security database: nonces of a dropped key are really deleted, a piece at a time', async t => {
  const path = join(temporaryFolder(t), 'security.db')
  const state = createSqliteSecurityState({ path })
  t.after(() => state.close())
  const key = keyRecord()
  await state.change(async transaction => {
    await transaction.putChargePoint(chargePointRecord())
    await transaction.addKey(key)
  })
  const verdicts = await Promise.all(
    Array.from({ length: 6000 }, () => state.useNonce(key.key_id, randomBytes(12), 1e6)),
  )
  assert.ok(verdicts.every(verdict => verdict === 'new'))
  const database = new DatabaseSync(path, { readOnly: true })
  t.after(() => database.close())
  const left = () => database.prepare('SELECT count(*) AS n FROM message_nonces').get()?.n
  assert.equal(left(), 6000)
  await state.change(transaction => transaction.removeChargePoint('CP-1'))
  assert.equal(await state.sweepNonces(), true)
  assert.equal(left(), 1000)
  assert.equal(await state.sweepNonces(), false)
  assert.equal(left(), 0)
})
