/** A data folder whose trail is long and old: small segments, so that many are sealed, and one event a second. */
import { join } from 'node:path'
import type { AuditEvent, StoredEvent } from '../../src/event/event.ts'
import { dataFolder } from '../../src/service/data-folder.ts'
import { createSqliteEventStore } from '../../src/store/sqlite-event-store.ts'
import { createRandom, randomEvents, timeAt } from '../unit/query/event-fixture.ts'

export const SEGMENT = 2_048

/** Writes so many events, one second apart from the start of 2026 on; every 2,048 are a segment. */
export async function writeOldTrail(dataDir: string, count: number, seed = 1): Promise<StoredEvent[]> {
  const created = '2026-06-01T00:00:00.000Z'
  const store = createSqliteEventStore({
    path: dataFolder(dataDir).auditDatabase,
    clock: () => Date.parse(created),
    segmentIds: SEGMENT,
  })
  const random = randomEvents(count, createRandom(seed))
  const events: AuditEvent[] = random.map((event, n) => ({ ...event, date_time: timeAt(n) }))
  for (let after = 0; after < count; after += 1_000) {
    const rows = events.slice(after, after + 1_000).map(event => ({ event, onceKey: null }))
    await store.append({ source: 'test', after, through: after + rows.length, rows })
  }
  await store.checkpoint()
  await store.close()
  return events.map((event, n) => ({ id: n + 1, ...event, created_at: created }))
}

/** What archiving is told of a data folder. */
export function pathsOf(dataDir: string) {
  const store = { kind: 'sqlite', path: dataFolder(dataDir).auditDatabase } as const
  return { store, directory: archiveFolder(dataDir) }
}

export const archiveFolder = (dataDir: string) => join(dataDir, 'archive')
