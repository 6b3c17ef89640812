/** Every operation of the journal on its disk fails in turn, before and after it was done; nothing confirmed is lost. */
import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type TestContext } from 'node:test'
import { openJournal, type SegmentJournal } from '../../src/journal/segment-journal.ts'
import { openJournalReader } from '../../src/journal/segment-reader.ts'
import { temporaryFolder } from '../unit/journal/temporary-folder.ts'
import { createFaultyDisk, type FaultyDisk, type Plan } from './journal-faulty-disk.ts'

const ROUNDS = 10
const RECORDS_A_ROUND = 20

const segmentNames = (directory: string) => readdirSync(directory).filter(name => name.endsWith('.journal'))
const textOf = (sequence: number) => `record ${sequence} ${'x'.repeat(sequence % 60)}`

/** Records of a folder behind `after`, checked: each is what was appended, and none is missing. */
function readBack(directory: string, after: number, durableSequence: number): number {
  const reader = openJournalReader({ directory, after })
  let expected = after + 1
  for (;;) {
    const records = reader.read(durableSequence, 33)
    if (records.length === 0) break
    for (const record of records) assert.deepEqual(record, { sequence: expected, text: textOf(expected++) })
  }
  reader.close()
  return expected - 1
}

async function open(directory: string, disk: FaultyDisk): Promise<SegmentJournal> {
  const options = { directory, ackTimeoutMs: 60_000, segmentBytesMax: 2_000, files: disk.files }
  for (;;) {
    try {
      return await openJournal(options)
    } catch (error) {
      assert.equal((error as NodeJS.ErrnoException).code, disk.plan?.code) // start-up fails loudly and can be tried again
    }
  }
}

/** Appends 200 records with rotation and two trims, reads along, ends by a power cut or a close; then checks everything. */
async function live(t: TestContext, plan: Plan | undefined, ending: 'close' | 'power cut'): Promise<FaultyDisk> {
  const directory = temporaryFolder(t)
  const disk = createFaultyDisk()
  disk.plan = plan
  const journal = await open(directory, disk)
  const follower = openJournalReader({ directory, after: 0 })
  let followed = 0
  let trimmed = 0
  for (let round = 1; round <= ROUNDS; round++) {
    for (let i = 0; i < RECORDS_A_ROUND; i++) journal.append(textOf(journal.status().appendedSequence + 1))
    assert.equal(await journal.acknowledged(round * RECORDS_A_ROUND), 'durable')
    for (const record of follower.read(journal.status().durableSequence, 1_000)) {
      assert.deepEqual(record, { sequence: ++followed, text: textOf(followed) })
    }
    if (round % 4 !== 0) continue
    trimmed = followed - 20
    await journal.trim(trimmed).catch(error => assert.equal(error.code, plan?.code)) // told, and harmless
  }
  follower.close()
  const total = ROUNDS * RECORDS_A_ROUND
  assert.equal(followed, total)
  if (ending === 'close') await journal.close()
  assert.deepEqual(disk.violations, [])
  if (ending === 'power cut') disk.cutPower(directory)
  await journal.close()
  disk.plan = undefined
  const again = await openJournal({ directory, ackTimeoutMs: 60_000, files: disk.files })
  assert.deepEqual(again.recovered.damaged, [])
  assert.equal(again.id, journal.id)
  assert.equal(again.append(textOf(total + 1)), total + 1)
  await again.close()
  assert.equal(readBack(directory, trimmed, total + 1), total + 1)
  return disk
}

const calm = { first: 0, count: 0, kind: 'before', code: 'EIO' } as const

test('journal: with a sound disk the scenario rotates, trims and reads back', async t => {
  const disk = await live(t, calm, 'power cut')
  assert.ok(disk.operations.filter(name => name === 'rename').length >= 4)
  assert.ok(disk.operations.filter(name => name === 'unlink').length >= 2)
})

