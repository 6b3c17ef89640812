/** What `monitor` reports: incidents, failure rates and alert rules over the last minutes, from the query stage. */
import { REASON } from '../event/catalogue.ts'
import { LIMITS } from '../limits.ts'
import type { Episode, EventQueries, Step, Summary } from '../query/event-queries.ts'
import { ALERT_RULES, type AlertRule } from './alert-rules.ts'

export interface RuleState {
  readonly name: string
  readonly threshold: number
  readonly within_minutes: number | null
  /** In the whole time range, or in the busiest stretch of `within_minutes`. */
  readonly count: number
  readonly firing: boolean
}

export interface MonitorReport {
  readonly start_time: string
  readonly end_time: string
  readonly events: number
  readonly incidents: number
  readonly failures: number
  readonly failures_per_minute: number
  readonly failures_by_reason: Record<string, number>
  /** Failed logins of each minute, oldest first. */
  readonly failures_by_minute: number[]
  readonly top_addresses: Summary['top_addresses']
  readonly top_charge_points: Summary['top_charge_points']
  readonly episodes: Episode[]
  readonly rules: RuleState[]
}

const MINUTE_MS = 60_000

export async function monitorReport(
  queries: Pick<EventQueries, 'summary' | 'steps' | 'episodes'>,
  options: { minutes: number; endMs: number; quietSeconds: number },
): Promise<MonitorReport> {
  const { minutes, endMs, quietSeconds } = options
  const end_time = new Date(endMs).toISOString()
  const start_time = new Date(endMs - minutes * MINUTE_MS).toISOString()
  const whole = await queries.summary({ start_time, end_time, bucketSeconds: minutes * 60 })
  const byMinute = await stepsByMinute(queries, options)
  const episodes = await queries.episodes({ start_time, end_time, quietSeconds, limit: LIMITS.episodesMax })
  const failures = whole.by_action.AUTH_FAIL ?? 0
  return {
    start_time,
    end_time,
    events: whole.total,
    incidents: whole.by_action.INCIDENT ?? 0,
    failures,
    failures_per_minute: Math.round((failures / minutes) * 100) / 100,
    failures_by_reason: Object.fromEntries(
      Object.keys(REASON).flatMap(reason => {
        const count = whole.by_reason[reason]
        return count === undefined ? [] : [[reason, count]]
      }),
    ),
    failures_by_minute: byMinute.map(minute => minute.by_action.AUTH_FAIL ?? 0),
    top_addresses: whole.top_addresses,
    top_charge_points: whole.top_charge_points,
    episodes,
    rules: ALERT_RULES.map(rule => stateOf(rule, whole, byMinute)),
  }
}

/** A step a minute, oldest first. */
async function stepsByMinute(
  queries: Pick<EventQueries, 'steps'>,
  { minutes, endMs }: { minutes: number; endMs: number },
): Promise<Step[]> {
  const steps: Step[] = []
  for (let first = minutes; first > 0; first -= LIMITS.summaryBucketsMax) {
    const start_time = new Date(endMs - first * MINUTE_MS).toISOString()
    const end_time = new Date(endMs - Math.max(0, first - LIMITS.summaryBucketsMax) * MINUTE_MS).toISOString()
    steps.push(...(await queries.steps({ start_time, end_time, stepSeconds: 60 })))
  }
  return steps
}

function stateOf(rule: AlertRule, whole: Summary, byMinute: readonly Step[]): RuleState {
  const { name, threshold, withinMinutes } = rule
  const count =
    withinMinutes === undefined ? rule.count(whole) : busiestStretch(byMinute.map(rule.count), withinMinutes)
  return { name, threshold, within_minutes: withinMinutes ?? null, count, firing: count >= threshold }
}

/** The largest sum of neighbouring counts. */
function busiestStretch(counts: readonly number[], length: number): number {
  let sum = 0
  let largest = 0
  counts.forEach((count, i) => {
    sum += count - (counts[i - length] ?? 0)
    largest = Math.max(largest, sum)
  })
  return largest
}
