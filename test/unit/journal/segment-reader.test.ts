import assert from 'node:assert/strict'
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'
import { formatFrame, formatSegmentHeader } from '../../../src/journal/frame.ts'
import { openJournal } from '../../../src/journal/segment-journal.ts'
import { openJournalReader } from '../../../src/journal/segment-reader.ts'
import { temporaryFolder } from './temporary-folder.ts'

const journalId = '00'.repeat(16)

/** A segment as a writer leaves it: `[sequence, text]`, an empty text for a declared loss. */
function writeSegment(
  directory: string,
  ordinal: number,
  firstSequence: number,
  frames: [number, string][],
  tail = '',
): void {
  const parts = [formatSegmentHeader({ journalId, ordinal, firstSequence })]
  for (const [sequence, text] of frames) {
    const bytes = Buffer.alloc(16 + 3 * text.length)
    parts.push(bytes.subarray(0, formatFrame(bytes, 0, sequence, text)))
  }
  parts.push(Buffer.from(tail))
  if (!existsSync(directory)) mkdirSync(directory, { recursive: true })
  writeFileSync(join(directory, `${String(ordinal).padStart(12, '0')}.journal`), Buffer.concat(parts))
}

test('reader: follows a writer across segments, each record once, none above the durable sequence', async t => {
  const directory = temporaryFolder(t)
  const journal = await openJournal({ directory, ackTimeoutMs: 10_000, segmentBytesMax: 5_000 })
  t.after(() => journal.close())
  const reader = openJournalReader({ directory, after: 0 })
  t.after(() => reader.close())
  assert.deepEqual(reader.read(0, 100), [])
  let expected = 1
  for (let round = 0; round < 60; round++) {
    for (let i = 0; i < 1 + (round % 7); i++)
      journal.append(`${journal.status().appendedSequence + 1} ${'x'.repeat(round * 5)}`)
    if (round % 3 === 0) await journal.acknowledged(journal.status().appendedSequence)
    else await new Promise(setImmediate)
    const { durableSequence } = journal.status()
    for (;;) {
      const records = reader.read(durableSequence, 4)
      assert.ok(records.length <= 4)
      if (records.length === 0) break
      for (const { sequence, text } of records) {
        assert.equal(sequence, expected++)
        assert.equal(Number.parseInt(text, 10), sequence)
      }
    }
    assert.equal(expected, durableSequence + 1)
  }
  assert.ok(readdirSync(directory).length > 3)
})

test('reader: starts behind any record, also in the middle of a segment', t => {
  const directory = temporaryFolder(t)
  writeSegment(directory, 3, 11, [
    [11, 'a'],
    [12, 'b'],
    [13, 'c'],
  ])
  writeSegment(directory, 4, 14, [
    [14, 'd'],
    [15, 'e'],
  ])
  for (let after = 10; after <= 15; after++) {
    const reader = openJournalReader({ directory, after })
    const texts = reader.read(15, 100).map(record => record.text)
    assert.equal(texts.join(''), 'abcde'.slice(after - 10))
    reader.close()
  }
})

test('reader: superseded copies and the torn end of a segment that was given up are skipped', t => {
  const directory = temporaryFolder(t)
  writeSegment(
    directory,
    1,
    1,
    [
      [1, 'a'],
      [2, 'b'],
      [3, 'old'],
      [4, 'old'],
    ],
    'torn',
  )
  writeSegment(directory, 2, 3, [])
  writeSegment(directory, 5, 3, [
    [3, 'c'],
    [4, 'd'],
    [5, 'e'],
  ])
  const reader = openJournalReader({ directory, after: 0 })
  assert.deepEqual(
    reader.read(2, 100).map(record => record.text),
    ['a', 'b'],
  )
  assert.deepEqual(
    reader.read(5, 100).map(record => record.text),
    ['c', 'd', 'e'],
  )
  reader.close()
})

test('reader: waits in an old segment, then finds that a newer one took over', t => {
  const directory = temporaryFolder(t)
  writeSegment(directory, 1, 1, [
    [1, 'a'],
    [2, 'old'],
    [3, 'old'],
  ])
  const reader = openJournalReader({ directory, after: 0 })
  assert.deepEqual(
    reader.read(1, 100).map(record => record.text),
    ['a'],
  )
  writeSegment(directory, 2, 2, [
    [2, 'b'],
    [3, 'c'],
  ])
  assert.deepEqual(
    reader.read(3, 100).map(record => record.text),
    ['b', 'c'],
  )
  reader.close()
})

test('reader: a declared loss is passed, wherever reading starts', t => {
  const directory = temporaryFolder(t)
  writeSegment(directory, 1, 1, [
    [1, 'a'],
    [4, ''],
    [5, 'e'],
    [6, ''],
  ])
  writeSegment(directory, 2, 7, [[7, 'g']])
  for (const [after, expected] of [
    [0, 'aeg'],
    [1, 'eg'],
    [3, 'eg'],
    [4, 'eg'],
    [5, 'g'],
    [6, 'g'],
  ] as const) {
    const reader = openJournalReader({ directory, after })
    assert.equal(
      reader
        .read(7, 100)
        .map(record => record.text)
        .join(''),
      expected,
    )
    reader.close()
  }
})

test('reader: a gap is CORRUPT, after the records before it, as often as one asks', t => {
  const directory = temporaryFolder(t)
  writeSegment(directory, 1, 1, [
    [1, 'a'],
    [2, 'b'],
  ])
  writeSegment(directory, 2, 4, [[4, 'd']])
  const reader = openJournalReader({ directory, after: 0 })
  assert.equal(reader.read(4, 100).length, 2)
  for (let i = 0; i < 2; i++)
    assert.throws(() => reader.read(4, 100), { code: 'CORRUPT', message: /record 3 cannot be read back/ })
  reader.close()
  rmSync(join(directory, '000000000001.journal'))
  const late = openJournalReader({ directory, after: 1 })
  assert.throws(() => late.read(4, 100), { code: 'CORRUPT', message: /record 2 is in no segment/ })
  late.close()
})

test('reader: a record that ends in the file too early is read once the rest is there', t => {
  const directory = temporaryFolder(t)
  writeSegment(directory, 1, 1, [[1, 'a']], 'begin')
  const reader = openJournalReader({ directory, after: 0 })
  assert.equal(reader.read(1, 100).length, 1)
  assert.throws(() => reader.read(2, 100), { code: 'CORRUPT' })
  writeSegment(directory, 1, 1, [
    [1, 'a'],
    [2, 'b'],
  ])
  assert.deepEqual(reader.read(2, 100), [{ sequence: 2, text: 'b' }])
  reader.close()
})
