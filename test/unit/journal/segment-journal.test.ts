import assert from 'node:assert/strict'
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type TestContext } from 'node:test'
import type { JournalRecord } from '../../../src/journal/journal.ts'
import { type JournalOptions, openJournal, type SegmentJournal } from '../../../src/journal/segment-journal.ts'
import { openJournalReader } from '../../../src/journal/segment-reader.ts'
import { LIMITS } from '../../../src/limits.ts'
import { temporaryFolder } from './temporary-folder.ts'

async function open(t: TestContext, options: Partial<JournalOptions> & { directory: string }): Promise<SegmentJournal> {
  const journal = await openJournal({ ackTimeoutMs: 10_000, ...options })
  t.after(() => journal.close())
  return journal
}

function readAll(directory: string, journal: SegmentJournal, after = 0): JournalRecord[] {
  const reader = openJournalReader({ directory, after })
  const records: JournalRecord[] = []
  for (;;) {
    const some = reader.read(journal.status().durableSequence, 7)
    if (some.length === 0) break
    records.push(...some)
  }
  reader.close()
  return records
}

const segmentNames = (directory: string) => readdirSync(directory).filter(name => name.endsWith('.journal'))

async function appendRounds(journal: SegmentJournal, rounds: number): Promise<void> {
  for (let round = 0; round < rounds; round++) {
    for (let i = 0; i < 10; i++) journal.append(`record ${journal.status().appendedSequence + 1} ${'x'.repeat(80)}`)
    assert.equal(await journal.acknowledged(journal.status().appendedSequence), 'durable')
  }
}

test('journal: records are numbered from 1 and come back in order once they are durable', async t => {
  const directory = temporaryFolder(t)
  const journal = await open(t, { directory })
  const texts = ['a', 'Grüße, 世界 🔌', '{"x":"\\u0000"}', 'lone \ud800 surrogate']
  assert.deepEqual(texts.map(journal.append), [1, 2, 3, 4])
  assert.equal(journal.status().durableSequence, 0)
  assert.equal(await journal.acknowledged(4), 'durable')
  assert.equal(journal.status().durableSequence, 4)
  assert.equal(journal.status().queuedBytes, 0)
  const expected = texts.map((text, i) => ({ sequence: i + 1, text: text.toWellFormed() }))
  assert.deepEqual(readAll(directory, journal), expected)
})

test('journal: folder and files are for their owner only', async t => {
  const directory = join(temporaryFolder(t), 'a', 'b')
  const journal = await open(t, { directory })
  await appendRounds(journal, 1)
  assert.equal(statSync(directory).mode & 0o777, 0o700)
  for (const name of readdirSync(directory)) assert.equal(statSync(join(directory, name)).mode & 0o777, 0o600)
})

test('journal: the waiters of one turn share a promise, a durable record has a constant one', async t => {
  const journal = await open(t, { directory: temporaryFolder(t) })
  const first = journal.acknowledged(journal.append('a'))
  const second = journal.acknowledged(journal.append('b'))
  assert.equal(first, second)
  assert.equal(await first, 'durable')
  assert.equal(journal.acknowledged(1), journal.acknowledged(2))
  await new Promise(setImmediate)
  const later = journal.acknowledged(journal.append('c'))
  assert.notEqual(later, first)
  assert.equal(await later, 'durable')
})

test('journal: onDurable tells each group, ascending, up to the last record', async t => {
  const seen: number[] = []
  const journal = await open(t, { directory: temporaryFolder(t), onDurable: sequence => seen.push(sequence) })
  await appendRounds(journal, 3)
  assert.deepEqual(seen, [10, 20, 30])
})

test('journal: groups larger than a chunk of the queue keep every record', async t => {
  const directory = temporaryFolder(t)
  const journal = await open(t, { directory })
  const texts = Array.from({ length: 60 }, (_, i) => `${i} ${'é'.repeat(31_000)}`) // 3.7 MB
  for (const text of texts) journal.append(text)
  assert.equal(await journal.acknowledged(60), 'durable')
  assert.deepEqual(
    readAll(directory, journal).map(record => record.text),
    texts,
  )
})

