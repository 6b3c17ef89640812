/** What opening makes of files that a crash cut short or a disk damaged: recovered or reported, never silently different. */
import assert from 'node:assert/strict'
import { copyFileSync, mkdirSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type TestContext } from 'node:test'
import { type Files, nodeFiles } from '../../src/journal/files.ts'
import { formatSegmentHeader } from '../../src/journal/frame.ts'
import type { JournalRecord } from '../../src/journal/journal.ts'
import { openJournal, type Recovered } from '../../src/journal/segment-journal.ts'
import { openJournalReader } from '../../src/journal/segment-reader.ts'
import { temporaryFolder } from '../unit/journal/temporary-folder.ts'

const FIRST = '000000000001.journal'
const SECOND = '000000000002.journal'
const HEADER = 48

/** Hundreds of openings, none of which looks at what a power loss would leave: fsync is left out. */
const quick: Files = {
  ...nodeFiles,
  sync: (_fd, done) => setImmediate(done, null),
  syncPath: async () => {},
}

const textOf = (sequence: number) => `record ${sequence}!`

/** Segments as a sound journal leaves them: `counts` records each. Returns the offsets at which the frames of each end. */
async function makeJournal(directory: string, counts: readonly number[]): Promise<number[][]> {
  const ends: number[][] = []
  let sequence = 0
  for (const count of counts) {
    const journal = await openJournal({ directory, ackTimeoutMs: 10_000, files: quick })
    const segmentEnds = [HEADER]
    for (let i = 0; i < count; i++) {
      journal.append(textOf(++sequence))
      segmentEnds.push((segmentEnds.at(-1) as number) + 16 + Buffer.byteLength(textOf(sequence)))
    }
    await journal.close()
    ends.push(segmentEnds)
  }
  return ends
}

interface Reopened {
  readonly recovered: Recovered
  readonly records: readonly JournalRecord[]
  /** Sequence given to a record that was appended after opening. */
  readonly next: number
}

/** Opens, appends one, reads all, opens once more: the second opening finds nothing left to do. */
async function reopen(directory: string): Promise<Reopened> {
  const journal = await openJournal({ directory, ackTimeoutMs: 10_000, files: quick })
  const next = journal.append('next')
  assert.equal(await journal.acknowledged(next), 'durable')
  await journal.close()
  const reader = openJournalReader({ directory, after: 0 })
  const records = reader.read(next, 1_000)
  reader.close()
  assert.deepEqual(records.at(-1), { sequence: next, text: 'next' })
  const again = await openJournal({ directory, ackTimeoutMs: 10_000, files: quick })
  await again.close()
  const { tornBytes, damaged } = again.recovered
  assert.deepEqual({ tornBytes, damaged }, { tornBytes: 0, damaged: [] })
  assert.equal(again.id, journal.id)
  return { recovered: journal.recovered, records: records.slice(0, -1), next }
}

const sequencesOf = (records: readonly JournalRecord[]) => records.map(record => record.sequence)

function copyFolder(t: TestContext, from: string): string {
  const to = temporaryFolder(t)
  mkdirSync(to)
  for (const name of readdirSync(from)) copyFileSync(join(from, name), join(to, name))
  return to
}

test('journal: cut at every byte of the last three records, it keeps the whole ones and cuts the rest', async t => {
  const original = temporaryFolder(t)
  const [ends = []] = await makeJournal(original, [6])
  for (let size = ends[3] as number; size <= (ends[6] as number); size++) {
    const directory = copyFolder(t, original)
    truncateSync(join(directory, FIRST), size)
    const { recovered, records, next } = await reopen(directory)
    const whole = ends.findLastIndex(end => end <= size)
    assert.deepEqual(
      records,
      Array.from({ length: whole }, (_, i) => ({ sequence: i + 1, text: textOf(i + 1) })),
    )
    assert.deepEqual(recovered, {
      records: whole,
      tornBytes: size - (ends[whole] as number),
      damaged: [],
      preserved: [],
    })
    assert.equal(next, whole + 1)
  }
})

