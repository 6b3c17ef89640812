/**
 * One audit event, as the journal carries it and as a row of `audit_events` holds it.
 *
 * The field names are the column names of the table, in its order; `id` and `created_at` are given by the
 * store when the row is written, so an event in the journal has the twelve others.
 */
import type { Action, Severity } from './catalogue.ts'

/** An event on its way: all columns but `id` and `created_at`. Times are UTC ISO-8601 with milliseconds and `Z`. */
export interface AuditEvent {
  readonly date_time: string
  /** cp_id, admin name, `system` or `unknown`. */
  readonly who: string
  /** Client address, or `-` where there is none. */
  readonly ip: string
  readonly action: Action
  readonly description: string
  readonly severity: Severity
  readonly reason_code: string | null
  readonly request_id: string | null
  readonly endpoint: string | null
  readonly http_method: string | null
  readonly status_code: number | null
  /** JSON text, already redacted; or null. */
  readonly metadata_json: string | null
}

/** An event as stored: exactly the 14 columns. `id` counts from 1 without gaps. */
export interface StoredEvent extends AuditEvent {
  readonly id: number
  readonly created_at: string
}

/** Whether the row was erased: its private columns are blank, and only its public ones say anything. */
export function isErased({ who, ip, description }: AuditEvent): boolean {
  return who === '' && ip === '' && description === ''
}

/** The 14 columns of `audit_events`, in table order. */
export const COLUMNS = [
  'id',
  'date_time',
  'who',
  'ip',
  'action',
  'description',
  'severity',
  'reason_code',
  'request_id',
  'endpoint',
  'http_method',
  'status_code',
  'metadata_json',
  'created_at',
] as const satisfies readonly (keyof StoredEvent)[]

type ValuesOf<Names extends readonly (keyof StoredEvent)[]> = { readonly [N in keyof Names]: StoredEvent[Names[N]] }

/** The values of a row, in the order of `COLUMNS`. */
export type StoredValues = ValuesOf<typeof COLUMNS>

export function eventOfValues(values: StoredValues): StoredEvent {
  return {
    id: values[0],
    date_time: values[1],
    who: values[2],
    ip: values[3],
    action: values[4],
    description: values[5],
    severity: values[6],
    reason_code: values[7],
    request_id: values[8],
    endpoint: values[9],
    http_method: values[10],
    status_code: values[11],
    metadata_json: values[12],
    created_at: values[13],
  }
}

/** What the journal holds per record: the event and, for events of a state change, the id of its outbox row. */
export interface JournalEntry {
  readonly event: AuditEvent
  /** UUID of the outbox row this event was delivered from; the indexer writes one row per such id, ever. */
  readonly outboxId: string | null
}
