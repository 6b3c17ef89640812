/**
 * Counts over a time range in PostgreSQL, from the rows: the server groups, here the groups are put in the order and the buckets
 * that summary.ts has. Costs about a microsecond a row of the range; whatever takes longer than a question may is QUERY_TIMEOUT.
 */
import { Refusal } from '../errors.ts'
import { CHARGE_POINT_ACTIONS } from '../event/catalogue.ts'
import { LIMITS } from '../limits.ts'
import type { Session } from '../postgres/postgres.ts'
import type { Step, StepsRequest, Summary, SummaryRequest } from './event-queries.ts'
import { parseTime } from './planner.ts'
import type { PostgresTimes } from './postgres-times.ts'
import { conditionsOf, idRanges, readIds } from './postgres-walk.ts'

const MINUTE_MS = 60_000

interface Scope {
  /** The condition of the time range, in ids and times. */
  readonly where: string
  readonly values: readonly unknown[]
}

async function scopeOf(
  session: Session,
  times: PostgresTimes,
  { start_time, end_time }: { start_time: string; end_time: string },
): Promise<Scope> {
  const filter = { start_time, end_time }
  const { sql, values } = conditionsOf(filter)
  const ranges = await idRanges(session, times, filter, await readIds(session))
  const [first, last] = [ranges[0]?.first ?? 0, ranges.at(-1)?.last ?? -1]
  return { where: `id BETWEEN ${first} AND ${last}${sql}`, values }
}

interface KindCount {
  readonly at: string
  readonly action: string
  readonly severity: string
  readonly reason_code: string | null
  readonly n: number
}

export async function summarizePostgres(
  session: Session,
  times: PostgresTimes,
  request: SummaryRequest,
): Promise<Summary> {
  const startMs = parseTime(request.start_time, 'start_time')
  const endMs = parseTime(request.end_time, 'end_time')
  const bucketMs = request.bucketSeconds * 1000
  if (!(bucketMs > 0) || (endMs - startMs) / bucketMs > LIMITS.summaryBucketsMax) {
    throw new Refusal('VALIDATION_FAILED', 'too many buckets', { violations: [{ field: 'bucket', rule: 'too_small' }] })
  }
  const scope = await scopeOf(session, times, request)
  const { rows: kinds } = await session.query<KindCount & Record<string, unknown>>(
    `SELECT left(date_time, ${charactersOf(bucketMs)}) AS at, action, severity, reason_code, count(*) AS n
     FROM audit_events WHERE ${scope.where} GROUP BY 1, 2, 3, 4`,
    scope.values,
  )
  const chargePoints = await topNames(session, scope, 'who', [...CHARGE_POINT_ACTIONS])
  const addresses = await topNames(session, scope, 'ip', undefined)
  const asChargePoint = ({ name, count, failures }: Counted) => ({ cp_id: name, count, failures })
  const asAddress = ({ name, count, failures }: Counted) => ({ ip: name, count, failures })
  return {
    start_time: new Date(startMs).toISOString(),
    end_time: new Date(endMs).toISOString(),
    total: kinds.reduce((sum, { n }) => sum + n, 0),
    by_action: sumBy(kinds, kind => kind.action),
    by_severity: sumBy(kinds, kind => kind.severity),
    by_reason: sumBy(kinds, kind => kind.reason_code),
    top_charge_points: chargePoints.byCount.map(asChargePoint),
    top_addresses: addresses.byCount.map(asAddress),
    top_failing_charge_points: chargePoints.byFailures.map(asChargePoint),
    top_failing_addresses: addresses.byFailures.map(asAddress),
    bucket_seconds: request.bucketSeconds,
    series: seriesOf(kinds, bucketMs),
  }
}

/** How much of a time says in which bucket it lies: up to the minute, the second, or all of it. */
function charactersOf(bucketMs: number): number {
  return bucketMs % MINUTE_MS === 0 ? 16 : bucketMs % 1000 === 0 ? 19 : 24
}

function msOf(at: string): number {
  return Date.parse(at.length === 16 ? `${at}:00Z` : at.length === 19 ? `${at}Z` : at)
}

function seriesOf(kinds: readonly KindCount[], bucketMs: number): Summary['series'] {
  const buckets = Map.groupBy(kinds, ({ at }) => Math.floor(msOf(at) / bucketMs) * bucketMs)
  return [...buckets]
    .sort(([a], [b]) => a - b)
    .map(([ms, within]) => ({
      start: new Date(ms).toISOString(),
      total: within.reduce((sum, { n }) => sum + n, 0),
      by_severity: sumBy(within, kind => kind.severity),
    }))
}

