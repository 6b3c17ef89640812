/** An instance whose machine is gone for good: declared by the others, its journal adopted when the disk returns. */
import assert from 'node:assert/strict'
import { cpSync, existsSync, rmSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'
import pg from 'pg'
import { runHere, serve, start, temporaryFolder } from '../cli/command-line.ts'
import { postgresServer } from '../harness/postgres.ts'
import { assertLogOfRows } from '../harness/postgres-log.ts'
import { eventually } from '../harness/rows.ts'

const server = postgresServer()
const LOGINS = 40
const PATIENCE_MS = 60_000

test('adopt: what an instance answered and took along is declared, and is there once when its disk returns', async t => {
  const url = await server.createDatabase()
  const environment = { EVC_DATABASE_URL: url }
  const here = (...args: string[]) =>
    runHere(args, { environment: { ...environment, EVC_DATA_DIR: temporaryFolder(t) } })
  const eventsOf = (reason: string) =>
    server.run(url, 'SELECT metadata_json FROM audit_events WHERE reason_code = $1', [reason])
  const credentials = /[0-9a-f]{64}/.exec((await here('cp', 'add', 'CP-1')).stdout)?.[0]

  const lost = temporaryFolder(t)
  const gone = await serve(t, lost, environment)
  await eventually(
    () => eventsOf('STARTED'),
    found => found.length === 1,
  )
  const [before] = await eventually(instances, found => found.length === 1)
  const keepHead = new pg.Client({ connectionString: url })
  await keepHead.connect()
  await keepHead.query('BEGIN; SELECT * FROM log_head FOR UPDATE') // from now on nothing becomes a row
  const answered = await Promise.all(
    Array.from({ length: LOGINS }, async () => {
      const response = await fetch(`${gone.url}/auth/credentials`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ cp_id: 'CP-1', credentials }),
      })
      assert.equal(response.status, 200)
      return response.headers.get('x-request-id')
    }),
  )
  await gone.stop('SIGKILL')
  await keepHead.end()
  const rowsOfAnswered = () =>
    server.run(url, 'SELECT request_id FROM audit_events WHERE request_id = ANY ($1)', [answered])

  const other = temporaryFolder(t)
  const survivor = await serve(t, other, environment)
  const alive = await here('instances', 'forget', before.journal_id)
  assert.match(alive.stderr, /last seen.*DATA_FOLDER_IN_USE/)
  await server.run(url, "UPDATE instances SET seen_at = seen_at - interval '2 minutes' WHERE journal_id = $1", [
    before.journal_id,
  ])
  assert.equal((await instances()).find(({ journal_id }) => journal_id === before.journal_id)?.state, 'missing')
  const forgotten = await here('instances', 'forget', before.journal_id)
  assert.equal(forgotten.code, 0, forgotten.stderr)
  const erasure = await here('erase', '--who', 'CP-9', '--reason', 'test', '--yes', '--json')
  assert.deepEqual(JSON.parse(erasure.stdout).journals_behind, [], 'no erasure waits for its journal any more')
  const [declared] = await eventually(
    () => eventsOf('LOSS_DECLARED'),
    found => found.length > 0,
  )
  const { journal, after_sequence } = JSON.parse(declared?.metadata_json)
  assert.equal(journal, before.journal_id)
  assert.equal((await rowsOfAnswered()).length, 0)
  assert.match((await here('instances', 'forget', before.journal_id)).stdout, /forgotten already/)

  const disk = join(temporaryFolder(t), 'disk')
  cpSync(lost, disk, { recursive: true })
  const cut = start(t, ['adopt', disk], environment)
  await eventually(rowsOfAnswered, found => found.length > 0 || cut.child.exitCode !== null, PATIENCE_MS)
  await cut.stop('SIGKILL')
  for (let run = 0; run < 2; run++) {
    const adopted = await here('adopt', join(disk, 'journal'))
    assert.equal(adopted.code, 0, adopted.stderr)
    assert.ok(Number(/^(\d+) records/.exec(adopted.stdout)?.[1]) >= LOGINS, adopted.stdout)
  }
  const found = (await rowsOfAnswered()).map(({ request_id }) => request_id)
  assert.deepEqual(found.sort(), answered.sort(), 'each that was answered is there once')
  const [adoption] = await eventually(
    () => eventsOf('JOURNAL_ADOPTED'),
    events => events.length > 0,
  )
  assert.equal(JSON.parse(adoption?.metadata_json).after_sequence, after_sequence)

  const again = await start(t, ['serve'], { ...environment, EVC_DATA_DIR: disk }).ended
  assert.equal(again.code, 2)
  assert.match(again.stderr, /journal was adopted/)
  assert.match((await here('adopt', other)).stderr, /DATA_FOLDER_IN_USE/)
  await survivor.stop()
  assert.equal((await eventsOf('JOURNAL_ADOPTED')).length, 1)
  assert.equal((await eventsOf('LOSS_DECLARED')).length, 1)
  await assertLogOfRows(url)

  async function instances() {
    const { stdout } = await here('instances', 'list', '--json')
    return stdout
      .trim()
      .split('\n')
      .filter(Boolean)
      .map(line => JSON.parse(line))
  }
})

test('adopt: a journal that never fed this database is refused; an instance that was forgotten may come back', async t => {
  const url = await server.createDatabase()
  const environment = { EVC_DATABASE_URL: url }
  const here = (...args: string[]) =>
    runHere(args, { environment: { ...environment, EVC_DATA_DIR: temporaryFolder(t) } })
  const embedded = temporaryFolder(t)
  await (await serve(t, embedded)).stop('SIGKILL')
  for (const folder of [embedded, temporaryFolder(t)]) {
    const { code, stderr } = await here('adopt', folder)
    assert.equal(code, 2, stderr)
    assert.match(stderr, /never|ever shared/)
  }
  const data = temporaryFolder(t)
  await (await serve(t, data, environment)).stop()
  const [{ journal_id, state } = {} as Record<string, string>] = (await server.run(
    url,
    'SELECT * FROM instances',
  )) as Record<string, string>[]
  assert.equal(state, 'stopped')
  assert.equal((await here('instances', 'forget', journal_id as string)).code, 0)
  const back = await serve(t, data, environment)
  const adopted = () => server.run(url, "SELECT 1 FROM audit_events WHERE reason_code = 'JOURNAL_ADOPTED'")
  await eventually(adopted, found => found.length === 1)
  await back.stop()
  assert.equal((await server.run(url, 'SELECT state FROM instances'))[0]?.state, 'stopped')

  const elsewhere = join(temporaryFolder(t), 'elsewhere')
  rmSync(join(data, 'lock.db'))
  symlinkSync(elsewhere, join(data, 'lock.db'))
  const linked = await here('adopt', data)
  assert.equal(linked.code, 2)
  assert.match(linked.stderr, /is a link/)
  assert.equal(existsSync(elsewhere), false, 'no link of a disk that came from elsewhere is followed')
})