for (const ending of ['close', 'power cut'] as const) {
  test(`journal: any one operation fails, then a ${ending}: every confirmed record is there once, in order`, async t => {
    const { operations } = await live(t, calm, ending)
    const plans: Plan[] = []
    for (const [first, operation] of operations.entries()) {
      const code = operation === 'sync' || first % 2 === 0 ? 'EIO' : 'ENOSPC'
      const kinds =
        operation === 'write' ? (['before', 'after', 'half', 'short'] as const) : (['before', 'after'] as const)
      for (const kind of kinds) plans.push({ first, count: 1, kind, code })
    }
    const run = async (plan: Plan) => {
      try {
        const { faults } = await live(t, plan, ending)
        assert.ok(faults > 0 || plan.first > operations.length - 24) // the last operations differ with the ending
      } catch (cause) {
        throw new Error(`${operations[plan.first]} (${plan.first}) fails ${plan.kind}`, { cause })
      }
    }
    while (plans.length > 0) await Promise.all(plans.splice(0, 16).map(run))
  })
}

test('journal: the disk fails for a while, at any time: nothing is lost', async t => {
  const { operations } = await live(t, calm, 'close')
  const runs: Promise<unknown>[] = []
  for (let first = 6; first < operations.length; first += 4) {
    for (const kind of ['before', 'after', 'half'] as const) {
      runs.push(live(t, { first, count: 9, kind, code: 'ENOSPC' }, first % 2 === 0 ? 'close' : 'power cut'))
    }
  }
  await Promise.all(runs)
})

test('journal: while the disk fails, waiters are told late, the queue fills up and refuses; then all is written', async t => {
  const directory = temporaryFolder(t)
  const disk = createFaultyDisk()
  const journal = await openJournal({ directory, ackTimeoutMs: 20, queueBytesMax: 2_000, files: disk.files })
  t.after(() => journal.close(0))
  disk.plan = { first: 0, count: Number.POSITIVE_INFINITY, kind: 'before', code: 'ENOSPC' }
  const first = [journal.acknowledged(journal.append(textOf(1))), journal.acknowledged(journal.append(textOf(2)))]
  assert.deepEqual(await Promise.all(first), ['late', 'late'])
  assert.equal(await journal.acknowledged(1), 'late') // at once
  while (journal.status().writeErrors < 3) await new Promise(setImmediate)
  const { late, phase, lastError } = journal.status()
  assert.deepEqual({ late, phase, lastError }, { late: 3, phase: 'stalled', lastError: 'ENOSPC' })
  assert.throws(
    () => {
      for (;;) journal.append(textOf(journal.status().appendedSequence + 1))
    },
    { code: 'QUEUE_FULL' },
  )
  const { appendedSequence, durableSequence } = journal.status()
  assert.equal(durableSequence, 0)
  disk.plan = undefined
  while (journal.status().durableSequence < appendedSequence) await new Promise(setImmediate)
  assert.equal(journal.status().phase, 'open')
  assert.equal(journal.status().lastError, null)
  assert.equal(readBack(directory, 0, appendedSequence), appendedSequence)
})

test('journal: a disk that fails for long does not fill the folder with segments', async t => {
  const directory = temporaryFolder(t)
  const disk = createFaultyDisk()
  const journal = await openJournal({ directory, ackTimeoutMs: 1, files: disk.files })
  t.after(() => journal.close(0))
  // Making a segment takes create, write, sync, rename, syncPath; then the group's write succeeds and its fsync fails.
  let failures = 0
  const isMade = new Map<number, boolean>()
  const { create, sync } = disk.files
  disk.files.create = async path => {
    const fd = await create(path)
    isMade.set(fd, false)
    return fd
  }
  disk.files.sync = (fd, done) => {
    if (isMade.get(fd) === false || failures === 4) sync(fd, done)
    else setImmediate(() => done(Object.assign(new Error('EIO'), { code: 'EIO' })))
    if (isMade.get(fd) !== false && failures < 4) failures++
    isMade.set(fd, true)
  }
  for (let i = 1; i <= 5; i++) journal.append(textOf(i))
  while (failures < 4) await new Promise(resolve => setTimeout(resolve, 5))
  assert.ok(segmentNames(directory).length <= 3, String(readdirSync(directory)))
  await journal.close()
  assert.equal(readBack(directory, 0, 5), 5)
})