test('journal: a tail of zeros, as some file systems leave after a power loss, is cut', async t => {
  const directory = temporaryFolder(t)
  const [ends = []] = await makeJournal(directory, [3])
  const path = join(directory, FIRST)
  writeFileSync(path, Buffer.concat([readFileSync(path), Buffer.alloc(5_000)]))
  const { recovered, next } = await reopen(directory)
  assert.deepEqual(recovered, { records: 3, tornBytes: 5_000, damaged: [], preserved: [] })
  assert.equal(next, 4)
  assert.equal(readFileSync(path).length, ends[3])
})

for (const [name, counts, victim, step] of [
  ['in the middle of the newest segment', [5], 3, 1],
  ['at the end of the newest segment', [5], 5, 1],
  ['at the end of an older segment', [3, 2], 3, 5],
  ['at the beginning of an older segment', [3, 2], 1, 5],
] as const) {
  test(`journal: any flipped bit of a record ${name} is reported, and only that record can be missing`, async t => {
    const original = temporaryFolder(t)
    const ends = await makeJournal(original, counts)
    const from = ends[0]?.[victim - 1] as number
    const to = ends[0]?.[victim] as number
    const bytes = readFileSync(join(original, FIRST))
    const directory = copyFolder(t, original)
    for (let bit = from * 8; bit < to * 8; bit += step) {
      for (const file of readdirSync(directory)) rmSync(join(directory, file))
      for (const file of readdirSync(original)) copyFileSync(join(original, file), join(directory, file))
      const flipped = Buffer.from(bytes)
      flipped[bit >> 3] = (flipped[bit >> 3] as number) ^ (1 << (bit & 7))
      writeFileSync(join(directory, FIRST), flipped)
      const { recovered, records } = await reopen(directory)
      for (const record of records) assert.equal(record.text, textOf(record.sequence), `bit ${bit}`)
      assert.deepEqual(
        sequencesOf(records),
        [1, 2, 3, 4, 5].filter(sequence => sequence !== victim),
        `bit ${bit}`,
      )
      assert.equal(recovered.records, 4)
      if (recovered.damaged.length === 0) {
        assert.ok(recovered.tornBytes > 0 && victim === 5, `bit ${bit}`)
        continue
      }
      const loss = { segment: FIRST, offset: from, firstSequence: victim, lastSequence: victim }
      assert.deepEqual(recovered.damaged, [loss], `bit ${bit}`)
      assert.deepEqual(recovered.preserved, [`${FIRST}.damaged`])
      assert.deepEqual(readFileSync(join(directory, `${FIRST}.damaged`)), flipped)
    }
  })
}

test('journal: several damaged records in several segments are each reported; the sequence is not used again', async t => {
  const directory = temporaryFolder(t)
  const ends = await makeJournal(directory, [6, 4])
  for (const [name, segment, index] of [
    [FIRST, 0, 1],
    [FIRST, 0, 2],
    [FIRST, 0, 4],
    [SECOND, 1, 3],
  ] as const) {
    const bytes = readFileSync(join(directory, name))
    bytes.fill('#', ends[segment]?.[index], ends[segment]?.[index + 1])
    writeFileSync(join(directory, name), bytes)
  }
  const { recovered, records, next } = await reopen(directory)
  assert.deepEqual(sequencesOf(records), [1, 4, 6, 7, 8, 9])
  const lost = recovered.damaged.map(damage => [damage.segment, damage.firstSequence, damage.lastSequence])
  assert.deepEqual(lost, [
    [FIRST, 2, 3],
    [FIRST, 5, 5],
    [SECOND, 10, 10],
  ])
  assert.equal(next, 11)
  assert.deepEqual(recovered.preserved, [`${FIRST}.damaged`, `${SECOND}.damaged`])
})

test('journal: a segment that is missing is reported as a loss', async t => {
  const directory = temporaryFolder(t)
  await makeJournal(directory, [2, 3, 2])
  rmSync(join(directory, SECOND))
  const { recovered, records, next } = await reopen(directory)
  assert.deepEqual(sequencesOf(records), [1, 2, 6, 7])
  assert.equal(next, 8)
  assert.deepEqual(
    recovered.damaged.map(damage => [damage.firstSequence, damage.lastSequence]),
    [[3, 5]],
  )
})

