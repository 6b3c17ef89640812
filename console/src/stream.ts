/**
 * Server-sent events that come back by themselves: after a restart of the service, a lost network, a closed lid. A page that
 * nobody sees lets go of its connection, as browsers allow few to one host, and goes on from the same place when it is seen.
 */

export type StreamState = 'connecting' | 'open' | 'lost' | 'resting'

export interface StreamOptions {
  /** Asked before each attempt, so that it can say where to go on. */
  readonly url: () => string
  readonly onMessage: (data: string) => void
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

  function connect(): void {
    clearTimeout(timer)
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
    source.onerror = lose
  }

  function expect(): void {
    clearTimeout(silence)
    if (options.silenceMsMax !== undefined) silence = window.setTimeout(lose, options.silenceMsMax)
  }

  function disconnect(): void {
    clearTimeout(silence)
    clearTimeout(timer)
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
      if (source === undefined) connect()
    } else {
      hiding = window.setTimeout(() => {
        disconnect()
        options.onState('resting', undefined)
      }, HIDDEN_MS)
    }
  }

  function back(): void {
    if (source === undefined && document.visibilityState === 'visible') connect()
  }

  document.addEventListener('visibilitychange', seen)
  window.addEventListener('online', back)
  connect()
  return () => {
    clearTimeout(hiding)
    disconnect()
    document.removeEventListener('visibilitychange', seen)
    window.removeEventListener('online', back)
  }
}
