/** The filters of the API, as the URL has them, and the same question for a shell, a database and a spreadsheet. */
import { query } from '../api.ts'
import type { Params } from '../url.ts'
import type { Filter } from './feed.ts'

export const FILTERS = [
  'who',
  'ip',
  'action',
  'severity',
  'reason_code',
  'request_id',
  'start_time',
  'end_time',
] as const
export type FilterName = (typeof FILTERS)[number]
export type FilterChange = (change: Partial<Record<FilterName, string>>) => void

export function filterOf(params: Params): Filter {
  return Object.fromEntries(
    FILTERS.flatMap(name => {
      const value = params[name]
      return value === undefined || value === '' ? [] : [[name, value]]
    }),
  )
}

export function exportAddress(filter: Filter, format: 'csv' | 'ndjson'): string {
  return `/audit/export${query({ ...filter, format })}`
}

export function asCurl(filter: Filter): string {
  return `curl -H "X-Admin-Key: $ADMIN_KEY" ${forShell(`${location.origin}/audit/events${query(filter)}`)}`
}

export function asCommand(filter: Filter): string {
  const options = Object.entries(filter).map(([name, value]) => `--${name.replaceAll('_', '-')} ${forShell(value)}`)
  return ['npx ev-central query', ...options].join(' ')
}

const LISTS: ReadonlySet<string> = new Set(['action', 'severity', 'reason_code'])

export function asSql(filter: Filter): string {
  const conditions = Object.entries(filter).map(([name, value]) => {
    if (name === 'start_time') return `date_time >= ${forSql(asStored(value))}`
    if (name === 'end_time') return `date_time < ${forSql(asStored(value))}`
    return LISTS.has(name) ? `${name} IN (${value.split(',').map(forSql).join(', ')})` : `${name} = ${forSql(value)}`
  })
  const where = conditions.length === 0 ? '' : ` WHERE ${conditions.join(' AND ')}`
  return `SELECT * FROM audit_events${where} ORDER BY id DESC LIMIT 100;`
}

/** Times of the trail are compared as text: in UTC, with milliseconds. */
function asStored(time: string): string {
  const at = new Date(time)
  return Number.isNaN(at.getTime()) ? time : at.toISOString()
}

function forShell(text: string): string {
  return /^[\w:./?=&,%@+-]+$/.test(text) && !/[?&]/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`
}

function forSql(text: string): string {
  return `'${text.replaceAll("'", "''")}'`
}

const STORED = 'evc-saved-filters'

export interface SavedFilter {
  readonly name: string
  readonly filter: Filter
}

/** Kept in this browser. */
export function savedFilters(): SavedFilter[] {
  try {
    const parsed: unknown = JSON.parse(localStorage.getItem(STORED) ?? '[]')
    return Array.isArray(parsed) ? parsed.filter(entry => typeof entry?.name === 'string') : []
  } catch {
    return []
  }
}

export function saveFilter(name: string, filter: Filter): void {
  const others = savedFilters().filter(saved => saved.name !== name)
  localStorage.setItem(STORED, JSON.stringify([...others, { name, filter }]))
}

export function forgetFilter(name: string): void {
  localStorage.setItem(STORED, JSON.stringify(savedFilters().filter(saved => saved.name !== name)))
}
