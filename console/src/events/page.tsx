/** Events: found by filters, followed live, opened one by one. */
import { useCallback, useEffect, useRef, useState, useSyncExternalStore } from 'react'
import { useKeys } from '../keys.ts'
import type { StoredEvent } from '../model.ts'
import { count, number } from '../text.ts'
import { Button, Empty, Failure, Loading } from '../ui/parts.tsx'
import { useParams } from '../url.ts'
import { chooseColumns, chosenColumns } from './columns.tsx'
import { EventDetail } from './detail.tsx'
import { Feed } from './feed.ts'
import { filterOf } from './filter.ts'
import { FilterBar } from './filter-bar.tsx'
import { EventGrid } from './grid.tsx'
import { ColumnsMenu, ListTools } from './list-tools.tsx'

export function EventsPage() {
  const [params, change] = useParams()
  const filter = filterOf(params)
  const feed = useFeed(JSON.stringify(filter))
  const grid = useRef<HTMLDivElement>(null)
  const firstFilter = useRef<HTMLInputElement>(null)
  const [isPaused, setPaused] = useState(false)
  const [isAtTop, setAtTop] = useState(true)
  const [selected, setSelected] = useState<number>()
  const [columns, setColumns] = useState(chosenColumns)
  const opened = /^[1-9]\d{0,15}$/.test(params.event ?? '') ? Number(params.event) : undefined

  useEffect(() => feed.hold(isPaused || !isAtTop), [feed, isPaused, isAtTop])
  const open = useCallback(
    (event: StoredEvent) => {
      setSelected(event.id)
      change({ event: String(event.id) }, { replace: true })
    },
    [change],
  )
  const select = (event: StoredEvent) => {
    setSelected(event.id)
    if (opened !== undefined) open(event)
  }
  const close = () => {
    change({ event: '' }, { replace: true })
    grid.current?.focus()
  }
  const toNewest = () => {
    setPaused(false)
    grid.current?.scrollTo({ top: 0 })
    setAtTop(true)
  }
  const refocus = (key: string) => {
    grid.current?.focus()
    grid.current?.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true }))
  }
  useKeys({
    '/': () => firstFilter.current?.focus(),
    p: () => setPaused(paused => !paused),
    j: () => refocus('j'),
    k: () => refocus('k'),
    Escape: close,
  })

  return (
    <div className="page events">
      <div className="title">
        <h1>Events</h1>
        {feed.isLive && !feed.isRefused && (
          <Tail feed={feed} isPaused={isPaused} isAtTop={isAtTop} onPause={setPaused} onNewest={toNewest} />
        )}
        <div className="tools">
          <ColumnsMenu
            chosen={columns}
            onChange={chosen => {
              chooseColumns(chosen)
              setColumns(chosen)
            }}
          />
          <ListTools filter={filter} change={change} />
        </div>
      </div>
      <FilterBar filter={filter} change={change} first={firstFilter} />
      <div className={`split ${opened === undefined ? '' : 'open'}`}>
        <div className="list">
          {feed.error !== undefined && <Failure error={feed.error} retry={() => feed.loadOlder()} />}
          {feed.count > 0 && (
            <EventGrid
              feed={feed}
              columns={columns}
              selected={opened ?? selected}
              onSelect={select}
              onOpen={open}
              isAtTop={isAtTop}
              onTopChange={setAtTop}
              place={grid}
            />
          )}
          <End feed={feed} isFiltered={Object.keys(filter).length > 0} />
        </div>
        {opened !== undefined && <EventDetail key={opened} id={opened} onClose={close} />}
      </div>
    </div>
  )
}

/** One feed for each question, for as long as it is asked. */
function useFeed(filter: string): Feed {
  const [feed, setFeed] = useState(() => new Feed(JSON.parse(filter)))
  const [current, setCurrent] = useState(filter)
  if (current !== filter) {
    setCurrent(filter)
    setFeed(new Feed(JSON.parse(filter)))
  }
  useEffect(() => {
    feed.start()
    return () => feed.close()
  }, [feed])
  useSyncExternalStore(feed.subscribe, () => feed.version)
  return feed
}

function Tail(props: {
  feed: Feed
  isPaused: boolean
  isAtTop: boolean
  onPause: (isPaused: boolean) => void
  onNewest: () => void
}) {
  const { feed, isPaused, isAtTop } = props
  const isHeld = isPaused || !isAtTop
  return (
    <div className="tail" data-arrived={feed.arrived} data-tail={feed.stream}>
      <Button icon={isPaused ? 'play' : 'pause'} aria-pressed={isPaused} onClick={() => props.onPause(!isPaused)}>
        {isPaused ? 'Go on' : 'Pause'}
      </Button>
      {isHeld && feed.waitingRows > 0 ? (
        <Button kind="primary" onClick={props.onNewest}>
          {count(feed.waitingRows, 'new event')}
        </Button>
      ) : (
        <span className="hint">{tailState(feed, isPaused)}</span>
      )}
    </div>
  )
}

function tailState({ stream, arrived }: Feed, isPaused: boolean): string {
  if (stream === 'waiting')
    return 'Not live: other windows of this browser are. It goes on here when one of them is closed or hidden.'
  if (stream !== 'open') return stream === 'lost' ? 'Not live, trying again' : 'Connecting'
  if (isPaused) return 'Paused, nothing new'
  return arrived === 0 ? 'Live' : `Live, ${number(arrived)} arrived`
}

function End({ feed, isFiltered }: { feed: Feed; isFiltered: boolean }) {
  if (feed.isStarting && feed.error === undefined) return <Loading what="events" />
  if (feed.count === 0 && feed.hasOlder && feed.error === undefined)
    return <Loading what="events, the trail is searched" />
  if (feed.count === 0 && feed.error === undefined) {
    return (
      <Empty title={isFiltered ? 'No event matches' : 'No events yet'}>
        {isFiltered ? 'Take a filter away, or choose a longer time. New ones will appear here.' : 'They appear here.'}
      </Empty>
    )
  }
  return null
}
