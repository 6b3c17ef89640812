/**
 * Rows on their way into PostgreSQL: how an event is spelled there, and as lines of COPY (measured: a fifth faster than arrays
 * with unnest, and far from single rows).
 *
 * PostgreSQL cannot keep everything that SQLite can. A NUL becomes the six characters `\u0000`, as the audit stage spells it
 * already, and an indexed text too long for an index page is cut; so no row can stop the log. The leaf is made of what is stored.
 */
import type { AuditEvent } from '../event/event.ts'
import type { Row } from './event-store.ts'

/** A row whose line is ready but for its id, which is the last column of it. */
export interface PreparedRow {
  readonly event: AuditEvent
  readonly createdAt: string
  readonly record: string | undefined
  readonly key: Buffer | null
  readonly line: string
}

/** In the order of the lines. */
export const COPY_ROWS = `COPY audit_events (date_time, who, ip, action, description, severity, reason_code, request_id, endpoint,
  http_method, status_code, metadata_json, created_at, id) FROM STDIN`

/** An entry of a B-tree has at most 2,704 bytes, and a character at most 3 (of UTF-16, so 4 for two). */
const INDEXED_CHARACTERS_MAX = 800
const INDEXED = ['date_time', 'who', 'ip', 'action', 'severity', 'request_id'] as const
const NUL = '\u0000'

export function prepareRow({ event: given, onceKey, record, createdAt }: Row, now: string): PreparedRow {
  const event = isPlain(record) ? given : spell(given)
  const stamp = spellText(createdAt ?? now)
  return {
    event,
    createdAt: stamp,
    record: event === given ? record : undefined,
    key: onceKey === null ? null : keyBytes(onceKey),
    line: formatLine(event, stamp),
  }
}

/**
 * Whether nothing of the event has to be spelled otherwise, as its record is too short for that and JSON would escape a NUL: nearly all.
 */
function isPlain(record: string | undefined): boolean {
  return record !== undefined && record.length <= INDEXED_CHARACTERS_MAX && !record.includes('\\u0000')
}

/** The same object when there is nothing to change. */
function spell(event: AuditEvent): AuditEvent {
  const values = Object.values(event)
  const isLong = INDEXED.some(column => (event[column]?.length ?? 0) > INDEXED_CHARACTERS_MAX)
  if (!isLong && !values.some(value => typeof value === 'string' && value.includes(NUL))) return event
  const spelled = Object.fromEntries(
    Object.entries(event).map(([column, value]) => [column, typeof value === 'string' ? spellText(value) : value]),
  ) as unknown as AuditEvent
  const cut = INDEXED.map(column => [column, cutText(spelled[column])])
  return { ...spelled, ...Object.fromEntries(cut) }
}

const spellText = (text: string) => (text.includes(NUL) ? text.replaceAll(NUL, '\\u0000') : text)

function cutText(text: string | null): string | null {
  return text === null || text.length <= INDEXED_CHARACTERS_MAX
    ? text
    : `${text.slice(0, INDEXED_CHARACTERS_MAX - 1).toWellFormed()}…`
}

const SPECIAL = /[\\\t\n\r]/
const ESCAPES: Record<string, string> = { '\\': '\\\\', '\t': '\\t', '\n': '\\n', '\r': '\\r' }

/** A value as a column of a line of COPY. */
export function formatField(value: string | number | null): string {
  if (value === null) return '\\N'
  if (typeof value === 'number') return String(value)
  return SPECIAL.test(value) ? value.replace(/[\\\t\n\r]/g, character => ESCAPES[character] as string) : value
}

function formatLine(e: AuditEvent, createdAt: string): string {
  return `${formatField(e.date_time)}\t${formatField(e.who)}\t${formatField(e.ip)}\t${formatField(e.action)}\t${formatField(e.description)}\t${formatField(e.severity)}\t${formatField(e.reason_code)}\t${formatField(e.request_id)}\t${formatField(e.endpoint)}\t${formatField(e.http_method)}\t${formatField(e.status_code)}\t${formatField(e.metadata_json)}\t${formatField(createdAt)}\t`
}

/** @param firstId of the first row; the others follow */
export function formatLines(rows: readonly PreparedRow[], firstId: number): Uint8Array {
  let text = ''
  let id = firstId
  for (const { line } of rows) text += `${line}${id++}\n`
  return Buffer.from(text)
}

/** UUIDs and digests as their bytes; any other key as it is, so that two keys are never taken for one. */
function keyBytes(key: string): Buffer {
  const digits = key.replaceAll('-', '')
  return /^(?:[0-9a-f]{2})+$/i.test(digits) ? Buffer.from(digits, 'hex') : Buffer.from(key)
}
