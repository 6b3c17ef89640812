/** The filters of the audit routes: as schema, as `EventFilter`, and as what an ACCESS event says of them. */
import { canonicalAddress } from '../context/client-address.ts'
import type { Violation } from '../errors.ts'
import { ACTIONS, type Action, SEVERITIES, type Severity } from '../event/catalogue.ts'
import { parseInstant } from '../event/instant.ts'
import { LIMITS } from '../limits.ts'
import type { EventFilter } from '../query/event-queries.ts'
import { SAFE_TEXT } from './fields.ts'
import { invalid } from './validation.ts'

/** What the trail has where there is no address. */
const NO_ADDRESS = '-'

const text = (charactersMax: number, description: string) =>
  ({ type: 'string', minLength: 1, maxLength: charactersMax, pattern: SAFE_TEXT, description }) as const

const instant = (description: string) =>
  ({ type: 'string', minLength: 1, maxLength: 40, description: `ISO-8601 with a zone. ${description}` }) as const

export const timeFields = { start_time: instant('Inclusive.'), end_time: instant('Exclusive.') }

export const filterFields = {
  who: text(LIMITS.whoCharactersMax, 'cp_id, admin name, `system` or `unknown`.'),
  action: text(400, `Comma list of ${ACTIONS.join(', ')}.`),
  ip: text(64, 'Client address, in any spelling; `-` where there was none.'),
  severity: text(100, `Comma list of ${SEVERITIES.join(', ')}.`),
  reason_code: text(1_000, 'Comma list, for example INVALID_CREDENTIALS,THROTTLED.'),
  request_id: text(128, 'As answered in `X-Request-ID`.'),
  ...timeFields,
}

export const orderField = (description: string) => ({ type: 'string', enum: ['asc', 'desc'], description }) as const

type Filters = { readonly [name in keyof typeof filterFields]?: string }
type Times = { readonly [name in keyof typeof timeFields]?: string }

/** @throws {Refusal} VALIDATION_FAILED, with every problem found. */
export function eventFilter(query: Filters): EventFilter {
  const violations: Violation[] = []
  const action = list(query.action, 'action', isAction, violations)
  const severity = list(query.severity, 'severity', isSeverity, violations)
  const reasonCode = list(query.reason_code, 'reason_code', isReasonCode, violations)
  const ip = query.ip === undefined ? undefined : address(query.ip, violations)
  const times = timeRange(query, violations)
  if (violations.length > 0) throw invalid(violations)
  return {
    ...(query.who === undefined ? {} : { who: query.who }),
    ...(ip === undefined ? {} : { ip }),
    ...(query.request_id === undefined ? {} : { request_id: query.request_id }),
    ...(action === undefined ? {} : { action }),
    ...(severity === undefined ? {} : { severity }),
    ...(reasonCode === undefined ? {} : { reason_code: reasonCode }),
    ...times,
  }
}

/**
 * The spelling that addresses have in the trail.
 * @throws {Refusal} VALIDATION_FAILED for what is no address: nothing would be found, and a typo look like good news.
 */
export function addressFilter(ip: string): string {
  const violations: Violation[] = []
  const found = address(ip, violations)
  if (found === undefined) throw invalid(violations)
  return found
}

function address(ip: string, violations: Violation[]): string | undefined {
  const found = ip === NO_ADDRESS ? ip : canonicalAddress(ip)
  if (found === undefined) violations.push({ field: 'ip', rule: 'ip' })
  return found
}

/** @throws {Refusal} VALIDATION_FAILED */
export function timeFilter(query: Times): { start_time?: string; end_time?: string } {
  const violations: Violation[] = []
  const range = timeRange(query, violations)
  if (violations.length > 0) throw invalid(violations)
  return range
}

function timeRange(query: Times, violations: Violation[]): { start_time?: string; end_time?: string } {
  const range: { start_time?: string; end_time?: string } = {}
  for (const field of ['start_time', 'end_time'] as const) {
    const sent = query[field]
    if (sent === undefined) continue
    const normal = parseInstant(sent)
    if (normal === undefined) violations.push({ field, rule: 'date-time' })
    else range[field] = normal
  }
  if (range.start_time !== undefined && range.end_time !== undefined && range.start_time > range.end_time) {
    violations.push({ field: 'end_time', rule: 'not_before_start_time' })
  }
  return range
}

const isAction = (value: string): value is Action => (ACTIONS as readonly string[]).includes(value)
const isSeverity = (value: string): value is Severity => (SEVERITIES as readonly string[]).includes(value)
const isReasonCode = (value: string): value is string => /^[A-Za-z0-9_]{1,64}$/.test(value)

function list<T extends string>(
  sent: string | undefined,
  field: string,
  isMember: (value: string) => value is T,
  violations: Violation[],
): readonly T[] | undefined {
  if (sent === undefined) return undefined
  const values = [...new Set(sent.split(','))]
  if (values.length > LIMITS.filterValuesMax) violations.push({ field, rule: 'maxItems' })
  else if (!values.every(isMember)) violations.push({ field, rule: 'enum' })
  else return values
  return undefined
}
