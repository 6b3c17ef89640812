/** The full check: silent about what a service leaves, running, stopped or killed, and loud about everything that is wrong. */
import assert from 'node:assert/strict'
import { cpSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import test, { type TestContext } from 'node:test'
import { formatEntry } from '../../src/event/codec.ts'
import { createIndexer } from '../../src/indexer/indexer.ts'
import { openJournal } from '../../src/journal/segment-journal.ts'
import { openJournalReader } from '../../src/journal/segment-reader.ts'
import { checkAll } from '../../src/service/check-all.ts'
import { type DataFolder, dataFolder, lockDataFolder } from '../../src/service/data-folder.ts'
import { createSqliteEventStore } from '../../src/store/sqlite-event-store.ts'
import { runHere, temporaryFolder } from '../cli/command-line.ts'
import { sampleEvent } from '../contract/event-store.ts'
import { send, startServiceProcess } from '../harness/service-process.ts'

const INDEXED = 1_500
const WAITING = 20

/** Rows of 1,500 records, all of which the journal still has, and 20 records behind them. */
async function makeTrail(t: TestContext): Promise<DataFolder> {
  const folder = dataFolder(join(temporaryFolder(t), 'data'))
  const journal = await openJournal({
    directory: folder.journalDirectory,
    ackTimeoutMs: 30_000,
    segmentBytesMax: 50_000,
  })
  for (let n = 0; n < INDEXED + WAITING; n++) {
    const onceKey = n % 10 === 0 ? `00000000-0000-7000-8000-${String(n - (n % 100)).padStart(12, '0')}` : null
    journal.append(formatEntry(sampleEvent(onceKey === null ? n : n - (n % 100)), onceKey))
    if (n % 50 === 49) await journal.acknowledged(n + 1)
  }
  await journal.close()
  const store = createSqliteEventStore({ path: folder.auditDatabase, segmentIds: 1_024 })
  const indexer = createIndexer({
    journalId: journal.id,
    openReader: after => openJournalReader({ directory: folder.journalDirectory, after }),
    store,
  })
  while ((await indexer.step(INDEXED)) > 0);
  indexer.stop()
  await store.close()
  return folder
}

const inDatabase = (sql: string) => (folder: DataFolder) => {
  const db = new DatabaseSync(folder.auditDatabase)
  db.exec(sql)
  db.close()
}

const inSegment = (index: number, change: (bytes: Buffer) => void) => (folder: DataFolder) => {
  const path = join(folder.journalDirectory, journalFiles(folder).at(index) as string)
  const bytes = readFileSync(path)
  change(bytes)
  writeFileSync(path, bytes)
}

const journalFiles = (folder: DataFolder) =>
  readdirSync(folder.journalDirectory)
    .filter(name => name.endsWith('.journal'))
    .sort()

const flip = (at: number) => (bytes: Buffer) => {
  bytes[at] = (bytes[at] as number) ^ 4
}

/** What is done to a sound trail, and what the check has to say. */
const WRONG: Record<string, [damage: (folder: DataFolder) => void, finding: RegExp]> = {
  'a row whose text was changed': [
    inDatabase("UPDATE audit_events_1 SET description = 'something else' WHERE id = 5"),
    /^journal record \d+ is no row, and the rows say it is$/,
  ],
  'a row that is gone': [inDatabase('DELETE FROM audit_events_1 WHERE id = 6'), /holds 1023 rows|is no row/],
  'the last row gone': [
    inDatabase('DELETE FROM audit_events_2 WHERE id = (SELECT max(id) FROM audit_events_2)'),
    /^journal record 1500 is no row/,
  ],
  'a row twice': [
    inDatabase(`INSERT INTO audit_events_2
      SELECT (SELECT max(id) + 1 FROM audit_events_2), date_time, who, ip, action, description, severity, reason_code,
        request_id, endpoint, http_method, status_code, metadata_json, created_at FROM audit_events_1 WHERE id = 7`),
    /is another row, too$|out of order$/,
  ],
  'two rows in the wrong order': [
    inDatabase(`UPDATE audit_events_2 SET id = -1 WHERE id = 1100; UPDATE audit_events_2 SET id = 1100 WHERE id = 1101;
      UPDATE audit_events_2 SET id = 1101 WHERE id = -1`),
    /out of order$/,
  ],
  'a position that went back': [
    inDatabase('UPDATE positions SET position = position - 3; DELETE FROM once_keys'),
    /was answered and is 2 rows$/,
  ],
  'a position ahead of the journal': [
    inDatabase('UPDATE positions SET position = position + 1000'),
    /^the rows go up to journal record 2500, and the journal ends with 1520: it is an older one$/,
  ],
  'what is kept of the rows, changed': [
    inDatabase('UPDATE event_chunks SET max_ms = max_ms + 1'),
    /^what is kept of the rows 1 to 1024 is wrong: its times$/,
  ],
  'segments that do not follow each other': [
    inDatabase("UPDATE event_segments SET first_id = 1000 WHERE table_name = 'audit_events_2'"),
    /^audit_events_2 begins with the id 1000, and the one before it ends with 1024$/,
  ],
  'a file that is no database': [
    folder => writeFileSync(folder.auditDatabase, 'not a database, and long enough to be looked at'.repeat(100)),
    /^the event database cannot be read: .*not a database/,
  ],
  'a damaged record in an older segment': [
    inSegment(0, flip(100)),
    /cannot be read at byte 48: record 1; not declared yet$/,
  ],
  'a damaged header': [inSegment(1, flip(30)), /^the header of journal segment \d+\.journal is damaged$/],
  'a segment of another journal': [
    folder => {
      const name = journalFiles(folder)[1] as string
      const other = makeOtherHeader(readFileSync(join(folder.journalDirectory, name)))
      writeFileSync(join(folder.journalDirectory, name), other)
    },
    /header of journal segment .* is damaged|belongs to another journal/,
  ],
  'the oldest segments gone, and the database older than that': [
    folder => {
      inDatabase('UPDATE positions SET position = 0')(folder)
      rmSync(join(folder.journalDirectory, journalFiles(folder)[0] as string))
    },
    /^journal records 1 to \d+ are neither rows nor in the journal: the event database is an older one$/,
  ],
  'a segment in the middle gone': [
    folder => rmSync(join(folder.journalDirectory, journalFiles(folder)[1] as string)),
    /cannot be read at byte \d+: records \d+ to \d+; not declared yet$/,
  ],
}

function makeOtherHeader(bytes: Buffer): Buffer {
  const other = Buffer.from(bytes)
  other.fill(7, 12, 28)
  return other
}

test('check: every kind of damage to rows, positions, chunks and journal is found; a sound trail has none', async t => {
  const folder = await makeTrail(t)
  const answered = Array.from({ length: INDEXED + WAITING }, (_, n) => `request-${n}`).filter((_, n) => n % 10 !== 0)
  const sound = checkAll({ folder, answered })
  assert.deepEqual(sound.problems, [])
  assert.equal(sound.counts.waiting_records, WAITING)
  assert.equal(sound.counts.journal_records, INDEXED + WAITING)
  for (const [name, [damage, finding]] of Object.entries(WRONG)) {
    const copy = dataFolder(join(temporaryFolder(t), 'copy'))
    cpSync(folder.path, copy.path, { recursive: true })
    damage(copy)
    const { problems } = checkAll({ folder: copy, answered })
    assert.ok(
      problems.some(problem => finding.test(problem)),
      `${name}: ${JSON.stringify(problems.slice(0, 5))}`,
    )
  }
})

test('check: an answered event that is nowhere is named; one that waits in the journal is enough', async t => {
  const folder = await makeTrail(t)
  const { problems } = checkAll({ folder, answered: ['request-1', `request-${INDEXED + 1}`, 'request-99999'] })
  assert.deepEqual(problems, ['request-99999 was answered and is 0 rows'])
})

test('check: the journal cut at any byte of its tail is no problem; cut behind what is rows, it is', async t => {
  const folder = await makeTrail(t)
  const newest = join(folder.journalDirectory, journalFiles(folder).at(-1) as string)
  const bytes = readFileSync(newest)
  for (let size = bytes.length; size > bytes.length - 300; size -= 7) {
    writeFileSync(newest, bytes)
    truncateSync(newest, size)
    assert.deepEqual(checkAll({ folder }).problems, [], `${size} bytes`)
  }
  inDatabase(`UPDATE positions SET position = ${INDEXED + WAITING}`)(folder)
  truncateSync(newest, bytes.length - 300)
  assert.match(
    checkAll({ folder }).problems[0] as string,
    /^the rows go up to journal record 1520, and the journal ends/,
  )
})

test('check: beside a running service under load, after a kill and after a clean stop it finds nothing wrong', async t => {
  const path = join(temporaryFolder(t), 'data')
  const folder = dataFolder(path)
  const answered: string[] = []
  const service = await startServiceProcess(path)
  t.after(() => service.kill('SIGKILL'))
  const { body } = await send(service.url, 'POST', '/charge-points', { cp_id: 'CP-1' })
  const login = { cp_id: 'CP-1', credentials: body.credentials }
  let isRunning = true
  t.after(() => {
    isRunning = false
  })
  const load = Array.from({ length: 4 }, async (_, client) => {
    for (let n = 0; isRunning; n++) {
      const requestId = `check-${client}-${n}`
      const answer = await send(service.url, 'POST', '/auth/credentials', login, { 'x-request-id': requestId }).catch(
        () => undefined,
      )
      if (answer?.status === 200) answered.push(requestId)
    }
  })
  for (let round = 0; round < 20; round++) {
    await new Promise(resolve => setTimeout(resolve, 25))
    assert.deepEqual(checkAll({ folder, answered: [...answered] }).problems, [], `round ${round}`)
  }
  const beside = await runHere(['check'], { environment: { EVC_DATA_DIR: path } })
  assert.equal(beside.code, 0, beside.stdout)
  await service.kill('SIGKILL')
  isRunning = false
  await Promise.all(load)
  assert.ok(answered.length > 50, `${answered.length} answers`)
  assert.deepEqual(checkAll({ folder, answered }).problems, [])
  const again = await startServiceProcess(path)
  assert.equal(await again.kill('SIGTERM'), 0)
  const { problems, counts } = checkAll({ folder, answered })
  assert.deepEqual([problems, counts.waiting_records, counts.outbox_events], [[], 0, 0])
})

test('check: a damaged security database and what waits in its outbox are said', async t => {
  const path = join(temporaryFolder(t), 'data')
  const registered = await runHere(['cp', 'add', 'CP-1'], { environment: { EVC_DATA_DIR: path } })
  assert.equal(registered.code, 0, registered.stderr)
  const folder = dataFolder(path)
  const { problems, counts, notes } = checkAll({ folder })
  assert.deepEqual([problems, counts.outbox_events], [[], 1])
  assert.ok(notes.includes('1 event of a change waits in the outbox for the service'), notes.join())
  const bytes = readFileSync(folder.securityDatabase)
  writeFileSync(folder.securityDatabase, bytes.fill(0xaa, 4_096, 8_192))
  assert.match(checkAll({ folder }).problems.join(), /^the security database (is damaged|cannot be read)/)
})

test('check: the command ends with 0 or 1, says what is wrong, and lists declared losses', async t => {
  const folder = await makeTrail(t)
  const environment = { EVC_DATA_DIR: folder.path }
  const sound = await runHere(['check'], { environment })
  assert.deepEqual(
    [sound.code, sound.stdout.split('\n').at(-2)],
    [0, `everything agrees: ${rowsOf(folder)} events and 20 journal records behind them`],
  )
  inDatabase(`INSERT INTO audit_events_2 (id, date_time, who, ip, action, description, severity, reason_code, metadata_json)
    SELECT max(id) + 1, '2026-01-01T00:00:00.000Z', 'system', '-', 'SYSTEM', '3 events are lost', 'CRITICAL', 'LOSS_DECLARED',
    '{"count":3}' FROM audit_events_2`)(folder)
  const withLoss = JSON.parse((await runHere(['check', '--json'], { environment })).stdout)
  assert.deepEqual(withLoss.problems, [])
  assert.deepEqual(withLoss.losses, [{ id: rowsOf(folder), description: '3 events are lost', count: 3 }])
  inDatabase('UPDATE event_chunks SET min_ms = 0')(folder)
  const wrong = await runHere(['check'], { environment })
  assert.equal(wrong.code, 1)
  assert.match(wrong.stdout, /^wrong: what is kept of the rows 1 to 1024 is wrong: its times$/m)
  {
    using _service = lockDataFolder(folder)
    for (const command of [
      ['check', '--rebuild'],
      ['restore', '--accept'],
    ]) {
      const refused = await runHere(command, { environment })
      assert.deepEqual([refused.code, /\(DATA_FOLDER_IN_USE\)\n$/.test(refused.stderr)], [2, true], refused.stderr)
    }
  }
  assert.equal((await runHere(['check'], { environment })).code, 1)
  assert.equal((await runHere(['check', '--rebuild'], { environment })).code, 0)
  const nowhere = await runHere(['check'], { environment: { EVC_DATA_DIR: join(folder.path, 'nowhere') } })
  assert.equal(nowhere.code, 2)
})

function rowsOf(folder: DataFolder): number {
  return checkAll({ folder }).counts.rows
}