function sumBy<K extends { n: number }>(
  kinds: readonly K[],
  nameOf: (kind: K) => string | null,
): Record<string, number> {
  const sums = new Map<string, number>()
  for (const kind of kinds) {
    const name = nameOf(kind)
    if (name !== null) sums.set(name, (sums.get(name) ?? 0) + kind.n)
  }
  return Object.fromEntries(sums)
}

interface Counted {
  readonly name: string
  readonly count: number
  readonly failures: number
  readonly first: number
}

type Weight = 'count' | 'failures'

/** Of names with equal count as many are looked up in the whole log; of more, those that the range has first. */
const TIES_MAX = 100

/** Most events first, and most failures first; of equal count, the one that the log had first. */
async function topNames(
  session: Session,
  { where, values }: Scope,
  column: 'who' | 'ip',
  actions: readonly string[] | undefined,
): Promise<{ byCount: Counted[]; byFailures: Counted[] }> {
  const nobody = column === 'who' ? 'unknown' : '-'
  const most = (weight: Weight) =>
    `(SELECT *, '${weight}' AS most FROM names WHERE ${weight} > 0 ORDER BY ${weight} DESC, first LIMIT ${LIMITS.summaryTopMax + TIES_MAX})`
  const { rows } = await session.query<Counted & { most: Weight } & Record<string, unknown>>(
    `WITH names AS MATERIALIZED (
       SELECT ${column} AS name, count(*) AS count, count(*) FILTER (WHERE action = 'AUTH_FAIL') AS failures, min(id) AS first
       FROM audit_events WHERE ${where} AND ${column} NOT IN ('${nobody}', '')
       ${actions === undefined ? '' : `AND action = ANY ($${values.length + 1}::text[])`}
       GROUP BY 1)
     ${most('count')} UNION ALL ${most('failures')}`,
    actions === undefined ? values : [...values, actions],
  )
  const placed = async (weight: Weight) =>
    placeTies(
      session,
      column,
      weight,
      rows.filter(({ most }) => most === weight),
    )
  return { byCount: await placed('count'), byFailures: await placed('failures') }
}

/** @param rows by weight, most first */
async function placeTies(session: Session, column: 'who' | 'ip', by: Weight, rows: Counted[]): Promise<Counted[]> {
  const least = rows[LIMITS.summaryTopMax - 1]?.[by] ?? 0
  const candidates = rows.filter(row => row[by] >= least)
  const tied = candidates.filter(row => candidates.some(other => other !== row && other[by] === row[by]))
  const firsts = await firstIds(session, column, tied)
  const firstOf = ({ name, first }: Counted) => firsts.get(name) ?? first
  return candidates.sort((a, b) => b[by] - a[by] || firstOf(a) - firstOf(b)).slice(0, LIMITS.summaryTopMax)
}

/** In the whole log. */
async function firstIds(
  session: Session,
  column: 'who' | 'ip',
  named: readonly Counted[],
): Promise<Map<string, number>> {
  if (named.length === 0) return new Map()
  const { rows } = await session.query<{ name: string; first: number }>(
    `SELECT name, (SELECT id FROM audit_events WHERE ${column} = name ORDER BY id LIMIT 1) AS first
     FROM unnest($1::text[]) AS asked (name)`,
    [named.map(({ name }) => name)],
  )
  return new Map(rows.map(({ name, first }) => [name, first]))
}

/** As `countSteps`: steps begin where the range does, not at whole minutes. */
export async function countStepsPostgres(
  session: Session,
  times: PostgresTimes,
  request: StepsRequest,
): Promise<Step[]> {
  const startMs = parseTime(request.start_time, 'start_time')
  const endMs = parseTime(request.end_time, 'end_time')
  const stepMs = request.stepSeconds * 1000
  const length = Math.max(0, Math.ceil((endMs - startMs) / stepMs))
  if (!(stepMs > 0 && length <= LIMITS.summaryBucketsMax)) throw new Refusal('VALIDATION_FAILED', 'too many steps')
  const { where, values } = await scopeOf(session, times, request)
  const place = values.length
  const { rows } = await session.query<{ step: number; action: string; reason_code: string | null; n: number }>(
    `SELECT floor((round(extract(epoch FROM date_time::timestamptz) * 1000) - $${place + 1}::numeric) / $${place + 2}::numeric)::integer
       AS step, action, reason_code, count(*) AS n
     FROM audit_events WHERE ${where} GROUP BY 1, 2, 3`,
    [...values, startMs, stepMs],
  )
  const steps = Map.groupBy(rows, ({ step }) => step)
  return Array.from({ length }, (_, step) => {
    const kinds = steps.get(step) ?? []
    return { by_action: sumBy(kinds, kind => kind.action), by_reason: sumBy(kinds, kind => kind.reason_code) }
  })
}
