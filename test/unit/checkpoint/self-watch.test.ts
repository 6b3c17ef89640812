import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import test from 'node:test'
import { createSelfWatch } from '../../../src/checkpoint/self-watch.ts'
import { openLogFiles } from '../../../src/log/log-files.ts'
import { logRoot } from '../../../src/store/log-store.ts'
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
  assert.deepEqual(round(), { kind: 'sound', events: Math.floor(ROWS / 256) * 256, through: 0, rounds: 1 })

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
  const salt = (n: number) =>
    `UPDATE log_bundles SET salts = CAST(substr(salts, 1, ${n * 16}) || x'00112233445566778899aabbccddeeff' || substr(salts, ${n * 16 + 17}) AS BLOB) WHERE bundle = 1`
  const changes: [what: string, id: number, change: () => void][] = [
    ['a row of the first segment', 300, sql("UPDATE audit_events_1 SET who = 'x' WHERE id = 300")],
    ['a public column', 1_500, sql("UPDATE audit_events_2 SET date_time = '2020-01-01T00:00:00.000Z' WHERE id = 1500")],
    ['a row that is gone', 700, sql('DELETE FROM audit_events_1 WHERE id = 700')],
    ['a salt', 256 + 6, sql(salt(5))],
    ['an entry', 1, flip('entries-000000', 1_024 + 10)],
    ['a tile', 257 + 3, flip('tiles-0-000000', 8_192 + 3 * 32 + 1)],
  ]
  for (const [what, id, change] of changes) {
    const before = ['', '-wal', '-shm', '-log/entries-000000', '-log/tiles-0-000000'].map(suffix => {
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
