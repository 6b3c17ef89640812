/**
 * The segments that are written no more, oldest first, and which of their files may go.
 *
 * Promise: a file goes only when every record in it is known to be somewhere else: below a sequence that its consumer
 * gave up, or once more in a newer segment. Called only while a newer segment exists durably, so the folder always holds
 * the journal's id and the place where its sequence goes on. Owns the list; the files of the folder are its to delete.
 */
import { join } from 'node:path'
import type { Files } from './files.ts'
import { formatSegmentName } from './segment-folder.ts'

export interface ClosedSegment {
  readonly ordinal: number
  readonly firstSequence: number
  /** Last sequence written to it, superseded copies included; below `firstSequence` when there is none. */
  readonly lastSequence: number
  /** Whether it is the place of any record, or holds only copies that newer segments hold too or are about to. */
  readonly isSuperseded: boolean
}

export interface ClosedSegments {
  /** Call when the next segment is in place, or with an empty one that could not be deleted. In any order. */
  add(segment: ClosedSegment): void
  /**
   * A segment of the reserve is about to get its name, in front of those that supersede it. If they left before it, it would
   * look like a gap: nothing behind it is trimmed until it is released, and then it goes first, if it is still there.
   */
  hold(header: Pick<ClosedSegment, 'ordinal' | 'firstSequence'>): { release(): void }
  /** Deletes what a failing disk leaves: empty segments, and copies of which a newer superseded one holds as much. */
  discardSuperseded(): Promise<void>
  /** Deletes segments without a record above `sequence`, oldest first. */
  trim(sequence: number): Promise<void>
}

export function createClosedSegments(files: Files, directory: string, found: readonly ClosedSegment[]): ClosedSegments {
  let segments = [...found]
  const held = new Set<ClosedSegment>()

  function add(segment: ClosedSegment): void {
    segments = [...segments, segment].sort((a, b) => a.ordinal - b.ordinal)
  }

  async function remove(segment: ClosedSegment): Promise<void> {
    try {
      await files.unlink(join(directory, formatSegmentName(segment.ordinal)))
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    }
    segments = segments.filter(other => other !== segment)
  }

  return {
    add,

    hold({ ordinal, firstSequence }) {
      const segment = { ordinal, firstSequence, lastSequence: firstSequence - 1, isSuperseded: true }
      held.add(segment)
      add(segment)
      return {
        release() {
          held.delete(segment)
        },
      }
    },

    async discardSuperseded() {
      let reach = 0 // of the newer superseded segments
      for (const segment of segments.toReversed()) {
        if (held.has(segment)) continue
        const isEmpty = segment.lastSequence < segment.firstSequence
        if (!isEmpty && !segment.isSuperseded) break
        // A failure leaves a file that the next open sorts out, or the next discard.
        if (isEmpty || segment.lastSequence <= reach) await remove(segment).catch(() => {})
        else reach = segment.lastSequence
      }
    },

    async trim(sequence) {
      for (const segment of [...segments]) {
        if (held.has(segment) || segment.lastSequence > sequence) return
        await remove(segment)
        // One by one, so that a power loss cannot bring an older file back without the newer ones: that looks like a gap.
        await files.syncPath(directory)
      }
    },
  }
}
