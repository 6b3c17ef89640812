/**
 * Events as lines for a person, as NDJSON and as CSV. Whatever an event holds, nothing of it can act on the terminal:
 * control, ANSI and bidirectional characters are shown escaped in all three forms.
 */
import { escapeUnprintable } from '../audit/redaction.ts'
import type { Severity } from '../event/catalogue.ts'
import type { StoredEvent } from '../event/event.ts'
import { formatEvents } from '../query/export-format.ts'
import { cut } from './table.ts'
import type { Style, Terminal } from './terminal.ts'

export type EventFormat = 'table' | 'json' | 'csv'

const SEVERITY_STYLE: Readonly<Record<Severity, Style | undefined>> = {
  INFO: undefined,
  WARN: 'yellow',
  ERROR: 'red',
  CRITICAL: 'red',
}

/** Below this, a line has no room for severity (its colour stays) and address. */
const ROOMY_COLUMNS = 110

interface Cell {
  readonly title: string
  readonly width: number
  readonly text: (event: StoredEvent) => string
}

const ROOMY: readonly Cell[] = [
  { title: 'id', width: 7, text: event => String(event.id) },
  { title: 'time (UTC)', width: 23, text: event => event.date_time.replace('T', ' ').replace('Z', '') },
  { title: 'severity', width: 8, text: event => event.severity },
  { title: 'action', width: 16, text: event => event.action },
  { title: 'who', width: 16, text: event => event.who },
  { title: 'ip', width: 15, text: event => event.ip },
  { title: 'what', width: Number.POSITIVE_INFINITY, text: whatHappened },
]

const NARROW: readonly Cell[] = [
  { title: 'id', width: 7, text: event => String(event.id) },
  { title: 'time (UTC)', width: 14, text: event => event.date_time.slice(5, 19).replace('T', ' ') },
  { title: 'action', width: 16, text: event => event.action },
  { title: 'who', width: 16, text: event => event.who },
  { title: 'what', width: Number.POSITIVE_INFINITY, text: event => event.reason_code ?? event.description },
]

export function eventTitles(terminal: Terminal): string {
  return terminal.paint(
    'bold',
    joinCells(cellsFor(terminal), cell => cell.title, terminal.columns),
  )
}

/** One line, without its newline. On a terminal it is as long as the screen is wide; in a pipe nothing is cut. */
export function eventLine(event: StoredEvent, terminal: Terminal): string {
  const line = joinCells(cellsFor(terminal), cell => escapeUnprintable(cell.text(event)), terminal.columns)
  const style = SEVERITY_STYLE[event.severity]
  return style === undefined ? line : terminal.paint(style, line)
}

/** @param isFirst whether these are the first of the output: CSV begins with the names of the columns. */
export function eventsAsData(events: readonly StoredEvent[], format: 'json' | 'csv', isFirst: boolean): string {
  if (format === 'csv') return formatEvents(events.map(withPrintableTexts), 'csv', isFirst)
  // In JSON text the escapes of unprintable characters are JSON's own, so that a parser gets the original back.
  return events.map(event => `${escapeUnprintable(JSON.stringify(event))}\n`).join('')
}

function cellsFor(terminal: Terminal): readonly Cell[] {
  return terminal.columns >= ROOMY_COLUMNS ? ROOMY : NARROW
}

function joinCells(cells: readonly Cell[], text: (cell: Cell) => string, columns: number): string {
  const isBounded = Number.isFinite(columns)
  let line = ''
  for (const cell of cells) {
    const full = text(cell)
    if (cell.width === Number.POSITIVE_INFINITY) line += full
    else line += `${(isBounded ? cut(full, cell.width) : full).padEnd(cell.width)}  `
  }
  return isBounded ? cut(line, columns) : line
}

function whatHappened(event: StoredEvent): string {
  const { reason_code, description } = event
  return reason_code === null || description.includes(reason_code) ? description : `${reason_code}: ${description}`
}

function withPrintableTexts(event: StoredEvent): StoredEvent {
  const entries = Object.entries(event).map(([name, value]) => [
    name,
    typeof value === 'string' ? escapeUnprintable(value) : value,
  ])
  return Object.fromEntries(entries) as StoredEvent
}
