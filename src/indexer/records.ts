/**
 * From journal records to rows. Whatever the journal holds, every sequence number is accounted for: an event becomes
 * its row, and what cannot be read as an event, or is missing, becomes a LOSS_DECLARED row that says so. Pure.
 */
import { MalformedRecordError, parseEntry } from '../event/codec.ts'
import type { AuditEvent, JournalEntry } from '../event/event.ts'
import type { JournalRecord } from '../journal/journal.ts'
import type { Row } from '../store/event-store.ts'

export interface Rows {
  readonly rows: Row[]
  /** How many sequence numbers were declared lost. */
  readonly lost: number
}

/** @param after the sequence before the first record: where the numbers have to go on from. */
export function rowsOf(records: readonly JournalRecord[], after: number, journalId: string, now: string): Rows {
  const rows: Row[] = []
  let lost = 0
  const declare = (first: number, last: number, why: string) => {
    rows.push({ event: lossEvent(journalId, first, last, why, now), onceKey: null })
    lost += last - first + 1
  }
  let expected = after + 1
  for (const { sequence, text } of records) {
    if (sequence > expected) declare(expected, sequence - 1, 'missing from the journal')
    expected = sequence + 1
    try {
      const { event, outboxId } = checkedEntry(text)
      rows.push({ event, onceKey: outboxId, record: text })
    } catch (error) {
      if (!(error instanceof MalformedRecordError)) throw error
      declare(sequence, sequence, error.message)
    }
  }
  return { rows, lost }
}

const isText = (value: unknown) => typeof value === 'string'
const isTextOrNull = (value: unknown) => value === null || typeof value === 'string'
/** As `toISOString` prints it: times are compared as text. */
const TIME = /^[+-]?\d{4,6}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/

/** The store takes what it is given, and one value it cannot bind would stop the log: so the types are looked at here. */
export function checkedEntry(text: string): JournalEntry {
  const entry = parseEntry(text)
  const { date_time, who, ip, action, description, severity } = entry.event
  const { reason_code, request_id, endpoint, http_method, status_code, metadata_json } = entry.event
  // One after the other: a loop over their names takes as long as reading the record.
  const isEvent =
    isText(date_time) &&
    isText(who) &&
    isText(ip) &&
    isText(action) &&
    isText(description) &&
    isText(severity) &&
    isTextOrNull(reason_code) &&
    isTextOrNull(request_id) &&
    isTextOrNull(endpoint) &&
    isTextOrNull(http_method) &&
    isTextOrNull(metadata_json) &&
    isTextOrNull(entry.outboxId) &&
    (status_code === null || Number.isSafeInteger(status_code))
  if (!isEvent || !TIME.test(date_time)) throw new MalformedRecordError('a field is of the wrong type')
  return entry
}

function lossEvent(journalId: string, first: number, last: number, why: string, now: string): AuditEvent {
  const count = last - first + 1
  const which = count === 1 ? `Journal record ${first} is` : `Journal records ${first} to ${last} are`
  return {
    date_time: now,
    who: 'system',
    ip: '-',
    action: 'SYSTEM',
    description: `${which} lost: ${why}`,
    severity: 'CRITICAL',
    reason_code: 'LOSS_DECLARED',
    request_id: null,
    endpoint: null,
    http_method: null,
    status_code: null,
    metadata_json: JSON.stringify({ journal: journalId, first_sequence: first, last_sequence: last, count }),
  }
}
