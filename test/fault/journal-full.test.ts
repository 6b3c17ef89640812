/**
 * A disk that takes nothing: when the journal is opened, and while it is used and then ended. What is in the queue waits; what
 * does not live to be written is declared lost, in the reserve.
 */
import assert from 'node:assert/strict'
import { readdirSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type TestContext } from 'node:test'
import { type Files, nodeFiles } from '../../src/journal/files.ts'
import { type JournalOptions, openJournal, type SegmentJournal } from '../../src/journal/segment-journal.ts'
import { openJournalReader } from '../../src/journal/segment-reader.ts'
import { LIMITS } from '../../src/limits.ts'
import { temporaryFolder } from '../unit/journal/temporary-folder.ts'
import { writeAndSync } from './journal-faulty-disk.ts'

const DISK_CODES = ['ENOSPC', 'EDQUOT', 'EROFS', 'EIO'] as const
const WAIT_MS_MAX = 30_000
const failure = (code: string) => Object.assign(new Error(code), { code })

/** Real files on a disk that can be full: then no file can be made, nor can one grow, but what is there can be overwritten. */
function createDisk() {
  const state = { code: undefined as string | undefined, isReserveLost: false }
  const reserve = new Set<number>()
  const isFull = (fd: number) => state.code !== undefined && (!reserve.has(fd) || state.isReserveLost)
  const inReserve = async (path: string, opening: Promise<number>) => {
    const fd = await opening
    reserve.delete(fd)
    if (path.includes('reserve')) reserve.add(fd)
    return fd
  }
  const files: Files = {
    ...nodeFiles,
    create(path) {
      return state.code === undefined ? inReserve(path, nodeFiles.create(path)) : Promise.reject(failure(state.code))
    },
    edit: path => inReserve(path, nodeFiles.edit(path)),
    write(fd, buffer, offset, length, position, done) {
      if (isFull(fd)) setImmediate(() => done(failure(state.code as string), 0))
      else nodeFiles.write(fd, buffer, offset, length, position, done)
    },
    writeThrough: (...operation) => writeAndSync(files, ...operation),
    copy: (from, to) => (state.code === undefined ? nodeFiles.copy(from, to) : Promise.reject(failure(state.code))),
  }
  return Object.assign(state, { files })
}

/** Every record, and every sequence that is declared lost. */
function contents(directory: string, journal: SegmentJournal): { texts: Map<number, string>; lost: number } {
  const reader = openJournalReader({ directory, after: 0 })
  const texts = new Map<number, string>()
  const { durableSequence } = journal.status()
  for (let records = reader.read(durableSequence, 1_000); records.length > 0; ) {
    for (const { sequence, text } of records) texts.set(sequence, text)
    records = reader.read(durableSequence, 1_000)
  }
  reader.close()
  return { texts, lost: durableSequence - texts.size }
}

/** A wait without an end would outlive its test, and keep the whole run from ending. */
async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  for (const end = performance.now() + WAIT_MS_MAX; !(await holds()); ) {
    if (performance.now() > end) assert.fail(`waited for ${holds}`)
    await new Promise(resolve => setTimeout(resolve, 5))
  }
}

const segments = (directory: string) => readdirSync(directory).filter(name => name.endsWith('.journal'))

async function open(t: TestContext, options: Omit<JournalOptions, 'ackTimeoutMs'>): Promise<SegmentJournal> {
  const journal = await openJournal({ ackTimeoutMs: 20, ...options })
  t.after(() => journal.close(0))
  return journal
}

/** As SIGKILL does, as far as the folder is concerned: nothing more is written. */
async function kill(disk: ReturnType<typeof createDisk>, journal: SegmentJournal): Promise<void> {
  disk.isReserveLost = true
  await journal.close(0)
}

