/**
 * Imports the events of a database of the reference implementation: any SQLite file with its `audit_events` table.
 *
 * Promise: the file is never changed; a file that is broken, foreign or holds one row that cannot be taken is refused
 * with nothing written, as all of it is looked at before the first row is appended. Every event keeps its 13 other
 * columns and its order; only date_time gets its one spelling (UTC, milliseconds, `Z`), and a secret is replaced, as
 * everywhere before the trail: what is in there cannot be taken out again. A second run adds nothing and
 * a grown file adds what is new, because each row is known by the digest of its original values. Memory is bounded by
 * a batch. Events of an action or severity that the catalogue does not have are refused: nothing could ask for them.
 */
import { createHash } from 'node:crypto'
import { Refusal } from '../errors.ts'
import { ACTIONS, type Action, SEVERITIES, type Severity } from '../event/catalogue.ts'
import { COLUMNS } from '../event/event.ts'
import { LIMITS } from '../limits.ts'
import type { Appended, EventStore, Row } from './event-store.ts'
import { patiently } from './patience.ts'
import { openReferenceFile, type ReferenceFile, type ReferenceRow } from './reference-file.ts'

/** Takes secrets out of a text, and out of JSON; what has none stays to the letter. */
export interface Redaction {
  text(value: string): string
  json(value: string): string
}

export interface Imported {
  /** Events in the file. */
  readonly total: number
  readonly imported: number
  /** Known from an earlier run. */
  readonly skipped: number
  /** Events in the file of which a secret was replaced. */
  readonly redacted: number
}

export interface ImportProgress {
  readonly phase: 'checking' | 'importing'
  readonly done: number
  readonly total: number
}

/** One name for all files: what tells events apart is their digest, and the position only orders the batches. */
const SOURCE = 'import:reference'
const BATCH_ROWS = 5_000
const ROWS_BETWEEN_CHECKPOINTS = 50_000

/**
 * @throws {Refusal} FOREIGN_FILE (nothing was written), STORE_UNAVAILABLE (the store could not be written for half a minute;
 * what was imported until then stays, and the next run goes on from there)
 */
export async function importReferenceDatabase(options: {
  file: string
  store: EventStore
  redaction: Redaction
  onProgress?: (progress: ImportProgress) => void
}): Promise<Imported> {
  const { store, redaction, onProgress = () => {} } = options
  using reference = openReferenceFile(options.file)
  const redacted = check(reference, redaction, onProgress)
  const { total } = reference
  let done = 0
  let imported = 0
  let unsaved = 0
  for (const batch of batches(reference, redaction)) {
    const { written } = await patiently(() => append(store, batch))
    imported += written
    done += batch.length
    unsaved += written
    if (unsaved >= ROWS_BETWEEN_CHECKPOINTS) {
      await patiently(() => store.checkpoint())
      unsaved = 0
    }
    onProgress({ phase: 'importing', done, total })
  }
  await patiently(() => store.checkpoint())
  return { total, imported, skipped: total - imported, redacted }
}

/** @returns of how many events a secret was replaced */
function check(reference: ReferenceFile, redaction: Redaction, onProgress: (progress: ImportProgress) => void): number {
  const { total } = reference
  let done = 0
  let redacted = 0
  for (const row of reference.rows()) {
    if (checkedRow(row, redaction).hadSecret) redacted += 1
    if (++done % BATCH_ROWS === 0) onProgress({ phase: 'checking', done, total })
  }
  onProgress({ phase: 'checking', done, total })
  return redacted
}

function* batches(reference: ReferenceFile, redaction: Redaction): Generator<Row[]> {
  let batch: Row[] = []
  for (const row of reference.rows()) {
    const { hadSecret: _, ...checked } = checkedRow(row, redaction)
    batch.push({ ...checked, onceKey: digestOf(row) })
    if (batch.length < BATCH_ROWS) continue
    yield batch
    batch = []
  }
  if (batch.length > 0) yield batch
}

async function append(store: EventStore, rows: readonly Row[]): Promise<Appended> {
  const after = await store.position(SOURCE)
  return store.append({ source: SOURCE, after, through: after + rows.length, rows })
}

