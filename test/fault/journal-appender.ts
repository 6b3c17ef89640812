/**
 * A process to be killed: appends to the journal in the folder it is given, eight at a time, and prints the sequence of each
 * record once it is confirmed to be durable.
 */
import { writeSync } from 'node:fs'
import { openJournal } from '../../src/journal/segment-journal.ts'

const directory = process.argv[2] as string
const journal = await openJournal({ directory, ackTimeoutMs: 60_000, segmentBytesMax: 20_000 })

async function produce(): Promise<never> {
  for (;;) {
    const sequence = journal.status().appendedSequence + 1
    journal.append(`record ${sequence} ${'x'.repeat(sequence % 300)}`)
    if ((await journal.acknowledged(sequence)) === 'durable') writeSync(1, `${sequence}\n`)
  }
}

await Promise.all(Array.from({ length: 8 }, produce))
