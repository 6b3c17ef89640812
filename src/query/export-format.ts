/**
 * Events as text: NDJSON (one object with the 14 columns a line) and CSV (RFC 4180, CRLF, header in the first chunk).
 *
 * A CSV cell that a spreadsheet would run as a formula (beginning with = + - @, in full width too, tab or carriage return) gets
 * a leading apostrophe, and so does what follows a `;` or tab: half of the spreadsheets of this world begin a new cell there,
 * quoted or not. The cell `-`, which stands for "no address", is no formula and stays.
 */
import { COLUMNS, type StoredEvent } from '../event/event.ts'
import type { ExportFormat } from './event-queries.ts'

export function formatEvents(events: readonly StoredEvent[], format: ExportFormat, isFirst: boolean): string {
  if (format === 'ndjson') return events.map(event => `${JSON.stringify(event)}\n`).join('')
  const header = isFirst ? `${COLUMNS.join(',')}\r\n` : ''
  return header + events.map(csvLine).join('')
}

const FORMULA = /(^|[;\t])(?=[=+\-@\t\r\uff0b\uff0d\uff1d\uff20])/g

function csvLine(event: StoredEvent): string {
  return `${COLUMNS.map(column => csvCell(event[column])).join(',')}\r\n`
}

function csvCell(value: string | number | null): string {
  if (value === null) return ''
  if (typeof value === 'number') return String(value)
  const text = value === '-' ? value : value.replace(FORMULA, "$1'")
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
}
