/**
 * The rows: as many as there are, as few in the page as fit the screen.
 *
 * Browsers run out of pixels at some hundred thousand of them, so only a part of the list has any. It is laid anew around where one
 * looks when one comes near one of its ends: the virtualizer knows rows by their keys, and keeps what one sees where it is before
 * anything is painted. It does the same when rows are added on top while one reads further down.
 */
import { FlexRender, useTable } from '@tanstack/react-table'
import { useVirtualizer } from '@tanstack/react-virtual'
import {
  type CSSProperties,
  type KeyboardEvent,
  memo,
  type RefObject,
  useCallback,
  useEffect,
  useLayoutEffect,
  useMemo,
  useRef,
  useState,
} from 'react'
import type { StoredEvent } from '../model.ts'
import { COLUMN_IDS, COLUMNS, type ColumnId, type EventRow, features, layOut } from './columns.tsx'
import { type Feed, HELD_ROWS } from './feed.ts'

export const ROW_PIXELS = 30
const NEAR_END_ROWS = 60
/** Rows that are held are always in the part, so keys find the selected one there. */
const PART_ROWS = 5 * HELD_ROWS

export function EventGrid(props: {
  feed: Feed
  columns: readonly ColumnId[]
  /** Of the selected event. */
  selected: number | undefined
  onSelect: (event: StoredEvent) => void
  onOpen: (event: StoredEvent) => void
  /** Then what is added on top comes into sight. */
  isAtTop: boolean
  onTopChange: (isAtTop: boolean) => void
  place: RefObject<HTMLDivElement | null>
}) {
  const { feed, place, columns, isAtTop, onTopChange, onSelect } = props
  /** The first row of the part. */
  const [base, setBase] = useState(0)
  /** Gone to by key while it was not loaded: it is selected when it is there. */
  const [awaited, setAwaited] = useState<number>()
  const { addedOnTop } = feed
  const virtual = useVirtualizer({
    count: Math.max(0, Math.min(feed.count - base, PART_ROWS)),
    getScrollElement: () => place.current,
    estimateSize: () => ROW_PIXELS,
    getItemKey: useCallback((n: number) => base + n - addedOnTop, [base, addedOnTop]),
    anchorTo: isAtTop ? 'start' : 'end', // `end` is to stay where one is, whatever comes before
    scrollPaddingEnd: ROW_PIXELS, // the heads cover so much
    overscan: 16,
  })
  const items = virtual.getVirtualItems()
  const width = useWidth(place)
  const layout = useMemo(() => layOut(width, columns), [width, columns])
  // The table knows the rows in sight only: their order, and which there are, is the feed's.
  const shown = items.map(({ index }) => feed.row(base + index))
  const table = useTable({
    features,
    columns: COLUMNS,
    data: useSame(shown.filter(event => event !== undefined)),
    getRowId: ({ id }) => String(id),
    state: { columnVisibility: layout.visibility },
  })
  const rows = new Map(table.getRowModel().rows.map(row => [row.original, row]))
  /** Scrolled away, or not loaded again yet, it is no element of the page. */
  const isSelectedHere = props.selected !== undefined && shown.some(event => event?.id === props.selected)
  const first = base + (virtual.range?.startIndex ?? 0)
  const last = base + (items.at(-1)?.index ?? 0)
  useLayoutEffect(() => setBase(isAtTop ? 0 : partAround(first, base, feed.count)))
  useEffect(() => onTopChange(true), [onTopChange]) // another list may have been left further down
  useEffect(() => feed.look(first), [feed, first])
  useEffect(() => {
    if (last >= feed.count - NEAR_END_ROWS) void feed.loadOlder()
  }, [feed, last, feed.count])

  const found = awaited === undefined ? undefined : feed.row(awaited)
  useEffect(() => {
    if (found === undefined) return
    setAwaited(undefined)
    onSelect(found)
  })

  function move(by: number): void {
    const at = props.selected === undefined ? -1 : feed.indexOf(props.selected)
    goTo(at === -1 ? first : at + by)
  }

  /** To the first or the last one where there is no such row; what is older than the last is loaded as one comes near it. */
  function goTo(index: number): void {
    const next = Math.max(0, Math.min(feed.count - 1, index))
    const event = feed.row(next)
    if (next === 0) onTopChange(true)
    // Not `scrollToIndex`, which goes on looking for that index when it is another row's in another part.
    const inPart = Math.max(0, Math.min(virtual.options.count - 1, next - base))
    const [top = 0] = virtual.getOffsetForIndex(inPart) ?? []
    place.current?.scrollTo({ top })
    setAwaited(event === undefined ? next : undefined)
    if (event !== undefined) onSelect(event)
  }

  function keyed(event: KeyboardEvent): void {
    const rows = Math.max(1, Math.floor((place.current?.clientHeight ?? 0) / ROW_PIXELS) - 2)
    const step = { j: 1, ArrowDown: 1, k: -1, ArrowUp: -1, PageDown: rows, PageUp: -rows }[event.key]
    if (step !== undefined) move(step)
    else if (event.key === 'Home') goTo(0)
    else if (event.key === 'End') goTo(feed.count - 1)
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
      className={`grid ${layout.isNarrow ? 'narrow' : ''} ${layout.hasDate ? 'dated' : ''}`}
      style={{ '--columns': layout.template } as CSSProperties}
      role="grid"
      aria-label="Events, newest first"
      aria-rowcount={feed.hasOlder ? -1 : feed.count + 1}
      aria-colcount={COLUMN_IDS.length}
      aria-activedescendant={isSelectedHere ? `event-${props.selected}` : undefined}
      tabIndex={0}
      onKeyDown={keyed}
      onScroll={({ currentTarget }) => onTopChange(base === 0 && currentTarget.scrollTop < ROW_PIXELS / 2)}
    >
      {/* biome-ignore lint/a11y/useSemanticElements: see above */}
      {/* biome-ignore lint/a11y/useFocusableInteractive: the grid has the focus */}
      <div className="head" role="row" aria-rowindex={1}>
        {table.getHeaderGroups()[0]?.headers.map(header => (
          // biome-ignore lint/a11y/useSemanticElements: see above
          // biome-ignore lint/a11y/useFocusableInteractive: see above
          <span key={header.id} role="columnheader" aria-colindex={columnIndex(header.id)} data-column={header.id}>
            <FlexRender header={header} />
          </span>
        ))}
      </div>
      {/* biome-ignore lint/a11y/useSemanticElements: see above */}
      <div className="rows" role="rowgroup" style={{ blockSize: `${virtual.getTotalSize()}px` }}>
        {items.map(({ index: inPart, start }, n) => {
          const index = base + inPart
          const event = shown[n]
          const row = event && rows.get(event)
          return row === undefined ? (
            // biome-ignore lint/a11y/useSemanticElements: see above
            // biome-ignore lint/a11y/useFocusableInteractive: see above
            <div key={`row-${index}`} className="row waiting" role="row" aria-rowindex={index + 2} style={at(start)}>
              {/* biome-ignore lint/a11y/useSemanticElements: see above */}
              {/* biome-ignore lint/a11y/useFocusableInteractive: see above */}
              <span role="gridcell">Loading</span>
            </div>
          ) : (
            <GridRow
              key={row.id}
              row={row}
              layout={layout.template}
              index={index}
              start={start}
              isSelected={row.original.id === props.selected}
              onOpen={props.onOpen}
            />
          )
        })}
      </div>
    </div>
  )
}

