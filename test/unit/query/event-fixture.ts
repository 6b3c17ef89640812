/** A real event database with rows that exercise the queries, and the naive answers to hold them against. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ACTIONS, SEVERITIES } from '../../../src/event/catalogue.ts'
import type { AuditEvent, StoredEvent } from '../../../src/event/event.ts'
import type { EventFilter, Order } from '../../../src/query/event-queries.ts'
import { createSqliteEventQueries } from '../../../src/query/sqlite-event-queries.ts'
import type { SyncEventQueries, TimedEventQueries } from '../../../src/query/timed-event-queries.ts'
import type { EventStore } from '../../../src/store/event-store.ts'
import { createSqliteEventStore } from '../../../src/store/sqlite-event-store.ts'

export const NEVER = { passed: () => false }
export const START = Date.UTC(2026, 0, 1)
export const timeAt = (seconds: number) => new Date(START + Math.round(seconds * 1000)).toISOString()

/** A store and its questions, whichever they are. */
export interface QueriedStore extends AsyncDisposable {
  readonly store: EventStore
  readonly queries: TimedEventQueries
  /** What was appended, oldest first, as stored. */
  readonly rows: StoredEvent[]
  append(events: readonly AuditEvent[]): Promise<void>
}

export interface EventFixture extends QueriedStore {
  readonly path: string
  readonly queries: SyncEventQueries
}

/** @param segmentIds small, so that walks and counts cross from table to table */
export function createEventFixture(segmentIds = 1_024): EventFixture {
  const directory = mkdtempSync(join(tmpdir(), 'evc-query-'))
  const path = join(directory, 'audit.db')
  const store = createSqliteEventStore({ path, clock: () => START, segmentIds })
  const queries = createSqliteEventQueries({ path })
  return {
    path,
    queries,
    ...queriedRows(store),
    async [Symbol.asyncDispose]() {
      queries.close()
      await store.close()
      rmSync(directory, { recursive: true })
    },
  }
}

/** @param store whose clock says START */
export function queriedRows(store: EventStore): Pick<QueriedStore, 'store' | 'rows' | 'append'> {
  const created_at = timeAt(0)
  const rows: StoredEvent[] = []
  return {
    store,
    rows,
    async append(events) {
      const batch = { source: 'test', after: rows.length, through: rows.length + events.length }
      await store.append({ ...batch, rows: events.map(event => ({ event, onceKey: null })) })
      for (const event of events) rows.push({ id: rows.length + 1, ...event, created_at })
    },
  }
}

/** Deterministic pseudo-random numbers below 1 (mulberry32), so that a failure can be seen again. */
export function createRandom(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296
  }
}

export const WHO = ['CP-1', 'CP-2', 'CP-3', 'CP-rare', 'unknown', 'admin']
export const IPS = ['10.0.0.1', '10.0.0.2', '2001:db8::1', '-']
export const REASONS = ['INVALID_CREDENTIALS', 'REVOKED', 'BRUTE_FORCE_SUSPECTED', 'TypeError']

/** Values of very different frequency; time goes forward with repeats, now and then back, as after an import. */
export function randomEvents(count: number, random: () => number): AuditEvent[] {
  const pick = <T>(values: readonly T[]): T => values[Math.floor(random() ** 3 * values.length)] as T
  let seconds = 0
  return Array.from({ length: count }, (_, n) => {
    seconds += random() < 0.999 ? Math.floor(random() * 3) : -Math.floor(random() * 2_000)
    return {
      date_time: timeAt(Math.max(0, seconds)),
      who: pick(WHO),
      ip: pick(IPS),
      action: pick(ACTIONS),
      description: `event ${n}`,
      severity: pick(SEVERITIES),
      reason_code: random() < 0.5 ? null : pick(REASONS),
      request_id: random() < 0.1 ? null : `request-${n % 1_000}`,
      endpoint: null,
      http_method: null,
      status_code: null,
      metadata_json: null,
    }
  })
}

export function matches(event: StoredEvent, filter: EventFilter): boolean {
  const isOneOf = (values: readonly string[] | undefined, value: string | null) =>
    values === undefined || (value !== null && values.includes(value))
  return (
    (filter.who === undefined || event.who === filter.who) &&
    (filter.ip === undefined || event.ip === filter.ip) &&
    (filter.request_id === undefined || event.request_id === filter.request_id) &&
    isOneOf(filter.action, event.action) &&
    isOneOf(filter.severity, event.severity) &&
    isOneOf(filter.reason_code, event.reason_code) &&
    (filter.start_time === undefined || Date.parse(event.date_time) >= Date.parse(filter.start_time)) &&
    (filter.end_time === undefined || Date.parse(event.date_time) < Date.parse(filter.end_time))
  )
}

export function naiveWalk(
  rows: readonly StoredEvent[],
  filter: EventFilter,
  order: Order,
  after?: number,
): StoredEvent[] {
  const found = rows.filter(
    event => matches(event, filter) && (after === undefined || (order === 'asc' ? event.id > after : event.id < after)),
  )
  return order === 'asc' ? found : found.reverse()
}
