/** What a stranger with stock SQLite sees of a data folder. */
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { setTimeout as sleep } from 'node:timers/promises'
import type { StoredEvent } from '../../src/event/event.ts'

export function auditRows(dataDir: string, where = '1 = 1'): StoredEvent[] {
  const database = new DatabaseSync(join(dataDir, 'audit', 'audit.db'), { readOnly: true, timeout: 5_000 })
  try {
    return database.prepare(`SELECT * FROM audit_events WHERE ${where} ORDER BY id`).all() as unknown as StoredEvent[]
  } finally {
    database.close()
  }
}

/** Waits until the condition holds; fails the test after the deadline. */
export async function eventually<T>(
  ask: () => T | Promise<T>,
  holds: (answer: T) => boolean,
  timeoutMs = 15_000,
): Promise<T> {
  const deadline = Date.now() + timeoutMs
  for (;;) {
    let answer: T | undefined
    let failure: unknown
    try {
      answer = await ask()
      if (holds(answer)) return answer
    } catch (error) {
      failure = error
    }
    if (Date.now() > deadline) {
      throw new Error(`not within ${timeoutMs} ms: ${failure ?? JSON.stringify(answer)?.slice(0, 500)}`, {
        cause: failure,
      })
    }
    await sleep(25)
  }
}
