/**
 * The event store on PostgreSQL: any number of instances append to one table and one log.
 *
 * Promise: see event-store.ts. One transaction a batch, and the row of the log's head is its lock: whoever has it knows the next
 * id, writes rows, tiles, salts and position, and moves the head. So ids are gapless, the log cannot fork, and a position says
 * exactly which records are rows. While the lock is waited for, rows are read and made lines of COPY; while the server takes some
 * rows, the next ones are, and leaves are made of them by another thread. Rejected: no lock but a retry when the head has moved, which
 * under load does most of its work in vain.
 *
 *   crash before the commit         nothing: the server rolls back, and the lock is free
 *   connection lost in the commit   either; the caller reads its position, which the same transaction moved
 *   instance gone, connection open  its lock is taken away after `postgresIdleMsMax`
 *
 * Commits are on disk when they are answered, so `checkpoint` has nothing to do. Owns the connections and the builder of the log.
 */
import { setImmediate } from 'node:timers/promises'
import { type AuditEvent, COLUMNS, type StoredEvent } from '../event/event.ts'
import { createDetachedLogBuilder, type LogBuilder } from '../log/log-builder.ts'
import { migrate } from '../postgres/migrations.ts'
import { createPostgres, type Session } from '../postgres/postgres.ts'
import { PostgresError } from '../postgres/postgres-error.ts'
import { CHUNK_IDS } from './chunk-sets.ts'
import { type Appended, type Batch, type EventStore, type Row, StoreError } from './event-store.ts'
import { createPostgresCounter } from './postgres-counter.ts'
import { lockHead, type PostgresLogHead, readHead, readLogState, writeGrowth } from './postgres-log.ts'
import { COPY_ROWS, formatLines, type PreparedRow, prepareRow } from './postgres-rows.ts'
import { STORE_SCHEMA } from './postgres-schema.ts'

/** One appends, and one answers questions or counts meanwhile. */
const CONNECTIONS = 2
const PORTION_ROWS = 1_000
const UNIQUE_VIOLATION = '23505'

/** A store whose database can be changed together with a row that says so, as `RecordingStore` of retention.ts. */
export interface PostgresEventStore extends EventStore {
  /**
   * One transaction under the lock of the head, on disk when this resolves: what `work` does, and the event that it returns as the
   * next row; then, in the same one, what it asks for. Undefined: nothing is to be done. What they throw undoes all.
   * @throws {StoreError} UNAVAILABLE: when the connection was lost in the commit, it may have happened
   */
  record(work: (session: Session, id: number) => Promise<Recorded | undefined>): Promise<void>
}

export interface Recorded {
  readonly event: AuditEvent
  /** What the row has to be there for. */
  apply?(session: Session): Promise<void>
}