for (const code of DISK_CODES) {
  test(`journal: opened where nothing can be written (${code}), it queues, and writes all once it can`, async t => {
    const directory = temporaryFolder(t)
    const before = await open(t, { directory })
    for (let i = 1; i <= 3; i++) before.append(`record ${i}`)
    await before.close()
    const disk = createDisk()
    disk.code = code
    const durable: number[] = []
    const journal = await open(t, { directory, files: disk.files, onDurable: sequence => durable.push(sequence) })
    assert.deepEqual([journal.status().phase, journal.status().lastError], ['stalled', code])
    assert.deepEqual([journal.id, journal.append('record 4')], [before.id, 4])
    assert.equal(await journal.acknowledged(4), 'late')
    assert.equal(journal.status().durableSequence, 3, 'what was there can be read meanwhile')
    await until(() => journal.status().writeErrors > 2)
    disk.code = undefined
    await until(() => journal.status().durableSequence === 4)
    assert.deepEqual([journal.status().phase, journal.status().lastError], ['open', null])
    assert.deepEqual(
      [...contents(directory, journal).texts.values()],
      [1, 2, 3, 4].map(i => `record ${i}`),
    )
    assert.equal(durable.at(-1), 4)
  })
}

test('journal: opened on a full disk with nothing to write, it is open once there is space', async t => {
  const disk = createDisk()
  disk.code = 'ENOSPC'
  const journal = await open(t, { directory: temporaryFolder(t), files: disk.files })
  assert.deepEqual([journal.status().phase, journal.status().lastError], ['stalled', 'ENOSPC'])
  disk.code = undefined
  await until(() => journal.status().phase === 'open')
  assert.equal(journal.status().lastError, null)
})

test('journal: a folder that may not be written is no full disk: opening says so', async t => {
  const directory = temporaryFolder(t)
  const files: Files = { ...nodeFiles, create: () => Promise.reject(failure('EACCES')) }
  await assert.rejects(openJournal({ directory, ackTimeoutMs: 1, files }), { code: 'EACCES' })
})

test('journal: damage that cannot be mended yet is shown to no reader, and mended when it can be', async t => {
  const directory = temporaryFolder(t)
  const before = await open(t, { directory })
  for (let i = 1; i <= 5; i++) before.append(`record ${i}`)
  await before.close()
  const path = join(directory, segments(directory)[0] as string)
  const bytes = readFileSync(path)
  const at = bytes.indexOf('record 3')
  writeFileSync(path, bytes.fill('#', at, at + 8))

  const disk = createDisk()
  disk.code = 'ENOSPC'
  const told: number[] = []
  const journal = await open(t, { directory, files: disk.files, onDurable: sequence => told.push(sequence) })
  assert.equal(journal.append('record 6'), 6)
  assert.equal(await journal.acknowledged(6), 'late')
  assert.deepEqual([journal.status().durableSequence, told], [0, []])
  assert.equal(journal.recovered.damaged.length, 1)
  await until(() => journal.status().writeErrors > 3)
  assert.deepEqual(journal.recovered.preserved, [])
  disk.code = undefined
  await until(() => journal.status().durableSequence === 6)
  assert.deepEqual(told, [5, 6])
  assert.deepEqual([...contents(directory, journal).texts.keys()], [1, 2, 4, 5, 6])
  assert.equal(journal.recovered.preserved.length, 1)
})

test('journal: records whose fsync fails at the opening are written anew, as the next fsync would lie', async t => {
  const directory = temporaryFolder(t)
  const before = await open(t, { directory })
  for (let i = 1; i <= 5; i++) before.append(`record ${i}`)
  await before.close()
  const newest = join(directory, segments(directory)[0] as string)
  const syncs: string[] = []
  const files: Files = {
    ...nodeFiles,
    async syncPath(path) {
      syncs.push(path)
      if (path === newest) throw failure('EIO')
      await nodeFiles.syncPath(path)
    },
  }
  const journal = await open(t, { directory, files })
  await until(() => journal.status().durableSequence === 5)
  assert.equal(syncs.filter(path => path === newest).length, 1, 'once, and never again')
  truncateSync(newest, 48) // the power loss that shows what was never on the disk
  assert.deepEqual(
    [...contents(directory, journal).texts.values()],
    [1, 2, 3, 4, 5].map(i => `record ${i}`),
  )
})

test('journal: the reserve is real blocks, for its owner only, and used again by the next process', async t => {
  const directory = temporaryFolder(t)
  const look = () =>
    readdirSync(directory)
      .filter(name => name.startsWith('reserve'))
      .map(name => statSync(join(directory, name)))
  for (const round of [1, 2]) {
    const journal = await open(t, { directory })
    for (const { size, blocks, mode } of look()) {
      assert.equal(size, LIMITS.journalReserveBytes)
      assert.ok(blocks * 512 >= size, 'no hole')
      assert.equal(mode & 0o777, 0o600)
    }
    assert.equal(look().length, 2, `round ${round}`)
    const inodes = look().map(({ ino }) => ino)
    await journal.close()
    const again = await open(t, { directory })
    assert.deepEqual(
      look().map(({ ino }) => ino),
      inodes,
    )
    await again.close()
  }
})

