/** The indexer under faults of its surroundings. After each: every journal record is exactly one row, in its place. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  chownSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { DatabaseSync } from 'node:sqlite'
import test from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { formatEntry } from '../../src/event/codec.ts'
import { openJournal } from '../../src/journal/segment-journal.ts'
import { createSqliteEventStore } from '../../src/store/sqlite-event-store.ts'
import { sampleEvent } from '../contract/event-store.ts'

const NOBODY = 65_534
const SOURCE = join(import.meta.dirname, '../../src/indexer')

interface Ground {
  readonly directory: string
  readonly storePath: string
  startIndexer(user?: number): ChildProcess
  /** Every record is one row, in order, and the position is behind the last. */
  assertExact(): Promise<void>
}

/** A folder with a journal of so many durable records. */
async function withJournal(records: number, body: (ground: Ground) => Promise<void>): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'evc-fault-'))
  const storePath = join(directory, 'audit', 'audit.db')
  const children = new Set<ChildProcess>()
  const journal = await openJournal({ directory: join(directory, 'journal'), ackTimeoutMs: 30_000 })
  for (let n = 0; n < records; n++) journal.append(formatEntry(sampleEvent(n)))
  await journal.close(30_000)
  try {
    await body({
      directory,
      storePath,
      startIndexer(user) {
        const entry = join(import.meta.dirname, 'indexer-process.ts')
        const identity = user === undefined ? {} : { uid: user, gid: user }
        const child = spawn(process.execPath, [entry, directory, String(records)], {
          stdio: ['ignore', 'pipe', 'inherit'],
          ...identity,
        })
        children.add(child)
        child.on('exit', () => children.delete(child))
        return child
      },
      async assertExact() {
        const store = createSqliteEventStore({ path: storePath })
        assert.equal(await store.position(`journal:${journal.id}`), records)
        await store.close()
        const db = new DatabaseSync(storePath, { readOnly: true })
        let expected = 0
        for (const row of db.prepare('SELECT id, description FROM audit_events ORDER BY id').iterate()) {
          assert.deepEqual([row.id, row.description], [expected + 1, `event ${expected}`])
          expected++
        }
        assert.equal(expected, records)
        const { integrity_check } = db.prepare('PRAGMA integrity_check').get() ?? {}
        assert.equal(integrity_check, 'ok')
        const sets = db.prepare('SELECT count(*) AS n FROM event_chunks').get()
        assert.equal(sets?.n, Math.floor(records / 1_024))
        db.close()
      },
    })
  } finally {
    for (const child of children) child.kill('SIGKILL')
    rmSync(directory, { recursive: true })
  }
}

async function linesUntil(child: ChildProcess, isLast: (line: string) => boolean): Promise<string[]> {
  const lines: string[] = []
  for await (const line of createInterface({ input: child.stdout ?? assert.fail() })) {
    lines.push(line)
    if (isLast(line)) break
  }
  return lines
}

function rowsNow(storePath: string): number {
  const db = new DatabaseSync(storePath, { readOnly: true, timeout: 1_000 })
  try {
    return Number(db.prepare('SELECT max(id) AS id FROM audit_events').get()?.id ?? 0)
  } finally {
    db.close()
  }
}

test('indexer: killed again and again in the middle of its batches, every record is one row', () =>
  withJournal(80_000, async ({ storePath, startIndexer, assertExact }) => {
    const rows: number[] = []
    for (let kill = 0; kill < 7; kill++) {
      const child = startIndexer()
      const exited = once(child, 'exit')
      // A batch of 10,000 is committed and the next one has begun; each time the kill comes a little later into it.
      const before = rows.at(-1) ?? 0 // said first
      await linesUntil(child, line => Number(/^indexed (\d+)/.exec(line)?.[1]) > before)
      await sleep(kill * 12)
      child.kill('SIGKILL')
      await exited
      rows.push(rowsNow(storePath))
    }
    assert.ok(
      rows.every((count, i) => count % 10_000 === 0 && count > (rows[i - 1] ?? 0)),
      `whole batches: ${rows}`,
    )
    const last = startIndexer()
    const exited = once(last, 'exit')
    assert.equal((await linesUntil(last, line => line === 'done')).at(-1), 'done')
    assert.deepEqual(await exited, [0, null])
    await assertExact()
  }))

test('indexer: a store locked by another process for some seconds delays it and nothing else', () =>
  withJournal(3_000, async ({ storePath, startIndexer, assertExact }) => {
    const store = createSqliteEventStore({ path: storePath })
    await store.lastId()
    await store.close()
    const holder = spawn(process.execPath, [
      '-e',
      `const { DatabaseSync } = require('node:sqlite')
       const db = new DatabaseSync(${JSON.stringify(storePath)})
       db.exec('BEGIN EXCLUSIVE')
       console.log('locked')
       setTimeout(() => { db.exec('ROLLBACK'); db.close() }, 3_000)`,
    ])
    const released = once(holder, 'exit')
    await linesUntil(holder, line => line === 'locked')
    const child = startIndexer()
    const exited = once(child, 'exit')
    const lines = await linesUntil(child, line => line === 'done')
    assert.ok(
      lines.some(line => /error UNAVAILABLE.*locked/.test(line)),
      lines.join(),
    )
    assert.equal(lines.at(-1), 'done')
    await Promise.all([released, exited])
    await assertExact()
  }))

test('indexer: a store that is read-only is waited for', () =>
  withJournal(2_000, async ({ directory, storePath, startIndexer, assertExact }) => {
    const store = createSqliteEventStore({ path: storePath })
    await store.lastId()
    await store.close()
    const user = userWithoutPrivileges()
    if (user !== undefined) giveAway(directory, user)
    const folder = join(storePath, '..')
    chmodSync(storePath, 0o400)
    chmodSync(folder, 0o500)
    if (user === undefined && process.getuid?.() === 0) blockWithFolder(storePath)
    const child = startIndexer(user)
    const exited = once(child, 'exit')
    const lines: string[] = []
    await linesUntil(child, line => {
      lines.push(line)
      if (!line.startsWith('error UNAVAILABLE')) return line === 'done'
      unblock(storePath)
      chmodSync(folder, 0o700)
      chmodSync(storePath, 0o600)
      return false
    })
    assert.ok(
      lines.some(line => /error UNAVAILABLE/.test(line)),
      lines.join(),
    )
    assert.equal(lines.at(-1), 'done')
    await exited
    await assertExact()
  }))

/** No mode bits stop root: the indexer then runs as somebody else, if that somebody may read this checkout. */
function userWithoutPrivileges(): number | undefined {
  const isOpenToAll = (path: string): boolean =>
    (statSync(path).mode & 0o005) === 0o005 && (path === dirname(path) || isOpenToAll(dirname(path)))
  const isPossible = process.getuid?.() === 0 && isOpenToAll(realpathSync(process.execPath)) && isOpenToAll(SOURCE)
  return isPossible && isOpenToAll(tmpdir()) ? NOBODY : undefined
}

function giveAway(path: string, user: number): void {
  chownSync(path, user, user)
  for (const name of readdirSync(path, { recursive: true })) chownSync(join(path, String(name)), user, user)
}

/** What root cannot write either: a folder in the file's place. */
function blockWithFolder(path: string): void {
  renameSync(path, `${path}.away`)
  mkdirSync(path)
}

function unblock(path: string): void {
  if (!statSync(path).isDirectory()) return
  rmSync(path, { recursive: true })
  renameSync(`${path}.away`, path)
}
