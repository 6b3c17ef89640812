/**
 * Four instances, each a process with a journal of its own, append to one log, are killed at random and have their sessions
 * terminated: nothing is lost, nothing is there twice, and the log is that of the rows.
 */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'
import { setTimeout } from 'node:timers/promises'
import { formatEntry } from '../../src/event/codec.ts'
import { openJournal } from '../../src/journal/segment-journal.ts'
import { sampleEvent } from '../contract/event-store.ts'
import { postgresServer } from '../harness/postgres.ts'
import { assertLogOfRows } from '../harness/postgres-log.ts'

const INSTANCES = 4
const RECORDS = 5_000
const KILLS = 8
const server = postgresServer()

test('PostgreSQL store: instances that are killed and cut off lose nothing, double nothing and fork nothing', async t => {
  const url = await server.createDatabase()
  const root = mkdtempSync(join(tmpdir(), 'evc-writers-'))
  t.after(() => rmSync(root, { recursive: true }))
  const folders = await Promise.all(
    Array.from({ length: INSTANCES }, (_, n) => fillJournal(join(root, `journal-${n}`), n)),
  )

  const instances: (ChildProcess | undefined)[] = []
  t.after(() => {
    for (const instance of instances) instance?.kill('SIGKILL')
  })
  let kills = 0
  /** Started anew until it ends by itself. */
  async function run(n: number): Promise<void> {
    for (;;) {
      const instance = spawn(
        process.execPath,
        [join(import.meta.dirname, 'postgres-writer.ts'), folders[n] as string, String(RECORDS), url],
        { stdio: ['ignore', 'ignore', 'inherit'] },
      )
      instances[n] = instance
      const [code] = await once(instance, 'exit')
      instances[n] = undefined
      assert.ok(code === 0 || code === null, `an instance ended with ${code}`)
      if (code === 0) return
    }
  }
  const running = Promise.all(folders.map((_, n) => run(n)))
  let isDone = false
  void running.then(() => (isDone = true)).catch(() => (isDone = true))

  const database = new URL(url).pathname.slice(1)
  const terminate = `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = $1 AND pid <> pg_backend_pid() AND random() < 0.5`
  let terminations = 0
  while (!isDone) {
    await setTimeout(50 + Math.random() * 250) // the moment is what is random here
    terminations += (await server.run(url, terminate, [database])).length
    const victim = instances[Math.floor(Math.random() * INSTANCES)]
    if (kills < KILLS && victim?.kill('SIGKILL')) kills++
  }
  await running
  assert.ok(kills >= 4 && terminations >= 4, `${kills} kills, ${terminations} terminations`)

  const rows = await assertLogOfRows(url)
  assert.equal(rows.length, INSTANCES * RECORDS)
  for (let n = 0; n < INSTANCES; n++) {
    const own = rows.filter(row => row.who === `instance ${n}`).map(row => row.request_id)
    assert.deepEqual(
      own,
      Array.from({ length: RECORDS }, (_, record) => `request-${record}`),
      'every record is one row, in order',
    )
  }
})

async function fillJournal(directory: string, instance: number): Promise<string> {
  const journal = await openJournal({ directory, ackTimeoutMs: 60_000 })
  for (let n = 0; n < RECORDS; n++) journal.append(formatEntry(sampleEvent(n, { who: `instance ${instance}` })))
  await journal.close()
  return directory
}