test('journal: opened again it keeps its id and goes on with its sequence', async t => {
  const directory = temporaryFolder(t)
  const first = await open(t, { directory })
  await appendRounds(first, 2)
  await first.close()
  const second = await open(t, { directory })
  assert.equal(second.id, first.id)
  assert.deepEqual(second.recovered, { records: 20, tornBytes: 0, damaged: [], preserved: [] })
  assert.equal(second.status().durableSequence, 20)
  assert.equal(await second.acknowledged(20), 'durable')
  assert.equal(second.append('next'), 21)
  await second.acknowledged(21)
  assert.deepEqual(
    readAll(directory, second).map(record => record.sequence),
    Array.from({ length: 21 }, (_, i) => i + 1),
  )
})

test('journal: opened often without a record it does not collect files', async t => {
  const directory = temporaryFolder(t)
  for (let i = 0; i < 5; i++) await (await open(t, { directory })).close()
  assert.equal(segmentNames(directory).length, 1)
})

test('journal: a segment that is full is followed by another, and trim deletes whole ones but never the newest', async t => {
  const directory = temporaryFolder(t)
  const journal = await open(t, { directory, segmentBytesMax: 2_500 })
  await appendRounds(journal, 10) // about 1,050 bytes a round: three rounds a segment
  assert.equal(segmentNames(directory).length, 4)
  assert.equal(readAll(directory, journal).length, 100)
  await journal.trim(29)
  assert.equal(segmentNames(directory).length, 4)
  await journal.trim(30)
  assert.equal(segmentNames(directory).length, 3)
  assert.deepEqual(
    readAll(directory, journal, 30).map(record => record.sequence),
    Array.from({ length: 70 }, (_, i) => i + 31),
  )
  assert.throws(() => readAll(directory, journal, 29), { code: 'CORRUPT', message: /record 30 is in no segment/ })
  await journal.trim(1_000)
  assert.equal(segmentNames(directory).length, 1)
})

test('journal: trimmed wholly and opened again, its id and sequence go on', async t => {
  const directory = temporaryFolder(t)
  const first = await open(t, { directory, segmentBytesMax: 1_000 })
  await appendRounds(first, 3)
  await first.trim(30)
  await first.close()
  let journal = first
  for (let i = 0; i < 3; i++) {
    journal = await open(t, { directory })
    await journal.trim(30)
    await journal.close()
  }
  journal = await open(t, { directory })
  assert.equal(journal.id, first.id)
  assert.equal(journal.append('next'), 31)
  await journal.acknowledged(31)
  assert.deepEqual(readAll(directory, journal, 30), [{ sequence: 31, text: 'next' }])
})

test('journal: a full queue refuses, takes nothing, and counts it', async t => {
  const journal = await open(t, { directory: temporaryFolder(t), queueBytesMax: 1_000 })
  for (let i = 0; i < 10; i++) journal.append('x'.repeat(84)) // 100 bytes each with the frame's header
  assert.equal(journal.status().queuedBytes, 1_000)
  assert.throws(() => journal.append('x'), { name: 'JournalError', code: 'QUEUE_FULL' })
  assert.equal(journal.status().refused, 1)
  assert.equal(await journal.acknowledged(10), 'durable')
  assert.equal(journal.append('x'), 11)
})

test('journal: the largest record fits, one byte more and none at all are refused', async t => {
  const directory = temporaryFolder(t)
  const journal = await open(t, { directory })
  const largest = 'é'.repeat(LIMITS.recordBytesMax / 2)
  assert.equal(journal.append(largest), 1)
  assert.throws(() => journal.append(`${largest}x`), { code: 'RECORD_TOO_LARGE' })
  assert.throws(() => journal.append('x'.repeat(LIMITS.recordBytesMax + 1)), { code: 'RECORD_TOO_LARGE' })
  assert.throws(() => journal.append(''), RangeError)
  await journal.acknowledged(1)
  assert.deepEqual(readAll(directory, journal), [{ sequence: 1, text: largest }])
})

test('journal: close makes everything durable, then refuses', async t => {
  const directory = temporaryFolder(t)
  const journal = await open(t, { directory })
  for (let i = 0; i < 1_000; i++) journal.append(`record ${i}`)
  const waiting = journal.acknowledged(1_000)
  const closed = journal.close()
  assert.throws(() => journal.append('late'), { code: 'CLOSED' })
  await closed
  assert.equal(journal.close(), closed)
  assert.equal(await waiting, 'durable')
  assert.equal(journal.status().phase, 'closed')
  assert.equal(readAll(directory, journal).length, 1_000)
})

