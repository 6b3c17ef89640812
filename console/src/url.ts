/** Where the page is, and what its filters are: all of it in the URL, so that a link says everything. */
import { useCallback, useMemo, useRef } from 'react'
import { useSearchParams } from 'wouter'

export type Params = Readonly<Record<string, string>>
type Change = Readonly<Record<string, string | undefined>>

/** The query string as an object, and a way to change some of it; '' takes a name out. */
export function useParams(): [Params, (change: Change, options?: { replace: boolean }) => void] {
  const [search, setSearch] = useSearchParams()
  const text = search.toString()
  const params = useMemo(() => Object.fromEntries(new URLSearchParams(text)), [text])
  // The same function for as long as the page is there: rows that have it are not drawn anew for it.
  const latest = useRef(setSearch)
  latest.current = setSearch
  const change = useCallback((change: Change, options?: { replace: boolean }) => {
    latest.current(before => {
      const next = new URLSearchParams(before)
      for (const [name, value] of Object.entries(change)) {
        if (value === undefined || value === '') next.delete(name)
        else next.set(name, value)
      }
      return next
    }, options)
  }, [])
  return [params, change]
}

/** The address of the events page with these filters. */
export function eventsAt(filter: Record<string, string | number | undefined>): string {
  const parameters = new URLSearchParams()
  for (const [name, value] of Object.entries(filter)) if (value !== undefined) parameters.set(name, String(value))
  return `/events?${parameters}`
}
