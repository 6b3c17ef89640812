/**
 * What an analyst wants to see at a glance, made once for everybody who looks.
 *
 * Promise: as fresh as `overviewStreamMsMin`, and after an answer that took long rests ten times as long, so that looking
 * at a large trail never takes more than a tenth of one reader. Owns the last answer, and nothing while nobody asks.
 */
import { REASON, SEVERITIES, type Severity } from '../event/catalogue.ts'
import { LIMITS } from '../limits.ts'
import type { Episode, Summary } from '../query/event-queries.ts'
import type { CpStatus } from '../security/security.ts'
import type { EvidenceStatus, HttpDeps, ReadinessReport } from './deps.ts'
import type { Follower } from './followers.ts'
import type { IncidentBook, IncidentState } from './incident-book.ts'

const HOURS = 24
const MINUTE_MS = 60_000
const BUCKETS = HOURS * 60
const INCIDENTS_SHOWN = 6
const REST_FACTOR = 10

export interface Overview {
  /** Of the figures. How the service is is as of now. */
  readonly at: string
  readonly version: string
  readonly last_event_id: number
  readonly ready: boolean
  readonly checks: readonly Omit<ReadinessReport['checks'][number], 'openly'>[]
  readonly evidence: EvidenceStatus
  readonly events: {
    readonly start_time: string
    readonly end_time: string
    readonly total: number
    readonly by_severity: Readonly<Record<string, number>>
    /** By minute since `start_time`, one number for each. */
    readonly per_minute: Readonly<Record<Severity, readonly number[]>>
  }
  readonly failed_logins: Readonly<Record<string, number>>
  readonly attacked_charge_points: Summary['top_charge_points']
  readonly attacking_addresses: Summary['top_addresses']
  readonly incidents: {
    readonly by_state: Readonly<Record<IncidentState, number>>
    /** Those that are not resolved, newest first. */
    readonly newest: readonly (Pick<
      Episode,
      'episode_id' | 'reason_code' | 'who' | 'ip' | 'scope' | 'last_seen' | 'failure_count'
    > & {
      readonly state: IncidentState
    })[]
  }
  readonly charge_points: Readonly<Record<CpStatus, number>>
}

export interface OverviewSource {
  read(): Promise<Overview>
  /** One message when it begins, then one for each change. */
  follow(follower: Follower): AsyncIterable<string>
}

export function createOverview(deps: HttpDeps, book: IncidentBook): OverviewSource {
  const { queries, security, settings, health, streams } = deps
  let last: { readonly overview: Overview; readonly freshUntil: number } | undefined
  let making: Promise<Overview> | undefined

  /** How the service is, which is worth knowing most when the trail cannot be asked. */
  async function state() {
    const report = await health.ready()
    const { ready } = report
    const checks = report.checks.map(({ name, ok, detail }) => ({ name, ok, detail }))
    return { version: deps.version, last_event_id: streams.lastEventId(), ready, checks, evidence: deps.evidence() }
  }

  async function figures() {
    const end = Math.ceil(Date.now() / MINUTE_MS) * MINUTE_MS
    const range = { start_time: iso(end - BUCKETS * MINUTE_MS), end_time: iso(end) }
    const [summary, episodes, charge_points] = await Promise.all([
      queries.summary({ ...range, bucketSeconds: 60 }),
      queries.episodes({ limit: LIMITS.episodesMax, quietSeconds: settings.bruteForceWindowSeconds }),
      security.chargePoints.counts(),
    ])
    const states = await book.states(episodes)
    const reasons = Object.keys(REASON).filter(reason => (summary.by_reason[reason] ?? 0) > 0)
    return {
      at: iso(Date.now()),
      events: {
        ...range,
        total: summary.total,
        by_severity: summary.by_severity,
        per_minute: perMinute(summary, end - BUCKETS * MINUTE_MS),
      },
      failed_logins: Object.fromEntries(reasons.map(reason => [reason, summary.by_reason[reason] ?? 0])),
      attacked_charge_points: summary.top_failing_charge_points,
      attacking_addresses: summary.top_failing_addresses,
      incidents: incidentsOf(episodes, states),
      charge_points,
    }
  }

  async function make(): Promise<Overview> {
    const startedAt = performance.now()
    // Figures that cannot be had now are those of before, with their age.
    const counted = await figures().catch(error => {
      if (last === undefined) throw error
      return last.overview
    })
    const overview: Overview = { ...counted, ...(await state()) }
    const took = performance.now() - startedAt
    last = { overview, freshUntil: performance.now() + Math.max(LIMITS.overviewStreamMsMin, REST_FACTOR * took) }
    return overview
  }

  async function read(): Promise<Overview> {
    if (last !== undefined && performance.now() < last.freshUntil) return last.overview
    making ??= make().finally(() => {
      making = undefined
    })
    return making
  }

  return {
    read,
    async *follow(follower) {
      yield 'retry: 2000\n\n'
      let said: Overview | undefined
      while (!follower.isClosed) {
        // Only before the first figures; then there are always some.
        const overview = await read().catch(() => undefined)
        if (overview !== undefined && overview !== said) yield `data: ${JSON.stringify(overview)}\n\n`
        said = overview ?? said
        await follower.pause(LIMITS.overviewStreamMsMin)
      }
    },
  }
}

function perMinute({ series }: Summary, startMs: number): Record<Severity, number[]> {
  const counts = Object.fromEntries(SEVERITIES.map(severity => [severity, new Array<number>(BUCKETS).fill(0)]))
  for (const { start, by_severity } of series) {
    const minute = Math.floor((Date.parse(start) - startMs) / MINUTE_MS)
    if (minute < 0 || minute >= BUCKETS) continue
    for (const [severity, count] of Object.entries(by_severity)) {
      const row = counts[severity]
      if (row !== undefined) row[minute] = count
    }
  }
  return counts as Record<Severity, number[]>
}

function incidentsOf(episodes: readonly Episode[], states: readonly IncidentState[]): Overview['incidents'] {
  const by_state = { open: 0, acknowledged: 0, resolved: 0 }
  for (const state of states) by_state[state]++
  const newest = episodes.flatMap((episode, n) => {
    const state = states[n] ?? 'open'
    if (state === 'resolved') return []
    const { episode_id, reason_code, who, ip, scope, last_seen, failure_count } = episode
    return [{ episode_id, reason_code, who, ip, scope, last_seen, failure_count, state }]
  })
  return { by_state, newest: newest.slice(0, INCIDENTS_SHOWN) }
}

function iso(ms: number): string {
  return new Date(ms).toISOString()
}
