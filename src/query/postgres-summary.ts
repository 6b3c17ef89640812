/**
 * Counts over a time range in PostgreSQL: of the blocks that lie within it, what was counted once (store/postgres-counts-schema.ts),
 * of everything else the rows. The server adds up; here the sums are put in the order and the buckets that summary.ts has.
 *
 * Blocks say in which minute or hour an event was, so kinds are counted from them where buckets are whole ones; names always are.
 * Whatever takes longer than a question may is QUERY_TIMEOUT.
 */
import { LIMITS } from '../limits.ts'
import type { Session } from '../postgres/postgres.ts'
import { NAMED_ROWS } from '../store/postgres-counts-schema.ts'
import type { Step, StepsRequest, Summary, SummaryRequest } from './event-queries.ts'
import { type Cover, type CoveredRange, coverRange } from './postgres-cover.ts'
import type { IdRange, PostgresTimes } from './postgres-times.ts'
import type { Conditions } from './postgres-walk.ts'
import { bucketsOf, stepsOf } from './times.ts'

const HOUR_MS = 3_600_000
const MINUTE_MS = 60_000
/** Names of a large range do not fit into what a server has by default, and files are several times slower. */
const WORK_MEMORY = '32MB'
const ALL_LEVELS = Number.POSITIVE_INFINITY

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
  const { startMs, endMs, bucketMs } = bucketsOf(request)
  await session.query(`SET LOCAL work_mem = '${WORK_MEMORY}'`)
  const range = await coverRange(session, times, request)
  const kinds = await countKinds(session, range, bucketMs)
  const chargePoints = await topNames(session, range, 'who')
  const addresses = await topNames(session, range, 'ip')
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

/** How much of a time says in which bucket it lies, up to the hour, the minute, the second, or all of it; and which blocks say as much. */
function precisionOf(bucketMs: number): { characters: number; level: number } {
  if (bucketMs % HOUR_MS === 0) return { characters: 13, level: ALL_LEVELS }
  if (bucketMs % MINUTE_MS === 0) return { characters: 16, level: 0 }
  return { characters: bucketMs % 1000 === 0 ? 19 : 24, level: -1 }
}

const REST_OF_TIME: Readonly<Record<number, string>> = { 13: ':00Z', 16: ':00Z', 19: 'Z', 24: '' }

const msOf = (at: string) => Date.parse(`${at}${REST_OF_TIME[at.length]}`)

/** Lists are unnested where a result is made, which keeps no copy of them, as `FROM unnest` does. */
async function countKinds(session: Session, range: CoveredRange, bucketMs: number): Promise<KindCount[]> {
  const { characters, level } = precisionOf(bucketMs)
  const { rows, blocks, values } = partsOf(range, range.upTo(level))
  const { rows: kinds } = await session.query<KindCount & Record<string, unknown>>(
    `SELECT at, action, severity, reason_code, sum(n) AS n FROM (
       SELECT left(unnest(kind_at), ${characters}) AS at, unnest(kind_action) AS action, unnest(kind_severity) AS severity,
         unnest(kind_reason) AS reason_code, unnest(kind_count) AS n
       FROM event_counts WHERE ${blocks}
       UNION ALL
       SELECT left(date_time, ${characters}), action, severity, reason_code, count(*)::integer FROM audit_events WHERE ${rows} GROUP BY 1, 2, 3, 4
     ) AS parts GROUP BY 1, 2, 3, 4`,
    values,
  )
  return kinds
}

/** Conditions on the rows of both tables, and the values that they speak of. */
function partsOf({ conditions }: CoveredRange, { blocks, rest }: Cover) {
  const next = conditions.values.length + 1
  return {
    rows: rowsOf(conditions, rest),
    blocks: `(level, first_id) IN (SELECT * FROM unnest($${next}::smallint[], $${next + 1}::bigint[]))`,
    values: [...conditions.values, blocks.map(({ level }) => level), blocks.map(({ first }) => first)],
  }
}

function rowsOf({ sql }: Conditions, ranges: readonly IdRange[]): string {
  if (ranges.length === 0) return 'false'
  return `(${ranges.map(({ first, last }) => `id BETWEEN ${first} AND ${last}`).join(' OR ')})${sql}`
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
  /** Ascending in the order in which the range first has them. */
  readonly first: number
}

type Weight = 'count' | 'failures'

/** Of names with equal count as many are looked up in the whole log; of more, those that the range has first. */
const TIES_MAX = 100

/** Most events first, and most failures first; of equal count, the one that the log had first. */
async function topNames(
  session: Session,
  range: CoveredRange,
  column: 'who' | 'ip',
): Promise<{ byCount: Counted[]; byFailures: Counted[] }> {
  const parts = partsOf(range, range.upTo(ALL_LEVELS))
  const most = (weight: Weight) =>
    `(SELECT *, '${weight}' AS most FROM names WHERE ${weight} > 0 ORDER BY ${weight} DESC, first LIMIT ${LIMITS.summaryTopMax + TIES_MAX})`
  const { rows } = await session.query<Counted & { most: Weight } & Record<string, unknown>>(
    `WITH names AS MATERIALIZED (
       SELECT name, sum(n) AS count, sum(failed) AS failures, min(first) AS first FROM (
         SELECT unnest(${column}) AS name, unnest(${column}_count) AS n, unnest(${column}_failures) AS failed,
           first_id + generate_subscripts(${column}, 1) - 1 AS first
         FROM event_counts WHERE ${parts.blocks}
         UNION ALL
         SELECT ${column}, count(*)::integer, (count(*) FILTER (WHERE action = 'AUTH_FAIL'))::integer, min(id)
         FROM audit_events WHERE ${parts.rows} AND ${NAMED_ROWS[column]} GROUP BY 1
       ) AS parts GROUP BY 1)
     ${most('count')} UNION ALL ${most('failures')}`,
    parts.values,
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
  const { startMs, stepMs, length } = stepsOf(request)
  const { upTo, conditions } = await coverRange(session, times, request)
  const { values } = conditions
  const place = values.length
  const { rows } = await session.query<{ step: number; action: string; reason_code: string | null; n: number }>(
    `SELECT floor((round(extract(epoch FROM date_time::timestamptz) * 1000) - $${place + 1}::numeric) / $${place + 2}::numeric)::integer
       AS step, action, reason_code, count(*) AS n
     FROM audit_events WHERE ${rowsOf(conditions, upTo(-1).rest)} GROUP BY 1, 2, 3`,
    [...values, startMs, stepMs],
  )
  const steps = Map.groupBy(rows, ({ step }) => step)
  return Array.from({ length }, (_, step) => {
    const kinds = steps.get(step) ?? []
    return { by_action: sumBy(kinds, kind => kind.action), by_reason: sumBy(kinds, kind => kind.reason_code) }
  })
}
