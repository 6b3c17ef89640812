import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import test from 'node:test'
import { openJournal } from '../../src/journal/segment-journal.ts'
import { openJournalReader } from '../../src/journal/segment-reader.ts'
import { temporaryFolder } from '../unit/journal/temporary-folder.ts'

const KILLS = 10
const RECORDS_A_LIFE = 200

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
