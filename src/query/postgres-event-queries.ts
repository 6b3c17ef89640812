/**
 * The questions of event-queries.ts, over connections to PostgreSQL. Runs inside a reader thread (reader-thread.ts), several at a
 * time; the server bounds each statement, the deadline each question.
 *
 * Rows are only ever added behind the head, so a walk needs no snapshot: what it was told is the last id stays where it is.
 * Questions to the log, and sums of several statements, take one.
 */
import { Refusal } from '../errors.ts'
import { COLUMNS, type StoredEvent } from '../event/event.ts'
import { LIMITS } from '../limits.ts'
import { createPostgres, type Session } from '../postgres/postgres.ts'
import { PostgresError } from '../postgres/postgres-error.ts'
import { StoreError } from '../store/event-store.ts'
import { findEpisodes, type Walking } from './episodes.ts'
import { formatEvents } from './export-format.ts'
import type { Deadline } from './id-streams.ts'
import type { CountRequest } from './log-questions.ts'
import { proveConsistencyOf, proveEventOf, proveEventsOf, readTileOf } from './postgres-log-questions.ts'
import { countStepsPostgres, summarizePostgres } from './postgres-summary.ts'
import { createPostgresTimes } from './postgres-times.ts'
import { conditionsOf, idRanges, readIds, type WalkWindows, WINDOWS, walkPostgres } from './postgres-walk.ts'
import type { Asked, TimedEventQueries } from './timed-event-queries.ts'
import type { WalkRequest } from './walk.ts'

/** Of one lane of one instance. */
const CONNECTIONS = 3
const SESSION_KEPT_MS = 600_000
const QUERY_CANCELED = '57014'

/** Every answer may also be a Refusal, as of createSqliteEventQueries. @param windows smaller than usual in tests only. */
export function createPostgresEventQueries(options: { url: string; windows?: WalkWindows }): TimedEventQueries {
  const { url, windows = WINDOWS } = options
  const postgres = createPostgres({
    url,
    connectionsMax: CONNECTIONS,
    statementMsMax: LIMITS.queryMsMax,
    applicationName: 'ev-central queries',
    keptMsMax: SESSION_KEPT_MS,
  })
  const times = createPostgresTimes()

  const walk = (session: Session, request: WalkRequest, deadline: Deadline) =>
    walkPostgres(session, { times, windows }, request, deadline)

  /** Half of the failures would read as calm, so running out of time is a refusal here. */
  async function failures(session: Session, request: Asked<'failures'>, deadline: Deadline): Promise<StoredEvent[]> {
    const { ip, who, since, limit } = request
    const about = { ...(ip === undefined ? {} : { ip }), ...(who === undefined ? {} : { who }) }
    const filter = { action: ['AUTH_FAIL'] as const, start_time: since, ...about }
    const { events, next } = await walk(session, { filter, order: 'desc', limit }, deadline)
    if (next !== null && events.length < limit) throw new Refusal('QUERY_TIMEOUT')
    return events
  }

  async function answerWalking<Answer>(
    session: Session,
    question: Walking<Answer>,
    deadline: Deadline,
  ): Promise<Answer> {
    let step = question.next()
    while (!step.done) step = question.next(await walk(session, step.value, deadline))
    return step.value
  }

  async function count(session: Session, { filter, through, max }: CountRequest): Promise<number> {
    const { first, last } = await readIds(session)
    const ranges = await idRanges(session, times, filter, { first, last: Math.min(last, through) })
    const { sql, values } = conditionsOf(filter)
    const ids = `id BETWEEN ${ranges[0]?.first ?? 0} AND ${ranges.at(-1)?.last ?? -1}`
    const text = `SELECT count(*) AS n FROM (SELECT 1 FROM audit_events WHERE ${ids}${sql} LIMIT ${max}) AS matching`
    return (await session.query<{ n: number }>(text, values)).rows[0]?.n ?? 0
  }

  const use = <T>(work: (session: Session) => Promise<T>) => refusing(postgres.use(work))
  const snapshot = <T>(work: (session: Session) => Promise<T>) => refusing(postgres.snapshot(work))
  /** No partition leaves meanwhile: its rows would be gone from a moment that still has its counts. */
  const snapshotOfRows = <T>(work: (session: Session) => Promise<T>) =>
    snapshot(async session => {
      await session.query('LOCK TABLE ONLY audit_events IN ACCESS SHARE MODE')
      return work(session)
    })

  return {
    page: (request, deadline) => use(session => walk(session, request, deadline)),
    event: id => use(session => readEvent(session, id)),
    lastId: () => use(async session => (await readIds(session)).last),
    failures: (request, deadline) => use(session => failures(session, request, deadline)),
    exportChunk: (request, deadline) =>
      use(async session => {
        const { events, next } = await walk(session, request, deadline)
        const text = formatEvents(events, request.format, request.after === undefined)
        return { text, count: events.length, next }
      }),
    summary: (request, deadline) =>
      inTime(
        deadline,
        snapshotOfRows(session => summarizePostgres(session, times, request)),
      ),
    steps: (request, deadline) =>
      inTime(
        deadline,
        snapshotOfRows(session => countStepsPostgres(session, times, request)),
      ),
    episodes: (request, deadline) => use(session => answerWalking(session, findEpisodes(request, deadline), deadline)),
    tile: request => snapshot(session => readTileOf(session, request)),
    proof: request => snapshot(async session => proveEventOf(session, await readEvent(session, request.id), request)),
    consistency: request => snapshot(session => proveConsistencyOf(session, request)),
    provenEvents: (request, deadline) =>
      snapshot(async session => {
        const { filter, after, limit } = request
        const page = await walk(session, { filter, after, limit, order: 'asc' }, deadline)
        return proveEventsOf(session, page, request)
      }),
    count: request => use(session => count(session, request)),
    close: () => postgres.close(),
  }
}

const SELECT_EVENT = `SELECT ${COLUMNS.join(', ')} FROM audit_events WHERE id = $1`

async function readEvent(session: Session, id: number): Promise<StoredEvent | undefined> {
  if (!Number.isSafeInteger(id)) return undefined
  return (await session.query<StoredEvent & Record<string, unknown>>(SELECT_EVENT, [id], 'query: an event')).rows[0]
}

async function refusing<T>(answer: Promise<T>): Promise<T> {
  try {
    return await answer
  } catch (error) {
    if (!(error instanceof PostgresError || error instanceof StoreError)) throw error
    if (error instanceof PostgresError && error.sqlState === QUERY_CANCELED) throw new Refusal('QUERY_TIMEOUT')
    throw new Refusal('STORE_UNAVAILABLE', undefined, { cause: error, retryAfterSeconds: 1 })
  }
}

/** Nobody waits any more for what comes too late. */
async function inTime<T>(deadline: Deadline, answer: Promise<T>): Promise<T> {
  const result = await answer
  if (deadline.passed()) throw new Refusal('QUERY_TIMEOUT')
  return result
}