for (const ending of ['killed', 'closed'] as const) {
  test(`journal: ${ending} on a full disk, the queue is in the reserve or declared lost, and so is what it refused`, async t => {
    const directory = temporaryFolder(t)
    const disk = createDisk()
    const state = { refused: 0 }
    const declaration = () => (state.refused === 0 ? undefined : `refused: ${state.refused}`)
    const journal = await open(t, {
      directory,
      files: disk.files,
      queueBytesMax: 100_000,
      reserveBytes: 20_000,
      declaration,
    })
    journal.append('record 1')
    await until(() => journal.status().durableSequence === 1)
    disk.code = 'ENOSPC'
    for (;;) {
      try {
        journal.append(`record ${journal.status().appendedSequence + 1} ${'x'.repeat(500)}`)
      } catch {
        if (++state.refused === 7) break
      }
    }
    const { appendedSequence } = journal.status()
    if (ending === 'killed') await until(() => segments(directory).length > 1)
    if (ending === 'killed') await kill(disk, journal)
    else await journal.close(0)

    const again = await open(t, { directory })
    const { texts, lost } = contents(directory, again)
    const kept = texts.size - 1
    assert.ok(kept > 30, `${kept} records fit in the reserve`)
    assert.ok(
      [...texts.keys()].slice(0, kept).every((sequence, i) => sequence === i + 1),
      'the oldest',
    )
    assert.deepEqual([...texts].at(-1), [appendedSequence + 1, 'refused: 7'])
    assert.equal(kept + lost, appendedSequence, 'each record is there or declared lost')
    assert.equal(again.append('next'), appendedSequence + 2)
  })
}

test('journal: once there is space, nothing of the reserve counts, and its file is a spare again', async t => {
  const directory = temporaryFolder(t)
  const disk = createDisk()
  const journal = await open(t, { directory, files: disk.files, reserveBytes: 20_000 })
  for (const round of [1, 2, 3]) {
    disk.code = 'ENOSPC'
    for (let i = 0; i < 100; i++) journal.append(`record ${journal.status().appendedSequence + 1} ${'x'.repeat(500)}`)
    const names = segments(directory)
    await until(() => segments(directory).some(name => !names.includes(name)))
    journal.append(`record ${journal.status().appendedSequence + 1}`) // brings it up to date
    const placed = segments(directory)
    await until(() => segments(directory).some(name => !placed.includes(name)))
    disk.code = undefined
    await until(() => journal.status().durableSequence === round * 101)
    await until(() => readdirSync(directory).filter(name => name.startsWith('reserve')).length === 2)
    const { texts, lost } = contents(directory, journal)
    assert.equal(lost, 0)
    assert.ok([...texts].every(([sequence, text]) => text.startsWith(`record ${sequence}`)))
  }
  await journal.close()
  const again = await open(t, { directory })
  assert.deepEqual([contents(directory, again).lost, again.status().appendedSequence], [0, 303])
})

test('journal: a segment of the reserve that cannot be renamed back goes before its successors, and nothing is lost', async t => {
  const directory = temporaryFolder(t)
  const disk = createDisk()
  const { rename } = disk.files
  disk.files.rename = (from, to) => (to.includes('reserve') ? Promise.reject(failure('EIO')) : rename(from, to))
  const journal = await open(t, { directory, files: disk.files, reserveBytes: 5_000, segmentBytesMax: 2_000 })
  disk.code = 'ENOSPC'
  const names = segments(directory)
  for (let i = 1; i <= 100; i++) journal.append(`record ${i} ${'x'.repeat(100)}`)
  await until(() => segments(directory).some(name => !names.includes(name)))
  disk.code = undefined
  for (let i = 101; i <= 200; i++) {
    journal.append(`record ${i} ${'x'.repeat(100)}`)
    if (i % 10 === 0) await until(() => journal.status().durableSequence === i)
  }
  await journal.trim(180)
  await kill(disk, journal)

  const again = await open(t, { directory })
  assert.deepEqual([again.recovered.damaged, again.status().durableSequence], [[], 200])
  const reader = openJournalReader({ directory, after: 180 })
  t.after(() => reader.close())
  assert.equal(reader.read(200, 1_000).length, 20)
})

