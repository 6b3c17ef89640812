/** What /audit/summary and /audit/incidents take and answer. */
import { LIMITS } from '../../limits.ts'
import type { SummaryRequest } from '../../query/event-queries.ts'
import { timeFields, timeFilter } from '../audit-filter.ts'
import { nullableInteger, nullableText } from '../fields.ts'
import { closed, object, type ValueOf } from '../schema.ts'
import { DURATION, parseDuration } from '../times.ts'
import { invalid } from '../validation.ts'

const DAY_MS = 86_400_000
const YEAR_0_MS = Date.UTC(-1, 12)
/** Lengths to choose from when none is asked for: the first that makes at most this many buckets. */
const DEFAULT_BUCKETS_MAX = 100
const DEFAULT_BUCKETS_SECONDS = [60, 300, 900, 3_600, 21_600, 86_400] as const

export const SummaryQuery = closed(
  {},
  {
    ...timeFields,
    bucket: {
      type: 'string',
      pattern: DURATION,
      description: `Length of a bucket of the series: 90s, 15m, 1h, 1d, minute, hour, day, or seconds. At most ${LIMITS.summaryBucketsMax} buckets, at most ${LIMITS.summaryDaysMax} days. Default: what makes at most ${DEFAULT_BUCKETS_MAX} of 1m, 5m, 15m, 1h, 6h or 1d.`,
    },
  },
)

/** The last 24 hours unless times are given. @throws {Refusal} VALIDATION_FAILED */
export function summaryRequest(query: ValueOf<typeof SummaryQuery>, now: number): SummaryRequest {
  const range = timeFilter(query)
  const given = { start: Date.parse(range.start_time ?? ''), end: Date.parse(range.end_time ?? '') }
  const end = range.end_time === undefined ? Math.max(now, given.start || 0) : given.end
  const start = range.start_time === undefined ? Math.max(end - DAY_MS, YEAR_0_MS) : given.start
  const seconds = (end - start) / 1000
  if (seconds * 1000 > LIMITS.summaryDaysMax * DAY_MS) throw invalid([{ field: 'start_time', rule: 'range' }])
  const bucketSeconds =
    query.bucket === undefined
      ? (DEFAULT_BUCKETS_SECONDS.find(length => seconds / length <= DEFAULT_BUCKETS_MAX) ?? 86_400)
      : parseDuration(query.bucket)
  if (seconds / bucketSeconds > LIMITS.summaryBucketsMax) throw invalid([{ field: 'bucket', rule: 'too_many' }])
  return { start_time: new Date(start).toISOString(), end_time: new Date(end).toISOString(), bucketSeconds }
}

export const counts = { type: 'object', additionalProperties: { type: 'integer' } } as const

export const chargePointCounts = (description: string) =>
  ({
    type: 'array',
    items: object({ cp_id: { type: 'string' }, count: { type: 'integer' }, failures: { type: 'integer' } }),
    description,
  }) as const

export const addressCounts = (description: string) =>
  ({
    type: 'array',
    items: object({ ip: { type: 'string' }, count: { type: 'integer' }, failures: { type: 'integer' } }),
    description,
  }) as const

const SUMMARY_EXAMPLE = {
  start_time: '2025-12-13T09:00:00.000Z',
  end_time: '2025-12-14T09:00:00.000Z',
  total: 1520,
  by_action: { AUTH_SUCCESS: 1201, AUTH_FAIL: 240 },
  by_severity: { INFO: 1240, WARN: 268, CRITICAL: 12 },
  by_reason: { INVALID_CREDENTIALS: 201 },
  top_charge_points: [{ cp_id: 'CP-0042', count: 58, failures: 51 }],
  top_addresses: [{ ip: '203.0.113.7', count: 61, failures: 60 }],
  top_failing_charge_points: [{ cp_id: 'CP-0042', count: 58, failures: 51 }],
  top_failing_addresses: [{ ip: '203.0.113.7', count: 61, failures: 60 }],
  bucket_seconds: 900,
  series: [{ start: '2025-12-14T08:30:00.000Z', total: 97, by_severity: { INFO: 40, WARN: 55, CRITICAL: 2 } }],
}

export const Summary = object(
  {
    start_time: { type: 'string' },
    end_time: { type: 'string' },
    total: { type: 'integer' },
    by_action: counts,
    by_severity: counts,
    by_reason: counts,
    top_charge_points: chargePointCounts('Most events first.'),
    top_addresses: addressCounts('Most events first.'),
    top_failing_charge_points: chargePointCounts('Most failed logins first.'),
    top_failing_addresses: addressCounts('Most failed logins first.'),
    bucket_seconds: { type: 'integer' },
    series: {
      type: 'array',
      items: object({ start: { type: 'string' }, total: { type: 'integer' }, by_severity: counts }),
      description: 'Only buckets that hold events, oldest first.',
    },
  },
  { title: 'Summary', description: 'The summary.', examples: [SUMMARY_EXAMPLE] },
)

const INCIDENT_EXAMPLE = {
  episode_id: 1046,
  reason_code: 'BRUTE_FORCE_SUSPECTED',
  scope: 'ip',
  ip: '203.0.113.7',
  who: 'CP-0042',
  first_seen: '2025-12-14T08:30:04.000Z',
  last_seen: '2025-12-14T08:31:10.000Z',
  failure_count: 20,
  event_ids: [1046, 1059, 1078],
  description: 'Brute force attack suspected: 20 failures from IP 203.0.113.7 within 600 seconds of each other',
  state: 'acknowledged',
  handling: [
    { event_id: 1080, at: '2025-12-14T08:33:00.000Z', who: 'olga', step: 'ACKNOWLEDGED', note: 'calling the site' },
  ],
} as const

export const Incidents = object(
  {
    episodes: {
      type: 'array',
      items: object({
        episode_id: { type: 'integer', description: 'Id of its first incident event.' },
        reason_code: { type: 'string' },
        scope: nullableText({ description: '`ip` or `cp_id` for brute force, null for other kinds.' }),
        ip: { type: 'string' },
        who: { type: 'string' },
        first_seen: { type: 'string' },
        last_seen: { type: 'string' },
        failure_count: nullableInteger({ description: 'As of its last incident event; null for other kinds.' }),
        event_ids: { type: 'array', items: { type: 'integer' } },
        description: { type: 'string' },
        state: {
          type: 'string',
          enum: ['open', 'acknowledged', 'resolved'],
          description: 'By what was done last. One that goes on after it was resolved is open again.',
        },
        handling: {
          type: 'array',
          items: object({
            event_id: { type: 'integer', description: 'The event that says so.' },
            at: { type: 'string' },
            who: { type: 'string' },
            step: { type: 'string', enum: ['ACKNOWLEDGED', 'NOTED', 'RESOLVED'] },
            note: nullableText(),
          }),
          description: 'What was done about it, oldest first.',
        },
      }),
    },
    count: { type: 'integer' },
  },
  {
    title: 'Incidents',
    description: 'Newest first. Incidents of one attack are one episode.',
    examples: [{ episodes: [INCIDENT_EXAMPLE], count: 1 }],
  },
)
