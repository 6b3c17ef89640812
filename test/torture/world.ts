/**
 * Journal, indexer and store of one process after the other, over one folder, on a disk and a clock that a test holds; and
 * the book of what was appended, which says after each crash what has to be there.
 *
 *   - what was confirmed durable, or found by an opening, keeps its sequence and its text, or is declared lost
 *   - the rows are the records in their order, each once, one of the outbox once for all its deliveries
 *   - `checkAll` finds nothing wrong, in what a crash leaves as well
 *
 * The database is a real one. A crash copies its files, as the operating system has them, and goes on with the copy; a
 * power cut takes from the copy's write-ahead log what no checkpoint has brought to the disk.
 */
import assert from 'node:assert/strict'
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { createIndexer, type Indexer } from '../../src/indexer/indexer.ts'
import { JournalError } from '../../src/journal/journal.ts'
import { listFolder, readSegmentHeader } from '../../src/journal/segment-folder.ts'
import { openJournal, type SegmentJournal } from '../../src/journal/segment-journal.ts'
import { openJournalReader } from '../../src/journal/segment-reader.ts'
import { checkAll, type Report } from '../../src/service/check-all.ts'
import { type DataFolder, dataFolder } from '../../src/service/data-folder.ts'
import { type EventStore, StoreError } from '../../src/store/event-store.ts'
import { createSqliteEventStore } from '../../src/store/sqlite-event-store.ts'
import { damageJournal } from './damage.ts'
import { createDatabaseLog } from './database-log.ts'
import { createModelDisk, type Fault, type ModelDisk } from './model-disk.ts'
import type { Random } from './random.ts'
import { assertRows, type Entry, textOf } from './row-book.ts'
import type { VirtualTimers } from './virtual-timers.ts'

/** What power cuts take is played: real fsyncs would only take time. */
const MEMORY_DISK = '/dev/shm'
const ACK_TIMEOUT_MS = 2 ** 30
const RESERVE_BYTES = 2_048
/** Real time, for reads of files; everything else is in the test's hands. */
const IDLE_MS_MAX = 20_000
const STEPS_MAX = 20_000

export interface WorldOptions {
  readonly random: Random
  readonly timers: VirtualTimers
  readonly segmentBytesMax: number
  readonly queueBytesMax: number
  /** Called before each operation of the journal's disk; true ends the process there. */
  readonly endsAt?: (operation: number) => 'kill' | 'power cut' | undefined
  /** Whether it fails. */
  readonly fault?: ModelDisk['fault']
}

/** What the store is told to do wrong. */
export type StoreFault = 'row' | 'position' | 'answer lost'

/** The process ended at an operation of the disk, as it was planned to; `crash` says what is left. */
export class Ended extends Error {
  override readonly name = 'Ended'
}

export type World = Awaited<ReturnType<typeof createWorld>>

