/** The rows: as many as there are, as few in the page as fit the screen. */
import { useVirtualizer } from '@tanstack/react-virtual'
import { type KeyboardEvent, memo, type RefObject, useEffect, useLayoutEffect, useRef } from 'react'
import type { StoredEvent } from '../model.ts'
import { cut, printable, utc, words } from '../text.ts'
import { SeverityMark } from '../ui/parts.tsx'
import type { Feed } from './feed.ts'

export const ROW_PIXELS = 30
const NEAR_END_ROWS = 60
const SHOWN_CHARACTERS = 300
const COLUMNS = ['Time (UTC)', 'Severity', 'Action', 'Who', 'Address', 'Reason', 'Description', 'Id']

export interface GridHandle {
  scrollToTop(): void
}

export function EventGrid(props: {
  feed: Feed
  /** Of the selected event. */
  selected: number | undefined
  onSelect: (event: StoredEvent) => void
  onOpen: (event: StoredEvent) => void
  onTopChange: (isAtTop: boolean) => void
  place: RefObject<HTMLDivElement | null>
}) {
  const { feed, place } = props
  const virtual = useVirtualizer({
    count: feed.count,
    getScrollElement: () => place.current,
    estimateSize: () => ROW_PIXELS,
    overscan: 16,
  })
  const items = virtual.getVirtualItems()
  const first = items[0]?.index ?? 0
  const last = items.at(-1)?.index ?? 0
  useStablePlace(feed, place)
  useEffect(() => feed.look(first), [feed, first])
  useEffect(() => {
    if (last >= feed.count - NEAR_END_ROWS) void feed.loadOlder()
  }, [feed, last, feed.count])

  function move(by: number): void {
    const at = props.selected === undefined ? -1 : feed.indexOf(props.selected)
    const next = Math.max(0, Math.min(feed.count - 1, at === -1 ? first : at + by))
    const event = feed.row(next)
    virtual.scrollToIndex(next, { align: 'auto' })
    if (event !== undefined) props.onSelect(event)
  }

  function keyed(event: KeyboardEvent): void {
    const rows = Math.max(1, Math.floor((place.current?.clientHeight ?? 0) / ROW_PIXELS) - 2)
    const step = { j: 1, ArrowDown: 1, k: -1, ArrowUp: -1, PageDown: rows, PageUp: -rows, Home: -feed.count }[event.key]
    if (step !== undefined) move(step)
    else if (event.key === 'Enter' && props.selected !== undefined) {
      const row = feed.row(feed.indexOf(props.selected))
      if (row !== undefined) props.onOpen(row)
    } else return
    event.preventDefault()
    event.stopPropagation()
  }

  return (
    // biome-ignore lint/a11y/useSemanticElements: rows of a table cannot be placed one by one
    <div
      ref={place}
      className="grid"
      role="grid"
      aria-label="Events, newest first"
      aria-rowcount={feed.hasOlder ? -1 : feed.count + 1}
      aria-colcount={COLUMNS.length}
      aria-activedescendant={props.selected === undefined ? undefined : `event-${props.selected}`}
      tabIndex={0}
      onKeyDown={keyed}
      onScroll={({ currentTarget }) => props.onTopChange(currentTarget.scrollTop < ROW_PIXELS / 2)}
    >
      {/* biome-ignore lint/a11y/useSemanticElements: see above */}
      {/* biome-ignore lint/a11y/useFocusableInteractive: the grid has the focus */}
      <div className="head" role="row" aria-rowindex={1}>
        {COLUMNS.map(column => (
          // biome-ignore lint/a11y/useSemanticElements: see above
          // biome-ignore lint/a11y/useFocusableInteractive: see above
          <span key={column} role="columnheader">
            {column}
          </span>
        ))}
      </div>
      {/* biome-ignore lint/a11y/useSemanticElements: see above */}
      <div className="rows" role="rowgroup" style={{ blockSize: `${virtual.getTotalSize()}px` }}>
        {items.map(({ index, start }) => {
          const event = feed.row(index)
          return event === undefined ? (
            // biome-ignore lint/a11y/useSemanticElements: see above
            // biome-ignore lint/a11y/useFocusableInteractive: see above
            <div key={`row-${index}`} className="row waiting" role="row" aria-rowindex={index + 2} style={at(start)}>
              {/* biome-ignore lint/a11y/useSemanticElements: see above */}
              {/* biome-ignore lint/a11y/useFocusableInteractive: see above */}
              <span role="gridcell">Loading</span>
            </div>
          ) : (
            <Row
              key={event.id}
              event={event}
              index={index}
              start={start}
              isSelected={event.id === props.selected}
              onOpen={props.onOpen}
            />
          )
        })}
      </div>
    </div>
  )
}

function at(start: number) {
  return { transform: `translateY(${start}px)` }
}

const Row = memo(function Row(props: {
  event: StoredEvent
  index: number
  start: number
  isSelected: boolean
  onOpen: (event: StoredEvent) => void
}) {
  const { event } = props
  const cells = [
    <time key="time" dateTime={event.date_time}>
      <span className="date">{utc(event.date_time).slice(0, 11)}</span>
      {utc(event.date_time).slice(11)}
    </time>,
    <SeverityMark key="severity" severity={event.severity} />,
    words(event.action),
    foreign(event.who),
    foreign(event.ip),
    event.reason_code === null ? '' : foreign(event.reason_code),
    foreign(event.description),
    event.id,
  ]
  return (
    // biome-ignore lint/a11y/useSemanticElements: see the grid
    // biome-ignore lint/a11y/useFocusableInteractive: see the grid
    // biome-ignore lint/a11y/useKeyWithClickEvents: the grid has the keys
    <div
      id={`event-${event.id}`}
      className={`row ${event.severity.toLowerCase()} ${props.isSelected ? 'selected' : ''}`}
      role="row"
      aria-rowindex={props.index + 2}
      aria-selected={props.isSelected}
      style={at(props.start)}
      onClick={() => props.onOpen(event)}
    >
      {cells.map((cell, n) => (
        // biome-ignore lint/a11y/useSemanticElements: see the grid
        // biome-ignore lint/a11y/useFocusableInteractive: see the grid
        <span key={COLUMNS[n]} role="gridcell">
          {cell}
        </span>
      ))}
    </div>
  )
})

function foreign(text: string) {
  return <bdi>{printable(cut(text, SHOWN_CHARACTERS))}</bdi>
}

/** Rows that come on top while one reads further down must not push what is read. */
function useStablePlace(feed: Feed, place: RefObject<HTMLDivElement | null>): void {
  const before = useRef({ feed, top: 0 })
  useLayoutEffect(() => {
    const added = before.current.feed === feed ? feed.addedOnTop - before.current.top : 0
    before.current = { feed, top: feed.addedOnTop }
    const box = place.current
    if (box !== null && added > 0 && box.scrollTop > 0) box.scrollTop += added * ROW_PIXELS
  })
}
