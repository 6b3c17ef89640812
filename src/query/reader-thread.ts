/** Entry of a reader thread: answers one question after the other over its own connection (see reader-host.ts). */
import { parentPort, workerData } from 'node:worker_threads'
import { Refusal } from '../errors.ts'
import type { Deadline } from './id-streams.ts'
import type { AskMessage, ReaderThreadData, Reply } from './reader-protocol.ts'
import { createSqliteEventQueries } from './sqlite-event-queries.ts'
import type { Question, TimedEventQueries } from './timed-event-queries.ts'

/** A walk that takes longer answers with what it has and where to go on, so that it does not hold up its lane. */
const WALK_MS_MAX = 1_000
/** An answer must be back before the host gives up on it. */
const REPLY_MARGIN_MS = 250

const WALKS: ReadonlySet<Question> = new Set<Question>(['page', 'exportChunk', 'provenEvents'])

const port = parentPort
if (port === null) throw new Error('this file is the entry of a worker thread')
const queries = await openQueries(workerData as ReaderThreadData)

port.on('message', async (message: AskMessage | 'close') => {
  if (message === 'close') {
    await queries.close()
    port.close()
  } else {
    port.postMessage(await reply(message))
  }
})

async function openQueries({ store }: ReaderThreadData): Promise<TimedEventQueries> {
  if (store.kind === 'sqlite') return createSqliteEventQueries(store)
  const { createPostgresEventQueries } = await import('./postgres-event-queries.ts')
  const opened = createPostgresEventQueries(store)
  void warmUp(opened)
  return opened
}

/** The first question would pay for a session, and for reading the times of all chunks: this one does, while nobody waits. */
async function warmUp(opened: TimedEventQueries): Promise<void> {
  const filter = { start_time: new Date(0).toISOString() }
  const never = { passed: () => false }
  await Promise.resolve(opened.page({ filter, limit: 1, order: 'desc' }, never)).catch(() => {})
}

async function reply({ number, question, asked, expiresAt }: AskMessage): Promise<Reply> {
  const now = () => performance.timeOrigin + performance.now()
  if (now() >= expiresAt) return { number, refusal: { code: 'QUERY_TIMEOUT' } } // nobody waits for it any more
  const latest = expiresAt - REPLY_MARGIN_MS
  const giveUpAt = WALKS.has(question) ? Math.min(latest, now() + WALK_MS_MAX) : latest
  const deadline: Deadline = { passed: () => now() >= giveUpAt }
  try {
    const ask = queries[question] as (asked: unknown, deadline: Deadline) => unknown
    return { number, answer: await ask(asked, deadline) }
  } catch (error) {
    if (!(error instanceof Refusal)) return { number, defect: String(error) }
    const { code, message: detail, retryAfterSeconds, violations } = error
    const cause = error.cause instanceof Error ? error.cause.message : undefined
    return { number, refusal: { code, detail, cause, retryAfterSeconds, violations } }
  }
}