const REQUIRED = ['date_time', 'who', 'ip', 'action', 'description', 'severity', 'created_at'] as const
const OPTIONAL = ['reason_code', 'request_id', 'endpoint', 'http_method', 'metadata_json'] as const

/** @throws {Refusal} FOREIGN_FILE, naming the row and the column but not the value. */
function checkedRow(row: ReferenceRow, redaction: Redaction): Omit<Row, 'onceKey'> & { readonly hadSecret: boolean } {
  const refuse = (column: string, why: string) => new Refusal('FOREIGN_FILE', `row ${row.id}: ${column} ${why}`)
  let characters = 0
  let hadSecret = false
  const text = (column: (typeof REQUIRED)[number] | (typeof OPTIONAL)[number]): string => {
    const value = row[column]
    if (typeof value !== 'string') throw refuse(column, 'is not text')
    characters += value.length
    return value
  }
  const safe = (column: (typeof REQUIRED)[number] | (typeof OPTIONAL)[number], redact = redaction.text): string => {
    const value = text(column)
    const redacted = redact(value)
    hadSecret ||= redacted !== value
    characters += redacted.length - value.length
    return redacted
  }
  const optional = (column: (typeof OPTIONAL)[number], redact = redaction.text) =>
    row[column] === null ? null : safe(column, redact)
  const integer = (column: 'id' | 'status_code'): number => {
    if (Number.isSafeInteger(row[column])) return row[column] as number
    throw refuse(column, 'is not an integer')
  }
  const action = text('action')
  const severity = text('severity')
  const time = parseReferenceTime(text('date_time'))
  if (integer('id') < 1) throw refuse('id', 'is below 1')
  if (!ACTIONS.includes(action as Action)) throw refuse('action', 'is not one of the event catalogue')
  if (!SEVERITIES.includes(severity as Severity)) throw refuse('severity', 'is not one of the event catalogue')
  if (time === undefined) throw refuse('date_time', 'is not a time')
  const event = {
    date_time: time,
    who: safe('who'),
    ip: safe('ip'),
    action: action as Action,
    description: safe('description'),
    severity: severity as Severity,
    reason_code: optional('reason_code'),
    request_id: optional('request_id'),
    endpoint: optional('endpoint'),
    http_method: optional('http_method'),
    status_code: row.status_code === null ? null : integer('status_code'),
    metadata_json: optional('metadata_json', redaction.json),
  }
  const createdAt = safe('created_at')
  if (characters > LIMITS.recordBytesMax) throw refuse('the whole row', 'is too large')
  return { event, createdAt, hadSecret }
}

/** Of the original id and the 13 columns as they were, so that it stays the same whatever we normalise. */
function digestOf(row: ReferenceRow): string {
  return createHash('sha256')
    .update(JSON.stringify(COLUMNS.map(column => row[column])))
    .digest('hex')
}

const REFERENCE_TIME =
  /^(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?:Z|([+-])(\d\d):?(\d\d)(?::?\d\d)?)?$/

/** ISO-8601 with or without an offset (then it is UTC), cut to milliseconds. Undefined when it is no time. */
export function parseReferenceTime(text: string): string | undefined {
  const found = REFERENCE_TIME.exec(text)
  if (found === null) return undefined
  const [, year, month, day, hour, minute, second, fraction = '', sign, offsetHours = '0', offsetMinutes = '0'] = found
  const fields = `${year}-${month}-${day}T${hour}:${minute}:${second}.${fraction.slice(0, 3).padEnd(3, '0')}Z`
  const at = new Date(fields)
  // The round trip refuses what Date would roll over, such as 31 February.
  if (Number.isNaN(at.getTime()) || at.toISOString() !== fields) return undefined
  const offsetMs = (Number(offsetHours) * 60 + Number(offsetMinutes)) * 60_000
  if (Number(offsetHours) > 23 || Number(offsetMinutes) > 59) return undefined
  const utc = new Date(at.getTime() - (sign === '-' ? -offsetMs : offsetMs))
  return utc.getUTCFullYear() < 0 || utc.getUTCFullYear() > 9999 ? undefined : utc.toISOString()
}
