/**
 * The files of the event database, damaged while the service is stopped. Whatever happens to them, afterwards the rows are
 * right, or `checkAll`, the indexer or both say that they are not:
 *
 *   -shm deleted, cut, garbage      right: it is made anew
 *   -wal deleted, cut, flipped      right: the position goes back with the rows, and the journal still has the records, as
 *                                   it drops only what a checkpoint has brought into the database
 *   database deleted, emptied       the records that the journal has dropped are gone: the check says which, the indexer
 *                                   halts there; nothing goes on without a person (`restore --accept`)
 *   database cut                    the check says that it is damaged, or the indexer waits with the database's error
 *   database flipped                right where nothing was written; else the check finds it, in what SQLite knows of its
 *                                   pages, in the indexes, in what is kept of each 1,024 rows or in the journal's records
 *   an older copy, still in reach   right: as with a -wal that is gone
 *   an older copy, out of reach     as deleted
 *   an older copy, the -wal kept    the log's pages are replayed over others: right, or said
 *
 * Text in a column without an index, of a row that the journal has dropped, is told by the log alone (`told by the log`): the
 * background check of the service, as the verifier, hashes every row again and names the first that is not as it was. Locked and
 * read-only databases are waited for: see indexer.test.ts.
 */
import assert from 'node:assert/strict'
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { createSelfWatch } from '../../src/checkpoint/self-watch.ts'
import { formatEntry } from '../../src/event/codec.ts'
import { COLUMNS, type StoredEvent } from '../../src/event/event.ts'
import { createIndexer } from '../../src/indexer/indexer.ts'
import { openJournal } from '../../src/journal/segment-journal.ts'
import { openJournalReader } from '../../src/journal/segment-reader.ts'
import { openLogFiles } from '../../src/log/log-files.ts'
import { checkAll } from '../../src/service/check-all.ts'
import { type DataFolder, dataFolder } from '../../src/service/data-folder.ts'
import { logRoot } from '../../src/store/log-store.ts'
import { openLogView } from '../../src/store/log-view.ts'
import { createSqliteEventStore } from '../../src/store/sqlite-event-store.ts'
import { sampleEvent } from '../contract/event-store.ts'
import { auditRows } from '../harness/rows.ts'
import { createRandom, type Random } from './random.ts'

export const DAMAGES = [
  '-shm deleted',
  '-shm cut',
  '-shm garbage',
  '-wal deleted',
  '-wal cut',
  '-wal flipped',
  'database deleted',
  'database deleted with its log',
  'database emptied',
  'database cut',
  'database flipped',
  'older copy in reach',
  'older copy out of reach',
  'older copy in reach, log kept',
  'older copy out of reach, log kept',
] as const
export type DatabaseDamage = (typeof DAMAGES)[number]

export type Outcome = 'right' | 'reported' | 'told by the log'

/** What has to come of it; every outcome but `told by the log` where nothing is said. */
const REQUIRED: Partial<Record<DatabaseDamage, Outcome>> = {
  '-shm deleted': 'right',
  '-shm cut': 'right',
  '-shm garbage': 'right',
  '-wal deleted': 'right',
  '-wal cut': 'right',
  '-wal flipped': 'right',
  'database deleted': 'reported',
  'database deleted with its log': 'reported',
  'database emptied': 'reported',
  'older copy in reach': 'right',
  'older copy out of reach': 'reported',
}

/** Not in an index, so `checkAll` cannot see it. A complete chunk tells of the reason code. */
const UNGUARDED: readonly string[] = [
  'description',
  'reason_code',
  'endpoint',
  'http_method',
  'status_code',
  'metadata_json',
  'created_at',
] satisfies (typeof COLUMNS)[number][]

const OUT_OF_REACH = 1_000
const TRIMMED = 1_800
const RECORDS = 2_600
const NOW = Date.UTC(2026, 5, 1)
const SEGMENT_BYTES = 20_000
const RECORDS_A_GROUP = 50
/** A round ends by itself, in less than a second. */
const ROUND_MS_MAX = 60_000

export async function runDatabaseDamage(damage: DatabaseDamage, seed: number): Promise<Outcome> {
  const path = mkdtempSync(join(tmpdir(), 'evc-database-'))
  try {
    const ground = await soundGround()
    cpSync(ground.path, path, { recursive: true })
    const folder = dataFolder(path)
    apply(damage, folder.auditDatabase, ground, createRandom(seed))
    const outcome = await outcomeOf(folder, ground.rows)
    const required = REQUIRED[damage]
    if (required !== undefined) assert.equal(outcome, required)
    if (damage !== 'database flipped') assert.notEqual(outcome, 'told by the log')
    return outcome
  } catch (cause) {
    const replay = `npm run torture -- database --damage '${damage}' --seed ${seed}`
    throw new Error(`${damage}, seed ${seed}: ${(cause as Error).message}\nreplay: ${replay}`, { cause })
  } finally {
    rmSync(path, { recursive: true, force: true })
  }
}

interface Ground {
  readonly path: string
  /** Copies of the database alone, each of a moment when its log was empty. */
  readonly outOfReach: string
  readonly inReach: string
  readonly rows: readonly StoredEvent[]
}

let sound: Promise<Ground> | undefined

/** A folder as a killed service leaves it: rows in the database and in its log, a journal that has dropped what is older. */
function soundGround(): Promise<Ground> {
  sound ??= makeGround()
  return sound
}

