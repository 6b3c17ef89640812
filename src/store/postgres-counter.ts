/**
 * Makes the counts of blocks that are complete (postgres-counts-schema.ts), beside whoever appends: one block, one statement, one
 * transaction; then it rests for as long as that took. All instances may do so at once, one of them works.
 *
 *   resting   nothing was due when it looked last; at most once a second it looks again, when something was appended
 *   counting  block after block, until none is due
 *   closed    for good
 *
 * A crash leaves blocks that are due, for whoever appends next. Nobody waits for them: what is not counted is read from the rows.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Postgres } from '../postgres/postgres.ts'

export interface PostgresCounter {
  /** There may be more rows. Returns at once. */
  wake(): void
  /** Resolves when the block that is being counted is. */
  close(): Promise<void>
}

const LOOK_EVERY_MS = 1_000

/** @param onFailed a block could not be counted; once until one can be again */
export function createPostgresCounter(
  postgres: Postgres,
  onFailed: (detail: string) => void = () => {},
): PostgresCounter {
  const closing = new AbortController()
  let counting: Promise<void> | undefined
  let restsUntil = 0
  let hasFailed = false

  async function countAll(): Promise<void> {
    try {
      while (!closing.signal.aborted) {
        const before = performance.now()
        const isMade = await countBlock(postgres)
        hasFailed = false
        if (!isMade) break
        await sleep(performance.now() - before, undefined, { signal: closing.signal })
      }
    } catch (error) {
      // Whatever it is, rows go on: what is not counted is read.
      if (!closing.signal.aborted && !hasFailed) onFailed((error as Error).message)
      hasFailed = !closing.signal.aborted
    }
    counting = undefined
    restsUntil = performance.now() + LOOK_EVERY_MS
  }

  return {
    wake() {
      if (counting !== undefined || closing.signal.aborted || performance.now() < restsUntil) return
      counting = countAll()
    },
    async close() {
      closing.abort()
      await counting
    },
  }
}

/** @returns false when no block is due, or somebody else counts one */
export async function countBlock(postgres: Postgres): Promise<boolean> {
  const sql = 'SELECT evc_count_events() AS is_made'
  return postgres.use(async session => (await session.query<{ is_made: boolean }>(sql)).rows[0]?.is_made ?? false)
}