test('journal: a folder of something else, of another journal or of a newer format is refused and left alone', async t => {
  const mine = temporaryFolder(t)
  const journal = await open(t, { directory: mine })
  await appendRounds(journal, 1)
  await journal.close()
  const segment = readFileSync(join(mine, '000000000001.journal'))
  const otherId = Buffer.from(segment)
  otherId[12] = (otherId[12] as number) ^ 1
  const newer = Buffer.from(segment)
  newer.writeUInt32LE(2, 8)
  const { crc32 } = await import('node:zlib')
  for (const bytes of [otherId, newer]) bytes.writeUInt32LE(crc32(bytes.subarray(0, 44)), 44)
  const foreign = Buffer.from('a letter that somebody keeps here, longer than a segment header is, so it was not torn')
  for (const bytes of [otherId, newer, foreign]) {
    const directory = temporaryFolder(t)
    mkdirSync(directory)
    writeFileSync(join(directory, '000000000001.journal'), segment)
    writeFileSync(join(directory, '000000000002.journal'), bytes)
    await assert.rejects(open(t, { directory }), { name: 'JournalError', code: 'FOREIGN' })
    assert.deepEqual(readdirSync(directory), ['000000000001.journal', '000000000002.journal'])
    assert.deepEqual(readFileSync(join(directory, '000000000002.journal')), bytes)
  }
})

test('journal: rotate begins a new segment, and then every record of before can be trimmed', async t => {
  const directory = temporaryFolder(t)
  const journal = await open(t, { directory })
  await appendRounds(journal, 2)
  assert.equal(await journal.rotate(), true)
  assert.equal(segmentNames(directory).length, 2)
  const through = journal.status().appendedSequence
  await journal.trim(through)
  assert.equal(segmentNames(directory).length, 1)
  for (const name of readdirSync(directory)) {
    assert.equal(readFileSync(join(directory, name)).includes('record 1 '), false, name)
  }
  assert.equal(await journal.rotate(), true)
  assert.equal(segmentNames(directory).length, 1, 'an empty one stays')
  await appendRounds(journal, 1)
  assert.deepEqual(
    readAll(directory, journal, through).map(({ sequence }) => sequence),
    Array.from({ length: 10 }, (_, n) => through + 1 + n),
  )
})

test('journal: rotate under load loses nothing, and the order stays', async t => {
  const directory = temporaryFolder(t)
  const journal = await open(t, { directory })
  const reader = openJournalReader({ directory, after: 0 })
  const seen: number[] = []
  for (let round = 0; round < 20; round++) {
    for (let n = 0; n < 50; n++) journal.append(`record ${round} ${n}`)
    const rotations = [journal.rotate(), journal.rotate()]
    for (let n = 0; n < 50; n++) journal.append(`record ${round} ${n}`)
    assert.deepEqual(await Promise.all(rotations), [true, true])
    await journal.acknowledged(journal.status().appendedSequence)
    const durable = journal.status().durableSequence
    for (let some = reader.read(durable, 100); some.length > 0; some = reader.read(durable, 100)) {
      seen.push(...some.map(({ sequence }) => sequence))
    }
    await journal.trim(seen.at(-1) ?? 0)
  }
  reader.close()
  assert.deepEqual(
    seen,
    Array.from({ length: 2_000 }, (_, n) => n + 1),
  )
  await journal.close()
  assert.equal(await journal.rotate(), false)
})

test('journal: rotate overwrites what an earlier process left in the reserve', async t => {
  const directory = temporaryFolder(t)
  const first = await open(t, { directory })
  await appendRounds(first, 1)
  await first.close()
  const reserve = join(directory, 'reserve-1')
  writeFileSync(reserve, Buffer.alloc(LIMITS.journalReserveBytes, 'record of somebody '))
  const journal = await open(t, { directory })
  await appendRounds(journal, 1)
  assert.equal(await journal.rotate(), true)
  assert.deepEqual(readFileSync(reserve), Buffer.alloc(LIMITS.journalReserveBytes))
})
