/**
 * The event store on SQLite: one file, write-ahead log, one writer transaction a batch.
 *
 * Promise: see event-store.ts. Owns the database file (mode 0600, its folder 0700) and, in memory, the connection and the
 * rows of the chunk that is not complete. Calls block the thread they run on, for up to a second while another process holds the write
 * lock, so it belongs into a worker or a command, never on the request path.
 */
import { closeSync, existsSync, openSync } from 'node:fs'
import { dirname } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { type AuditEvent, COLUMNS, type StoredEvent } from '../event/event.ts'
import { makePrivateFolder, syncPath } from '../files/whole-file.ts'
import { type LogBuilder, openLogBuilder } from '../log/log-builder.ts'
import { CHUNK_IDS } from './chunk-sets.ts'
import { createChunkStore } from './chunk-store.ts'
import { createConnection } from './connection.ts'
import { type Appended, type Batch, type EventStore, StoreError } from './event-store.ts'
import { createLogStore, logRoot } from './log-store.ts'
import type { RecordingStore } from './retention.ts'
import { migrate, schemaVersion } from './schema.ts'
import { writeCounts } from './segment-counts.ts'
import { dropIndexes, indexSegment, listSegments, SEGMENT_IDS, type Segment, startNextSegment } from './segments.ts'

/** Whoever calls retries, so waiting long here only hides the state from the status page. */
const BUSY_TIMEOUT_MS = 1_000
const CACHE_KIB = 16 * 1024
/**
 * SQLite checkpoints by itself only past this many pages (512 MiB), which takes a commit 200 ms; the indexer has it done every few
 * seconds, by another thread.
 */
const AUTOCHECKPOINT_PAGES = 128 * 1024
/** Past so many pages (64 MiB) writers and readers are kept a moment, so that the write-ahead log starts again from its beginning. */
const WAL_PAGES_WANTED = 16 * 1024
/** What it may keep of the disk. Cutting off what is more takes a commit 200 ms; between two checkpoints it mostly grows to less. */
const WAL_BYTES_KEPT = 128 * 1024 * 1024
const RESTART_MS_MAX = 50
/** The second finds what was written during the first. */
const CHECKPOINT_PASSES = 2
/** A segment that is to take at least so many rows at once, and half as many as it has, is indexed afterwards. */
const INDEXED_AFTERWARDS_ROWS = 8 * CHUNK_IDS

/**
 * @param startLog makes the builder of the log whose files are in a folder; left out, one that works in this thread.
 * @param segmentIds rows of a segment, a multiple of 1,024; smaller than usual in tests only.
 */
export function createSqliteEventStore(options: {
  path: string
  startLog?: (root: string) => LogBuilder
  clock?: () => number
  segmentIds?: number
}): EventStore & RecordingStore {
  const { path, startLog = openLogBuilder, clock = Date.now, segmentIds = SEGMENT_IDS } = options
  const log = startLog(logRoot(path))
  const connection = createConnection(path, () => open(path, log))

  /** What cannot be settled now costs the next start a second look. */
  function settle(): void {
    try {
      if (connection.isOpen()) connection.use(store => store.log.settle())
    } catch (error) {
      if (!(error instanceof StoreError)) throw error
    }
  }

  return {
    position: async source => connection.use(store => store.position(source)),
    append: async batch => connection.use(store => append(store, batch, new Date(clock()).toISOString(), segmentIds)),
    record: async work => connection.use(store => record(store, work, new Date(clock()).toISOString(), segmentIds)),
    lastId: async () => connection.use(store => store.lastId()),
    get: async id => connection.use(store => store.get(id)),
    checkpoint: async () => connection.use(store => checkpoint(store.db, path)),
    close: async () => {
      settle()
      connection.close()
      log.close()
    },
  }
}

type OpenStore = ReturnType<typeof open>