async function makeGround(): Promise<Ground> {
  const path = mkdtempSync(join(tmpdir(), 'evc-database-ground-'))
  const place = (name: string) => join(path, name)
  const folder = dataFolder(place('live'))
  const { journal, store, indexer } = await start(folder)
  let appended = 0
  const goOn = async (through: number) => {
    while (appended < through) {
      for (let n = 0; n < RECORDS_A_GROUP; n++) journal.append(formatEntry(sampleEvent(appended++)))
      assert.equal(await journal.acknowledged(appended), 'durable')
    }
    while ((await indexer.step(through)) > 0);
  }
  await goOn(OUT_OF_REACH)
  await store.checkpoint()
  copyFileSync(folder.auditDatabase, place('out-of-reach.db'))
  await goOn(TRIMMED)
  await store.checkpoint()
  await journal.trim(TRIMMED)
  copyFileSync(folder.auditDatabase, place('in-reach.db'))
  await goOn(RECORDS)
  cpSync(folder.path, place('killed'), { recursive: true })
  indexer.stop()
  await store.close()
  await journal.close()
  const rows = auditRows(folder.path)
  assert.equal(rows.length, RECORDS)
  const killed = dataFolder(place('killed'))
  assert.ok(statSync(`${killed.auditDatabase}-wal`).size > 100_000, 'rows are in the log')
  assert.deepEqual(checkAll({ folder: killed }).problems, [])
  // The check has made a -shm of its own there; it is as good as the one of the process.
  process.once('exit', () => rmSync(path, { recursive: true, force: true }))
  return { path: killed.path, outOfReach: place('out-of-reach.db'), inReach: place('in-reach.db'), rows }
}

async function start(folder: DataFolder) {
  const journal = await openJournal({
    directory: folder.journalDirectory,
    ackTimeoutMs: 30_000,
    segmentBytesMax: SEGMENT_BYTES,
  })
  const store = createSqliteEventStore({ path: folder.auditDatabase, clock: () => NOW, segmentIds: 1_024 })
  const indexer = createIndexer({
    journalId: journal.id,
    openReader: after => openJournalReader({ directory: folder.journalDirectory, after }),
    store,
    clock: () => NOW,
  })
  return { journal, store, indexer }
}

function apply(damage: DatabaseDamage, database: string, { inReach, outOfReach }: Ground, random: Random): void {
  const [file = '', what] = damage.split(' ')
  const path = file.startsWith('-') ? database + file : database
  if (damage.startsWith('older copy')) {
    copyFileSync(damage.includes('out of reach') ? outOfReach : inReach, database)
    if (!damage.endsWith('log kept')) for (const suffix of ['-wal', '-shm']) rmSync(database + suffix, { force: true })
  } else if (what === 'deleted') {
    rmSync(path, { force: true })
    if (damage.endsWith('with its log'))
      for (const suffix of ['-wal', '-shm']) rmSync(database + suffix, { force: true })
  } else if (what === 'emptied') {
    truncateSync(path, 0)
  } else if (what === 'cut') {
    truncateSync(path, random.between(1, sizeOf(path) - 1))
  } else if (what === 'flipped') {
    const bytes = readFileSync(path)
    const at = random.between(0, bytes.length - 1)
    bytes[at] = (bytes[at] as number) ^ (1 << random.between(0, 7))
    writeFileSync(path, bytes)
  } else {
    writeFileSync(path, Buffer.from(Array.from({ length: sizeOf(path) }, () => random.between(0, 255))))
  }
}

function sizeOf(path: string): number {
  return existsSync(path) ? statSync(path).size : 0
}

/** Checks, starts as the service does, checks again, and compares every row. */
async function outcomeOf(folder: DataFolder, expected: readonly StoredEvent[]): Promise<Outcome> {
  const before = checkAll({ folder }).problems
  const { journal, store, indexer } = await start(folder)
  const last = journal.status().durableSequence
  for (let steps = 0; steps < 20 && (await indexer.step(last)) > 0; steps++);
  const { phase, lastError, indexedSequence } = indexer.progress()
  indexer.stop()
  await store.close()
  await journal.close()
  const isFollowing = phase === 'following' && indexedSequence === last
  if (phase === 'halted')
    assert.match(lastError ?? '', /in no segment of the journal|not a database|something else|newer/)
  const after = checkAll({ folder }).problems
  if (before.length > 0 && isFollowing && after.length === 0) {
    assert.deepEqual(differences(folder, expected), [], `the check found ${before[0]}, and then nothing any more`)
    return 'right'
  }
  if (!isFollowing || after.length > 0) return 'reported'
  const different = differences(folder, expected)
  if (different.length === 0) return 'right'
  for (const { id, column } of different) {
    assert.ok(
      id <= TRIMMED && UNGUARDED.includes(column),
      `row ${id} has another ${column}, and the check does not say so`,
    )
  }
  assert.equal(firstTampered(folder), different[0]?.id)
  return 'told by the log'
}

/** What the background check of a service comes to in one round. */
function firstTampered({ auditDatabase }: DataFolder): number | undefined {
  const db = new DatabaseSync(auditDatabase, { readOnly: true })
  const files = openLogFiles(logRoot(auditDatabase))
  try {
    const found = createSelfWatch().step(ROUND_MS_MAX, { db, view: openLogView(db, files) })
    return found.kind === 'tampered' ? found.id : undefined
  } finally {
    files.close()
    db.close()
  }
}

function differences(folder: DataFolder, expected: readonly StoredEvent[]): { id: number; column: string }[] {
  const found = auditRows(folder.path)
  const all: { id: number; column: string }[] = []
  if (found.length !== expected.length) all.push({ id: Math.min(found.length, expected.length) + 1, column: 'id' })
  for (const [index, row] of found.entries()) {
    const other = expected[index]
    for (const column of COLUMNS) if (row[column] !== other?.[column]) all.push({ id: index + 1, column })
  }
  return all
}
