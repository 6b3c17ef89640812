/**
 * Threads that no answer waits for stand back: a core that one of them keeps busy is one that no request gets. A question that waits
 * for rows waits for the indexer, but at 5,000 events a second that has most of a core to itself.
 */
import { readlinkSync } from 'node:fs'
import { setPriority } from 'node:os'

/** Nice: behind all others, and yet so soon that whoever waits for a lock of this thread does not wait long. */
const PRIORITY = 10

/** Of the thread that calls it, and of those it starts from then on. Linux alone has priorities of threads, and names the thread here. */
export function letOthersFirst(): void {
  try {
    const thread = readlinkSync('/proc/thread-self').split('/').at(-1)
    setPriority(Number(thread), PRIORITY)
  } catch {
    // elsewhere, or where that is forbidden, it takes its turn as the others do
  }
}
