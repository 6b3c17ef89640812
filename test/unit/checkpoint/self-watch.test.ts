import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import test from 'node:test'
import { createSelfWatch } from '../../../src/checkpoint/self-watch.ts'
import { openLogFiles } from '../../../src/log/log-files.ts'
import { logRoot, readBundleSalts } from '../../../src/store/log-store.ts'
import { openLogView } from '../../../src/store/log-view.ts'
import { createSqliteEventStore } from '../../../src/store/sqlite-event-store.ts'
import { batchOf, rowsFrom } from '../../contract/event-store.ts'

const ROWS = 2_000

test('self-watch: a round over sound rows finds nothing, and each change of a row, a salt, an entry or a tile is named', async t => {
  const directory = mkdtempSync(join(tmpdir(), 'evc-watch-'))
  t.after(() => rmSync(directory, { recursive: true }))
  const path = join(directory, 'audit.db')
  const store = createSqliteEventStore({ path, segmentIds: 1_024 })
  await store.append(batchOf(0, rowsFrom(0, ROWS)))
  await store.close()
  const round = () => {
    const db = new DatabaseSync(path)
    const files = openLogFiles(logRoot(path))
    const watch = createSelfWatch()
    try {
      return watch.step(60_000, { db, view: openLogView(db, files) })
    } finally {
      files.close()
      db.close()
    }
  }
  assert.deepEqual(round(), { kind: 'sound', through: 0, rounds: 1 })

  const sql = (change: string) => () => {
    const db = new DatabaseSync(path)
    db.exec(change)
    db.close()
  }
  const flip = (name: string, at: number) => () => {
    const file = join(logRoot(path), name)
    const bytes = readFileSync(file)
    bytes[at] = (bytes[at] as number) ^ 4
    writeFileSync(file, bytes)
  }
  const salt = (n: number) => () => {
    const db = new DatabaseSync(path)
    const salts = readBundleSalts(db, 1) ?? assert.fail('no salts')
    salts.fill(7, n * 16, (n + 1) * 16)
    db.prepare('UPDATE log_bundles SET salts = ?, seed = NULL WHERE bundle = 1').run(salts)
    db.close()
  }
  const hashAbove = (n: number) =>
    `UPDATE log_edge SET hashes = CAST(substr(hashes, 1, ${n * 32}) || zeroblob(32) || substr(hashes, ${n * 32 + 33}) AS BLOB) WHERE level = 1`
  const changes: [what: string, id: number, change: () => void][] = [
    ['a row of the first segment', 300, sql("UPDATE audit_events_1 SET who = 'x' WHERE id = 300")],
    ['a public column', 1_500, sql("UPDATE audit_events_2 SET date_time = '2020-01-01T00:00:00.000Z' WHERE id = 1500")],
    ['a row that is gone', 700, sql('DELETE FROM audit_events_1 WHERE id = 700')],
    ['a row behind the last full bundle', 1_900, sql("UPDATE audit_events_2 SET who = 'x' WHERE id = 1900")],
    ['its public column', 1_901, sql('UPDATE audit_events_2 SET status_code = 200 WHERE id = 1901')],
    ['the last row, gone', 2_000, sql('DELETE FROM audit_events_2 WHERE id = 2000')],
    ['a salt', 256 + 6, salt(5)],
    ['an entry', 1, flip('entries-000000', 1_024 + 10)],
    ['a hash above a bundle', 257, sql(hashAbove(1))],
  ]
  for (const [what, id, change] of changes) {
    const before = ['', '-wal', '-shm', '-log/entries-000000'].map(suffix => {
      try {
        return [path + suffix, readFileSync(path + suffix)] as const
      } catch {
        return [path + suffix, undefined] as const
      }
    })
    change()
    const found = round()
    assert.equal(found.kind, 'tampered', what)
    assert.equal(found.kind === 'tampered' && found.id, id, what)
    for (const [file, bytes] of before) {
      if (bytes === undefined) rmSync(file, { force: true })
      else writeFileSync(file, bytes)
    }
  }
  assert.equal(round().kind, 'sound')
})
