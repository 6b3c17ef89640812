import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import test from 'node:test'
import { type Files, nodeFiles } from '../../src/journal/files.ts'
import { openJournal } from '../../src/journal/segment-journal.ts'
import { openJournalReader } from '../../src/journal/segment-reader.ts'
import { temporaryFolder } from '../unit/journal/temporary-folder.ts'

const KILLS = 10
const RECORDS_A_LIFE = 200
const HEADER_BYTES = 48
const turn = () => new Promise(resolve => setTimeout(resolve, 1))

/** Lets a process append until it has confirmed enough, kills it, and returns the last sequence it confirmed. */
async function appendAndKill(directory: string): Promise<number> {
  const child = spawn(process.execPath, [join(import.meta.dirname, 'journal-appender.ts'), directory], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let output = ''
  let confirmed = 0
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text
    confirmed += text.split('\n').length - 1
    if (confirmed >= RECORDS_A_LIFE) child.kill('SIGKILL')
  })
  const [, signal] = await once(child, 'close')
  assert.equal(signal, 'SIGKILL')
  const lines = output.split('\n').slice(0, -1) // the part behind the last line break was not said
  return Math.max(...lines.map(Number))
}

test(`journal: its process killed ${KILLS} times while appending, every confirmed record is there once`, async t => {
  const directory = temporaryFolder(t)
  let last = 0
  for (let i = 0; i < KILLS; i++) {
    const confirmed = await appendAndKill(directory)
    assert.ok(confirmed >= last + RECORDS_A_LIFE)
    last = confirmed
  }
  const journal = await openJournal({ directory, ackTimeoutMs: 1 })
  t.after(() => journal.close())
  assert.deepEqual(journal.recovered.damaged, [])
  const { durableSequence } = journal.status()
  assert.ok(durableSequence >= last)
  const reader = openJournalReader({ directory, after: 0 })
  t.after(() => reader.close())
  const records = reader.read(durableSequence, 1_000_000)
  assert.equal(records.length, durableSequence)
  for (const [index, { sequence, text }] of records.entries()) {
    assert.equal(sequence, index + 1)
    assert.equal(text, `record ${sequence} ${'x'.repeat(sequence % 300)}`)
  }
})

for (const share of [0, 0.5]) {
  const what = share === 0 ? 'has not begun' : 'is written in part'
  test(`journal: killed while a group ${what} and later records are written already, none of those is missing`, async t => {
    const directory = temporaryFolder(t)
    let later = 0
    const files: Files = {
      ...nodeFiles,
      // The first group does not come to its end; with a share, part of it is reported as written.
      writeThrough(fd, buffer, offset, length, position, done) {
        const part = Math.ceil(length * share)
        if (part > 0 && position === HEADER_BYTES) nodeFiles.write(fd, buffer, offset, part, position, done)
      },
      write(fd, buffer, offset, length, position, done) {
        nodeFiles.write(fd, buffer, offset, length, position, (error, bytes) => {
          if (position > 0) later++
          done(error, bytes)
        })
      },
    }
    const killed = await openJournal({ directory, ackTimeoutMs: 1, files, reserveBytes: 4_096 })
    const written = later
    killed.append('record 1')
    await turn()
    killed.append('record 2')
    while (later === written) await turn()
    await killed.close(0)

    const journal = await openJournal({ directory, ackTimeoutMs: 1 })
    t.after(() => journal.close())
    assert.deepEqual(journal.recovered.damaged, [])
    const reader = openJournalReader({ directory, after: 0 })
    t.after(() => reader.close())
    assert.deepEqual(
      reader.read(journal.status().durableSequence, 10).map(({ text }) => text),
      ['record 1', 'record 2'],
    )
  })
}

test('journal: what a write under way reads is not overwritten, although its records are durable already', async t => {
  const directory = temporaryFolder(t)
  const begun: Parameters<Files['write']>[] = []
  const through: Parameters<Files['write']>[] = []
  const files: Files = {
    ...nodeFiles,
    writeThrough: (...operation) => through.push(operation),
    write(...operation) {
      if (operation[4] >= HEADER_BYTES) begun.push(operation)
      else nodeFiles.write(...operation)
    },
  }
  const journal = await openJournal({ directory, ackTimeoutMs: 1, files, reserveBytes: 4_096 })
  t.after(() => journal.close(0))
  const append = (count: number) => {
    for (let i = 0; i < count; i++) journal.append(`record ${journal.status().appendedSequence + 1} ${'x'.repeat(990)}`)
  }
  append(1_500) // more than a chunk of the queue: the first group ends where the chunk does
  while (begun.length === 0) await turn()
  const [, buffer, offset, length] = through[0] as Parameters<Files['write']>
  assert.equal(begun[0]?.[1], buffer)
  const before = Buffer.from(buffer.subarray(offset, offset + length))
  nodeFiles.write(...(through[0] as Parameters<Files['write']>))
  while (journal.status().durableSequence === 0) await turn()
  append(3_000)
  assert.ok(before.equals(buffer.subarray(offset, offset + length)))
  nodeFiles.write(...(begun[0] as Parameters<Files['write']>))
})
