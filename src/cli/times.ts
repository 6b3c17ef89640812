/** Times on the command line: ISO-8601, or relative to now (`-90s`, `-15m`, `-1h`, `-7d`, `now`). */
import { InvalidArgumentError } from 'commander'
import { parseInstant } from '../event/instant.ts'

const RELATIVE = /^-(\d{1,6})([smhd])$/
const UNIT_MS = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const
const DATE = /^\d{4}-\d{2}-\d{2}$/

/** As the query stage wants it: UTC with milliseconds and `Z`. A date alone is its midnight, UTC. */
export function parseTime(text: string): string {
  const ms = text === 'now' ? Date.now() : (relativeMs(text) ?? absoluteMs(text))
  if (!(ms >= 0 && ms <= 253_402_300_799_999)) {
    throw new InvalidArgumentError('It is a time such as 2026-01-31T12:00:00Z, 2026-01-31, -15m, -1h, -7d or now.')
  }
  return new Date(ms).toISOString()
}

function relativeMs(text: string): number | undefined {
  const [, count, unit] = RELATIVE.exec(text) ?? []
  if (count === undefined || unit === undefined) return undefined
  return Date.now() - Number(count) * UNIT_MS[unit as keyof typeof UNIT_MS]
}

function absoluteMs(text: string): number {
  return Date.parse(parseInstant(DATE.test(text) ? `${text}T00:00:00Z` : text) ?? '')
}
