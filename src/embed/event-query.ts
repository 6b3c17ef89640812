/**
 * Questions in the words of the original `query_events(action=..., start_time=..., limit=...)`, checked before they are
 * asked: an unknown filter or value is refused, because a misspelt filter that matched everything would look like an
 * answer. Times come out in the one spelling in which they are stored.
 */
import { canonicalAddress } from '../context/client-address.ts'
import { Refusal, type Violation } from '../errors.ts'
import { ACTIONS, type Action, SEVERITIES, type Severity } from '../event/catalogue.ts'
import type { StoredEvent } from '../event/event.ts'
import { parseInstant } from '../event/instant.ts'
import { LIMITS } from '../limits.ts'
import type { EventFilter, Order, PageRequest } from '../query/event-queries.ts'

/** All conditions must hold; a list means any of its values. */
export interface EventQuery {
  readonly who?: string | undefined
  readonly ip?: string | undefined
  readonly request_id?: string | undefined
  readonly action?: Action | readonly Action[] | undefined
  readonly severity?: Severity | readonly Severity[] | undefined
  readonly reason_code?: string | readonly string[] | undefined
  /** ISO-8601 with a zone (`2025-12-14T00:00:00Z`), or a date, which is its first moment in UTC. Inclusive. */
  readonly start_time?: string | undefined
  /** As above, exclusive. */
  readonly end_time?: string | undefined
  /** 1 to 1000, default 100. */
  readonly limit?: number | undefined
  /** By id. Newest first (`desc`) by default. */
  readonly order?: Order | undefined
  /** The id of the last event of the page before: goes on behind it. */
  readonly after?: number | undefined
}

export interface FailureQuery {
  readonly ip?: string | undefined
  readonly cp_id?: string | undefined
  /** How far back, 1 to 1440; default 10. */
  readonly minutes?: number | undefined
}

/** What can be asked of an audit trail, wherever it lies. */
export interface AuditReader {
  /** @throws {Refusal} VALIDATION_FAILED, naming the filter that is unknown or has a value it cannot have. */
  queryEvents(query?: EventQuery): Promise<StoredEvent[]>
  /** AUTH_FAIL events of the last minutes, newest first, at most 1000. @throws {Refusal} VALIDATION_FAILED */
  recentAuthFailures(query?: FailureQuery): Promise<StoredEvent[]>
}

type Check = (value: unknown) => unknown

/** Each filter: its value as the store knows it, or undefined if it is none. */
const FILTERS: Readonly<Record<keyof EventFilter, Check>> = {
  who: text,
  ip: value => text(value) && (canonicalAddress(value as string) ?? value),
  request_id: text,
  action: listOf(ACTIONS),
  severity: listOf(SEVERITIES),
  reason_code: listOf(),
  start_time: time,
  end_time: time,
}

const PAGING: Readonly<Record<'limit' | 'order' | 'after', Check>> = {
  limit: integer(1, LIMITS.pageEventsMax),
  order: value => (value === 'asc' || value === 'desc' ? value : undefined),
  after: integer(0, Number.MAX_SAFE_INTEGER),
}

export function toPageRequest(query: EventQuery): PageRequest {
  const { limit, order, after, ...filter } = query
  const paging = check({ limit, order, after }, PAGING) as Partial<PageRequest>
  return {
    filter: check(filter, FILTERS) as EventFilter,
    limit: paging.limit ?? LIMITS.pageEventsDefault,
    order: paging.order ?? 'desc',
    ...(paging.after === undefined ? {} : { after: paging.after }),
  }
}

export function toFailuresRequest(query: FailureQuery): { ip?: string; who?: string; since: string; limit: number } {
  const checks = { ip: FILTERS.ip, cp_id: text, minutes: integer(1, LIMITS.failureMinutesMax) }
  const { ip, cp_id, minutes = 10 } = check(query, checks) as { ip?: string; cp_id?: string; minutes?: number }
  return {
    ...(ip === undefined ? {} : { ip }),
    ...(cp_id === undefined ? {} : { who: cp_id }),
    since: new Date(Date.now() - minutes * 60_000).toISOString(),
    limit: LIMITS.failureEventsMax,
  }
}

function check(given: object, checks: Readonly<Record<string, Check>>): Record<string, unknown> {
  const violations: Violation[] = []
  const checked: Record<string, unknown> = {}
  for (const [field, value] of Object.entries(given)) {
    if (value === undefined) continue
    const known = Object.hasOwn(checks, field) ? checks[field] : undefined
    const result = known?.(value)
    if (result === undefined) violations.push({ field, rule: known === undefined ? 'unknown' : 'invalid' })
    else checked[field] = result
  }
  if (violations.length === 0) return checked
  const named = violations.map(({ field, rule }) => `${field}:${rule}`).join(', ')
  throw new Refusal('VALIDATION_FAILED', `The query is not valid: ${named}`, { violations })
}

function text(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined
}

function listOf(known?: readonly string[]): Check {
  return value => {
    const values: readonly unknown[] = Array.isArray(value) ? value : [value]
    const fits = (one: unknown) => typeof one === 'string' && (known === undefined || known.includes(one))
    return values.length > 0 && values.length <= LIMITS.filterValuesMax && values.every(fits) ? values : undefined
  }
}

function integer(min: number, max: number): Check {
  return value =>
    Number.isSafeInteger(value) && (value as number) >= min && (value as number) <= max ? value : undefined
}

function time(value: unknown): string | undefined {
  if (typeof value !== 'string') return undefined
  return parseInstant(/^\d{4}-\d{2}-\d{2}$/.test(value) ? `${value}T00:00:00Z` : value)
}
