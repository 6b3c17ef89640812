/**
 * The questions of event-queries.ts, answered synchronously over one read-only connection. Runs inside a reader
 * thread (reader-thread.ts); each call is bounded by a deadline and reads one consistent snapshot.
 */
import { Refusal } from '../errors.ts'
import type { StoredEvent } from '../event/event.ts'
import { StoreError } from '../store/event-store.ts'
import { findEpisodes, type Walking } from './episodes.ts'
import { connectToEvents, type EventDatabase } from './event-database.ts'
import { formatEvents } from './export-format.ts'
import type { Deadline } from './id-streams.ts'
import { countEvents, proveConsistency, proveEvent, proveEvents, readTile } from './log-questions.ts'
import { countSteps } from './steps.ts'
import { summarize } from './summary.ts'
import type { Asked, SyncEventQueries } from './timed-event-queries.ts'
import { walkEvents } from './walk.ts'

/** Every answer may also be a Refusal: STORE_UNAVAILABLE, or VALIDATION_FAILED for a time that is none. */
export function createSqliteEventQueries(options: { path: string }): SyncEventQueries {
  const connection = connectToEvents(options.path)

  function read<R>(work: (database: EventDatabase) => R): R {
    try {
      return connection.inSnapshot(work)
    } catch (error) {
      if (!(error instanceof StoreError)) throw error
      throw new Refusal('STORE_UNAVAILABLE', undefined, { cause: error, retryAfterSeconds: 1 })
    }
  }

  return {
    page: (request, deadline) => read(database => walkEvents(database, request, deadline)),
    event: id => read(database => database.event(id)),
    lastId: () => read(database => database.lastId()),
    failures: (request, deadline) => read(database => recentFailures(database, request, deadline)),
    exportChunk: (request, deadline) =>
      read(database => {
        const { events, next } = walkEvents(database, request, deadline)
        const text = formatEvents(events, request.format, request.after === undefined)
        return { text, count: events.length, next }
      }),
    summary: (request, deadline) => read(database => summarize(database, request, deadline)),
    steps: (request, deadline) => read(database => countSteps(database, request, deadline)),
    episodes: (request, deadline) =>
      read(database => answerWalking(database, findEpisodes(request, deadline), deadline)),
    tile: request => read(database => readTile(database, request)),
    proof: request => read(database => proveEvent(database, request)),
    consistency: request => read(database => proveConsistency(database, request)),
    provenEvents: (request, deadline) => read(database => proveEvents(database, request, deadline)),
    count: (request, deadline) => read(database => countEvents(database, request, deadline)),
    close: () => connection.close(),
  }
}

function answerWalking<Answer>(database: EventDatabase, question: Walking<Answer>, deadline: Deadline): Answer {
  let step = question.next()
  while (!step.done) step = question.next(walkEvents(database, step.value, deadline))
  return step.value
}

/** Half of the failures would read as calm, so running out of time is a refusal here. */
function recentFailures(database: EventDatabase, request: Asked<'failures'>, deadline: Deadline): StoredEvent[] {
  const { ip, who, since, limit } = request
  const filter = {
    action: ['AUTH_FAIL'] as const,
    start_time: since,
    ...(ip === undefined ? {} : { ip }),
    ...(who === undefined ? {} : { who }),
  }
  const { events, next } = walkEvents(database, { filter, order: 'desc', limit }, deadline)
  if (next !== null && events.length < limit) throw new Refusal('QUERY_TIMEOUT')
  return events
}
