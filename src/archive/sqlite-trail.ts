/** The embedded database as a trail that segments leave (trail.ts), and the lock of whoever archives or erases in a data folder. */
import { dirname, join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { Refusal } from '../errors.ts'
import { COLUMNS, type StoredEvent } from '../event/event.ts'
import { holdFile } from '../files/held-file.ts'
import { StoreError } from '../store/event-store.ts'
import { logRoot } from '../store/log-store.ts'
import { patiently } from '../store/patience.ts'
import { reclaimSpace } from '../store/reclaim.ts'
import {
  findUnexplainedGaps,
  listArchives,
  listHolds,
  listSealed,
  type SealedSegment,
  type TakenOut,
  takeOut,
} from '../store/retention.ts'
import { SCHEMA_VERSION, schemaVersion } from '../store/schema.ts'
import { createSqliteEventStore } from '../store/sqlite-event-store.ts'
import { type BlockText, blockEnd, takeBlock } from './blocks.ts'
import { readLogPart, readSignedLog } from './log-proof.ts'
import type { LeavingTrail, TrailView } from './trail.ts'

const BUSY_MS_MAX = 5_000

export async function readSqliteTrail(auditDatabase: string): Promise<TrailView> {
  const db = openRetention(auditDatabase)
  return viewOf(db, auditDatabase, async () => db.close())
}

/** Brings an older database to this version. */
export async function openSqliteTrail(auditDatabase: string): Promise<LeavingTrail> {
  await using undo = new AsyncDisposableStack()
  undo.use(lockArchiving(auditDatabase))
  const store = createSqliteEventStore({ path: auditDatabase })
  undo.defer(() => store.close())
  await patiently(() => store.lastId())
  const db = undo.adopt(openReadOnly(auditDatabase), opened => opened.close())
  const owned = undo.move()
  return {
    ...viewOf(db, auditDatabase, () => owned.disposeAsync()),
    blocks: segment => readBlocks(db, segment),
    logPart: async (segment, signed) => readLogPart(db, segment, { root: logRoot(auditDatabase), signed }),
    async takeOut(segment, archive, event) {
      let outcome: TakenOut = 'gone'
      await patiently(() =>
        store.record(writer => {
          outcome = takeOut(writer, segment, archive)
          return outcome === 'left' ? event : undefined
        }),
      )
      return outcome
    },
    reclaim: () => reclaimSpace(auditDatabase),
  }
}

function viewOf(db: DatabaseSync, auditDatabase: string, dispose: () => Promise<void>): TrailView {
  return {
    isInOrder: false,
    sealed: async () => listSealed(db),
    holds: async () => listHolds(db),
    archives: async () => listArchives(db),
    gaps: async () => findUnexplainedGaps(db),
    signedLog: async () => readSignedLog(logRoot(auditDatabase)),
    [Symbol.asyncDispose]: dispose,
  }
}

export function* readBlocks(db: DatabaseSync, segment: SealedSegment): Generator<BlockText> {
  const { table, firstId, lastId } = segment
  const select = db.prepare(`SELECT ${COLUMNS.join(', ')} FROM ${table} WHERE id BETWEEN ? AND ? ORDER BY id`)
  for (let next = firstId; next <= lastId; ) {
    const last = blockEnd(next, segment)
    const rows = select.iterate(next, last) as IterableIterator<StoredEvent & Record<string, never>>
    const block = takeBlock(rows, next, last, table)
    yield block
    next += block.count
  }
}

/** One look at the tables of retention. @throws {StoreError} UNAVAILABLE when there are none yet, FOREIGN */
export function readRetention<T>(auditDatabase: string, read: (db: DatabaseSync) => T): T {
  const db = openRetention(auditDatabase)
  try {
    return read(db)
  } finally {
    db.close()
  }
}

function openRetention(auditDatabase: string): DatabaseSync {
  const db = openReadOnly(auditDatabase)
  try {
    if (schemaVersion(db) === SCHEMA_VERSION) return db
    throw new StoreError('UNAVAILABLE', 'it is of an older version; start the service once')
  } catch (error) {
    db.close()
    throw error
  }
}

const openReadOnly = (path: string) => new DatabaseSync(path, { readOnly: true, timeout: BUSY_MS_MAX })

/** Whoever erases holds it, too. Its file lies in the data folder. @throws {Refusal} ARCHIVE_RUNNING */
export function lockArchiving(auditDatabase: string): Disposable {
  const lockFile = join(dirname(auditDatabase), '..', 'archive-lock.db')
  return holdFile(lockFile, cause => new Refusal('ARCHIVE_RUNNING', undefined, { cause }))
}