/** @param startLog makes the builder of the log, one that writes no files; left out, one that works in this thread. */
export function createPostgresEventStore(options: {
  url: string
  startLog?: () => LogBuilder
  clock?: () => number
  statementMsMax?: number
  /** Summaries will be slower: told once, until it is well again. */
  onCountFailed?: (detail: string) => void
}): PostgresEventStore {
  const { url, startLog = createDetachedLogBuilder, clock = Date.now, statementMsMax, onCountFailed } = options
  const postgres = createPostgres({
    url,
    connectionsMax: CONNECTIONS,
    applicationName: 'ev-central indexer',
    ...(statementMsMax === undefined ? {} : { statementMsMax }),
  })
  const log = startLog()
  const counter = createPostgresCounter(postgres, onCountFailed)
  const appends = inTurn()
  let ready: Promise<void> | undefined
  /** Whether the builder is where it left the log; if the head is there too, it goes on from there. */
  let isLogKnown = false
  let partitionedThrough = 0

  async function setUp(): Promise<void> {
    ready ??= migrate(postgres, STORE_SCHEMA)
    try {
      await ready
    } catch (error) {
      ready = undefined
      throw error
    }
  }

  async function reading<T>(work: (session: Session) => Promise<T>): Promise<T> {
    try {
      await setUp()
      return await postgres.use(work)
    } catch (error) {
      throw asStoreError(error)
    }
  }

  async function writing<T>(work: (session: Session, now: string) => Promise<T>): Promise<T> {
    const now = new Date(clock()).toISOString()
    try {
      await setUp()
      return await postgres.transaction(session => work(session, now))
    } catch (error) {
      isLogKnown = false
      partitionedThrough = 0
      throw asStoreError(error)
    }
  }

  async function appendRows(session: Session, batch: Batch, now: string): Promise<Appended> {
    const { source, after } = batch
    const portions = portionsOf(batch.rows, now)
    const { locked: head, ready } = await prepareWhile(lockHead(session), portions)
    // Asked under the lock: a commit of ours that nobody answered may have been waited for.
    const position = await readPosition(session, source)
    if (position !== after) throw new StoreError('POSITION_MOVED', `${source} is at ${position}, not at ${after}`)
    const lastId = await addRows(session, joined(ready, portions), head)
    await movePosition(session, source, batch.through) // known only now
    return { lastId, written: lastId - head.size, room: undefined }
  }

  async function recordRow(session: Session, work: Parameters<PostgresEventStore['record']>[0], now: string) {
    const head = await lockHead(session)
    const recorded = await work(session, head.size + 1)
    if (recorded === undefined) return
    await addRows(session, portionsOf([{ event: recorded.event, onceKey: null }], now), head)
    await recorded.apply?.(session)
  }

  /** Rows and their leaves, behind a head that is locked. @returns the last id */
  async function addRows(session: Session, portions: Portions, head: PostgresLogHead): Promise<number> {
    if (!isLogKnown || log.size !== head.size) log.resume(await readLogState(session, head))
    isLogKnown = true
    const lastId = await copyRows(session, portions, head.size)
    if (lastId > head.size) {
      const timesWritten = writeTimes(session, head.size, lastId) // under way while the last leaves are waited for
      timesWritten.catch(() => {})
      const growth = log.finish()
      await timesWritten
      await writeGrowth(session, head.size, growth)
    }
    return lastId
  }

  /** Some rows at a time, of which the next are prepared while the server takes those before. @returns the last id */
  async function copyRows(session: Session, portions: Portions, before: number): Promise<number> {
    let lastId = before
    let copying: Promise<void> = Promise.resolve()
    for (const prepared of portions) {
      if (prepared.some(({ key }) => key !== null)) await copying
      const claimed = await claimRows(session, prepared)
      const firstId = lastId + 1
      lastId += claimed.length
      const lines = formatLines(claimed, firstId)
      await copying
      if (partitionedThrough < lastId) partitionedThrough = await makePartitions(session, lastId)
      copying = session.copy(COPY_ROWS, lines)
      copying.catch(() => {}) // awaited above or below, unless the next rows cannot be read
      for (const [n, { event, createdAt, record }] of claimed.entries()) {
        log.add({ id: firstId + n, event, createdAt, record })
      }
      await setImmediate() // what is to be sent is handed to the system before the next rows are prepared
    }
    await copying
    return lastId
  }

  return {
    async position(source) {
      const position = await reading(session => readPosition(session, source))
      counter.wake() // whoever asks is about to append: what was due when others ended is made now
      return position
    },
    async append(batch) {
      const appended = await appends(() => writing((session, now) => appendRows(session, batch, now)))
      counter.wake()
      return appended
    },
    record: work => appends(() => writing((session, now) => recordRow(session, work, now))),
    lastId: () => reading(async session => (await readHead(session)).size),
    get: id => reading(session => readEvent(session, id)),
    checkpoint: () => reading(async () => {}),
    async close() {
      await counter.close()
      await postgres.close()
      log.close()
    },
  }
}

type Portions = Iterable<readonly PreparedRow[]>

/**
 * Portions are made until what is waited for is there. Under load another instance has the lock, and with it the server's time:
 * what is ready by then need not be made while others wait for us.
 */
async function prepareWhile<T>(waiting: Promise<T>, portions: Iterator<readonly PreparedRow[]>) {
  const ready: (readonly PreparedRow[])[] = []
  let isWaiting = true
  const done = () => {
    isWaiting = false
  }
  waiting.then(done, done)
  while (isWaiting) {
    const next = portions.next()
    if (next.done) break
    ready.push(next.value)
    await setImmediate()
  }
  return { locked: await waiting, ready }
}

