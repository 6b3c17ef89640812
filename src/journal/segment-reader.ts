/**
 * Reads a journal's folder forward, while another thread or process writes it.
 *
 * Promise: records come in order, each once, from the segment that is their place: the newest one whose first sequence
 * is not above the record's. The writer makes a newer segment only behind the last durable record, so for a record at or
 * below the durable sequence that place never changes again. A declared loss is passed (the sequence jumps); anything
 * else that is missing is CORRUPT, after the records before it were returned. Owns one file descriptor and one buffer.
 * Must not write, nor look at a record above the durable sequence: it may still move to another segment.
 */
import { closeSync, openSync, readSync } from 'node:fs'
import { join } from 'node:path'
import { FRAME_HEADER_BYTES, frameSequence, frameText, measureFrame, SEGMENT_HEADER_BYTES } from './frame.ts'
import { JournalError, type JournalReader, type JournalRecord } from './journal.ts'
import { formatSegmentName, listFolder, parseSegmentName, readSegmentHeader } from './segment-folder.ts'

const BUFFER_BYTES = 1024 * 1024

interface Place {
  readonly ordinal: number
  readonly firstSequence: number
}

/** Returns records with a sequence above `after`. Opens nothing before the first read. */
export function openJournalReader(options: { directory: string; after: number }): JournalReader {
  const { directory } = options
  const buffer = Buffer.allocUnsafeSlow(BUFFER_BYTES)
  let expected = options.after + 1 // the sequence to return next
  let places: Place[] = []
  let current: (Place & { readonly fd: number }) | undefined
  let sequence = 0 // of the frame at `offset` in the current segment
  let filePosition = 0 // of the buffer's first byte
  let offset = 0
  let end = 0

  /** Headers are read once: a segment has its name only when its header is complete. */
  function listPlaces(): void {
    const known = new Map(places.map(place => [place.ordinal, place]))
    places = []
    for (const name of listFolder(directory).segments) {
      const ordinal = parseSegmentName(name)
      const place = known.get(ordinal) ?? readPlace(name, ordinal)
      if (place !== undefined) places.push(place)
    }
  }

  function readPlace(name: string, ordinal: number): Place | undefined {
    try {
      const header = readSegmentHeader(join(directory, name))
      if (header === 'foreign' || header === 'unsupported')
        throw new JournalError('FOREIGN', `${name} is not ours to read`)
      if (header === 'damaged') throw new JournalError('CORRUPT', `the header of ${name} is damaged`)
      return { ordinal, firstSequence: header.firstSequence }
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined // trimmed meanwhile
      throw error
    }
  }

  /** Moves to the expected record's segment; returns the sequence at which the next segment takes over. */
  function moveToPlace(): number {
    const index = places.findLastIndex(place => place.firstSequence <= expected)
    const place = places[index]
    if (place === undefined) throw new JournalError('CORRUPT', `record ${expected} is in no segment of the journal`)
    if (place.ordinal !== current?.ordinal) open(place)
    return places[index + 1]?.firstSequence ?? Number.POSITIVE_INFINITY
  }

  function open(place: Place): void {
    const fd = openSync(join(directory, formatSegmentName(place.ordinal)), 'r')
    close()
    current = { ...place, fd }
    sequence = place.firstSequence
    filePosition = SEGMENT_HEADER_BYTES
    offset = end = 0
  }

  function close(): void {
    if (current !== undefined) closeSync(current.fd)
    current = undefined
  }

  /** Bytes of the frame at `offset`. What the buffer does not show, because it was read too early, the file does. */
  function measureNext(): number {
    const buffered = measureFrame(buffer, offset, end)
    if (buffered > 0) return buffered
    filePosition += offset
    offset = end = 0
    end = readSync((current as { fd: number }).fd, buffer, 0, BUFFER_BYTES, filePosition)
    return measureFrame(buffer, 0, end)
  }

  /** Appends to `records` until the limit or the sequence `through`. */
  function readSegment(records: JournalRecord[], through: number, limit: number): void {
    while (expected <= through && records.length < limit) {
      const size = measureNext()
      const found = size > 0 ? frameSequence(buffer, offset) : 0
      const isLoss = size === FRAME_HEADER_BYTES && found > sequence
      if (found !== sequence && !isLoss) throw unreadable()
      if (found >= expected) {
        if (size > FRAME_HEADER_BYTES) records.push({ sequence: found, text: frameText(buffer, offset, size) })
        expected = found + 1
      }
      offset += size
      sequence = found + 1
    }
  }

  function unreadable(): JournalError {
    const where = `${formatSegmentName((current as Place).ordinal)} at byte ${filePosition + offset}`
    return new JournalError('CORRUPT', `record ${expected} cannot be read back: ${where}`)
  }

  return {
    read(durableSequence, limit) {
      const records: JournalRecord[] = []
      if (expected > durableSequence || limit < 1) return records
      listPlaces()
      try {
        while (expected <= durableSequence && records.length < limit) {
          const next = moveToPlace()
          readSegment(records, Math.min(durableSequence, next - 1), limit)
        }
      } catch (error) {
        if (records.length === 0) throw error // else the next call meets it again, with nothing in hand
      }
      return records
    },
    close,
  }
}
