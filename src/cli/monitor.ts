/** `monitor`: is anything wrong now? Exit code 1 says that there was an incident. */
import { setTimeout as delay } from 'node:timers/promises'
import { Command } from 'commander'
import { escapeUnprintable } from '../audit/redaction.ts'
import { counted } from '../counted.ts'
import { ACCESS } from '../event/catalogue.ts'
import { LIMITS } from '../limits.ts'
import type { Episode } from '../query/event-queries.ts'
import { ruleText } from './alert-rules.ts'
import { wholeNumber } from './filters.ts'
import { type MonitorReport, monitorReport, type RuleState } from './monitor-report.ts'
import { EXIT, UsageError } from './outcome.ts'
import type { Shell } from './shell.ts'
import { stopRequest } from './signals.ts'
import { printTable } from './table.ts'
import type { Terminal } from './terminal.ts'
import { openTrail } from './trail.ts'

const REFRESH_MS = 2_000
/** Below this, a line has no room for everything about an episode. */
const ROOMY_COLUMNS = 110
const SPARKS = '▁▂▃▄▅▆▇█'
const SPARKS_MAX = 60

interface MonitorOptions {
  readonly minutes: number
  readonly json?: boolean
  readonly watch?: boolean
}

export function monitorCommand(shell: Shell): Command {
  return new Command('monitor')
    .description(
      'Show incidents, failure rates and alert rules of the last hour. Exit code 1 if there was an incident.',
    )
    .option('--minutes <n>', 'how far back', wholeNumber(1, LIMITS.failureMinutesMax), 60)
    .option('--json', 'as one JSON object')
    .option('--watch', 'refresh every two seconds, on a terminal, until Ctrl-C')
    .addHelpText(
      'after',
      `
Examples:
  ev-central monitor
  ev-central monitor --minutes 15 --json || notify-the-operator`,
    )
    .action((options: MonitorOptions, command: Command) => monitor(options, command, shell))
}

async function monitor(options: MonitorOptions, command: Command, shell: Shell): Promise<void> {
  const { terminal } = shell
  const { minutes, json = false, watch = false } = options
  if (watch && (json || !terminal.isInteractive)) throw new UsageError('--watch is for a terminal, and without --json')
  const quietSeconds = shell.settings(command).bruteForceWindowSeconds
  using stop = stopRequest()
  const ended = AbortSignal.any([stop.signal, terminal.outputClosed])
  await using trail = await openTrail(shell, command, { access: ACCESS.READ, filter: { minutes } })
  for (;;) {
    const report = await monitorReport(trail, { minutes, endMs: Date.now(), quietSeconds })
    shell.exitCode = report.incidents > 0 ? EXIT.failed : EXIT.ok
    if (watch) terminal.clear()
    if (json) terminal.print(escapeUnprintable(JSON.stringify(report)))
    else printReport(report, minutes, terminal)
    if (!watch) return
    await delay(REFRESH_MS, undefined, { signal: ended }).catch(() => {})
    if (ended.aborted) return
  }
}

function printReport(report: MonitorReport, minutes: number, terminal: Terminal): void {
  terminal.print(
    terminal.paint('bold', `The last ${minutes === 1 ? 'minute' : `${minutes} minutes`}, until ${report.end_time}`),
  )
  const failures = `${counted(report.failures, 'failed login')} (${report.failures_per_minute} a minute)`
  terminal.print(`${counted(report.events, 'event')}, ${failures}, ${counted(report.incidents, 'incident')}`)
  if (report.failures > 0) terminal.print(`over time  ${sparkline(report.failures_by_minute)}`)
  printRules(report.rules, terminal)
  printEpisodes(report.episodes, terminal)
  printTable(
    terminal,
    [{ title: 'failed logins by reason' }, { title: 'count', align: 'right' }],
    Object.entries(report.failures_by_reason).map(([reason, count]) => [reason, String(count)]),
  )
  const busy = [
    { title: 'failures', align: 'right' },
    { title: 'events', align: 'right' },
  ] as const
  printTable(
    terminal,
    [{ title: 'address', isElastic: true }, ...busy],
    report.top_addresses.map(({ ip, failures, count }) => [ip, String(failures), String(count)]),
  )
  printTable(
    terminal,
    [{ title: 'charge point', isElastic: true }, ...busy],
    report.top_charge_points.map(({ cp_id, failures, count }) => [cp_id, String(failures), String(count)]),
  )
}

function printRules(rules: readonly RuleState[], terminal: Terminal): void {
  terminal.print()
  terminal.print(terminal.paint('bold', 'alert rules'))
  for (const { name, threshold, within_minutes, count, firing } of rules) {
    const text = ruleText({ name, threshold, ...(within_minutes === null ? {} : { withinMinutes: within_minutes }) })
    const state = firing ? terminal.paint('red', 'FIRING') : terminal.paint('green', 'quiet ')
    terminal.print(`${state}  ${text}: ${count}`)
  }
}

function printEpisodes(episodes: readonly Episode[], terminal: Terminal): void {
  printTable(
    terminal,
    [
      { title: 'incident' },
      { title: 'subject', isElastic: true },
      { title: 'failures', align: 'right' },
      { title: 'first seen', from: ROOMY_COLUMNS },
      { title: 'last seen' },
      { title: 'event ids', isElastic: true, from: ROOMY_COLUMNS },
    ],
    episodes.map(episode => [
      episode.reason_code,
      episode.scope === 'ip'
        ? episode.ip
        : episode.scope === 'cp_id'
          ? episode.who
          : `${episode.who} from ${episode.ip}`,
      episode.failure_count === null ? '' : String(episode.failure_count),
      episode.first_seen.slice(0, 19),
      episode.last_seen.slice(0, 19),
      episode.event_ids.join(','),
    ]),
  )
}

/** The counts as a row of small bars, neighbouring minutes drawn together when there are many. */
function sparkline(counts: readonly number[]): string {
  const step = Math.ceil(counts.length / SPARKS_MAX)
  const sums: number[] = []
  for (let i = 0; i < counts.length; i += step) {
    sums.push(counts.slice(i, i + step).reduce((sum, count) => sum + count, 0))
  }
  const largest = Math.max(...sums)
  return sums.map(sum => SPARKS[Math.ceil((sum / largest) * (SPARKS.length - 1))]).join('')
}
