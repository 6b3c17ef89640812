import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import test from 'node:test'
import { startLogBuilder } from '../../../src/log/log-host.ts'
import { logRoot, readLogHead } from '../../../src/store/log-store.ts'
import { createSqliteEventStore } from '../../../src/store/sqlite-event-store.ts'
import { batchOf, rowsFrom } from '../../contract/event-store.ts'

const ROWS = 66_000 // tiles of level 1 too

test('log: whatever a power loss took of the files is made anew, to the byte, before the log goes on', async t => {
  const directory = mkdtempSync(join(tmpdir(), 'evc-repair-'))
  t.after(() => rmSync(directory, { recursive: true }))
  const path = join(directory, 'audit.db')
  const root = logRoot(path)
  const write = async (after: number, count: number) => {
    const store = createSqliteEventStore({ path })
    await store.append(batchOf(after, rowsFrom(after, count)))
    await store.close()
  }
  await write(0, ROWS)
  const contents = () => new Map(readdirSync(root).map(name => [name, readFileSync(join(root, name))]))
  const whole = contents()
  assert.ok(whole.has('tiles-1-000000') && whole.has('entries-000001'))
  const forgetSync = () => {
    const db = new DatabaseSync(path)
    db.exec('UPDATE log_head SET synced_size = 0')
    db.close()
  }
  const losses: Record<string, () => void> = {
    nothing: () => {},
    'all files': () => rmSync(root, { recursive: true }),
    'a pack': () => rmSync(join(root, 'entries-000000')),
    'the end of each': () => {
      for (const [name, bytes] of whole) truncateSync(join(root, name), Math.floor(bytes.length / 3))
    },
    'what is in them': () => {
      for (const [name, bytes] of whole) writeFileSync(join(root, name), new Uint8Array(bytes.length))
    },
  }
  let rows = ROWS
  for (const [what, lose] of Object.entries(losses)) {
    forgetSync()
    lose()
    await write(rows++, 1)
    assert.deepEqual(contents(), whole, what)
  }
})

test('log: of a store that was closed nothing is looked at again', async t => {
  const directory = mkdtempSync(join(tmpdir(), 'evc-repair-'))
  t.after(() => rmSync(directory, { recursive: true }))
  const path = join(directory, 'audit.db')
  const write = async (after: number, count: number) => {
    const store = createSqliteEventStore({ path, startLog: startLogBuilder })
    await store.append(batchOf(after, rowsFrom(after, count)))
    await store.close()
  }
  await write(0, 1_000)
  const db = new DatabaseSync(path)
  assert.equal(readLogHead(db).syncedSize, 1_000)
  db.close()
  const pack = join(logRoot(path), 'entries-000000')
  const bytes = readFileSync(pack)
  writeFileSync(pack, new Uint8Array(bytes.length))
  await write(1_000, 1)
  assert.deepEqual(readFileSync(pack), Buffer.alloc(bytes.length))
})

test('store: one whose database was taken away makes no other when it is closed', async t => {
  const directory = mkdtempSync(join(tmpdir(), 'evc-repair-'))
  t.after(() => rmSync(directory, { recursive: true, force: true }))
  const store = createSqliteEventStore({ path: join(directory, 'audit', 'audit.db'), startLog: startLogBuilder })
  await store.append(batchOf(0, rowsFrom(0, 10)))
  rmSync(directory, { recursive: true })
  await store.close()
  assert.equal(existsSync(directory), false)
})
