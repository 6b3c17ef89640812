/** The overview, followed as long as somebody is signed in: figures for the first page, and how the connection is for all. */
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

export const useLive = () => useContext(Context)

export function LiveOverview({ children }: { children: ReactNode }) {
  const [live, setLive] = useState(NOTHING)
  const queries = useQueryClient()
  useEffect(
    () =>
      openStream({
        url: () => '/audit/overview/stream',
        onMessage: data => setLive(before => ({ ...before, overview: JSON.parse(data) as Overview })),
        onState: (state, retryAt) => {
          setLive(before => ({ ...before, state, retryAt }))
          if (state === 'open') void queries.invalidateQueries({ predicate: ({ state: { error } }) => error !== null })
        },
        // A stream says nothing of why it failed; this does, and ends the page's session if there is none any more.
        onFailure: () => void api('POST', '/session/renew').catch(() => {}),
        silenceMsMax: SILENCE_MS_MAX,
      }),
    [queries],
  )
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
