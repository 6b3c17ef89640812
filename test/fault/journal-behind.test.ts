/** An old copy of the journal beside a newer database is noticed, at the start or later, and the way out that is named works. */
import assert from 'node:assert/strict'
import { cpSync, existsSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'
import { pino } from 'pino'
import { createContext } from '../../src/context/context.ts'
import { dataFolder } from '../../src/service/data-folder.ts'
import { openPipeline, type Pipeline } from '../../src/service/pipeline.ts'
import { postgresServer } from '../harness/postgres.ts'
import { auditRows, eventually } from '../harness/rows.ts'

const server = postgresServer()

test('service: a restored old journal is refused, and a start without it loses and doubles nothing', async t => {
  const path = mkdtempSync(join(tmpdir(), 'evc-behind-'))
  t.after(() => rmSync(path, { recursive: true, force: true }))
  const folder = dataFolder(path)
  const open = () =>
    openPipeline({
      folder,
      logger: pino({ level: 'silent' }),
      ackTimeoutMs: 1_000,
      bruteForceThreshold: 5,
      bruteForceWindowSeconds: 600,
    })
  const record = async (pipeline: Pipeline, who: string) => {
    const context = createContext()
    pipeline.audit.authSuccess(who, context)
    await pipeline.audit.settled(context)
    await pipeline.close()
  }
  await record(await open(), 'CP-1')
  cpSync(folder.journalDirectory, `${folder.journalDirectory}.old`, { recursive: true })
  await record(await open(), 'CP-2')

  rmSync(folder.journalDirectory, { recursive: true })
  renameSync(`${folder.journalDirectory}.old`, folder.journalDirectory)
  await assert.rejects(open(), { name: 'Refusal', code: 'JOURNAL_BEHIND' })

  renameSync(folder.journalDirectory, `${folder.journalDirectory}.away`)
  await record(await open(), 'CP-3')
  assert.deepEqual(
    auditRows(path).map(row => [row.id, row.who]),
    [
      [1, 'CP-1'],
      [2, 'CP-2'],
      [3, 'CP-3'],
    ],
  )
})

test('service: a restored old journal beside a database that cannot be read at the start is noticed when it can', async t => {
  const path = mkdtempSync(join(tmpdir(), 'evc-behind-'))
  t.after(() => rmSync(path, { recursive: true, force: true }))
  const folder = dataFolder(path)
  const logged: { level: number; lastError?: string }[] = []
  const open = () =>
    openPipeline({
      folder,
      logger: pino({ level: 'fatal' }, { write: line => void logged.push(JSON.parse(line)) }),
      ackTimeoutMs: 1_000,
      bruteForceThreshold: 5,
      bruteForceWindowSeconds: 600,
    })
  const record = async (pipeline: Pipeline, who: string) => {
    const context = createContext()
    pipeline.audit.authSuccess(who, context)
    assert.equal(await pipeline.audit.settled(context), 'durable')
  }
  for (const who of ['CP-1', 'CP-2', 'CP-3']) {
    const pipeline = await open()
    await record(pipeline, who)
    await pipeline.close()
    if (who === 'CP-1') cpSync(folder.journalDirectory, `${folder.journalDirectory}.old`, { recursive: true })
  }
  rmSync(folder.journalDirectory, { recursive: true })
  renameSync(`${folder.journalDirectory}.old`, folder.journalDirectory)

  renameSync(join(path, 'audit'), join(path, 'audit.away'))
  writeFileSync(join(path, 'audit'), 'a file where the folder should be')
  const pipeline = await open()
  for (const who of ['CP-4', 'CP-5', 'CP-6', 'CP-7']) await record(pipeline, who)
  rmSync(join(path, 'audit'))
  renameSync(join(path, 'audit.away'), join(path, 'audit'))
  await eventually(
    () => pipeline.status().indexer,
    ({ phase }) => phase === 'halted',
  )
  assert.match(
    pipeline.status().indexer.lastError ?? '',
    /^BEHIND: records 2 to 3 in the database are of another copy of the journal$/,
  )
  assert.ok(logged.some(({ level, lastError }) => level === 60 && lastError?.startsWith('BEHIND') === true))
  await eventually(
    () => existsSync(join(folder.journalDirectory, 'behind')),
    isNoted => isNoted,
  )
  await pipeline.close()

  // By now the journal is longer than the database; it is refused all the same, until it is moved away.
  await assert.rejects(open(), { name: 'Refusal', code: 'JOURNAL_BEHIND', message: /Records from 2 on/ })
  assert.deepEqual(
    auditRows(path).map(row => row.who),
    ['CP-1', 'CP-2', 'CP-3'],
    'no new event was taken for a known one',
  )
  renameSync(folder.journalDirectory, `${folder.journalDirectory}.away`)
  const last = await open()
  await record(last, 'CP-8')
  await last.close()
  assert.deepEqual(
    auditRows(path).map(row => row.who),
    ['CP-1', 'CP-2', 'CP-3', 'CP-8'],
  )
})

test('service: after a halt of another kind the next start goes on, and nothing is lost', async t => {
  const path = mkdtempSync(join(tmpdir(), 'evc-halted-'))
  t.after(() => rmSync(path, { recursive: true, force: true }))
  const url = await server.createDatabase()
  const open = () =>
    openPipeline({
      folder: dataFolder(path),
      store: { kind: 'postgres', url },
      logger: pino({ level: 'silent' }),
      ackTimeoutMs: 1_000,
      bruteForceThreshold: 5,
      bruteForceWindowSeconds: 600,
    })
  const record = (pipeline: Pipeline, who: string) => {
    const context = createContext()
    pipeline.audit.authSuccess(who, context)
    return pipeline.audit.settled(context)
  }
  const pipeline = await open()
  await record(pipeline, 'CP-1')
  assert.ok(await pipeline.caughtUp(10_000))
  await server.run(url, 'ALTER TABLE positions RENAME TO elsewhere')
  await record(pipeline, 'CP-2')
  await eventually(
    () => pipeline.status().indexer,
    ({ phase }) => phase === 'halted',
  )
  await pipeline.close()
  await server.run(url, 'ALTER TABLE elsewhere RENAME TO positions')
  const next = await open()
  assert.ok(await next.caughtUp(10_000))
  await next.close()
  assert.deepEqual(await server.run(url, 'SELECT who FROM audit_events ORDER BY id'), [
    { who: 'CP-1' },
    { who: 'CP-2' },
  ])
})
