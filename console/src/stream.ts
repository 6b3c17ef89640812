/**
 * Server-sent events that come back by themselves: after a restart of the service, a lost network, a closed lid. A page that
 * nobody sees lets go of its connection, as browsers allow few to one host, and goes on from the same place when it is seen.
 *
 *   waiting     other windows of this browser have all places for streams
 *   connecting  has a place, and asks
 *   open        messages come
 *   lost        asks again in a while, and keeps its place
 *   resting     nobody sees the page: it has given its place back
 */
import { type Slots, takeSlot } from './slots.ts'

export type StreamState = 'waiting' | 'connecting' | 'open' | 'lost' | 'resting'

export interface StreamOptions {
  readonly slots: Slots
  /** Asked before each attempt, so that it can say where to go on. */
  readonly url: () => string
  readonly onMessage: (data: string) => void
  /** Everything up to this event has been looked at, whether or not it was sent. */
  readonly onPosition?: (id: number) => void
  readonly onState: (state: StreamState, retryAt: number | undefined) => void
  /** After a failed attempt: whether there still is a session is for somebody else to find out. */
  readonly onFailure?: () => void
  /** Nothing for so long means that the connection is dead, whatever the browser believes. */
  readonly silenceMsMax?: number
}

const RETRY_MS_MIN = 1_000
const RETRY_MS_MAX = 15_000
const HIDDEN_MS = 20_000

/** Returns how to end it. */
export function openStream(options: StreamOptions): () => void {
  let source: EventSource | undefined
  let timer: number | undefined
  let silence: number | undefined
  let hiding: number | undefined
  let retryMs = RETRY_MS_MIN
  /** Ends the wait for a place, or gives it back. */
  let leave: (() => void) | undefined

  function enter(): void {
    if (leave !== undefined) return
    const wait = new AbortController()
    leave = () => wait.abort()
    options.onState('waiting', undefined)
    takeSlot(options.slots, wait.signal).then(release => {
      if (wait.signal.aborted) return release()
      leave = release
      connect()
    })
  }

  function exit(): void {
    disconnect()
    leave?.()
    leave = undefined
  }

  function connect(): void {
    disconnect()
    options.onState('connecting', undefined)
    source = new EventSource(options.url())
    source.onopen = () => {
      retryMs = RETRY_MS_MIN
      options.onState('open', undefined)
      expect()
    }
    source.onmessage = ({ data }) => {
      expect()
      options.onMessage(data)
    }
    source.addEventListener('position', ({ data }) => {
      expect()
      options.onPosition?.(Number(data))
    })
    source.onerror = lose
  }

  function expect(): void {
    clearTimeout(silence)
    if (options.silenceMsMax !== undefined) silence = window.setTimeout(lose, options.silenceMsMax)
  }

  function disconnect(): void {
    clearTimeout(silence)
    clearTimeout(timer)
    timer = undefined
    source?.close()
    source = undefined
  }

  function lose(): void {
    disconnect()
    options.onFailure?.()
    options.onState('lost', Date.now() + retryMs)
    timer = window.setTimeout(connect, retryMs)
    retryMs = Math.min(retryMs * 1.6, RETRY_MS_MAX)
  }

  function seen(): void {
    clearTimeout(hiding)
    if (document.visibilityState === 'visible') {
      enter()
      back()
    } else {
      hiding = window.setTimeout(() => {
        exit()
        options.onState('resting', undefined)
      }, HIDDEN_MS)
    }
  }

  /** Somebody looks again, or the network is back: the next attempt need not wait. */
  function back(): void {
    if (timer !== undefined) connect()
  }

  document.addEventListener('visibilitychange', seen)
  window.addEventListener('online', back)
  // A tab that was opened behind another one begins when it is looked at.
  if (document.visibilityState === 'visible') enter()
  else options.onState('resting', undefined)
  return () => {
    clearTimeout(hiding)
    exit()
    document.removeEventListener('visibilitychange', seen)
    window.removeEventListener('online', back)
  }
}