function open(path: string, log: LogBuilder) {
  // Durably, else a power loss could take the folder away, with all that was checkpointed in it. SQLite does so for its files.
  makePrivateFolder(dirname(path))
  // SQLite would make it 0644; its -wal and -shm take the mode from here. Only a file that is not there yet: closing any
  // descriptor of one that is would take away the locks that other threads of this process hold on it.
  if (!existsSync(path)) closeSync(openSync(path, 'a', 0o600))
  const db = new DatabaseSync(path, { timeout: BUSY_TIMEOUT_MS })
  try {
    const version = schemaVersion(db) // before anything is written: switching to WAL would already change a foreign file
    if (version === 0) db.exec('PRAGMA auto_vacuum = INCREMENTAL') // what leaves gives its place back to the disk
    // What is freed is overwritten, so that no page shows what another table had in it (erasures.ts).
    db.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA secure_delete = ON')
    db.exec(`PRAGMA cache_size = -${CACHE_KIB}; PRAGMA wal_autocheckpoint = ${AUTOCHECKPOINT_PAGES}`)
    db.exec(`PRAGMA journal_size_limit = ${WAL_BYTES_KEPT}`)
    migrate(db, log, logRoot(path))
    return prepare(db, log, logRoot(path))
  } catch (error) {
    db.close()
    throw error
  }
}

function prepare(db: DatabaseSync, builder: LogBuilder, root: string) {
  const selectPosition = db.prepare('SELECT position FROM positions WHERE source = ?')
  const upsertPosition = db.prepare(
    'INSERT INTO positions VALUES (?, ?) ON CONFLICT (source) DO UPDATE SET position = excluded.position',
  )
  const insertOnceKey = db.prepare('INSERT OR IGNORE INTO once_keys VALUES (?)')
  const schemaChanges = db.prepare('PRAGMA schema_version')
  let growing: ReturnType<typeof prepareSegment> | undefined
  let schemaSeen: unknown

  /** The segment that takes rows; looked up again when this or another writer has started one. */
  function growingSegment() {
    const schema = schemaChanges.get()?.schema_version
    if (growing === undefined || schema !== schemaSeen) growing = prepareSegment(db, listSegments(db).at(-1) as Segment)
    schemaSeen = schema
    return growing
  }

  return {
    db,
    chunks: createChunkStore(db),
    log: createLogStore(db, builder, root),
    growingSegment,
    position: (source: string) => Number(selectPosition.get(source)?.position ?? 0),
    movePosition: (source: string, position: number) => void upsertPosition.run(source, position),
    lastId: () => growingSegment().lastId(),
    get(id: number): StoredEvent | undefined {
      const segment = listSegments(db).find(({ firstId, lastId = id }) => id >= firstId && id <= lastId)
      const row = db
        .prepare(`SELECT ${COLUMNS.join(', ')} FROM ${segment?.table ?? 'audit_events'} WHERE id = ?`)
        .get(id)
      return row === undefined ? undefined : ({ ...row } as unknown as StoredEvent)
    },
    /** False when a row with this key was written before. */
    claim: (key: string) => insertOnceKey.run(keyBytes(key)).changes === 1,
  }
}

function prepareSegment(db: DatabaseSync, segment: Segment) {
  const selectLastId = db.prepare(`SELECT max(id) AS id FROM ${segment.table}`)
  const insertEvent = db.prepare(
    `INSERT INTO ${segment.table} (${COLUMNS.join(', ')}) VALUES (${COLUMNS.map(() => '?').join(', ')})`,
  )
  return {
    segment,
    lastId: () => Number(selectLastId.get()?.id ?? segment.firstId - 1),
    insert(id: number, e: AuditEvent, createdAt: string): void {
      insertEvent.run(
        id,
        e.date_time,
        e.who,
        e.ip,
        e.action,
        e.description,
        e.severity,
        e.reason_code,
        e.request_id,
        e.endpoint,
        e.http_method,
        e.status_code,
        e.metadata_json,
        createdAt,
      )
    },
  }
}

/**
 * One transaction: rows, their chunks, once keys and the position. A crash anywhere in it leaves the state before;
 * the caller then finds its position unmoved and offers the batch again. IMMEDIATE, because the next id and the
 * position are read first and another process may append too.
 */
function append(store: OpenStore, batch: Batch, now: string, segmentIds: number): Appended {
  store.db.exec('BEGIN IMMEDIATE')
  const position = store.position(batch.source)
  if (position !== batch.after) {
    throw new StoreError('POSITION_MOVED', `${batch.source} is at ${position}, not at ${batch.after}`)
  }
  const before = store.lastId()
  try {
    const lastId = insertRows(store, batch, before, now, segmentIds)
    store.movePosition(batch.source, batch.through)
    const filled = lastId - store.growingSegment().segment.firstId + 1
    store.db.exec('COMMIT')
    return { lastId, written: lastId - before, room: filled < segmentIds ? segmentIds - filled : segmentIds }
  } catch (error) {
    store.chunks.forget()
    store.log.forget()
    throw error
  }
}

