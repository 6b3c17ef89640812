import assert from 'node:assert/strict'
import test from 'node:test'
import {
  addRow,
  type ChunkColumns,
  formatColumns,
  packColumns,
  parseColumns,
  startChunk,
} from '../../../src/store/chunk.ts'
import { CHUNK_IDS } from '../../../src/store/chunk-sets.ts'
import { sampleEvent } from '../../contract/event-store.ts'
import { createRandom } from '../../torture/random.ts'

function chunkOf(dateTime: (n: number) => string) {
  const random = createRandom(5)
  const builder = startChunk(0)
  for (let n = 0; n < CHUNK_IDS; n++) addRow(builder, sampleEvent(n, { date_time: dateTime(n) }))
  const numbers = (max: number) => Array.from({ length: CHUNK_IDS }, () => random.between(0, max))
  const columns = {
    who: Uint32Array.from(numbers(0xffff_ffff)),
    ip: Uint32Array.from(numbers(70_000)),
    kinds: Uint16Array.from(numbers(0xffff)),
  }
  return { builder, columns, stored: formatColumns(columns, builder) }
}

const YEAR_MS = 31_536_000_000

for (const [what, stepMs] of [
  ['a chunk of minutes', 60],
  ['a chunk of years', YEAR_MS / 64],
] as const) {
  test(`chunk: the columns of ${what} are read as they were written`, () => {
    const { builder, columns, stored } = chunkOf(n => new Date(Date.UTC(2000, 0, 1) + n * stepMs).toISOString())
    const read = parseColumns(stored) ?? assert.fail('not read')
    assert.deepEqual({ who: read.who, ip: read.ip, kinds: read.kinds }, columns)
    assert.deepEqual(
      Array.from(read.times, ms => builder.minMs + ms),
      [...builder.times],
    )
    const raw = (part: ChunkColumns[keyof ChunkColumns]) => Buffer.from(part.buffer, part.byteOffset, part.byteLength)
    const before = Buffer.concat([read.who, read.ip, read.times, read.kinds].map(raw))
    assert.deepEqual(packColumns(before), stored, 'what an older version stored becomes this')
  })
}

test('chunk: columns that are not as they were written are none', () => {
  const { stored } = chunkOf(n => new Date(Date.UTC(2026, 0, 1) + n).toISOString())
  for (const bytes of [new Uint8Array(), stored.subarray(0, -1), packColumns(new Uint8Array(14_336)).subarray(0, 20)]) {
    assert.equal(parseColumns(bytes), undefined)
  }
  for (let at = 0; at < stored.length; at += 97) {
    const read = parseColumns(stored.with(at, (stored[at] as number) ^ 16))
    if (read !== undefined) assert.deepEqual(read, parseColumns(stored), `byte ${at}`)
  }
})
