/**
 * One pass over the matching rows in PostgreSQL, in either order: windows of ids, each one statement.
 *
 * Within a window the planner has few rows to be wrong about: it walks the primary key where most rows match, and takes the
 * bitmap of an index, or of several, where few do. Windows grow while little is found, so that a rare value costs few statements
 * and a frequent one few rows; between two of them the clock is looked at.
 */
import type { StoredEvent } from '../event/event.ts'
import { COLUMNS } from '../event/event.ts'
import type { Session } from '../postgres/postgres.ts'
import type { EventFilter, EventPage } from './event-queries.ts'
import type { Deadline } from './id-streams.ts'
import type { IdRange, PostgresTimes } from './postgres-times.ts'
import { spellTime, timeRange } from './times.ts'
import type { WalkRequest } from './walk.ts'

export interface WalkWindows {
  /** Ids of the first window. */
  readonly ids: number
  /** Each is so many times larger than the one before, up to `idsMax`. */
  readonly factor: number
  readonly idsMax: number
}

export const WINDOWS: WalkWindows = { ids: 32_768, factor: 8, idsMax: 4_194_304 }

export interface Walked {
  readonly times: PostgresTimes
  readonly windows: WalkWindows
}

/** As `walkEvents` has it for SQLite. */
export async function walkPostgres(
  session: Session,
  { times, windows }: Walked,
  request: WalkRequest,
  deadline: Deadline,
): Promise<EventPage> {
  const { filter, order, limit, after } = request
  const isAscending = order === 'asc'
  const conditions = conditionsOf(filter)
  const present = await readIds(session)
  const within = {
    first: isAscending && after !== undefined ? Math.max(present.first, after + 1) : present.first,
    last: !isAscending && after !== undefined ? Math.min(present.last, after - 1) : present.last,
  }
  const events: StoredEvent[] = []
  for (const window of windowsOf(await idRanges(session, times, filter, within), isAscending, windows)) {
    const wanted = limit + 1 - events.length
    events.push(...(await readWindow(session, conditions, window, { isAscending, limit: wanted })))
    if (events.length > limit) return { events: events.slice(0, limit), next: events[limit - 1]?.id ?? null }
    const reached = isAscending ? window.last : window.first
    const isEnd = reached === (isAscending ? within.last : within.first)
    if (deadline.passed()) return { events, next: isEnd ? null : reached }
  }
  return { events, next: null }
}

/** The ids that there are: what is older has left. */
export async function readIds(session: Session): Promise<IdRange> {
  const sql = 'SELECT size, (SELECT min(first_id) FROM event_partitions) AS first FROM log_head'
  const { rows } = await session.query<{ size: number; first: number | null }>(sql, [], 'query: ids')
  return { first: rows[0]?.first ?? 1, last: rows[0]?.size ?? 0 }
}

/** Outside of them no row matches. */
export async function idRanges(
  session: Session,
  times: PostgresTimes,
  filter: EventFilter,
  within: IdRange,
): Promise<IdRange[]> {
  if (within.first > within.last) return []
  const range = timeRange(filter)
  return range === undefined ? [within] : times.idsOf(session, range, within)
}

function* windowsOf(ranges: readonly IdRange[], isAscending: boolean, { ids, factor, idsMax }: WalkWindows) {
  let length = ids
  for (const range of isAscending ? ranges : ranges.toReversed()) {
    let { first, last } = range
    while (first <= last) {
      const window = isAscending
        ? { first, last: Math.min(last, first + length - 1) }
        : { first: Math.max(first, last - length + 1), last }
      yield window
      if (isAscending) first = window.last + 1
      else last = window.first - 1
      length = Math.min(length * factor, idsMax)
    }
  }
}

async function readWindow(
  session: Session,
  { sql, values }: Conditions,
  { first, last }: IdRange,
  { isAscending, limit }: { isAscending: boolean; limit: number },
): Promise<StoredEvent[]> {
  const text = `SELECT ${COLUMNS.join(', ')} FROM audit_events
    WHERE id BETWEEN ${first} AND ${last}${sql} ORDER BY id ${isAscending ? 'ASC' : 'DESC'} LIMIT ${limit}`
  return (await session.query<StoredEvent & Record<string, unknown>>(text, values)).rows
}

/** What a filter asks of a row, to be put behind another condition. */
export interface Conditions {
  readonly sql: string
  readonly values: readonly unknown[]
}

export function conditionsOf(filter: EventFilter): Conditions {
  const values: unknown[] = []
  const place = (value: unknown) => `$${values.push(value)}`
  const parts: string[] = []
  for (const column of ['who', 'ip', 'request_id'] as const) {
    if (filter[column] !== undefined) parts.push(`${column} = ${place(filter[column])}`)
  }
  for (const column of ['action', 'severity', 'reason_code'] as const) {
    const [first, ...others] = filter[column] ?? []
    if (others.length > 0) parts.push(`${column} = ANY (${place(filter[column])}::text[])`)
    else if (first !== undefined) parts.push(`${column} = ${place(first)}`)
    else if (filter[column] !== undefined) parts.push('false')
  }
  const { start_time, end_time } = filter
  // As an expression, so that no index of times is walked: the ids are known already, and the index may hold far more rows.
  if (start_time !== undefined) parts.push(`date_time || '' >= ${place(spellTime(start_time, 'start_time'))}`)
  if (end_time !== undefined) parts.push(`date_time || '' < ${place(spellTime(end_time, 'end_time'))}`)
  return { sql: parts.map(part => ` AND ${part}`).join(''), values }
}
