/** Lengths of time as callers write them. */

const UNIT_SECONDS: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3_600, d: 86_400 }
const NAMED_SECONDS: Readonly<Record<string, number>> = { minute: 60, hour: 3_600, day: 86_400 }

export const DURATION = '^(?:[1-9][0-9]{0,6}[smhd]?|minute|hour|day)$'

/** Seconds of a text that matches `DURATION`: `90`, `90s`, `15m`, `1h`, `1d`, `minute`, `hour`, `day`. */
export function parseDuration(text: string): number {
  const unit = UNIT_SECONDS[text.at(-1) as string]
  return NAMED_SECONDS[text] ?? (unit === undefined ? Number(text) : Number(text.slice(0, -1)) * unit)
}
