/**
 * Reading the trail in a shared PostgreSQL again, in the background: by one instance at a time, whichever has the advisory lock, in a
 * thread of its own (shared-watch-thread.ts). Where it is goes into `log_watch` every few seconds, so that another goes on there.
 *
 *   1. the lock                                     the holder is gone: another has it within TURN_MS
 *   2. the thread looks at piece after piece        begins again with the last place that was noted
 *   3. what is found changed is noted: from its     found again
 *      next look on no signer signs, and each
 *      puts it on record, once for all
 *   4. the thread has ended. With each later turn   -
 *      the piece is looked at, and all goes on
 *      when it is as it was logged
 *
 * A database that cannot be reached ends the turn. Owns the session that holds the lock, and the thread; must not delay a request.
 */
import type { Logger } from 'pino'
import { loggableError } from '../audit/redaction.ts'
import {
  notePlace,
  noteTampering,
  readWatch,
  type Tampering,
  takeBackTampering,
  WATCH_LOCK,
  type WatchPlace,
} from '../checkpoint/postgres-watch.ts'
import { createPostgres, type Session } from '../postgres/postgres.ts'
import { startThread } from '../threads/thread.ts'
import { repeatedly } from './repeatedly.ts'

export interface WatchThreadData {
  readonly url: string
  /** Of the time of one core. */
  readonly percent: number
  readonly place: WatchPlace
  /** The event that was found changed, which is looked at first. */
  readonly tamperedId: number | undefined
}

export type WatchMessage =
  | { readonly kind: 'at'; readonly place: WatchPlace }
  /** The last one. */
  | { readonly kind: 'tampered'; readonly found: Tampering }
  /** What was found changed is as it was logged. */
  | { readonly kind: 'mended' }

/** How long a lock that has become free is free at most. A start has other things to do first. */
const TURN_MS = 5_000
const NOTE_MS = 2_000
const STATEMENT_MS_MAX = 5_000
const THREAD = new URL('./shared-watch-thread', import.meta.url)

export function startSharedWatch(deps: {
  readonly url: string
  /** EVC_SELF_CHECK_PERCENT */
  readonly percent: number
  readonly logger: Pick<Logger, 'warn'>
}): AsyncDisposable {
  const { url, percent, logger } = deps
  const postgres = createPostgres({
    url,
    connectionsMax: 1,
    statementMsMax: STATEMENT_MS_MAX,
    applicationName: 'ev-central self-check lock',
  })
  const stopping = new AbortController()
  const { signal } = stopping

  async function turn(session: Session): Promise<void> {
    if (!(await tryLock(session))) return
    try {
      await watch(session)
    } finally {
      await session.query('SELECT pg_advisory_unlock($1)', [WATCH_LOCK]).catch(() => {}) // goes with a lost session
    }
  }

  /** Until something is found, the thread ends, or the session with the lock is lost. */
  async function watch(session: Session): Promise<void> {
    const { tampered, ...place } = await readWatch(session)
    const workerData: WatchThreadData = { url, percent, place, tamperedId: tampered?.id }
    const thread = startThread(THREAD, { workerData, name: 'evc-self-check' })
    const news: WatchMessage[] = []
    thread.on('message', (message: WatchMessage) => news.push(message))
    let isOver = false
    let failure: unknown
    let wake = () => {}
    thread.on('error', error => {
      failure = error
    })
    thread.on('exit', () => {
      isOver = true
      wake()
    })
    const pause = () =>
      new Promise<void>(resolve => {
        wake = resolve
        if (isOver) resolve()
        else setTimeout(resolve, NOTE_MS).unref()
      })
    const abort = () => void thread.terminate()
    signal.addEventListener('abort', abort)
    try {
      if (signal.aborted) abort()
      for (await pause(); !isOver; await pause()) await note(session, news.splice(0))
      if (failure !== undefined) throw failure
      if (!signal.aborted) await note(session, news)
    } finally {
      signal.removeEventListener('abort', abort)
      await thread.terminate()
    }
  }

  /** Also says whether the lock is still held: without its session nothing can be noted. */
  async function note(session: Session, news: readonly WatchMessage[]): Promise<void> {
    const last = news.findLast(({ kind }) => kind === 'at')
    for (const message of news) {
      if (message.kind === 'tampered') await noteTampering(session, message.found)
      else if (message.kind === 'mended') {
        await takeBackTampering(session)
        logger.warn('what was changed in the trail is as it was logged again')
      } else if (message === last) await notePlace(session, message.place)
    }
    if (last === undefined) await session.query('SELECT 1')
  }

  const look = () => postgres.use(turn)
  const turns = repeatedly(TURN_MS, look, error =>
    logger.warn({ err: loggableError(error) }, 'the trail cannot be read again now; it is tried again'),
  )
  return {
    async [Symbol.asyncDispose]() {
      stopping.abort()
      await turns[Symbol.asyncDispose]()
      await postgres.close()
    },
  }
}

async function tryLock(session: Session): Promise<boolean> {
  const { rows } = await session.query<{ held: boolean }>('SELECT pg_try_advisory_lock($1) AS held', [WATCH_LOCK])
  return rows[0]?.held === true
}
