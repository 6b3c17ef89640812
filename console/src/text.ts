/** Texts of strangers, made harmless to look at, and numbers and times as people read them. */

/** Controls, marks that turn the direction of text, zero-width characters, and surrogates that stand alone. */
const UNPRINTABLE =
  /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g

/** With everything visible that could hide or reorder what is around it. */
export function printable(text: string): string {
  return text.replace(UNPRINTABLE, character => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

/** Like `printable`, of text in lines. */
export function printableLines(text: string): string {
  return text.split('\n').map(printable).join('\n')
}

export function cut(text: string, charactersMax: number): string {
  return text.length > charactersMax ? `${text.slice(0, charactersMax)}…` : text
}

export function number(value: number): string {
  return value.toLocaleString('en')
}

const CODE_CHARACTERS = 64

/** `AUTH_FAIL` as a person would say it. A row that was imported may have any text in its place. */
export function words(code: string): string {
  const text = printable(cut(code, CODE_CHARACTERS))
    .replace(/[_-]/g, ' ')
    .toLowerCase()
    .replace(/\bcp\b/g, 'CP')
  return text.charAt(0).toUpperCase() + text.slice(1)
}

/** The same, within a sentence. */
export function inSentence(code: string): string {
  const text = words(code)
  return text.charAt(0).toLowerCase() + text.slice(1)
}

export function count(value: number, one: string, many = `${one}s`): string {
  return `${number(value)} ${value === 1 ? one : many}`
}

/** `2026-03-01 08:00:20.123`, UTC, without saying so. */
export function utc(iso: string): string {
  return iso.replace('T', ' ').replace('Z', '')
}

const local = new Intl.DateTimeFormat(undefined, {
  dateStyle: 'medium',
  timeStyle: 'long',
})

export function localTime(iso: string): string {
  const at = new Date(iso)
  return Number.isNaN(at.getTime()) ? iso : local.format(at)
}

const STEPS = [
  [60, 'second'],
  [3_600, 'minute'],
  [86_400, 'hour'],
  [Number.POSITIVE_INFINITY, 'day'],
] as const

/** `3 minutes`, rounded down. */
export function duration(seconds: number): string {
  let unit = 1
  for (const [below, name] of STEPS) {
    if (seconds < below) return count(Math.max(0, Math.floor(seconds / unit)), name)
    unit = below
  }
  return ''
}

export function ago(iso: string, now: number): string {
  const seconds = (now - Date.parse(iso)) / 1000
  return seconds < 1 ? 'now' : `${duration(seconds)} ago`
}
