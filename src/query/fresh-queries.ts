/**
 * Reads that see one's own writes: a question waits, briefly, until what was durable when it was asked is a row.
 *
 * Whoever was answered and asks next finds the event. Followers (`lastId`, then `page`) are woken by the indexer and
 * wait for nothing.
 */
import type { EventQueries } from './event-queries.ts'

/** @param indexed resolves when everything durable by now is a row, or when that takes too long. */
export function createFreshQueries(queries: EventQueries, indexed: () => Promise<unknown>): EventQueries {
  const fresh =
    <Request, Answer>(ask: (request: Request) => Promise<Answer>) =>
    async (request: Request): Promise<Answer> => {
      await indexed()
      return ask(request)
    }
  const firstChunk = fresh(queries.exportChunk)
  return {
    page: fresh(queries.page),
    event: fresh(queries.event),
    failures: fresh(queries.failures),
    exportChunk: request => (request.after === undefined ? firstChunk : queries.exportChunk)(request),
    summary: fresh(queries.summary),
    steps: fresh(queries.steps),
    episodes: fresh(queries.episodes),
    lastId: queries.lastId,
    tile: queries.tile,
    proof: queries.proof,
    consistency: queries.consistency,
    provenEvents: queries.provenEvents,
    count: fresh(queries.count),
    close: queries.close,
  }
}
