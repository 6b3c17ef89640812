/**
 * Compares rows with what should have become rows: the journal's records, and what was answered.
 *
 * A row does not say which record it was. But the rows of a journal stand in the order of its records, so records and rows
 * are matched from their ends backwards, by what they say; rows in between that no record accounts for are imports. Events
 * of the outbox may be several records and have been a row since before the oldest one that is left. An erased row is known by its
 * public columns only: it is the last record with the same ones that is no other row.
 */
import { hash } from 'node:crypto'
import type { DatabaseSync } from 'node:sqlite'
import { type AuditEvent, COLUMNS, isErased, type StoredEvent } from '../event/event.ts'
import { rowsOf } from '../indexer/records.ts'
import type { JournalRecord } from '../journal/journal.ts'
import { listSegments, type Segment } from '../store/segments.ts'

/** A row that says that something was lost. */
export interface DeclaredLoss {
  readonly id: number
  readonly description: string
  /** Events or journal records; undefined when it does not say. */
  readonly count: number | undefined
}

export interface CheckedRows {
  readonly problems: readonly string[]
  readonly rows: number
  readonly losses: readonly DeclaredLoss[]
}

const EVENT_COLUMNS = COLUMNS.filter(column => column !== 'id' && column !== 'created_at')
const PUBLIC_COLUMNS = ['date_time', 'action', 'severity', 'reason_code', 'status_code'] as const
const ROWS_A_STEP = 10_000

/** What is searched for among the rows. */
export interface Expected {
  /** A record that has to be a row. */
  record(record: JournalRecord): void
  /** A record that is to be a row later on. */
  waiting(record: JournalRecord): void
  compare(db: DatabaseSync | undefined, onRows: (done: number, total: number) => void): CheckedRows
}

