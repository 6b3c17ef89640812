/** Moments as callers write them, through whichever door. */

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
