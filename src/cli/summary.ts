/** `summary`: totals of a time range by action, severity and reason, the busiest names, and how it went over time. */
import { Command, InvalidArgumentError } from 'commander'
import { escapeUnprintable } from '../audit/redaction.ts'
import { counted } from '../counted.ts'
import { ACCESS, SEVERITIES } from '../event/catalogue.ts'
import { LIMITS } from '../limits.ts'
import type { Summary, SummaryRequest } from '../query/event-queries.ts'
import { checkRange } from './filters.ts'
import { UsageError } from './outcome.ts'
import type { Shell } from './shell.ts'
import { type Column, printTable } from './table.ts'
import type { Terminal } from './terminal.ts'
import { parseTime } from './times.ts'
import { openTrail } from './trail.ts'

const DAY_MS = 86_400_000
/** Lengths to choose from when none is asked for: the first that fits a screen. */
const BUCKETS_SECONDS = [60, 300, 900, 3_600, 21_600, 86_400, 7 * 86_400, 30 * 86_400] as const
const BUCKETS_SHOWN = 24

interface SummaryOptions {
  readonly startTime?: string
  readonly endTime?: string
  readonly bucket?: number
  readonly json?: boolean
}

export function summaryCommand(shell: Shell): Command {
  return new Command('summary')
    .description('Show totals of a time range; the last 24 hours if none is given.')
    .option('--start-time <time>', 'from this time on: ISO-8601, or relative such as -1h, -7d', parseTime)
    .option('--end-time <time>', 'before this time', parseTime)
    .option('--bucket <length>', 'length of a step of the series: 90s, 15m, 1h, 1d', parseLength)
    .option('--json', 'as one JSON object')
    .addHelpText(
      'after',
      `
Examples:
  ev-central summary
  ev-central summary --start-time -7d --bucket 1d --json`,
    )
    .action((options: SummaryOptions, command: Command) => summary(options, command, shell))
}

async function summary(options: SummaryOptions, command: Command, shell: Shell): Promise<void> {
  const request = requestOf(options)
  await using trail = await openTrail(shell, command, { access: ACCESS.READ, filter: { ...request } })
  const answer = await trail.summary(request)
  if (options.json === true) shell.terminal.print(escapeUnprintable(JSON.stringify(answer)))
  else printSummary(answer, shell.terminal)
}

function requestOf(options: SummaryOptions): SummaryRequest {
  checkRange(options.startTime, options.endTime)
  const end = options.endTime ?? new Date().toISOString()
  const start = options.startTime ?? new Date(Date.parse(end) - DAY_MS).toISOString()
  const seconds = (Date.parse(end) - Date.parse(start)) / 1000
  if (seconds * 1000 > LIMITS.summaryDaysMax * DAY_MS) {
    throw new UsageError(`a summary covers at most ${LIMITS.summaryDaysMax} days`)
  }
  const bucketSeconds =
    options.bucket ?? BUCKETS_SECONDS.find(length => seconds / length <= BUCKETS_SHOWN) ?? 30 * 86_400
  if (seconds / bucketSeconds > LIMITS.summaryBucketsMax) {
    throw new UsageError(`--bucket is too short: at most ${LIMITS.summaryBucketsMax} of them fit`)
  }
  return { start_time: start, end_time: end, bucketSeconds }
}

const UNIT_SECONDS = { s: 1, m: 60, h: 3_600, d: 86_400 } as const

function parseLength(text: string): number {
  const [, count, unit] = /^([1-9]\d{0,6})([smhd])$/.exec(text) ?? []
  if (count === undefined) throw new InvalidArgumentError('It is a length of time such as 90s, 15m, 1h or 1d.')
  return Number(count) * UNIT_SECONDS[unit as keyof typeof UNIT_SECONDS]
}

function printSummary(summary: Summary, terminal: Terminal): void {
  terminal.print(
    terminal.paint('bold', `${counted(summary.total, 'event')} from ${summary.start_time} to ${summary.end_time}`),
  )
  if (summary.total === 0) return
  printCounts(terminal, 'action', summary.by_action)
  printCounts(terminal, 'severity', summary.by_severity)
  printCounts(terminal, 'reason', summary.by_reason)
  printTable(
    terminal,
    [{ title: 'charge point', isElastic: true }, ...COUNTED, { title: 'failures', align: 'right' }],
    summary.top_charge_points.map(({ cp_id, count, failures }) => [cp_id, String(count), String(failures)]),
  )
  printTable(
    terminal,
    [{ title: 'address', isElastic: true }, ...COUNTED, { title: 'failures', align: 'right' }],
    summary.top_addresses.map(({ ip, count, failures }) => [ip, String(count), String(failures)]),
  )
  printTable(
    terminal,
    [
      { title: `from (steps of ${summary.bucket_seconds} s)` },
      ...COUNTED,
      ...SEVERITIES.map(title => ({ title, align: 'right' as const })),
    ],
    summary.series.map(bucket => [
      bucket.start,
      String(bucket.total),
      ...SEVERITIES.map(severity => String(bucket.by_severity[severity] ?? 0)),
    ]),
  )
}

const COUNTED: readonly Column[] = [{ title: 'events', align: 'right' }]

function printCounts(terminal: Terminal, title: string, counts: Record<string, number>): void {
  const rows = Object.entries(counts)
    .sort(([, a], [, b]) => b - a)
    .map(([name, count]) => [name, String(count)])
  printTable(terminal, [{ title, isElastic: true }, ...COUNTED], rows)
}
