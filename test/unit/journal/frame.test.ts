import assert from 'node:assert/strict'
import test from 'node:test'
import { crc32 } from 'node:zlib'
import fc from 'fast-check'
import {
  DAMAGED,
  FRAME_HEADER_BYTES,
  formatFrame,
  formatSegmentHeader,
  frameSequence,
  frameText,
  INCOMPLETE,
  measureFrame,
  parseSegmentHeader,
} from '../../../src/journal/frame.ts'

const sequences = fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER })
const texts = fc.string({ unit: 'grapheme', maxLength: 60 })

function frame(sequence: number, text: string): Buffer {
  const bytes = Buffer.alloc(FRAME_HEADER_BYTES + 3 * text.length)
  return bytes.subarray(0, formatFrame(bytes, 0, sequence, text))
}

function flip(bytes: Buffer, bit: number): Buffer {
  const flipped = Buffer.from(bytes)
  flipped[bit >> 3] = (flipped[bit >> 3] as number) ^ (1 << (bit & 7))
  return flipped
}

test('frame: sequence and text come back, also in the middle of other bytes', () => {
  fc.assert(
    fc.property(sequences, texts, fc.nat(20), fc.nat(20), (sequence, text, before, after) => {
      const bytes = Buffer.concat([Buffer.alloc(before, 7), frame(sequence, text), Buffer.alloc(after, 7)])
      const size = measureFrame(bytes, before, bytes.length)
      assert.equal(size, bytes.length - before - after)
      assert.equal(frameSequence(bytes, before), sequence)
      assert.equal(frameText(bytes, before, size), text)
    }),
  )
})

test('frame: every truncation is incomplete', () => {
  fc.assert(
    fc.property(sequences, texts, (sequence, text) => {
      const bytes = frame(sequence, text)
      for (let end = 0; end < bytes.length; end++) assert.equal(measureFrame(bytes, 0, end), INCOMPLETE)
    }),
  )
})

test('frame: every flipped bit is refused', () => {
  fc.assert(
    fc.property(sequences, texts, (sequence, text) => {
      const bytes = frame(sequence, text)
      for (let bit = 0; bit < bytes.length * 8; bit++) {
        const result = measureFrame(flip(bytes, bit), 0, bytes.length)
        assert.ok(result === DAMAGED || result === INCOMPLETE, `bit ${bit}`)
      }
    }),
  )
})

test('frame: what no formatter prints is refused even with a right checksum', () => {
  const zero = frame(0, 'x')
  assert.equal(measureFrame(zero, 0, zero.length), DAMAGED)
  const unsafe = frame(2 ** 53, 'x')
  assert.equal(measureFrame(unsafe, 0, unsafe.length), DAMAGED)
  const invalid = frameOfBytes(Buffer.from([0xff, 0xfe]))
  assert.equal(measureFrame(invalid, 0, invalid.length), DAMAGED)
  const valid = frameOfBytes(Buffer.from('ok'))
  assert.equal(measureFrame(valid, 0, valid.length), valid.length)
})

test('segment header: comes back; truncated, flipped, foreign and newer ones are refused', () => {
  const header = { journalId: '00112233445566778899aabbccddeeff', ordinal: 7, firstSequence: 2 ** 40 + 3 }
  const bytes = formatSegmentHeader(header)
  assert.deepEqual(parseSegmentHeader(bytes), header)
  for (let end = 0; end < bytes.length; end++) assert.equal(parseSegmentHeader(bytes.subarray(0, end)), 'damaged')
  for (let bit = 0; bit < bytes.length * 8; bit++) {
    assert.equal(parseSegmentHeader(flip(bytes, bit)), bit < 64 ? 'foreign' : 'damaged', `bit ${bit}`)
  }
  const newer = Buffer.from(bytes)
  newer.writeUInt32LE(2, 8)
  newer.writeUInt32LE(crc32(newer.subarray(0, 44)), 44)
  assert.equal(parseSegmentHeader(newer), 'unsupported')
})

function frameOfBytes(payload: Buffer): Buffer {
  const bytes = Buffer.alloc(FRAME_HEADER_BYTES + payload.length)
  bytes.writeUInt32LE(payload.length, 0)
  bytes.writeUInt32LE(1, 8)
  payload.copy(bytes, FRAME_HEADER_BYTES)
  bytes.writeUInt32LE(crc32(bytes.subarray(8)), 4)
  return bytes
}
