import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import test from 'node:test'
import type { StoredEvent } from '../../../src/event/event.ts'
import { commit, isErasedSalt, parseLeaf, SALT_BYTES, saltsOfSeed } from '../../../src/evidence/leaf.ts'
import { parseBundle, tileAt } from '../../../src/evidence/tile.ts'
import { openLogFiles } from '../../../src/log/log-files.ts'
import { startLogBuilder } from '../../../src/log/log-host.ts'
import { eraseRows } from '../../../src/store/erasures.ts'
import { logRoot, readSalts } from '../../../src/store/log-store.ts'
import { type LogSnapshot, openLogView } from '../../../src/store/log-view.ts'
import { finishRewrites } from '../../../src/store/rewrite.ts'
import { createSqliteEventStore } from '../../../src/store/sqlite-event-store.ts'
import type { Subject } from '../../../src/store/subject.ts'
import { batchOf, rowsFrom, sampleEvent } from '../../contract/event-store.ts'

const SUBJECT: Subject = { kind: 'who', name: 'CP-NOBODY' }

/** The first event of the log whose salt does not open its leaf, and those that were erased. */
function openAll(path: string): { wrong: number | undefined; erased: number[] } {
  const db = new DatabaseSync(path, { readOnly: true })
  const files = openLogFiles(logRoot(path))
  try {
    return openLogView(db, files).inSnapshot(log => openLeaves(db, log))
  } finally {
    files.close()
    db.close()
  }
}

function openLeaves(db: DatabaseSync, log: LogSnapshot) {
  const rows = db.prepare('SELECT * FROM audit_events ORDER BY id').all() as unknown as StoredEvent[]
  const entries = Array.from({ length: Math.ceil(log.size / 256) }, (_, index) => {
    const tile = tileAt('entries', index, log.size) ?? assert.fail()
    return parseBundle(log.readTile(tile), tile.width) ?? assert.fail()
  }).flat()
  const erased = rows.filter(({ id }) => isErasedSalt(log.salt(id) ?? assert.fail())).map(({ id }) => id)
  const wrong = rows.find((row, n) => {
    const parsed = parseLeaf(entries[n] ?? assert.fail())
    const commitment = commit(log.salt(row.id) ?? assert.fail(), row)
    return (
      !erased.includes(row.id) && !(parsed.kind === 'leaf' && Buffer.from(commitment).equals(parsed.leaf.commitment))
    )
  })
  return { wrong: wrong?.id, erased }
}

test('salts: no copy of the database has the salt of a row that came after it, and a seed never brings back an erased one', async t => {
  const directory = mkdtempSync(join(tmpdir(), 'evc-salts-'))
  t.after(() => rmSync(directory, { recursive: true }))
  const path = join(directory, 'audit.db')
  const open = () => createSqliteEventStore({ path })
  const ask = <T>(work: (db: DatabaseSync) => T): T => {
    const db = new DatabaseSync(path)
    try {
      return work(db)
    } finally {
      db.close()
    }
  }
  const bundles = () => ask(db => db.prepare('SELECT length(salts) AS salts, seed FROM log_bundles').all())
  let store = open()
  let written = 0
  let position = 0
  const append = async (count: number) => {
    await store.append(batchOf(position, rowsFrom(written, count)))
    written += count
    position += count
  }
  const erase = (id: number) =>
    store.record(db => {
      const tombstone = ++written
      eraseRows(db, [{ id, date_time: '' }], { ids: [], names: [] }, { subject: SUBJECT, tombstone })
      return sampleEvent(tombstone, { action: 'SYSTEM', reason_code: 'ERASED' })
    })

  await append(300)
  assert.deepEqual(
    bundles().map(({ salts, seed }) => [salts, seed !== null]),
    [
      [0, true],
      [44 * SALT_BYTES, false], // the copy that a backup is has no more than that
    ],
  )
  const seed = bundles()[0]?.seed as Uint8Array
  const salts = ask(db => readSalts(db, 1, 300))
  assert.deepEqual(salts.slice(0, 256 * SALT_BYTES), saltsOfSeed(seed))

  await erase(10)
  await erase(270) // of the bundle that is not full: the same writer completes it
  await append(300)
  await store.close()
  assert.deepEqual(openAll(path), { wrong: undefined, erased: [10, 270] })

  store = open() // as after a crash: nobody has the seed of the last bundle
  await erase(590)
  await append(300)
  await store.close()
  assert.deepEqual(openAll(path), { wrong: undefined, erased: [10, 270, 590] })
  assert.deepEqual(
    bundles().map(({ seed }) => seed !== null),
    [false, false, false, false],
  )

  assert.ok(await finishRewrites(path, 1_000))
  const bytes = readFileSync(path)
  const gone = [seed, ...[9, 256 + 13].map(n => salts.subarray(n * SALT_BYTES, (n + 1) * SALT_BYTES))]
  for (const secret of gone) assert.ok(!bytes.includes(secret))
})

test('log: a batch that failed writes no file any more when another writer goes on', async t => {
  const directory = mkdtempSync(join(tmpdir(), 'evc-salts-'))
  t.after(() => rmSync(directory, { recursive: true }))
  const path = join(directory, 'audit.db')
  const store = createSqliteEventStore({ path })
  await store.append(batchOf(0, rowsFrom(0, 250)))
  const behind = createSqliteEventStore({ path, startLog: startLogBuilder }) // its thread has not even begun
  const refused = { event: { ...sampleEvent(0), description: null as unknown as string }, onceKey: null }
  await assert.rejects(behind.append(batchOf(0, [...rowsFrom(5_000, 700), refused], 'journal:b')))
  await store.append(batchOf(250, rowsFrom(250, 700)))
  await behind.append(batchOf(0, rowsFrom(950, 1), 'journal:b'))
  for (const each of [store, behind]) await each.close()
  assert.deepEqual(openAll(path), { wrong: undefined, erased: [] })
})
