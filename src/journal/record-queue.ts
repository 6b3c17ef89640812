/**
 * Records that were accepted and are not durable yet, as frames ready to be written.
 *
 * Promise: bytes stay here until they are known to be durable, so that they can be written anew elsewhere; order is
 * kept; taking a record allocates nothing but one view. Owns the memory: a chain of equal chunks, of which the newest is
 * being filled. Positions count bytes since the journal was opened. Knows no file.
 */

import { FRAME_HEADER_BYTES, formatFrame, frameSequence, measureFrame } from './frame.ts'

const CHUNK_BYTES = 1024 * 1024 // holds any record several times over, and a group of a loaded server once
const SPARE_CHUNKS_MAX = 2

interface Chunk {
  readonly buffer: Buffer
  start: number
  length: number
  lastSequence: number
}

/** Whole frames that lie side by side and are to be written next. */
export interface Range {
  readonly buffer: Buffer
  readonly offset: number
  readonly length: number
  readonly lastSequence: number
}

export interface RecordQueue {
  /** Bytes accepted that are not durable. */
  bytes(): number
  /** An empty text declares the records through `sequence` lost. */
  push(sequence: number, text: string): void
  /** The next frames to write, at most a chunk; undefined when everything is written. */
  unwritten(): Range | undefined
  /** Everything of a range is written. Returns the position behind it. */
  wrote(range: Range): number
  /** Everything up to the position is durable and leaves. */
  release(position: number): void
  /** Everything behind the position (by default: that is not durable) counts as unwritten again. Returns how many bytes. */
  rewind(position?: number): number
  /** Copies frames that are not durable, oldest first, as far as they fit between `offset` and `end`. */
  copyTo(target: Buffer, offset: number, end: number): { readonly offset: number; readonly lastSequence: number }
}

export function createRecordQueue(): RecordQueue {
  const chunks: Chunk[] = [createChunk()]
  const spare: Chunk[] = []
  let filling = chunks[0] as Chunk
  let filled = 0
  let written = 0
  let durable = 0

  function startChunk(): void {
    filling = spare.pop() ?? createChunk()
    filling.start = filled
    filling.length = 0
    chunks.push(filling)
  }

  return {
    bytes: () => filled - durable,

    push(sequence, text) {
      const room = CHUNK_BYTES - filling.length - FRAME_HEADER_BYTES
      if (text.length * 3 > room && Buffer.byteLength(text) > room) startChunk()
      const end = formatFrame(filling.buffer, filling.length, sequence, text)
      filled += end - filling.length
      filling.length = end
      filling.lastSequence = sequence
    },

    unwritten() {
      if (written === filled) return undefined
      for (const chunk of chunks) {
        const offset = written - chunk.start
        if (offset >= chunk.length) continue
        return { buffer: chunk.buffer, offset, length: chunk.length - offset, lastSequence: chunk.lastSequence }
      }
      return undefined
    },

    wrote(range) {
      written += range.length
      return written
    },

    release(position) {
      durable = position
      while (chunks.length > 1 && (chunks[0] as Chunk).start + (chunks[0] as Chunk).length <= durable) {
        const empty = chunks.shift() as Chunk
        if (spare.length < SPARE_CHUNKS_MAX) spare.push(empty)
      }
      if (durable !== filled) return
      filling.start = filled // all is durable: begin at the front again, where the processor's cache is warm
      filling.length = 0
    },

    rewind(position = durable) {
      const bytes = written - position
      written = position
      return bytes
    },

    copyTo(target, offset, end) {
      let lastSequence = 0
      for (const { buffer, start, length } of chunks) {
        for (let at = Math.max(0, durable - start); at < length; ) {
          const size = measureFrame(buffer, at, length)
          if (offset + size > end) return { offset, lastSequence }
          offset += buffer.copy(target, offset, at, at + size)
          lastSequence = frameSequence(buffer, at)
          at += size
        }
      }
      return { offset, lastSequence }
    },
  }
}

function createChunk(): Chunk {
  return { buffer: Buffer.allocUnsafeSlow(CHUNK_BYTES), start: 0, length: 0, lastSequence: 0 }
}
