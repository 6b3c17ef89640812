/** The columns of the list of events: what each shows, how much room it needs, and which go first where there is too little. */
import { columnVisibilityFeature, createColumnHelper, type Row, tableFeatures } from '@tanstack/react-table'
import type { ReactNode } from 'react'
import type { StoredEvent } from '../model.ts'
import { cut, localTime, printable, utc, words } from '../text.ts'
import { SeverityMark } from '../ui/parts.tsx'

interface Spec {
  readonly name: string
  /** What it needs. */
  readonly pixels: number
  /** Of what is left when all have their pixels. */
  readonly share?: number
  readonly cell: (event: StoredEvent) => ReactNode
}

const SPECS = {
  date_time: { name: 'Time (UTC)', pixels: 92, cell: ({ date_time }) => <Moment at={date_time} /> },
  severity: { name: 'Severity', pixels: 78, cell: ({ severity }) => <SeverityMark severity={severity} /> },
  action: { name: 'Action', pixels: 118, cell: ({ action }) => words(action) },
  who: { name: 'Who', pixels: 100, share: 1.1, cell: ({ who }) => foreign(who) },
  ip: { name: 'Address', pixels: 116, cell: ({ ip }) => foreign(ip) },
  reason_code: { name: 'Reason', pixels: 172, share: 0.8, cell: ({ reason_code }) => foreign(reason_code) },
  description: { name: 'Description', pixels: 160, share: 3, cell: ({ description }) => foreign(description) },
  request_id: { name: 'Request', pixels: 250, cell: ({ request_id }) => foreign(request_id) },
  endpoint: { name: 'Endpoint', pixels: 140, share: 0.6, cell: ({ endpoint }) => foreign(endpoint) },
  http_method: { name: 'Method', pixels: 54, cell: ({ http_method }) => foreign(http_method) },
  status_code: { name: 'Answer', pixels: 50, cell: ({ status_code }) => status_code },
  id: { name: 'Id', pixels: 84, cell: ({ id }) => id },
} satisfies Partial<Record<keyof StoredEvent, Spec>>

export type ColumnId = keyof typeof SPECS
export const COLUMN_IDS = Object.keys(SPECS) as ColumnId[]
export const columnName = (id: ColumnId) => SPECS[id].name

export const features = tableFeatures({ columnVisibilityFeature })
export type EventRow = Row<typeof features, StoredEvent>
const column = createColumnHelper<typeof features, StoredEvent>()
export const COLUMNS = COLUMN_IDS.map(id =>
  column.display({ id, header: SPECS[id].name, cell: ({ row }) => SPECS[id].cell(row.original) }),
)

const SHOWN_CHARACTERS = 300

/** Without the first three a row says nothing: they can be hidden by nobody, and always have room. */
const ALWAYS: readonly ColumnId[] = ['date_time', 'severity', 'action']
export const OPTIONAL = COLUMN_IDS.filter(id => !ALWAYS.includes(id))
const AT_FIRST: readonly ColumnId[] = ['who', 'ip', 'reason_code', 'description', 'id']
/** The order in which they go: what somebody chose stays longest. */
const FIRST_TO_GO: readonly ColumnId[] = [
  'id',
  'description',
  'reason_code',
  'ip',
  'http_method',
  'status_code',
  'endpoint',
  'request_id',
  'who',
]

const GAP = 12
const DATE_PIXELS = 80
/** Below it the time has no milliseconds, and a severity is its shape alone. */
const NARROW = 480
const NARROW_GAP = 8
const NARROW_PIXELS: Partial<Record<ColumnId, number>> = { date_time: 66, severity: 12, action: 80, who: 84 }

export interface Layout {
  readonly visibility: Readonly<Record<string, boolean>>
  /** As `grid-template-columns`. */
  readonly template: string
  readonly isNarrow: boolean
  readonly hasDate: boolean
}

/** As many of the chosen columns as `width` has room for. */
export function layOut(width: number, chosen: readonly ColumnId[]): Layout {
  const isNarrow = width < NARROW
  const gap = isNarrow ? NARROW_GAP : GAP
  const pixels = (id: ColumnId) => (isNarrow && NARROW_PIXELS[id]) || SPECS[id].pixels
  const needed = (ids: readonly ColumnId[]) => ids.reduce((sum, id) => sum + pixels(id) + gap, gap)
  let shown = COLUMN_IDS.filter(id => ALWAYS.includes(id) || chosen.includes(id))
  for (const id of FIRST_TO_GO) if (needed(shown) > width) shown = shown.filter(other => other !== id)
  const hasDate = needed(shown) + DATE_PIXELS <= width
  const track = (id: ColumnId) => {
    const least = pixels(id) + (id === 'date_time' && hasDate ? DATE_PIXELS : 0)
    const { share }: Spec = SPECS[id]
    return share === undefined && !(isNarrow && id === 'action') ? `${least}px` : `minmax(${least}px, ${share ?? 1}fr)`
  }
  return {
    visibility: Object.fromEntries(COLUMN_IDS.map(id => [id, shown.includes(id)])),
    template: shown.map(track).join(' '),
    isNarrow,
    hasDate,
  }
}

const STORED = 'evc-event-columns'

/** Kept in this browser. */
export function chosenColumns(): ColumnId[] {
  const stored = localStorage.getItem(STORED)?.split(',')
  return stored === undefined ? [...AT_FIRST] : OPTIONAL.filter(id => stored.includes(id))
}

export function chooseColumns(chosen: readonly ColumnId[]): void {
  localStorage.setItem(STORED, chosen.join(','))
}

function Moment({ at }: { at: string }) {
  const [, date = '', time = '', part = ''] = /^(\S+) ([^.]+)(.*)$/.exec(utc(at)) ?? []
  return (
    <time dateTime={at} title={`${localTime(at)} here`}>
      <span className="date">{date} </span>
      {time}
      <span className="part">{part}</span>
    </time>
  )
}

function foreign(text: string | null) {
  return text === null ? '' : <bdi>{printable(cut(text, SHOWN_CHARACTERS))}</bdi>
}