test('journal: closing while the disk fails ends in time and says late', async t => {
  const directory = temporaryFolder(t)
  const disk = createFaultyDisk()
  const journal = await openJournal({ directory, ackTimeoutMs: 60_000, files: disk.files })
  disk.plan = { first: 0, count: Number.POSITIVE_INFINITY, kind: 'before', code: 'EIO' }
  const waiting = journal.acknowledged(journal.append('never durable'))
  await journal.close(30)
  assert.equal(await waiting, 'late')
  assert.equal(await journal.acknowledged(1), 'late')
  assert.equal(journal.status().phase, 'closed')
})

test('journal: records that were only in a segment given up are written anew by the next opening', async t => {
  const directory = temporaryFolder(t)
  const disk = createFaultyDisk()
  const journal = await openJournal({ directory, ackTimeoutMs: 1, files: disk.files })
  for (let i = 1; i <= 5; i++) journal.append(textOf(i))
  await journal.acknowledged(5)
  while (journal.status().durableSequence < 5) await new Promise(setImmediate)
  // The fsync of 6..9 fails; the next segment is made; then every write fails, and the process ends.
  const sync = disk.files.sync
  disk.files.sync = (_fd, done) => setImmediate(() => done(Object.assign(new Error('EIO'), { code: 'EIO' })))
  for (let i = 6; i <= 9; i++) journal.append(textOf(i))
  while (journal.status().syncErrors === 0) await new Promise(setImmediate)
  disk.files.sync = sync
  const write = disk.files.write
  disk.files.write = (fd, buffer, offset, length, position, done) => {
    if (position === 0) write(fd, buffer, offset, length, position, done)
    else setImmediate(() => done(Object.assign(new Error('ENOSPC'), { code: 'ENOSPC' }), 0))
  }
  while (segmentNames(directory).length < 2 || journal.status().writeErrors === 0) await new Promise(setImmediate)
  await journal.close(0)
  const again = await openJournal({ directory, ackTimeoutMs: 1 })
  t.after(() => again.close())
  assert.equal(again.status().appendedSequence, 9)
  assert.equal(again.append(textOf(10)), 10)
  await again.close()
  assert.equal(readBack(directory, 0, 10), 10)
})

test('journal: records that a killed process had written but not fsynced are durable once the journal is open again', async t => {
  const directory = temporaryFolder(t)
  const disk = createFaultyDisk()
  const { sync } = disk.files
  const journal = await openJournal({ directory, ackTimeoutMs: 1, files: disk.files })
  const written = new Promise<void>(resolve => {
    disk.files.sync = () => resolve() // the fsync whose end the process does not live to see
  })
  for (let i = 1; i <= 5; i++) journal.append(textOf(i))
  await written
  await journal.close(0)
  disk.files.sync = sync
  const again = await openJournal({ directory, ackTimeoutMs: 1, files: disk.files })
  assert.equal(again.status().durableSequence, 5)
  disk.cutPower(directory)
  await again.close()
  assert.equal(readBack(directory, 0, 5), 5)
})

test('journal: while an fsync hangs, later records are written all the same', async t => {
  const directory = temporaryFolder(t)
  const disk = createFaultyDisk()
  const journal = await openJournal({ directory, ackTimeoutMs: 1, files: disk.files })
  const hanging = new Promise<void>(resolve => {
    disk.files.sync = () => resolve()
  })
  journal.append(textOf(1))
  await hanging
  for (let sequence = 2; sequence <= 4; sequence++) {
    journal.append(textOf(sequence))
    assert.equal(await journal.acknowledged(sequence), 'late')
  }
  const isWritten = () => segmentNames(directory).some(name => readFileSync(join(directory, name)).includes(textOf(4)))
  while (!isWritten()) await new Promise(resolve => setTimeout(resolve, 1))
  await journal.close(0)
  const again = await openJournal({ directory, ackTimeoutMs: 60_000 })
  t.after(() => again.close())
  assert.equal(again.recovered.records, 4)
})