function* joined(ready: Portions, more: Portions): Generator<readonly PreparedRow[]> {
  yield* ready
  yield* more
}

function* portionsOf(rows: Iterable<Row>, now: string): Generator<readonly PreparedRow[]> {
  let portion: PreparedRow[] = []
  for (const row of rows) {
    portion.push(prepareRow(row, now))
    if (portion.length < PORTION_ROWS) continue
    yield portion
    portion = []
  }
  if (portion.length > 0) yield portion
}

/** One after the other, as the builder of the log has one batch at a time. */
function inTurn() {
  let last: Promise<unknown> = Promise.resolve()
  return <T>(work: () => Promise<T>): Promise<T> => {
    const result = last.then(work)
    last = result.catch(() => {})
    return result
  }
}

const SELECT_POSITION = 'SELECT position FROM positions WHERE source = $1'
const MOVE_POSITION =
  'INSERT INTO positions VALUES ($1, $2) ON CONFLICT (source) DO UPDATE SET position = excluded.position'
const SELECT_EVENT = `SELECT ${COLUMNS.join(', ')} FROM audit_events WHERE id = $1`
const CLAIM = 'INSERT INTO once_keys SELECT unnest($1::bytea[]) ON CONFLICT DO NOTHING RETURNING key'
const WRITE_TIMES = `INSERT INTO event_times SELECT (id - 1) / ${CHUNK_IDS}, min(date_time), max(date_time)
  FROM audit_events WHERE id > $1 AND id <= $2 GROUP BY 1`

async function readPosition(session: Session, source: string): Promise<number> {
  const { rows } = await session.query<{ position: number }>(SELECT_POSITION, [source], SELECT_POSITION)
  return rows[0]?.position ?? 0
}

async function movePosition(session: Session, source: string, position: number): Promise<void> {
  await session.query(MOVE_POSITION, [source, position], 'move a position')
}

async function readEvent(session: Session, id: number): Promise<StoredEvent | undefined> {
  return (await session.query<StoredEvent & Record<string, unknown>>(SELECT_EVENT, [id])).rows[0]
}

/** Without those whose key has a row already, or an earlier place in the batch. */
async function claimRows(session: Session, rows: readonly PreparedRow[]): Promise<readonly PreparedRow[]> {
  const keys = rows.map(({ key }) => key).filter(key => key !== null)
  if (keys.length === 0) return rows
  const { rows: claimed } = await session.query<{ key: Buffer }>(CLAIM, [keys], 'claim keys')
  const unused = new Set(claimed.map(({ key }) => key.toString('latin1')))
  return rows.filter(({ key }) => key === null || unused.delete(key.toString('latin1')))
}

/** @returns the last id that has a partition */
export async function makePartitions(session: Session, lastId: number): Promise<number> {
  for (let before = -1; ; ) {
    const { rows } = await session.query<{ last: number | null }>('SELECT max(last_id) AS last FROM event_partitions')
    const last = rows[0]?.last ?? 0
    if (last >= lastId) return last
    if (last === before) throw new StoreError('FOREIGN', `no partition can be made for event ${lastId}`)
    before = last
    await session.query('SELECT evc_add_partition()')
  }
}

/** Of the chunks that the batch completed. */
export async function writeTimes(session: Session, before: number, lastId: number): Promise<void> {
  const from = before - (before % CHUNK_IDS)
  const through = lastId - (lastId % CHUNK_IDS)
  if (through > from) await session.query(WRITE_TIMES, [from, through])
}

function asStoreError(error: unknown): unknown {
  if (!(error instanceof PostgresError)) return error
  // Under the lock of the head no key can be another's: rows or tiles are there that the head does not know of.
  const isFork = error.sqlState === UNIQUE_VIOLATION
  const code = error.code === 'FOREIGN' || isFork ? 'FOREIGN' : 'UNAVAILABLE'
  return new StoreError(code, error.message, { cause: error })
}