export async function createWorld({ random, timers, segmentBytesMax, queueBytesMax, endsAt, fault }: WorldOptions) {
  const root = mkdtempSync(join(existsSync(MEMORY_DISK) ? MEMORY_DISK : tmpdir(), 'evc-torture-'))
  const disk: ModelDisk = createModelDisk()
  let life = 0
  let folder = folderOf(life)
  let journal: SegmentJournal
  let store: EventStore
  let indexer: Indexer
  let reader: DatabaseSync | undefined
  let isAnswerLost = false
  let hasEnded = false
  const databaseLog = createDatabaseLog(random)
  let clockMs = Date.UTC(2026, 0, 1)
  let journalId: string | undefined
  /** By sequence, the first at 1. */
  let log: (Entry | undefined)[] = [undefined]
  let entries = 0
  /** Everything up to here has to stay. */
  let confirmed = 0
  let lost = new Set<number>()
  /** Since the last opening that came to its end; one before may have mended and reported it already. */
  let isDamaged = false

  function folderOf(number: number): DataFolder {
    return { ...dataFolder(root), auditDatabase: join(root, `audit-${number}`, 'audit.db') }
  }

  if (fault !== undefined) disk.fault = fault
  disk.onOperation = number => {
    const kind = endsAt?.(number)
    if (kind === undefined) return
    hasEnded = true
    disk.crash(kind, random)
  }

  function notice(): void {
    if (!hasEnded) return
    hasEnded = false
    throw new Ended()
  }

  /** Lets disk and time go on until it holds, or for so many steps; returns whether it holds. */
  async function until(holds: () => boolean, stepsMax = STEPS_MAX): Promise<boolean> {
    let idleSince = performance.now()
    for (let steps = 0; ; ) {
      await timers.turn()
      notice()
      if (holds()) return true
      if (disk.pending() > 0) disk.complete(random)
      else if (timers.pass(10) === 0) {
        if (performance.now() - idleSince > IDLE_MS_MAX) throw new Error('it never ends: nothing happens any more')
        continue
      }
      idleSince = performance.now()
      if (++steps > stepsMax) return false
    }
  }

  async function settled<T>(promise: Promise<T>): Promise<T> {
    if (await endsWithin(promise, STEPS_MAX)) return promise
    throw new Error('it never ends')
  }

  function endsWithin(promise: Promise<unknown>, stepsMax: number): Promise<boolean> {
    let isSettled = false
    const end = () => {
      isSettled = true
    }
    promise.then(end, end)
    return until(() => isSettled, stepsMax)
  }

  function check(): Report {
    const answered = new Set<string>()
    for (let sequence = 1; sequence <= confirmed; sequence++) {
      if (!lost.has(sequence)) answered.add((log[sequence] as Entry).description)
    }
    return checkAll({ folder, answered: [...answered] })
  }

  /** Sometimes it takes several processes, as they are killed or fail on the way. */
  async function openProcess(): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      if (attempt > 3) disk.fault = () => undefined
      const opening = openJournal({
        directory: folder.journalDirectory,
        ackTimeoutMs: ACK_TIMEOUT_MS,
        segmentBytesMax,
        queueBytesMax,
        reserveBytes: RESERVE_BYTES,
        files: disk.start(),
      })
      const stepsMax = attempt <= 3 && random.chance(0.1) ? random.between(0, 25) : STEPS_MAX
      const opened = await openedWithin(opening, stepsMax)
      if (opened !== undefined) {
        journal = opened
        break
      }
      assert.ok(attempt <= 3 || stepsMax < STEPS_MAX, 'it does not open')
      disk.crash(random.pick(['kill', 'power cut'] as const), random)
    }
    compareOpened()
    openIndexer()
  }

  /** Undefined when it failed, or the process ended on the way. */
  async function openedWithin(opening: Promise<SegmentJournal>, stepsMax: number): Promise<SegmentJournal | undefined> {
    try {
      if (!(await endsWithin(opening, stepsMax))) return undefined
      const opened = await opening
      // What it has to write anew, or to mend first, is written when the disk allows.
      const isInOrder = () => opened.status().durableSequence === opened.status().appendedSequence
      return (await until(isInOrder, stepsMax)) ? opened : undefined
    } catch (error) {
      assert.ok(error instanceof Ended || (error as Error).message === 'told to fail', error as Error)
      return undefined
    }
  }

  /** What opening says and what can be read against the book. */
  function compareOpened(): void {
    const { durableSequence, appendedSequence } = journal.status()
    if (journal.id !== journalId) assert.equal(confirmed, 0, 'another journal, and records were confirmed')
    journalId = journal.id
    for (const { firstSequence, lastSequence } of journal.recovered.damaged) {
      for (let sequence = firstSequence; sequence <= lastSequence; sequence++) lost.add(sequence)
    }
    assert.ok(durableSequence >= confirmed, `${durableSequence} records are left of ${confirmed} confirmed`)
    assert.ok(appendedSequence < log.length, `${appendedSequence} records of ${log.length - 1} appended`)
    log = log.slice(0, appendedSequence + 1)
    lost = new Set([...lost].filter(sequence => sequence <= appendedSequence))
    compareRead(durableSequence)
    isDamaged = false
    confirmed = durableSequence
  }

  function compareRead(through: number): void {
    const [first] = listFolder(folder.journalDirectory).segments
    if (first === undefined) {
      assert.equal(confirmed, 0, 'the journal is gone')
      return
    }
    const header = readSegmentHeader(join(folder.journalDirectory, first))
    assert.ok(typeof header === 'object')
    using reader = new DisposableStack()
    const records = reader.adopt(
      openJournalReader({ directory: folder.journalDirectory, after: header.firstSequence - 1 }),
      it => it.close(),
    )
    const read = records.read(through, Number.POSITIVE_INFINITY)
    let expected = header.firstSequence
    for (const { sequence, text } of [...read, { sequence: through + 1, text: undefined }]) {
      for (; expected < sequence; expected++) {
        assert.ok(
          isDamaged || lost.has(expected) || expected > confirmed,
          `record ${expected} was confirmed and cannot be read`,
        )
        lost.add(expected)
      }
      if (text !== undefined)
        assert.equal(text, textOf(log[sequence] as Entry), `record ${sequence} says something else`)
      expected = sequence + 1
    }
  }

  function openIndexer(): void {
    const opened = createSqliteEventStore({ path: folder.auditDatabase, clock: () => clockMs, segmentIds: 1_024 })
    store = {
      ...opened,
      async append(batch) {
        const appended = await opened.append(batch)
        if (!isAnswerLost) return appended
        isAnswerLost = false
        throw new StoreError('UNAVAILABLE', 'told to fail, after the commit')
      },
    }
    indexer = createIndexer({
      journalId: journal.id,
      openReader: after => openJournalReader({ directory: folder.journalDirectory, after }),
      store,
      clock: () => clockMs,
    })
  }

  async function closeStore(): Promise<void> {
    reader?.close()
    reader = undefined
    if (indexer.progress().phase !== 'stopped') indexer.stop()
    await store.close()
  }

  function append(entry: Entry): void {
    const sequence = journal.status().appendedSequence + 1
    try {
      assert.equal(journal.append(textOf(entry)), sequence)
    } catch (error) {
      if (!(error instanceof JournalError && error.code === 'QUEUE_FULL')) throw error
      return
    }
    log[sequence] = entry
    const [{ id }, own] = [journal, life]
    journal.acknowledged(sequence).then(how => {
      if (how === 'durable' && own === life && id === journal.id) confirmed = Math.max(confirmed, sequence)
    })
  }

  function withDatabase<T>(work: (db: DatabaseSync) => T): T {
    const db = new DatabaseSync(folder.auditDatabase, { timeout: 0 })
    try {
      db.exec('PRAGMA wal_autocheckpoint = 0')
      return work(db)
    } finally {
      db.close()
    }
  }

  /** SQLite's own error in the middle of a transaction. */
  function breakStore(fault: StoreFault): void {
    if (fault === 'answer lost') {
      isAnswerLost = true
      return
    }
    withDatabase(db => {
      if (db.prepare("SELECT 1 FROM sqlite_schema WHERE name = 'event_segments'").get() === undefined) return
      const table = db.prepare('SELECT table_name FROM event_segments ORDER BY segment DESC').get()?.table_name
      const [at, when] =
        fault === 'row' ? [`BEFORE INSERT ON ${table}`, 'new.id % 5 = 2'] : ['BEFORE UPDATE ON positions', '1']
      db.exec(`CREATE TRIGGER IF NOT EXISTS torture ${at} WHEN ${when} BEGIN SELECT abs(-9223372036854775807 - 1); END`)
    })
  }

  function mendStore(): void {
    isAnswerLost = false
    if (existsSync(folder.auditDatabase)) withDatabase(db => db.exec('DROP TRIGGER IF EXISTS torture'))
  }

  async function step(through: number): Promise<void> {
    await indexer.step(through)
    assert.notEqual(indexer.progress().phase, 'halted', indexer.progress().lastError ?? '')
  }

  /** Everything durable becomes rows. */
  async function indexAll(): Promise<void> {
    mendStore()
    for (let steps = 0; ; steps++) {
      await step(confirmed)
      if (indexer.progress().phase === 'following' && indexer.progress().indexedSequence === confirmed) return
      assert.ok(steps < 1_000, `the indexer does not get on: ${indexer.progress().lastError}`)
    }
  }

  await openProcess()
  return {
    disk,
    settled,
    breakStore,
    mendStore,
    indexAll,
    folder: () => folder,
    check,

    append(count: number, onceShare: number, padding: number): void {
      for (let n = 0; n < count; n++) {
        const number = ++entries
        const onceKey = random.chance(onceShare) ? `00000000-0000-7000-8000-${String(number).padStart(12, '0')}` : null
        const description = `m-${number} ${'x'.repeat(random.between(0, padding))}`
        append({ time: new Date(clockMs).toISOString(), description, onceKey })
        clockMs += random.between(0, 3)
      }
    },

    /** The outbox hands an event over once more. */
    appendAgain(): void {
      const once = log.filter(entry => entry?.onceKey != null)
      const entry = once.length === 0 ? undefined : random.pick(once)
      if (entry !== undefined) append(entry)
    },

    async goOn(operations: number, ms: number): Promise<void> {
      timers.pass(ms)
      for (let n = 0; n < operations; n++) {
        disk.complete(random)
        await timers.turn()
        notice()
      }
    },

    async allDurable(): Promise<void> {
      await settled(journal.acknowledged(journal.status().appendedSequence))
      const { durableSequence, appendedSequence } = journal.status()
      assert.equal(durableSequence, appendedSequence)
      confirmed = durableSequence
    },

    index: (share: number) => step(Math.floor(confirmed * share)),

    /** As the indexer's thread does: what is checkpointed may leave the journal. */
    async checkpoint(): Promise<void> {
      const { indexedSequence } = indexer.progress()
      if (indexedSequence === undefined) return
      await store.checkpoint()
      databaseLog.synced(`${folder.auditDatabase}-wal`)
      journal.trim(indexedSequence).catch(error => assert.equal(error.message, 'told to fail'))
    },

    /** Somebody reads the rows of this moment, and goes on doing so. */
    toggleReader(): void {
      if (reader !== undefined) {
        reader.close()
        reader = undefined
      } else if (existsSync(folder.auditDatabase)) {
        reader = new DatabaseSync(folder.auditDatabase, { readOnly: true })
        reader.exec('BEGIN; SELECT count(*) FROM sqlite_schema')
      }
    },

    /** The database is held by another process while the indexer tries: for as long as the store waits, a second. */
    async lockedOut(): Promise<void> {
      const db = new DatabaseSync(folder.auditDatabase)
      try {
        db.exec('BEGIN IMMEDIATE')
        await step(confirmed)
      } finally {
        db.close()
      }
    },

    moveClock(ms: number): void {
      clockMs = Math.max(0, clockMs + ms)
    },

    breakDisk(count: number, fault: Fault): void {
      const first = disk.operations.length
      disk.fault = number => (number >= first && number < first + count ? fault : undefined)
    },

    /** Ends in good order, as far as the disk allows; not opened again. */
    async close(): Promise<void> {
      await settled(journal.close(1_000))
      life++
      disk.crash('kill', random) // nothing is under way, unless the disk failed all that time
      await closeStore()
      databaseLog.closed(`${folder.auditDatabase}-wal`)
    },

    /** Ends without notice; not opened again. Returns what `checkAll` says of what is left. */
    async crash(kind: 'kill' | 'power cut'): Promise<Report> {
      life++
      disk.crash(kind, random)
      const before = folder
      folder = folderOf(life)
      mkdirSync(join(folder.auditDatabase, '..'))
      if (existsSync(before.auditDatabase)) copyFileSync(before.auditDatabase, folder.auditDatabase)
      databaseLog.copy(`${before.auditDatabase}-wal`, `${folder.auditDatabase}-wal`, kind)
      await closeStore()
      rmSync(join(before.auditDatabase, '..'), { recursive: true, force: true })
      return check()
    },

    /** Between two processes. */
    damage(): void {
      isDamaged = true
      damageJournal(folder.journalDirectory, random)
    },

    open: openProcess,

    /** The rows against the book. */
    compareRows(): void {
      if (!existsSync(folder.auditDatabase)) return
      const db = new DatabaseSync(folder.auditDatabase, { readOnly: true })
      try {
        const hasRows = db.prepare("SELECT 1 FROM sqlite_schema WHERE name = 'positions'").get() !== undefined
        if (hasRows) assertRows(db, `journal:${journalId}`, log, lost)
      } finally {
        db.close()
      }
    },

    remove: () => rmSync(root, { recursive: true, force: true }),
  }
}
