/** What a reader wants to know of many events: runs of the same, who was concerned, and answers for a report. Pure. */
import type { EventRow } from '../evidence/leaf.ts'
import type { CheckedEvent } from '../evidence/verify-pack.ts'
import { reasonWords, titleOf } from './words.ts'

/** Events behind each other that say the same. Refused logins of one address are one run, whoever they were for. */
export interface Run {
  readonly first: CheckedEvent
  readonly last: CheckedEvent
  readonly count: number
  readonly names: ReadonlySet<string>
  readonly isProven: boolean
}

export function runsOf(events: readonly CheckedEvent[]): Run[] {
  const runs: Run[] = []
  let names = new Set<string>()
  for (const event of events) {
    const run = runs.at(-1)
    if (run !== undefined && subjectOf(run.first) === subjectOf(event)) {
      names.add(event.row.who)
      runs[runs.length - 1] = { ...run, last: event, count: run.count + 1 }
    } else {
      names = new Set([event.row.who])
      runs.push({ first: event, last: event, count: 1, names, isProven: event.isProven })
    }
  }
  return runs
}

function subjectOf({ row, isErased, isProven }: CheckedEvent): string {
  const { action, reason_code, who, ip, severity } = row
  return JSON.stringify([action, reason_code, action === 'AUTH_FAIL' ? '' : who, ip, severity, isErased, isProven])
}

export interface Tally {
  readonly name: string
  readonly events: number
  readonly failures: number
  readonly logins: number
}

/** Most failures first. */
export function tally(rows: readonly EventRow[], column: 'who' | 'ip'): Tally[] {
  const counts = new Map<string, { name: string; events: number; failures: number; logins: number }>()
  for (const row of rows) {
    const name = row[column]
    const count = counts.get(name) ?? { name, events: 0, failures: 0, logins: 0 }
    count.events++
    if (row.action === 'AUTH_FAIL') count.failures++
    if (row.action === 'AUTH_SUCCESS') count.logins++
    counts.set(name, count)
  }
  return [...counts.values()].sort((a, b) => b.failures - a.failures || b.events - a.events)
}

/** Actions whose `who` is a charge point. */
const OF_CHARGE_POINTS = new Set([
  'AUTH_SUCCESS',
  'AUTH_FAIL',
  'STATUS_CHANGE',
  'KEY_GENERATE',
  'KEY_RESET',
  'KEY_REVOKE',
  'SECURITY_EVENT',
])

export function chargePoints(rows: readonly EventRow[]): Tally[] {
  return tally(
    rows.filter(({ action, who }) => OF_CHARGE_POINTS.has(action) && who !== ''),
    'who',
  )
}

export function addresses(rows: readonly EventRow[]): Tally[] {
  return tally(
    rows.filter(({ ip }) => ip !== '-' && ip !== ''),
    'ip',
  )
}

export interface Answer {
  readonly question: string
  /** A line each. */
  readonly answer: readonly string[]
}

const HOUR_MS = 3_600_000
const MEASURES = new Set(['KEY_RESET', 'KEY_REVOKE', 'STATUS_CHANGE'])
const MEASURES_OF_SYSTEM = new Set(['CREDENTIALS_ISSUED', 'ADMIN_REVOKED', 'CP_DELETED'])
const LINES_MAX = 12

/** The questions of the early warning and of the notification (NIS2, article 23 (4)), as far as a log can answer. */
export function answersOf(rows: readonly EventRow[]): Answer[] {
  const incidents = rows.filter(({ action }) => action === 'INCIDENT')
  return [
    { question: 'When was it noticed?', answer: noticed(incidents[0]) },
    { question: 'What may have caused it?', answer: causes(rows, incidents) },
    { question: 'Did anybody get in?', answer: entries(rows) },
    { question: 'What is affected?', answer: affected(rows) },
    { question: 'What was done?', answer: measures(rows) },
    {
      question: 'What a log cannot say',
      answer: ['Whether other countries are affected, how many people, and what it cost: that is for you to answer.'],
    },
  ]
}

function noticed(incident: EventRow | undefined): string[] {
  if (incident === undefined) return ['No incident was raised among these events.']
  const at = Date.parse(incident.date_time)
  return [
    `${formatTime(incident.date_time)}: ${titleOf(incident)} (event ${incident.id})`,
    ...[24, 72].map(hours => `${hours} hours after that: ${formatTime(new Date(at + hours * HOUR_MS).toISOString())}`),
  ]
}

function causes(rows: readonly EventRow[], incidents: readonly EventRow[]): string[] {
  const refused = rows.filter(({ action }) => action === 'AUTH_FAIL')
  const lines = [...counted(incidents, 'incident'), ...counted(refused, 'refused login')]
  return lines.length > 0 ? lines : ['Nothing among these events points to an attack.']
}

function counted(rows: readonly EventRow[], what: string): string[] {
  const groups = Map.groupBy(rows, ({ reason_code }) => reason_code ?? '')
  return [...groups].map(
    ([reason, { length }]) => `${length} ${what}${length === 1 ? '' : 's'}: ${reasonWords(reason)}`,
  )
}

/** A success after failures from the same address: the first thing that anybody asks. */
function entries(rows: readonly EventRow[]): string[] {
  const failed = new Set<string>()
  const lines: string[] = []
  for (const { action, ip, who, date_time, id } of rows) {
    if (action === 'AUTH_FAIL') failed.add(ip)
    if (action === 'AUTH_SUCCESS' && failed.has(ip))
      lines.push(
        `${formatTime(date_time)}: ${who} logged in from ${ip}, where logins had been refused before (event ${id})`,
      )
  }
  return lines.length > 0 ? shortened(lines) : ['No login succeeded from an address where one had been refused before.']
}

function affected(rows: readonly EventRow[]): string[] {
  const points = chargePoints(rows).filter(({ failures }) => failures > 0)
  const names = points.slice(0, LINES_MAX).map(({ name }) => name)
  const more = points.length > names.length ? ` and ${points.length - names.length} more` : ''
  const from = addresses(rows).filter(({ failures }) => failures > 0).length
  if (points.length === 0) return ['No charge point had a login refused.']
  return [
    `Logins were refused for ${points.length} charge point(s), from ${from} address(es): ${names.join(', ')}${more}`,
  ]
}

function measures(rows: readonly EventRow[]): string[] {
  const throttled = rows.filter(({ reason_code }) => reason_code === 'THROTTLED').length
  const done = rows.filter(
    ({ action, reason_code }) => MEASURES.has(action) || MEASURES_OF_SYSTEM.has(reason_code ?? ''),
  )
  const lines = done.map(row => `${formatTime(row.date_time)}: ${titleOf(row)}, ${row.who} (event ${row.id})`)
  if (throttled > 0) lines.unshift(`The service slowed down or refused ${throttled} attempt(s) by itself.`)
  return lines.length > 0 ? shortened(lines) : ['No measure is among these events.']
}

function shortened(lines: readonly string[]): string[] {
  const more = lines.length - LINES_MAX
  return more > 0 ? [...lines.slice(0, LINES_MAX), `and ${more} more, below`] : [...lines]
}

/** `2026-01-31 12:00:00 UTC`. */
export function formatTime(time: string): string {
  return `${time.slice(0, 19).replace('T', ' ')} UTC`
}
