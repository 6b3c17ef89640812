/**
 * The journal of this instance, among those that share a PostgreSQL: clears it whenever an erasure asked all instances to
 * (store/postgres-journals.ts).
 *
 *   1. hand over the outbox, index the journal    crash: asked again at the next start
 *   2. go on in a new segment, index the old ones, delete those   the same
 *   3. say so                                     the same: it is done twice
 *
 * An instance that was away does the same when it returns. Looks twice a second; a database that cannot be reached is asked again.
 */
import type { AuditLogger } from '../audit/audit-service.ts'
import { loggableError } from '../audit/redaction.ts'
import { createPostgres } from '../postgres/postgres.ts'
import { noteCleared, readClearing } from '../store/postgres-journals.ts'
import type { Pipeline } from './pipeline.ts'
import { repeatedly } from './repeatedly.ts'

const LOOK_MS = 500
const INDEX_MS_MAX = 60_000
const STATEMENT_MS_MAX = 5_000

export function clearJournalWhenAsked(deps: {
  url: string
  pipeline: Pick<Pipeline, 'journalId' | 'dropIndexed'>
  /** Hands over the events of changes, and forgets them once they are rows; false when it cannot now. */
  settleState: () => Promise<boolean>
  logger: AuditLogger
}): AsyncDisposable {
  const { url, pipeline, settleState, logger } = deps
  const { journalId } = pipeline
  const postgres = createPostgres({
    url,
    connectionsMax: 1,
    statementMsMax: STATEMENT_MS_MAX,
    applicationName: 'ev-central journal',
  })

  async function look(): Promise<void> {
    const request = await postgres.use(session => readClearing(session, journalId))
    if (request === undefined || !(await clear())) return
    await postgres.use(session => noteCleared(session, journalId, request))
  }

  async function clear(): Promise<boolean> {
    return (await settleState()) && pipeline.dropIndexed(INDEX_MS_MAX, async () => {})
  }

  const looking = repeatedly(LOOK_MS, look, error =>
    logger.warn({ err: loggableError(error) }, 'whether the journal is to be cleared cannot be asked now'),
  )
  return {
    async [Symbol.asyncDispose]() {
      await looking[Symbol.asyncDispose]()
      await postgres.close()
    },
  }
}