test('journal: what a placed segment of the reserve is superseded by is not trimmed before it', async t => {
  const directory = temporaryFolder(t)
  const disk = createDisk()
  const { rename } = disk.files
  const held = Promise.withResolvers<void>()
  disk.files.rename = async (from, to) => {
    if (to.includes('reserve')) await held.promise
    await rename(from, to)
  }
  const journal = await open(t, { directory, files: disk.files, reserveBytes: 5_000, segmentBytesMax: 2_000 })
  disk.code = 'ENOSPC'
  const names = segments(directory)
  journal.append('record 1')
  await until(() => segments(directory).some(name => !names.includes(name)))
  const placed = segments(directory).at(-1) as string
  disk.code = undefined
  for (let i = 2; i <= 100; i++) {
    journal.append(`record ${i} ${'x'.repeat(100)}`)
    if (i % 10 === 0) await until(() => journal.status().durableSequence === i)
  }
  await journal.trim(80)
  const successors = segments(directory).filter(name => name > placed).length
  assert.ok(segments(directory).includes(placed) && successors > 3, `${successors} successors`)
  held.resolve()
  await until(() => !segments(directory).includes(placed))
  // It is released a little after it has its old name back.
  await until(async () => {
    await journal.trim(80)
    return segments(directory).length < successors
  })
})

test('journal: killed after a segment superseded the reserve and before it held its records, nothing is forgotten', async t => {
  const directory = temporaryFolder(t)
  const disk = createDisk()
  const journal = await open(t, { directory, files: disk.files, reserveBytes: 5_000, declaration: () => 'refused: 3' })
  disk.code = 'ENOSPC'
  for (let i = 1; i <= 100; i++) journal.append(`record ${i} ${'x'.repeat(100)}`)
  const names = segments(directory)
  await until(() => segments(directory).some(name => !names.includes(name)))
  // The next segment can be made, and not be written.
  const { write } = disk.files
  disk.files.write = (fd, buffer, offset, length, position, done) => {
    if (position === 0) nodeFiles.write(fd, buffer, offset, length, position, done)
    else setImmediate(() => done(failure('ENOSPC'), 0))
  }
  const { create } = disk.files
  disk.files.create = path => (path.includes('reserve') ? create(path) : nodeFiles.create(path))
  const placed = segments(directory)
  await until(() => segments(directory).some(name => !placed.includes(name)))
  disk.files.write = write
  await kill(disk, journal)

  const again = await open(t, { directory })
  await until(() => again.status().durableSequence === 101)
  const { texts, lost } = contents(directory, again)
  assert.equal(texts.get(101), 'refused: 3')
  assert.equal(texts.size - 1 + lost, 100)
  assert.ok(texts.size > 20, `${texts.size} records`)
})

test('journal: what is declared lost and found in an older segment all the same is written anew', async t => {
  const directory = temporaryFolder(t)
  const disk = createDisk()
  const journal = await open(t, { directory, files: disk.files, reserveBytes: 2_000 })
  const before = segments(directory).length
  // All is written, and none of it fsynced; then the disk is full, before the journal knows and has begun another segment.
  const { sync } = disk.files
  disk.files.sync = (_fd, done) => {
    disk.files.sync = sync
    disk.code = 'ENOSPC'
    journal.append('record 51')
    setImmediate(() => done(failure('EIO')))
  }
  for (let i = 1; i <= 50; i++) journal.append(`record ${i} ${'x'.repeat(100)}`)
  await until(() => segments(directory).length > before)
  assert.equal(journal.status().syncErrors, 1)
  await kill(disk, journal)

  const again = await open(t, { directory })
  await until(() => again.status().durableSequence === 51)
  const { texts } = contents(directory, again)
  assert.ok(
    [...Array(50).keys()].every(i => texts.get(i + 1)?.startsWith(`record ${i + 1} `)),
    String([...texts.keys()]),
  )
})

test('journal: what the full queue refused is declared as the last record when it is closed', async t => {
  const directory = temporaryFolder(t)
  const journal = await open(t, { directory, declaration: () => 'refused: 5' })
  journal.append('record 1')
  await journal.close()
  const again = await open(t, { directory })
  assert.deepEqual([...contents(directory, again).texts.values()], ['record 1', 'refused: 5'])
})
