/** Text tables: columns as wide as their content, the elastic ones cut so that a row fits the line. */

import { escapeUnprintable } from '../audit/redaction.ts'
import type { Terminal } from './terminal.ts'

export interface Column {
  readonly title: string
  readonly align?: 'right'
  /** May be cut when the line is too short; the others stay whole. */
  readonly isElastic?: boolean
  /** Shown only where a line holds at least so many characters. */
  readonly from?: number
}

const GAP = '  '
const ELASTIC_CHARACTERS_MIN = 12

/** The lines of a table, title line first; none is longer than allowed. Cells must be printable text. */
function tableLines(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
  lineCharactersMax: number,
): string[] {
  const isShown = (_: unknown, i: number) => (columns[i]?.from ?? 0) <= lineCharactersMax
  const shown = columns.filter(isShown)
  const titles = shown.map(column => column.title)
  const cells = rows.map(row => row.filter(isShown))
  const widths = titles.map((title, i) =>
    cells.reduce((width, row) => Math.max(width, (row[i] ?? '').length), title.length),
  )
  fit(shown, widths, lineCharactersMax)
  return [titles, ...cells].map(row => cut(line(shown, widths, row), lineCharactersMax))
}

/** Takes from the elastic columns what the line has too little of, the last one first. */
function fit(columns: readonly Column[], widths: number[], lineCharactersMax: number): void {
  const gaps = GAP.length * (columns.length - 1)
  let excess = widths.reduce((sum, width) => sum + width, gaps) - lineCharactersMax
  for (let i = columns.length - 1; i >= 0 && excess > 0; i--) {
    const width = widths[i] as number
    if (columns[i]?.isElastic !== true || width <= ELASTIC_CHARACTERS_MIN) continue
    const taken = Math.min(excess, width - ELASTIC_CHARACTERS_MIN)
    widths[i] = width - taken
    excess -= taken
  }
}

function line(columns: readonly Column[], widths: readonly number[], row: readonly string[]): string {
  const cells = columns.map((column, i) => {
    const width = widths[i] as number
    const cell = cut(row[i] ?? '', width)
    return column.align === 'right' ? cell.padStart(width) : cell.padEnd(width)
  })
  return cells.join(GAP).trimEnd()
}

export function cut(text: string, charactersMax: number): string {
  return text.length <= charactersMax ? text : `${text.slice(0, charactersMax - 1)}…`
}

/** A table with an empty line before it; none for no rows. Cells may hold event data. */
export function printTable(terminal: Terminal, columns: readonly Column[], rows: readonly (readonly string[])[]): void {
  if (rows.length === 0) return
  const [titles = '', ...lines] = tableLines(
    columns,
    rows.map(row => row.map(escapeUnprintable)),
    terminal.columns,
  )
  terminal.print()
  terminal.print(terminal.paint('bold', titles))
  for (const line of lines) terminal.print(line)
}
