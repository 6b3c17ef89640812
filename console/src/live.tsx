/** The overview, followed as long as somebody is signed in: figures for the first page, and how the connection is for all pages. */
import { useQueryClient } from '@tanstack/react-query'
import { createContext, type ReactNode, useContext, useEffect, useState } from 'react'
import { api } from './api.ts'
import { useNow } from './clock.ts'
import type { Overview } from './model.ts'
import { openStream, type StreamState } from './stream.ts'

export interface Live {
  /** The last one that came. */
  readonly overview: Overview | undefined
  readonly state: StreamState
  readonly retryAt: number | undefined
}

const NOTHING: Live = { overview: undefined, state: 'connecting', retryAt: undefined }
const Context = createContext<Live>(NOTHING)
/** A message comes every few seconds; on a very large trail it may take some more. */
const SILENCE_MS_MAX = 120_000
const ASK = 'what is there'

export const useLive = () => useContext(Context)

/**
 * One connection for all windows of this browser: the window that has the only place follows, and tells the others what it
 * hears. When it goes, or nobody sees it any more, the next one takes its place.
 */
function followOverview(onChange: (live: Live) => void): () => void {
  const others = new BroadcastChannel('evc-overview')
  let live = NOTHING
  let isLeading = false

  function hear(heard: Live): void {
    // A stream says nothing of why it failed; this does, and ends the page's session if there is none any more.
    if (heard.state === 'lost' && live.state !== 'lost') void api('POST', '/session/renew').catch(() => {})
    live = heard
    onChange(live)
    if (isLeading) others.postMessage(live)
  }

  others.onmessage = ({ data }: MessageEvent<Live | typeof ASK>) => {
    if (data !== ASK) hear(data)
    else if (isLeading) others.postMessage(live)
  }
  const close = openStream({
    slots: { name: 'evc-overview', count: 1 },
    url: () => '/audit/overview/stream',
    onMessage: data => hear({ ...live, overview: JSON.parse(data) as Overview }),
    onState(state, retryAt) {
      isLeading = state === 'connecting' || state === 'open' || state === 'lost'
      if (state === 'waiting') others.postMessage(ASK)
      else hear({ ...live, state, retryAt: retryAt ?? (state === 'connecting' ? live.retryAt : undefined) })
    },
    silenceMsMax: SILENCE_MS_MAX,
  })
  return () => {
    close()
    others.close()
  }
}

export function LiveOverview({ children }: { children: ReactNode }) {
  const [live, setLive] = useState(NOTHING)
  const queries = useQueryClient()
  useEffect(() => followOverview(setLive), [])
  useEffect(() => {
    // What could not be had while there was no connection is asked for again.
    if (live.state === 'open') void queries.invalidateQueries({ predicate: ({ state: { error } }) => error !== null })
  }, [live.state, queries])
  return <Context value={live}>{children}</Context>
}

export function ConnectionBanner() {
  const { state, retryAt, overview } = useLive()
  const now = useNow()
  if (state !== 'lost' && !(state === 'connecting' && retryAt !== undefined)) return null
  const seconds = Math.max(0, Math.ceil(((retryAt ?? now) - now) / 1000))
  return (
    <div className="banner" role="status">
      <strong>Disconnected.</strong> What is shown is {overview === undefined ? 'not complete' : 'as of before'}.{' '}
      {seconds > 0 ? `Trying again in ${seconds} s.` : 'Trying again now.'}
    </div>
  )
}
