/**
 * Says in the shared database that this instance is here, and how much its journal has: every five seconds, and once more when it has
 * stopped. By that, others see who is missing, and what of it may be in its journal only (store/postgres-instances.ts).
 *
 * Must delay nothing and end nothing: what cannot be said now is said next time. An instance that was declared gone, and is back, puts
 * that on record, as its journal becomes rows after all.
 */
import { hostname } from 'node:os'
import type { Logger } from 'pino'
import { createContext } from '../context/context.ts'
import { createPostgres } from '../postgres/postgres.ts'
import { lockInstance, noteInstance } from '../store/postgres-instances.ts'
import { readJournalId } from './data-position.ts'
import type { Pipeline } from './pipeline.ts'

export interface Presence extends AsyncDisposable {
  /** To be called when the pipeline is open; to be disposed after it is closed. */
  follow(pipeline: Pipeline): void
}

const SAY_MS = 5_000
const STATEMENT_MS_MAX = 2_000

export function createPresence(deps: {
  url: string
  journalDirectory: string
  /** What it was started with: others ask (checkpoint/postgres-signer.ts). */
  logMlDsa: boolean
  logger: Pick<Logger, 'warn'>
}): Presence {
  const { url, journalDirectory, logMlDsa, logger } = deps
  const postgres = createPostgres({
    url,
    connectionsMax: 1,
    statementMsMax: STATEMENT_MS_MAX,
    applicationName: 'ev-central presence',
  })
  let pipeline: Pipeline | undefined
  let journalId: string | undefined
  let isFirst = true
  /** One line for each time that it does not go. */
  let hasFailed = false
  let timer: NodeJS.Timeout | undefined
  let saying: Promise<void> = Promise.resolve()

  async function say(state: 'running' | 'stopped'): Promise<void> {
    if (pipeline === undefined || journalId === undefined) return
    const durable = pipeline.status().journal.durableSequence
    const seen = { journalId, host: hostname(), state, durable, logMlDsa }
    const before = await postgres.transaction(async session => {
      const known = isFirst ? await lockInstance(session, seen.journalId) : undefined
      await noteInstance(session, seen)
      return known?.state
    })
    isFirst = false
    if (before !== 'forgotten') return
    const description = 'An instance that was declared gone is back: what its journal held becomes rows'
    pipeline.audit.system('JOURNAL_ADOPTED', createContext(), { description, metadata: { journal: seen.journalId } })
  }

  /** One at a time. */
  function sayNext(state: 'running' | 'stopped'): Promise<void> {
    clearTimeout(timer)
    saying = saying
      .then(() => say(state))
      .then(
        () => {
          hasFailed = false
        },
        error => {
          if (!hasFailed) logger.warn({ code: error?.code }, 'that this instance is here could not be said')
          hasFailed = true
        },
      )
      .finally(() => {
        if (state === 'running') timer = setTimeout(sayNext, SAY_MS, state).unref()
      })
    return saying
  }

  return {
    follow(opened) {
      pipeline = opened
      journalId = readJournalId(journalDirectory)
      void sayNext('running')
    },
    async [Symbol.asyncDispose]() {
      await saying
      await sayNext('stopped')
      await postgres.close()
    },
  }
}
