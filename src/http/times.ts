/** Times and lengths of time as callers write them. */

const INSTANT = /^(\d{4})-(\d{2})-(\d{2})T\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?(?:Z|[+\- ]\d{2}:?\d{2})$/

/**
 * Any ISO-8601 time with a zone, in the one spelling of the trail (UTC, milliseconds, `Z`); undefined if it is none.
 * A blank in place of the `+` of an offset is what becomes of it in a query string that was not escaped.
 */
export function parseInstant(text: string): string | undefined {
  const parts = INSTANT.exec(text)
  if (parts === null) return undefined
  const [, year = '', month = '', day = ''] = parts
  // Date.parse takes 30 February for 2 March.
  const date = new Date(`${year}-${month}-${day}T00:00:00Z`)
  if (Number.isNaN(date.getTime()) || date.getUTCDate() !== Number(day)) return undefined
  const instant = new Date(text.replace(' ', '+').replace(/([+-]\d{2})(\d{2})$/, '$1:$2'))
  if (Number.isNaN(instant.getTime())) return undefined
  const normal = instant.toISOString()
  return normal.length === 24 ? normal : undefined // beyond the years 0 to 9999
}

const UNIT_SECONDS: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3_600, d: 86_400 }
const NAMED_SECONDS: Readonly<Record<string, number>> = { minute: 60, hour: 3_600, day: 86_400 }

export const DURATION = '^(?:[1-9][0-9]{0,6}[smhd]?|minute|hour|day)$'

/** Seconds of a text that matches `DURATION`: `90`, `90s`, `15m`, `1h`, `1d`, `minute`, `hour`, `day`. */
export function parseDuration(text: string): number {
  const unit = UNIT_SECONDS[text.at(-1) as string]
  return NAMED_SECONDS[text] ?? (unit === undefined ? Number(text) : Number(text.slice(0, -1)) * unit)
}
