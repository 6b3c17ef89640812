/**
 * The event store's promise. One contract suite (test/contract/event-store.ts) holds every implementation to it:
 * SQLite, which answers in the same turn, and PostgreSQL, for which everything here is asynchronous.
 *
 * The writer side is used by the indexer (and the importer) alone. The reader side is `query/`.
 */
import type { AuditEvent, StoredEvent } from '../event/event.ts'

/** One row to be: an event, and what makes it the same event if it is offered twice. */
export interface Row {
  readonly event: AuditEvent
  /** Rows with the same non-null key are written once, ever; a second one is skipped. A UUID or a digest in hex. */
  readonly onceKey: string | null
  /** The journal record that says the same, if there is one: what the log's thread is handed. */
  readonly record?: string
  /** Given only by the importer, which keeps the original; else the store stamps the time of insertion. */
  readonly createdAt?: string
}

export interface Batch {
  /** Whose position this moves: the journal's id, or an importer's. */
  readonly source: string
  /** The position the caller believes the source to be at; the batch is refused if it is not. */
  readonly after: number
  /** Taken once, in order, inside the transaction; so a large batch may be read while it is written. */
  readonly rows: Iterable<Row>
  /** The position after this batch. Looked at after the last row was taken, so it may be known only then. */
  readonly through: number
  /** About how many rows there are; left out, few. */
  readonly rowsExpected?: number | undefined
}

export interface Appended {
  /** Id of the last row of the whole table after this batch; 0 when it is empty. */
  readonly lastId: number
  /** How many rows were written: all less those whose onceKey was known. */
  readonly written: number
  /**
   * How many rows the next batch best has, if there are as many: they fill the table that grows. Filled in one batch, an
   * empty one takes half the time. Undefined where it does not matter.
   */
  readonly room: number | undefined
}

export interface EventStore {
  /** Position of a source: the highest `through` committed for it, 0 if none. */
  position(source: string): Promise<number>

  /**
   * Writes the rows, in order, with gapless ids, and moves the position, in one transaction: after a crash either all
   * of it is there or nothing.
   * @throws {StoreError} POSITION_MOVED (somebody else moved the source; re-read it), UNAVAILABLE (locked, read-only, full,
   * gone: nothing was written, try again later), FOREIGN (not our database, or of a newer version).
   */
  append(batch: Batch): Promise<Appended>

  /** Id of the last row, 0 when empty. */
  lastId(): Promise<number>

  /** One row, mostly for tests and checks; queries go through `query/`. */
  get(id: number): Promise<StoredEvent | undefined>

  /** Makes all committed batches survive power loss; the journal may drop what this covers. */
  checkpoint(): Promise<void>

  close(): Promise<void>
}

export type StoreErrorCode = 'POSITION_MOVED' | 'UNAVAILABLE' | 'FOREIGN'

export class StoreError extends Error {
  override readonly name = 'StoreError'
  readonly code: StoreErrorCode
  constructor(code: StoreErrorCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.code = code
  }
}