test('journal: a newest file that is empty, cut in its header or all zero holds nothing and is passed', async t => {
  const original = temporaryFolder(t)
  await makeJournal(original, [3, 2])
  const header = readFileSync(join(original, SECOND)).subarray(0, HEADER)
  for (const bytes of [Buffer.alloc(0), header.subarray(0, 1), header.subarray(0, 47), Buffer.alloc(4_096)]) {
    const directory = copyFolder(t, original)
    writeFileSync(join(directory, '000000000003.journal'), bytes)
    const { recovered, records, next } = await reopen(directory)
    assert.deepEqual(sequencesOf(records), [1, 2, 3, 4, 5])
    assert.equal(next, 6)
    assert.equal(recovered.tornBytes, bytes.length)
    assert.deepEqual(recovered.preserved, bytes.length === 0 ? [] : ['000000000003.journal.damaged'])
  }
})

test('journal: the only file being empty, a journal begins', async t => {
  const directory = temporaryFolder(t)
  mkdirSync(directory)
  writeFileSync(join(directory, FIRST), '')
  assert.equal((await reopen(directory)).next, 1)
})

test('journal: a flipped bit of a header is mended when another segment tells whose it is', async t => {
  const original = temporaryFolder(t)
  await makeJournal(original, [3, 2])
  for (const name of [FIRST, SECOND]) {
    const bytes = readFileSync(join(original, name))
    for (let bit = 0; bit < HEADER * 8; bit += 11) {
      const directory = copyFolder(t, original)
      const flipped = Buffer.from(bytes)
      flipped[bit >> 3] = (flipped[bit >> 3] as number) ^ (1 << (bit & 7))
      writeFileSync(join(directory, name), flipped)
      const { recovered, records } = await reopen(directory)
      assert.deepEqual(sequencesOf(records), [1, 2, 3, 4, 5])
      assert.deepEqual(
        recovered.damaged.map(damage => [damage.segment, damage.offset]),
        [[name, 0]],
      )
      assert.deepEqual(readFileSync(join(directory, `${name}.damaged`)), flipped)
    }
  }
})

test('journal: records of which no header tells the journal are not given to a new one', async t => {
  const directory = temporaryFolder(t)
  await makeJournal(directory, [3])
  const bytes = readFileSync(join(directory, FIRST))
  bytes[20] = (bytes[20] as number) ^ 1
  writeFileSync(join(directory, FIRST), bytes)
  await assert.rejects(openJournal({ directory, ackTimeoutMs: 1, files: quick }), { code: 'CORRUPT' })
  assert.deepEqual(
    readdirSync(directory).filter(name => !name.startsWith('reserve')),
    [FIRST],
  )
  assert.deepEqual(readFileSync(join(directory, FIRST)), bytes)
})

test('journal: a file that was not finished when the process ended is removed', async t => {
  const directory = temporaryFolder(t)
  await makeJournal(directory, [3])
  writeFileSync(
    join(directory, `${SECOND}.tmp`),
    formatSegmentHeader({ journalId: '00'.repeat(16), ordinal: 2, firstSequence: 4 }),
  )
  const { recovered, next } = await reopen(directory)
  assert.deepEqual(recovered, { records: 3, tornBytes: 0, damaged: [], preserved: [] })
  assert.equal(next, 4)
  assert.ok(readdirSync(directory).every(name => !name.endsWith('.tmp')))
})

test('journal: mending that fails at any step is done by the next opening', async t => {
  const original = temporaryFolder(t)
  const [ends = []] = await makeJournal(original, [4])
  const bytes = readFileSync(join(original, FIRST))
  bytes.fill('#', ends[1], ends[2])
  writeFileSync(join(original, FIRST), bytes)
  const names = ['copy', 'create', 'rename', 'syncPath', 'close', 'unlink'] as const
  for (const name of names) {
    for (const isDone of [false, true]) {
      const directory = copyFolder(t, original)
      const failing: Files = {
        ...quick,
        [name]: async (...parameters: [never, never]) => {
          if (isDone) await (quick[name] as (...all: unknown[]) => Promise<unknown>)(...parameters)
          throw Object.assign(new Error('told to fail'), { code: 'EIO' })
        },
      }
      await openJournal({ directory, ackTimeoutMs: 10_000, files: failing })
        .then(journal => journal.close())
        .catch(() => {})
      const { records, next } = await reopen(directory)
      assert.deepEqual(sequencesOf(records), [1, 3, 4], `${name} ${isDone}`)
      assert.equal(next, 5)
      assert.ok(readdirSync(directory).some(file => readFileSync(join(directory, file)).equals(bytes)))
    }
  }
})
