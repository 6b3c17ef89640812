/**
 * The bytes of a segment file: one header, then frames. Pure functions; numbers are little-endian.
 *
 *   header (48 bytes)  magic 8 · u32 format version · journal id 16 · u64 ordinal · u64 first sequence · u32 crc32 of the 44
 *   frame              u32 payload length · u32 crc32 of (sequence, payload) · u64 sequence · payload, UTF-8
 *
 * A frame without payload is no record: it declares that the records up to and including its sequence were lost (written
 * only when a damaged segment is repaired). Each thing has one spelling: what the formatter would not print is refused.
 */
import { isUtf8 } from 'node:buffer'
import { crc32 } from 'node:zlib'
import { LIMITS } from '../limits.ts'

export const SEGMENT_HEADER_BYTES = 48
export const FRAME_HEADER_BYTES = 16
const SEGMENT_FORMAT = 1
const MAGIC = Buffer.from('EVCJRNL\n', 'latin1')
const HIGH_WORD_MAX = 0x1f_ffff // above it a u64 is no safe integer

export interface SegmentHeader {
  /** 32 lower-case hex digits. */
  readonly journalId: string
  readonly ordinal: number
  /** A record from this sequence on is in this segment or a newer one; copies in older segments are superseded. */
  readonly firstSequence: number
}

export function formatSegmentHeader(header: SegmentHeader): Buffer {
  const bytes = Buffer.alloc(SEGMENT_HEADER_BYTES)
  MAGIC.copy(bytes, 0)
  bytes.writeUInt32LE(SEGMENT_FORMAT, 8)
  bytes.write(header.journalId, 12, 16, 'hex')
  writeNumber(bytes, 28, header.ordinal)
  writeNumber(bytes, 36, header.firstSequence)
  bytes.writeUInt32LE(crc32(bytes.subarray(0, 44)), 44)
  return bytes
}

/** Why a header is refused: not ours; ours, of another format version; ours and not as it was written, or too short. */
export type HeaderFault = 'foreign' | 'unsupported' | 'damaged'

export function parseSegmentHeader(bytes: Buffer): SegmentHeader | HeaderFault {
  if (bytes.length < SEGMENT_HEADER_BYTES) return 'damaged'
  if (MAGIC.compare(bytes, 0, 8) !== 0) return 'foreign'
  if (crc32(bytes.subarray(0, 44)) !== bytes.readUInt32LE(44)) return 'damaged'
  if (bytes.readUInt32LE(8) !== SEGMENT_FORMAT) return 'unsupported'
  const header = {
    journalId: bytes.toString('hex', 12, 28),
    ordinal: readNumber(bytes, 28),
    firstSequence: readNumber(bytes, 36),
  }
  return header.ordinal > 0 && header.firstSequence > 0 ? header : 'damaged'
}

/**
 * Writes a frame at `offset` and returns the offset behind it. The target must have room for 16 + 3 bytes per character.
 * Lone surrogates become U+FFFD, as in every UTF-8 encoder.
 */
export function formatFrame(target: Buffer, offset: number, sequence: number, text: string): number {
  const length = target.write(text, offset + FRAME_HEADER_BYTES)
  const end = offset + FRAME_HEADER_BYTES + length
  target.writeUInt32LE(length, offset)
  writeNumber(target, offset + 8, sequence)
  target.writeUInt32LE(crc32(target.subarray(offset + 8, end)), offset + 4)
  return end
}

/** The bytes end before the frame does. */
export const INCOMPLETE = 0
/** The frame is there, and no formatter printed it. */
export const DAMAGED = -1

/** Bytes of the frame at `offset`, header included, if `bytes` up to `end` hold a valid one; else INCOMPLETE or DAMAGED. */
export function measureFrame(bytes: Buffer, offset: number, end: number): number {
  if (offset + FRAME_HEADER_BYTES > end) return INCOMPLETE
  const length = bytes.readUInt32LE(offset)
  if (length > LIMITS.recordBytesMax) return DAMAGED
  const frameEnd = offset + FRAME_HEADER_BYTES + length
  if (frameEnd > end) return INCOMPLETE
  if (crc32(bytes.subarray(offset + 8, frameEnd)) !== bytes.readUInt32LE(offset + 4)) return DAMAGED
  if (frameSequence(bytes, offset) === 0) return DAMAGED
  if (!isUtf8(bytes.subarray(offset + FRAME_HEADER_BYTES, frameEnd))) return DAMAGED
  return FRAME_HEADER_BYTES + length
}

/** Sequence of the frame at `offset`; 0 when it is none. */
export function frameSequence(bytes: Buffer, offset: number): number {
  return readNumber(bytes, offset + 8)
}

/** Text of a measured frame; empty when the frame declares a loss. */
export function frameText(bytes: Buffer, offset: number, frameBytes: number): string {
  return bytes.toString('utf8', offset + FRAME_HEADER_BYTES, offset + frameBytes)
}

function writeNumber(bytes: Buffer, offset: number, value: number): void {
  const high = Math.floor(value / 0x1_0000_0000)
  bytes.writeUInt32LE(value - high * 0x1_0000_0000, offset)
  bytes.writeUInt32LE(high, offset + 4)
}

function readNumber(bytes: Buffer, offset: number): number {
  const high = bytes.readUInt32LE(offset + 4)
  return high > HIGH_WORD_MAX ? 0 : high * 0x1_0000_0000 + bytes.readUInt32LE(offset)
}