/** @param answered request ids, or descriptions, of events that somebody was given an answer for */
export function expectRows(journalId: string, answered: readonly string[]): Expected {
  /** Sequences by what the row says, ascending; one of the outbox stands there once. */
  const sequences = new Map<string, number[]>()
  const outboxed = new Set<number>()
  /** The same by what an erased row says, with what the record says. */
  const publicly = new Map<string, { readonly sequence: number; readonly key: string }[]>()
  const onceKeys = new Set<string>()
  const waitingOnce = new Map<string, AuditEvent>()
  const times = new Set<string>()
  /** A gap in the journal, by the record behind it. */
  const gaps = new Map<number, { readonly first: number; readonly before: number | undefined }>()
  const counts = new Map(answered.map(key => [key, 0]))
  let previous: number | undefined

  function count({ request_id, description }: AuditEvent): void {
    for (const key of [request_id, description]) {
      const seen = key === null ? undefined : counts.get(key)
      if (seen !== undefined) counts.set(key as string, seen + 1)
    }
  }

  /** The last record that says what the row says, and is no other row. */
  function takeSequence(row: StoredEvent): number | 'taken' | undefined {
    if (!isErased(row)) {
      const same = sequences.get(keyOf(row))
      return same === undefined ? undefined : (same.pop() ?? 'taken')
    }
    const alike = publicly.get(publicKeyOf(row)) ?? []
    const last = alike.findLast(({ sequence, key }) => sequences.get(key)?.includes(sequence))
    if (last === undefined) return undefined
    const same = sequences.get(last.key) as number[]
    same.splice(same.indexOf(last.sequence), 1)
    return last.sequence
  }

  function rowOf(record: JournalRecord) {
    const [row] = rowsOf([record], record.sequence - 1, journalId, '').rows
    return row as NonNullable<typeof row>
  }

  return {
    record(record) {
      const { sequence } = record
      const { event, onceKey } = rowOf(record)
      if (previous !== undefined && sequence > previous + 1)
        gaps.set(sequence, { first: previous + 1, before: previous })
      previous = sequence
      if (onceKey !== null) {
        if (onceKeys.has(onceKey)) return
        onceKeys.add(onceKey)
        outboxed.add(sequence)
      }
      const key = keyOf(event)
      const same = sequences.get(key)
      if (same === undefined) sequences.set(key, [sequence])
      else same.push(sequence)
      times.add(event.date_time)
      const publicKey = publicKeyOf(event)
      const alike = publicly.get(publicKey)
      if (alike === undefined) publicly.set(publicKey, [{ sequence, key }])
      else alike.push({ sequence, key })
    },

    waiting(record) {
      const { event, onceKey } = rowOf(record)
      if (onceKey === null) count(event)
      else if (!onceKeys.has(onceKey)) waitingOnce.set(onceKey, event)
    },

    compare(db, onRows) {
      const problems: string[] = []
      const losses: DeclaredLoss[] = []
      const places = new Map<number, number>()
      const segments = db === undefined ? [] : listSegments(db)
      const total = Number(db?.prepare('SELECT max(id) AS id FROM audit_events').get()?.id ?? 0)
      const firstId = segments[0]?.firstId ?? 1
      let rows = 0
      let lowest = Number.POSITIVE_INFINITY
      for (const row of rowsBackwards(db, segments)) {
        if (++rows % ROWS_A_STEP === 0) onRows(rows, total)
        count(row)
        if (row.reason_code === 'LOSS_DECLARED') losses.push(lossOf(row))
        if (!times.has(row.date_time) && row.reason_code !== 'LOSS_DECLARED') continue
        const sequence = takeSequence(row)
        if (sequence === undefined) continue
        if (sequence === 'taken') {
          problems.push(`row ${row.id} is the row of a journal record that is another row, too`)
          continue
        }
        places.set(sequence, row.id)
        if (outboxed.has(sequence)) continue
        if (sequence > lowest) problems.push(`row ${row.id} is journal record ${sequence}, out of order`)
        lowest = sequence
      }
      for (const missing of [...sequences.values()].flat().sort((a, b) => a - b)) {
        if (firstId > 1 && missing < lowest) continue // its segment has left the database
        problems.push(`journal record ${missing} is no row, and the rows say it is`)
      }
      for (const [behind, { first, before }] of gaps) {
        const [to, from] = [places.get(behind), before === undefined ? undefined : places.get(before)]
        const isAccounted = to === undefined || from === undefined || to - from !== 1
        if (!isAccounted) problems.push(`journal records ${first} to ${behind - 1} are lost, and no row declares it`)
      }
      for (const event of waitingOnce.values()) {
        // Delivered again, if it is a row since before the oldest record that is left.
        if (![event.request_id, event.description].some(key => (counts.get(key ?? '') ?? 0) > 0)) count(event)
      }
      for (const [key, seen] of counts) {
        if (seen !== 1) problems.push(`${key} was answered and is ${seen} rows`)
      }
      return { problems, rows, losses: losses.reverse() }
    },
  }
}

function* rowsBackwards(db: DatabaseSync | undefined, segments: readonly Segment[]): Generator<StoredEvent> {
  if (db === undefined) return
  for (const { table } of segments.toReversed()) {
    for (const row of db.prepare(`SELECT * FROM ${table} ORDER BY id DESC`).iterate())
      yield row as unknown as StoredEvent
  }
}

/** Two events of one key are the same; a loss that the indexer declared has the time of that, and is known by its records. */
function keyOf(event: AuditEvent): string {
  const { journal, first_sequence: first, last_sequence: last } = lossMetadata(event)
  if (journal !== undefined) return `lost ${journal} ${first} ${last}`
  return hash('sha256', JSON.stringify(EVENT_COLUMNS.map(column => event[column])), 'base64')
}

/** Of an event, erased or not. */
function publicKeyOf(event: AuditEvent): string {
  return JSON.stringify(PUBLIC_COLUMNS.map(column => event[column]))
}

function lossOf(row: StoredEvent): DeclaredLoss {
  const { count } = lossMetadata(row)
  return { id: row.id, description: row.description, count: Number.isSafeInteger(count) ? Number(count) : undefined }
}

function lossMetadata({ reason_code, metadata_json }: AuditEvent): Record<string, unknown> {
  if (reason_code !== 'LOSS_DECLARED' || metadata_json === null) return {}
  try {
    const parsed: unknown = JSON.parse(metadata_json)
    return typeof parsed === 'object' && parsed !== null ? (parsed as Record<string, unknown>) : {}
  } catch {
    return {}
  }
}
