/**
 * The journal's part of a backup: every record behind a position, from segments that are being written and trimmed.
 *
 * A segment is held open from the moment it is seen, so that trimming takes away its name but not its bytes. One that
 * comes and goes between two looks is missed; `copy` finds the gap and says so. Owns the open files until disposed. Must
 * not write to the journal's folder.
 */
import { closeSync, existsSync, fstatSync, openSync, readSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { syncPath, writeNew } from '../files/whole-file-async.ts'
import { parseSegmentHeader, SEGMENT_HEADER_BYTES, type SegmentHeader } from '../journal/frame.ts'
import { listFolder, parseSegmentName } from '../journal/segment-folder.ts'
import { surveySegment } from '../journal/segment-survey.ts'

export interface CopiedJournal {
  readonly journalId: string
  readonly sequence: number
  readonly names: readonly string[]
}

export interface HeldJournal extends Disposable {
  /** Holds the segments that there are now; done by itself every 20 ms. */
  look(): void
  /** Undefined while there is none. */
  journalId(): string | undefined
  /**
   * Copies all records behind `after` that there are now, durably. Undefined when there is no journal at all, `gap`
   * when some were trimmed away unseen.
   */
  copy(to: string, after: number): Promise<CopiedJournal | 'gap' | undefined>
}

const LOOK_MS = 20

export function holdJournal(directory: string): HeldJournal {
  const held = new Map<string, number>()
  const timer = setInterval(look, LOOK_MS)
  look()

  function look(): void {
    if (!existsSync(directory)) return
    for (const name of listFolder(directory).segments) {
      if (held.has(name)) continue
      try {
        held.set(name, openSync(join(directory, name), 'r'))
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error // else trimmed meanwhile
      }
    }
  }

  /** Oldest first. A damaged header is left to be found by whoever restores: the file is copied as it is. */
  function segments(): { name: string; fd: number; header: SegmentHeader | undefined }[] {
    return [...held]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, fd]) => {
        const header = parseSegmentHeader(readFrom(fd, SEGMENT_HEADER_BYTES))
        return { name, fd, header: typeof header === 'string' ? undefined : header }
      })
      .filter(({ name, header }) => header === undefined || header.ordinal === parseSegmentName(name)) // else reused
  }

  return {
    look,
    journalId: () => segments().findLast(({ header }) => header !== undefined)?.header?.journalId,

    async copy(to, after) {
      look()
      const found = segments()
      const newest = found.findLast(({ header }) => header !== undefined)?.header
      if (newest === undefined) return undefined
      const from = found.findLastIndex(({ header }) => header !== undefined && header.firstSequence <= after + 1)
      if (from < 0) return 'gap'
      const needed = found.slice(from)
      let sequence = 0
      await mkdir(to, { mode: 0o700 })
      for (const [index, { name, fd, header }] of needed.entries()) {
        const bytes = readFrom(fd)
        const next = needed.slice(index + 1).find(later => later.header !== undefined)?.header
        if (header === undefined) {
          await writeNew(join(to, name), async file => void (await file.writeFile(bytes)))
          continue
        }
        const survey = surveySegment(bytes, header.firstSequence, (next?.firstSequence ?? Number.POSITIVE_INFINITY) - 1)
        // Bytes that are wrong are the journal's own damage and go along; records behind the end of a segment that is
        // followed by another are in one that we missed.
        if (next !== undefined && survey.losses.some(loss => loss.offset >= bytes.length)) return 'gap'
        if (next === undefined) sequence = survey.lastSequence
        // What is being written at this moment is not whole yet; nobody has been answered for it.
        const whole = bytes.subarray(0, bytes.length - survey.tornBytes)
        await writeNew(join(to, name), async file => void (await file.writeFile(whole)))
      }
      await syncPath(to)
      return { journalId: newest.journalId, sequence, names: needed.map(({ name }) => name) }
    },

    [Symbol.dispose]() {
      clearInterval(timer)
      for (const fd of held.values()) closeSync(fd)
    },
  }
}

/** From the beginning: as much as there is, or `bytesMax`. */
function readFrom(fd: number, bytesMax = Number.POSITIVE_INFINITY): Buffer {
  const bytes = Buffer.alloc(Math.min(fstatSync(fd).size, bytesMax))
  let length = 0
  while (length < bytes.length) {
    const read = readSync(fd, bytes, length, bytes.length - length, length)
    if (read === 0) break // cut meanwhile, by a start that put the folder in order
    length += read
  }
  return bytes.subarray(0, length)
}