/** The first row of the part for who looks at row `first`, when it was `base`. */
function partAround(first: number, base: number, count: number): number {
  const isNearTop = base > 0 && first - base < PART_ROWS / 4
  const isNearEnd = base + PART_ROWS < count && first - base > (PART_ROWS * 3) / 4
  return isNearTop || isNearEnd ? Math.max(0, Math.min(first, count) - PART_ROWS / 2) : base
}

function at(start: number) {
  return { transform: `translateY(${start}px)` }
}

interface GridRowProps {
  row: EventRow
  layout: string
  index: number
  start: number
  isSelected: boolean
  onOpen: (event: StoredEvent) => void
}

const GridRow = memo(function GridRow({ row, index, start, isSelected, onOpen }: GridRowProps) {
  const event = row.original
  return (
    // biome-ignore lint/a11y/useSemanticElements: see the grid
    // biome-ignore lint/a11y/useFocusableInteractive: see the grid
    // biome-ignore lint/a11y/useKeyWithClickEvents: the grid has the keys
    <div
      id={`event-${event.id}`}
      className={`row ${event.severity.toLowerCase()} ${isSelected ? 'selected' : ''}`}
      role="row"
      aria-rowindex={index + 2}
      aria-selected={isSelected}
      style={at(start)}
      onClick={() => onOpen(event)}
    >
      {row.getVisibleCells().map(cell => (
        // biome-ignore lint/a11y/useSemanticElements: see the grid
        // biome-ignore lint/a11y/useFocusableInteractive: see the grid
        <span key={cell.id} role="gridcell" aria-colindex={columnIndex(cell.column.id)} data-column={cell.column.id}>
          <FlexRender cell={cell} />
        </span>
      ))}
    </div>
  )
}, isSameRow)

/** The table makes its rows anew with each change; what they are made from stays. */
function isSameRow(a: GridRowProps, b: GridRowProps): boolean {
  return (
    a.row.original === b.row.original &&
    a.layout === b.layout &&
    a.index === b.index &&
    a.start === b.start &&
    a.isSelected === b.isSelected &&
    a.onOpen === b.onOpen
  )
}

/** Of the rows, without the scroll bar. */
function useWidth(place: RefObject<HTMLDivElement | null>): number {
  const [width, setWidth] = useState(0)
  useLayoutEffect(() => {
    const box = place.current
    if (box === null) return
    const measure = () => setWidth(box.clientWidth)
    measure()
    const observer = new ResizeObserver(measure)
    observer.observe(box)
    return () => observer.disconnect()
  }, [place])
  return width
}

function columnIndex(id: string): number {
  return COLUMN_IDS.indexOf(id as ColumnId) + 1
}

/** The array of before while it has the same in it: another one is another table. */
function useSame<T>(list: T[]): T[] {
  const before = useRef(list)
  const isSame = list.length === before.current.length && list.every((item, n) => item === before.current[n])
  if (!isSame) before.current = list
  return before.current
}
