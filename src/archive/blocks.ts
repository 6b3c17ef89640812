/** The lines of an archive, a block at a time, as the rows give them. Pure. */
import { Refusal } from '../errors.ts'
import type { StoredEvent } from '../event/event.ts'
import { LIMITS } from '../limits.ts'
import type { SealedSegment } from '../store/retention.ts'

export interface BlockText {
  readonly firstId: number
  readonly count: number
  readonly text: string
}

/** The last id of the block that begins with `next`, unless its text becomes too long before. */
export function blockEnd(next: number, { lastId }: SealedSegment): number {
  return Math.min(next + LIMITS.archiveBlockEventsMax - 1, lastId)
}

/**
 * @param rows from `next` to `last`, in the order of their ids; taken as far as the text goes
 * @throws {Refusal} ARCHIVE_FAILED: one is missing
 */
export function takeBlock(rows: Iterable<StoredEvent>, next: number, last: number, table: string): BlockText {
  let text = ''
  let expected = next
  for (const row of rows) {
    if (row.id !== expected) break
    expected++
    text += `${JSON.stringify(row)}\n`
    if (text.length >= LIMITS.archiveBlockCharactersMax) break
  }
  if (expected === next || (text.length < LIMITS.archiveBlockCharactersMax && expected !== last + 1)) {
    throw new Refusal('ARCHIVE_FAILED', `Event ${expected} is missing in ${table}: the database is damaged.`)
  }
  return { firstId: next, count: expected - next, text }
}