/**
 * One transaction, IMMEDIATE, so that what `work` reads is still true when it commits. Unlike rows of a journal, which it
 * still has, this one has to survive a power loss by itself: FULL fsyncs the log at the commit.
 */
function record(
  store: OpenStore,
  work: Parameters<RecordingStore['record']>[0],
  now: string,
  segmentIds: number,
): void {
  store.db.exec('PRAGMA synchronous = FULL; BEGIN IMMEDIATE')
  const event = work(store.db)
  if (event === undefined) {
    store.db.exec('ROLLBACK')
    return
  }
  try {
    insertRows(store, { rows: [{ event, onceKey: null }] }, store.lastId(), now, segmentIds)
    store.db.exec('COMMIT; PRAGMA synchronous = NORMAL')
  } catch (error) {
    store.chunks.forget()
    store.log.forget()
    throw error
  }
}

/** @returns the last id */
function insertRows(
  store: OpenStore,
  { rows, rowsExpected = 0 }: Pick<Batch, 'rows' | 'rowsExpected'>,
  before: number,
  now: string,
  segmentIds: number,
): number {
  let lastId = before
  let growing = store.growingSegment()
  let unindexed: Segment | undefined
  store.chunks.resume(lastId, growing.segment.table)
  store.log.resume(lastId, growing.segment.table)

  function putOffIndexes(): void {
    const filled = lastId - growing.segment.firstId + 1
    const rowsToCome = Math.min(rowsExpected, segmentIds - filled)
    if (rowsToCome < Math.max(INDEXED_AFTERWARDS_ROWS, filled / 2)) return
    dropIndexes(store.db, growing.segment)
    unindexed = growing.segment
    growing = store.growingSegment()
  }

  function finishIndexes(): void {
    if (unindexed !== undefined) indexSegment(store.db, unindexed)
    unindexed = undefined
  }

  function growOn(): void {
    finishIndexes()
    writeCounts(store.db, growing.segment, lastId)
    unindexed = startNextSegment(store.db, growing.segment, lastId)
    const rowsLeft = rowsExpected - (lastId - before)
    if (rowsLeft < INDEXED_AFTERWARDS_ROWS) finishIndexes()
    growing = store.growingSegment()
  }

  putOffIndexes()
  for (const row of rows) {
    if (row.onceKey !== null && !store.claim(row.onceKey)) continue
    if (lastId - growing.segment.firstId + 1 >= segmentIds && lastId % CHUNK_IDS === 0) growOn()
    const { event, record, createdAt = now } = row
    growing.insert(++lastId, event, createdAt)
    store.chunks.add(event)
    store.log.add({ id: lastId, event, createdAt, record })
  }
  finishIndexes()
  store.log.finish()
  return lastId
}

/**
 * Copies the write-ahead log into the database and fsyncs, without waiting for readers. If a reader keeps part of the
 * log in use, or somebody else is checkpointing, the log itself is fsynced: its frames are replayed after a power loss.
 *
 * While somebody writes, a pass leaves over what was written during it. The log starts from its beginning only behind a pass that
 * left nothing, while nobody reads it; under a steady load it would grow on and on. So when most is copied, and little is left to
 * wait for, the next transaction is made to start it.
 */
function checkpoint(db: DatabaseSync, path: string): void {
  const passive = db.prepare('PRAGMA wal_checkpoint(PASSIVE)')
  let isCopied = false
  let pages = 0
  for (let pass = 0; pass < CHECKPOINT_PASSES; pass++) {
    const { busy, log, checkpointed } = passive.get() ?? {}
    isCopied ||= busy === 0 && checkpointed === log
    pages = Number(log) // in use, however large the file once was
  }
  if (!isCopied) syncPath(`${path}-wal`)
  if (pages <= WAL_PAGES_WANTED) return
  // It keeps writers waiting while it waits for readers, of which one may take minutes.
  db.exec(
    `PRAGMA busy_timeout = ${RESTART_MS_MAX}; PRAGMA wal_checkpoint(RESTART); PRAGMA busy_timeout = ${BUSY_TIMEOUT_MS}`,
  )
}

/** UUIDs and digests as their bytes; any other key as it is, so that two keys are never taken for one. */
function keyBytes(key: string): Uint8Array {
  const digits = key.replaceAll('-', '')
  return /^(?:[0-9a-f]{2})+$/i.test(digits) ? Buffer.from(digits, 'hex') : Buffer.from(key)
}
