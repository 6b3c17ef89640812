/**
 * What can be asked of the stored events. Implementations run off the request thread, each call bounded in time and rows.
 *
 * All walk by id (the log's order), never by offset, so a page costs the same wherever it is and rows that arrive
 * meanwhile neither shift nor repeat anything.
 */
import type { Action, Severity } from '../event/catalogue.ts'
import type { StoredEvent } from '../event/event.ts'
import type { Hash } from '../evidence/merkle.ts'
import type { CountRequest, EventProof, ProvenPage, ProvenRequest, TileRequest } from './log-questions.ts'

/** All conditions must hold; a list means any of its values. Times are ISO-8601 UTC; start inclusive, end exclusive. */
export interface EventFilter {
  readonly who?: string
  readonly ip?: string
  readonly request_id?: string
  readonly action?: readonly Action[]
  readonly severity?: readonly Severity[]
  readonly reason_code?: readonly string[]
  readonly start_time?: string
  readonly end_time?: string
}

export type Order = 'asc' | 'desc'

export interface PageRequest {
  readonly filter: EventFilter
  readonly limit: number
  readonly order: Order
  /** Only ids beyond this one in walking order: below it for `desc`, above it for `asc`. */
  readonly after?: number
}

export interface EventPage {
  readonly events: StoredEvent[]
  /** Where to go on (`after` of the next request), or null at the end. A page may be short before the end when time ran out. */
  readonly next: number | null
}

export type ExportFormat = 'ndjson' | 'csv'

/** A piece of an export, ready to be sent: the encoded text of one page. CSV has its header in a chunk asked without `after`. */
export interface ExportChunk {
  readonly text: string
  readonly count: number
  readonly next: number | null
}

export interface SummaryRequest {
  readonly start_time: string
  readonly end_time: string
  /** Length of a bucket of the series, in seconds. */
  readonly bucketSeconds: number
}

export interface Summary {
  readonly start_time: string
  readonly end_time: string
  readonly total: number
  readonly by_action: Record<string, number>
  readonly by_severity: Record<string, number>
  readonly by_reason: Record<string, number>
  readonly top_charge_points: { cp_id: string; count: number; failures: number }[]
  readonly top_addresses: { ip: string; count: number; failures: number }[]
  /** The same, most failures first. */
  readonly top_failing_charge_points: { cp_id: string; count: number; failures: number }[]
  readonly top_failing_addresses: { ip: string; count: number; failures: number }[]
  readonly bucket_seconds: number
  /** Only buckets that hold events, oldest first. */
  readonly series: { start: string; total: number; by_severity: Record<string, number> }[]
}

export interface StepsRequest {
  readonly start_time: string
  readonly end_time: string
  readonly stepSeconds: number
}

export type Step = Pick<Summary, 'by_action' | 'by_reason'>

/** A run of brute-force failures that belongs together, or a single incident of another kind. */
export interface Episode {
  /** Id of the first incident event of the episode. */
  readonly episode_id: number
  readonly reason_code: string
  /** `ip` or `cp_id` for brute force, null for other kinds. */
  readonly scope: 'ip' | 'cp_id' | null
  readonly ip: string
  readonly who: string
  readonly first_seen: string
  readonly last_seen: string
  /** Failures counted when the last incident of the episode was raised; null for other kinds. */
  readonly failure_count: number | null
  /** Ids of its incident events, oldest first. */
  readonly event_ids: number[]
  readonly description: string
}

export interface EventQueries {
  page(request: PageRequest): Promise<EventPage>
  event(id: number): Promise<StoredEvent | undefined>
  /** Newest first. */
  failures(request: { ip?: string; who?: string; since: string; limit: number }): Promise<StoredEvent[]>
  exportChunk(request: PageRequest & { format: ExportFormat }): Promise<ExportChunk>
  summary(request: SummaryRequest): Promise<Summary>
  /** One for each step of the range, empty ones included, oldest first. At most `summaryBucketsMax` steps. */
  steps(request: StepsRequest): Promise<Step[]>
  /** Newest first. Brute-force incidents of one subject with less than `quietSeconds` between them are one episode. */
  episodes(request: { start_time?: string; end_time?: string; quietSeconds: number; limit: number }): Promise<Episode[]>
  lastId(): Promise<number>
  /** Undefined when the tree of that size has no such tile. */
  tile(request: TileRequest): Promise<Uint8Array | undefined>
  /** Undefined when there is no such row. Refused when the tree of that size does not have it yet. */
  proof(request: { id: number; size: number }): Promise<EventProof | undefined>
  /** That the tree of `from` entries is the beginning of that of `to`. */
  consistency(request: { from: number; to: number }): Promise<readonly Hash[]>
  /** Events with their proofs, for an evidence pack. */
  provenEvents(request: ProvenRequest): Promise<ProvenPage>
  /** How many events match, up to a number. */
  count(request: CountRequest): Promise<number>
  close(): Promise<void>
}
