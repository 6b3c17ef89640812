/**
 * Threads that nobody waits for stand back: a core that one of them keeps busy for 50 ms is one that no request gets.
 *
 * Not the indexer's: it would halve what it adds to the p99 of a login under load, but a question waits for its rows, and where
 * others keep both cores busy it then takes up to a quarter of a second (measured, with 3 as with 10).
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
